using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>Bits of MXCSR (SDM 1 10.2.3).</summary>
internal static class Mxcsr
{
    public const uint Invalid = 1;
    public const uint Denormal = 2;
    public const uint ZeroDivide = 4;
    public const uint Overflow = 8;
    public const uint Underflow = 0x10;
    public const uint Precision = 0x20;
    public const uint DenormalsAreZero = 0x40;
    public const int MaskShift = 7;
    public const int RoundingShift = 13;
    public const uint FlushToZero = 0x8000;
    public const uint Flags = 0x3F;
    /// <summary>The exceptions found by looking at operands, before there is a result.</summary>
    public const uint BeforeComputation = Invalid | Denormal | ZeroDivide;
    /// <summary>All bits that LDMXCSR may set; also the MXCSR_MASK that FXSAVE reports.</summary>
    public const uint Writable = 0xFFFF;

    private const uint Quick = 0x7FA0;
    private const uint QuickValue = 0x1FA0;

    /// <summary>True if rounding is to nearest, all exceptions are masked and the precision flag is already set: then an operation on
    /// normal numbers with a normal result changes nothing but its destination, and the host's arithmetic is the guest's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsQuick(uint mxcsr) => (mxcsr & Quick) == QuickValue;

    /// <summary>The same, but for the precision flag: it is still to be found out whether a result is exact.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNearlyQuick(uint mxcsr) => ((mxcsr | Precision) & Quick) == QuickValue;
}

/// <summary>How numbers are rounded: MXCSR.RC.</summary>
internal enum Rounding
{
    Nearest,
    Down,
    Up,
    Zero,
}

/// <summary>MXCSR as an instruction found it, and the exceptions that its lanes have raised.</summary>
internal unsafe struct FloatStatus
{
    public readonly uint Control;
    public uint Raised;

    public FloatStatus(CpuState* s)
        : this(s->Mxcsr)
    {
    }

    public FloatStatus(uint control) => Control = control;

    public readonly Rounding Rounding => (Rounding)((Control >> Mxcsr.RoundingShift) & 3);

    public readonly bool DenormalsAreZero => (Control & Mxcsr.DenormalsAreZero) != 0;

    public readonly bool Masks(uint exception) => ((Control >> Mxcsr.MaskShift) & exception) != 0;

    /// <summary>True if nothing was raised that leads to an exception.</summary>
    public readonly bool IsMasked => (Raised & ~(Control >> Mxcsr.MaskShift)) == 0;

    /// <summary>Brings the sticky flags up to date once all lanes are done. False, with #XM recorded, if an exception is not masked:
    /// the destination stays as it was. One found before computation keeps those of results from being seen (SDM 1 11.5.3).</summary>
    public readonly bool Commit(CpuState* s)
    {
        uint unmasked = Raised & ~(Control >> Mxcsr.MaskShift);
        uint seen = (unmasked & Mxcsr.BeforeComputation) != 0 ? Raised & Mxcsr.BeforeComputation : Raised;
        s->Mxcsr |= seen;
        if (unmasked == 0)
        {
            return true;
        }
        const ulong OsXmmExcept = 1 << 10;
        Exits.Record(s, (s->Cr4 & OsXmmExcept) != 0 ? Vectors.SimdException : Vectors.InvalidOpcode);
        return false;
    }
}
