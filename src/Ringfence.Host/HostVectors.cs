using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Ringfence.Host;

/// <summary>
/// Which vector registers code of ours may use on this host: its processor has them and its system keeps them (SDM 1 14.3, 15.2). What .NET says of this is about its own code,
/// and fixed when that is compiled ahead of time.
/// </summary>
public static unsafe class HostVectors
{
    private const int FeatureLeaf = 1;
    private const int ExtendedFeatureLeaf = 7;
    private const int Osxsave = 1 << 27;
    private const int AvxBit = 1 << 28;
    private const ulong AvxState = 0x6;
    private const ulong Avx512State = 0xE6;
    /// <summary>F, DQ, BW and VL.</summary>
    private const int Avx512Bits = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);

    /// <summary>XCR0; 0 if there is none, or it cannot be read.</summary>
    private static readonly ulong s_kept = ReadXcr0();

    /// <summary>AVX.</summary>
    public static bool HasAvx { get; } = (s_kept & AvxState) == AvxState && (X86Base.CpuId(FeatureLeaf, 0).Ecx & AvxBit) != 0;

    /// <summary>AVX-512 as all but the first processors have it: opmasks of 64 bits, vectors of all widths.</summary>
    public static bool HasAvx512 { get; } = HasAvx && (s_kept & Avx512State) == Avx512State && (X86Base.CpuId(ExtendedFeatureLeaf, 0).Ebx & Avx512Bits) == Avx512Bits;

    private static ulong ReadXcr0()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !X86Base.IsSupported || (X86Base.CpuId(FeatureLeaf, 0).Ecx & Osxsave) == 0)
        {
            return 0;
        }
        // XOR ECX, ECX; XGETBV; SHL RDX, 32; OR RAX, RDX; RET
        byte* code = LibC.MapCode([0x31, 0xC9, 0x0F, 0x01, 0xD0, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]);
        return code == null ? 0 : ((delegate* unmanaged<ulong>)code)();
    }
}
