using System.Runtime.InteropServices;

namespace Ringfence.Cpu.State;

/// <summary>What a processor answered to CPUID lately, where translated code looks too.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CpuidTable
{
    public const int Entries = 16;

    /// <summary>All answers are for these; what else they depend on forgets them when it changes.</summary>
    public ulong Cr4;
    public ulong Xcr0;
    public ulong Xss;
    /// <summary>How often translated code found its answer here.</summary>
    public long Found;
    private fixed byte _answers[Entries * CpuidAnswer.Bytes];

    public readonly bool IsFor(CpuState* s) => Cr4 == s->Cr4 && Xcr0 == s->Xcr0 && Xss == s->Xss;

    /// <summary>Where the answer to a leaf is if it is here. Translated code computes the same.</summary>
    public static CpuidAnswer* At(CpuState* s, uint leaf, uint subleaf) =>
        First(s) + ((leaf ^ (leaf >> 28) ^ (subleaf << 2)) & (Entries - 1));

    /// <summary>The first of <see cref="Entries"/>.</summary>
    public static CpuidAnswer* First(CpuState* s) => (CpuidAnswer*)s->Translated.Cpuid._answers;

    public static void Forget(CpuState* s) => NativeMemory.Clear(First(s), Entries * CpuidAnswer.Bytes);
}

[StructLayout(LayoutKind.Sequential)]
public struct CpuidAnswer
{
    public const int Bytes = 32;

    public uint Leaf;
    public uint Subleaf;
    public uint Eax;
    public uint Ebx;
    public uint Ecx;
    public uint Edx;
    /// <summary>1 if there is an answer.</summary>
    public uint IsKnown;
    public uint Reserved;
}
