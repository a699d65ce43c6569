using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>The MMX registers' life inside the x87 unit (SDM 1 9.5, SDM 3A 13.2).</summary>
internal static unsafe class Mmx
{
    private const int ErrorSummary = 0x80;
    private const int TopMask = 0x3800;

    /// <summary>True, with #MF recorded, if an x87 exception waits: every MMX instruction reports it first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Pending(CpuState* s)
    {
        if ((s->X87.StatusWord & ErrorSummary) == 0)
        {
            return false;
        }
        Exits.Record(s, Vectors.MathFault);
        return true;
    }

    /// <summary>What every MMX instruction but EMMS does to the x87 unit: TOP is 0, no register is empty.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Enter(CpuState* s)
    {
        s->X87.StatusWord = (ushort)(s->X87.StatusWord & ~TopMask);
        s->X87.Tags = 0xFF;
    }

    /// <summary>Writes an MMX register; sign and exponent of the x87 register that holds it become all ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(byte* register, ulong value)
    {
        *(ulong*)register = value;
        *(ushort*)(register + 8) = 0xFFFF;
    }

    /// <summary>Writes an MMX register as the whole of an instruction's work; false if an exception was pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Finish(CpuState* s, byte* register, ulong value)
    {
        if (Pending(s))
        {
            return false;
        }
        Enter(s);
        Write(register, value);
        return true;
    }
}

/// <summary>A lane-wise operation on MMX registers, done in the low half of a vector.</summary>
internal readonly unsafe struct Mm<TOp> : IVectorInstruction<ulong>
    where TOp : struct, IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        return Mmx.Finish(s, d, TOp.Do(Vector128.CreateScalar(*(ulong*)d).AsByte(), Vector128.CreateScalar(source).AsByte()).AsUInt64().ToScalar());
    }
}

/// <summary>One whose result is made from the first operand followed by the second: packs and horizontal sums.</summary>
internal readonly unsafe struct MmJoined<TOp> : IVectorInstruction<ulong>
    where TOp : struct, IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        Vector128<byte> joined = Vector128.Create(*(ulong*)d, source).AsByte();
        return Mmx.Finish(s, d, TOp.Do(joined, joined).AsUInt64().ToScalar());
    }
}

/// <summary>Unpacking of high halves: the high half of what unpacking whole MMX registers gives.</summary>
internal readonly unsafe struct MmHigh<TOp> : IVectorInstruction<ulong>
    where TOp : struct, IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        return Mmx.Finish(s, d, TOp.Do(Vector128.CreateScalar(*(ulong*)d).AsByte(), Vector128.CreateScalar(source).AsByte()).AsUInt64().GetElement(1));
    }
}

/// <summary>An operation with an immediate on MMX registers.</summary>
internal readonly unsafe struct MmImmediate<TOp> : IVectorInstruction<ulong>
    where TOp : struct, IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        return Mmx.Finish(s, d, TOp.Do(Vector128.CreateScalar(*(ulong*)d).AsByte(), Vector128.CreateScalar(source).AsByte(), o->Immediate)
            .AsUInt64().ToScalar());
    }
}

/// <summary>PSHUFB on MMX registers: eight bytes to choose from.</summary>
internal readonly unsafe struct MmShuffleBytes : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        return Mmx.Finish(s, d, ShuffleBytes.Do(
            Vector128.CreateScalar(*(ulong*)d).AsByte(), Vector128.CreateScalar(source & 0x8787_8787_8787_8787).AsByte()).AsUInt64().ToScalar());
    }
}

/// <summary>PALIGNR on MMX registers.</summary>
internal readonly unsafe struct MmAlignRight : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        return Mmx.Finish(s, d, ShiftRightBytes.Do(Vector128.Create(source, *(ulong*)d).AsByte(), default, o->Immediate).AsUInt64().ToScalar());
    }
}

/// <summary>An MMX instruction whose memory operand is 32 bits wide.</summary>
internal readonly unsafe struct Narrow<TInstruction> : IVectorInstruction<uint>
    where TInstruction : struct, IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, uint source) => TInstruction.Do(s, o, source);
}
