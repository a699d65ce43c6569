namespace Ringfence.Cpu;

/// <summary>What CPUID says. A model advertises nothing that is not implemented.</summary>
/// <param name="Name">As given on the command line.</param>
/// <param name="Brand">The processor brand string, at most 47 characters.</param>
/// <param name="Leaf1Ecx">CPUID.1:ECX, without what depends on state (OSXSAVE).</param>
/// <param name="Leaf1Edx">CPUID.1:EDX.</param>
/// <param name="Leaf7Ebx">CPUID.7.0:EBX.</param>
/// <param name="ExtendedEcx">CPUID.80000001:ECX.</param>
/// <param name="ExtendedEdx">CPUID.80000001:EDX.</param>
public sealed record CpuModel(string Name, string Brand, uint Leaf1Ecx, uint Leaf1Edx, uint Leaf7Ebx, uint ExtendedEcx, uint ExtendedEdx)
{
    // FPU VME DE PSE TSC MSR PAE CX8 APIC SEP PGE MCA MCE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
    private const uint BaselineEdx = 1 | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 11)
        | (1 << 12) | (1 << 13) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 17) | (1 << 19) | (1 << 23) | (1 << 24) | (1 << 25) | (1 << 26);
    private const uint TscDeadline = 1 << 24;
    private const uint Hypervisor = 1u << 31;
    // SYSCALL NX RDTSCP LM, and what AMD repeats of leaf 1.
    private const uint BaselineExtendedEdx = (1 << 11) | (1 << 20) | (1 << 27) | (1 << 29) | (BaselineEdx & 0x0183_F3FF);
    /// <summary>With it and an invariant counter, Linux trusts the time-stamp counter without a second clock to check it by.</summary>
    private const uint TscAdjust = 1 << 1;
    private const uint LahfLong = 1;
    private const uint Sse3 = 1;
    private const uint Ssse3 = 1 << 9;
    private const uint PopCount = 1 << 23;

    /// <summary>The x86-64 psABI's baseline. The vendor is AMD: kernels know that such a processor needs no page-table isolation.</summary>
    public static CpuModel X8664V1 { get; } = new(
        "x86-64-v1", "Ringfence x86-64-v1 processor", TscDeadline | Hypervisor, BaselineEdx, TscAdjust, LahfLong, BaselineExtendedEdx);

    /// <summary>All that is implemented.</summary>
    public static CpuModel Max { get; } = new(
        "max", "Ringfence processor", Sse3 | Ssse3 | TscDeadline | Hypervisor | PopCount, BaselineEdx, TscAdjust, LahfLong, BaselineExtendedEdx);

    public static IReadOnlyList<CpuModel> All { get; } = [X8664V1, Max];

    /// <summary>The model of that name, or null.</summary>
    public static CpuModel? Find(string name) => All.FirstOrDefault(m => m.Name == name);

    /// <summary>CPUID (SDM 2 CPUID; APM 3 appendix E) for a leaf and subleaf.</summary>
    internal (uint Eax, uint Ebx, uint Ecx, uint Edx) Query(uint leaf, uint subleaf, uint apicId, bool osxsave)
    {
        uint highest = leaf < 0x4000_0000 ? 0xDu : leaf < 0x8000_0000 ? 0x4000_0010 : 0x8000_0008;
        if (leaf > highest)
        {
            return default;
        }
        return leaf switch
        {
            0 => (0xD, Ascii("Auth"), Ascii("cAMD"), Ascii("enti")),
            // Family 15 model 107 stepping 1: a processor of the baseline's age, with no speculation to work around.
            1 => (0x0006_0FB1, (apicId << 24) | (1 << 16) | (8 << 8), Leaf1Ecx | (osxsave ? 1u << 27 : 0), Leaf1Edx),
            7 when subleaf == 0 => (0, Leaf7Ebx, 0, 0),
            0x4000_0000 => (0x4000_0010, Ascii("Ring"), Ascii("fenc"), Ascii("eVMM")),
            // VMware's convention: TSC and APIC bus frequency in kHz.
            0x4000_0010 => ((uint)(Processor.TscHertz / 1000), 1_000_000, 0, 0),
            0x8000_0000 => (0x8000_0008, Ascii("Auth"), Ascii("cAMD"), Ascii("enti")),
            0x8000_0001 => (0x0006_0FB1, 0, ExtendedEcx, ExtendedEdx),
            >= 0x8000_0002 and <= 0x8000_0004 => BrandPart((int)(leaf - 0x8000_0002) * 16),
            // L1: 32 KiB, 8-way, 64-byte lines; L2: 512 KiB.
            0x8000_0005 => (0xFF40_FF40, 0xFF40_FF40, 0x2008_0140, 0x2008_0140),
            0x8000_0006 => (0, 0x4200_4200, 0x0200_6140, 0),
            // The time-stamp counter is invariant.
            0x8000_0007 => (0, 0, 0, 1 << 8),
            0x8000_0008 => (Memory.PageWalker.PhysicalBits | (48 << 8), 0, 0, 0),
            _ => default,
        };
    }

    private static uint Ascii(string four) => four[0] | ((uint)four[1] << 8) | ((uint)four[2] << 16) | ((uint)four[3] << 24);

    private (uint, uint, uint, uint) BrandPart(int start)
    {
        string padded = Brand.PadRight(48, '\0');
        return (Ascii(padded.Substring(start, 4)), Ascii(padded.Substring(start + 4, 4)),
            Ascii(padded.Substring(start + 8, 4)), Ascii(padded.Substring(start + 12, 4)));
    }
}
