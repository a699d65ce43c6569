using static Ringfence.Cpu.Models.CpuidRegister;

namespace Ringfence.Cpu.Models;

/// <summary>What CPUID's answer depends on besides the model.</summary>
internal readonly record struct CpuidContext(uint ApicId, int Processors, ulong Cr4, ulong Xcr0, ulong Xss);

/// <summary>CPUID (SDM 2 CPUID; APM 3 appendix E): the feature bits of a model, and around them the leaves that are not bits.</summary>
internal static class Cpuid
{
    private const uint HighestBasic = 0xD;
    private const uint HighestHypervisor = 0x4000_0010;
    private const uint HighestExtended = 0x8000_0008;

    public static (uint Eax, uint Ebx, uint Ecx, uint Edx) Query(CpuModel model, uint leaf, uint subleaf, in CpuidContext context)
    {
        uint highest = leaf < 0x4000_0000 ? HighestBasic : leaf < 0x8000_0000 ? HighestHypervisor : HighestExtended;
        if (leaf > highest)
        {
            return default;
        }
        switch (leaf)
        {
            case 0:
                return (HighestBasic, Ascii(model.Vendor, 0), Ascii(model.Vendor, 8), Ascii(model.Vendor, 4));
            case 1:
                uint osxsave = (context.Cr4 & State.ControlBits.OsXsave) != 0 ? 1u << 27 : 0;
                return (model.Signature, (context.ApicId << 24) | (1 << 16) | (8 << 8), Bits(model, 1, 0, Ecx) | osxsave, Bits(model, 1, 0, Edx));
            case 7 when subleaf == 0:
                uint ospke = (context.Cr4 & State.ControlBits.ProtectionKeys) != 0 ? 1u << 4 : 0;
                return (Bits(model, 7, 1, Eax) != 0 ? 1u : 0, Bits(model, 7, 0, Ebx), Bits(model, 7, 0, Ecx) | ospke, Bits(model, 7, 0, Edx));
            case 0x4000_0000:
                return (HighestHypervisor, Ascii("RingfenceVMM", 0), Ascii("RingfenceVMM", 4), Ascii("RingfenceVMM", 8));
            case 0x4000_0010:
                // VMware's convention: TSC and APIC bus frequency in kHz.
                return ((uint)(Processor.TscHertz / 1000), 1_000_000, 0, 0);
            case 0x8000_0000:
                return (HighestExtended, Ascii(model.Vendor, 0), Ascii(model.Vendor, 8), Ascii(model.Vendor, 4));
            case 0x8000_0001:
                // AMD repeats much of leaf 1's EDX.
                uint repeated = model.Vendor == "AuthenticAMD" ? Bits(model, 1, 0, Edx) & 0x0183_F3FF : 0;
                return (model.Signature, 0, Bits(model, leaf, 0, Ecx), Bits(model, leaf, 0, Edx) | repeated);
            case >= 0x8000_0002 and <= 0x8000_0004:
                int start = (int)(leaf - 0x8000_0002) * 16;
                return (Ascii(model.Brand, start), Ascii(model.Brand, start + 4), Ascii(model.Brand, start + 8), Ascii(model.Brand, start + 12));
            case 0x8000_0005:
                // L1: 32 KiB, 8-way, 64-byte lines.
                return (0xFF40_FF40, 0xFF40_FF40, 0x2008_0140, 0x2008_0140);
            case 0x8000_0006:
                // L2: 512 KiB.
                return (0, 0x4200_4200, 0x0200_6140, 0);
            case 0x8000_0008:
                return (Memory.PageWalker.PhysicalBits | ((uint)Memory.LinearAddress.Width(model) << 8), Bits(model, leaf, 0, Ebx), 0, 0);
            default:
                subleaf = leaf is 4 or 7 or 0xB or 0xD or 0x8000_001D ? subleaf : 0;
                return (Bits(model, leaf, subleaf, Eax), Bits(model, leaf, subleaf, Ebx), Bits(model, leaf, subleaf, Ecx), Bits(model, leaf, subleaf, Edx));
        }
    }

    private static uint Bits(CpuModel model, uint leaf, uint subleaf, CpuidRegister register)
    {
        uint bits = 0;
        foreach (CpuFeatureInfo info in CpuFeatures.All)
        {
            if (info.Leaf == leaf && info.Subleaf == subleaf && info.Register == register && model.Has(info.Feature))
            {
                bits |= 1u << info.Bit;
            }
        }
        return bits;
    }

    /// <summary>Four characters as a register holds them; zeros behind the end.</summary>
    private static uint Ascii(string text, int start)
    {
        uint value = 0;
        for (int i = 0; i < 4 && start + i < text.Length; i++)
        {
            value |= (uint)text[start + i] << (8 * i);
        }
        return value;
    }
}
