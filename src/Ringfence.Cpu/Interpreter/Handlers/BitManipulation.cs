using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>An operation on an r/m operand and another one, with a result in a third; sets the flags that it sets.</summary>
internal unsafe interface IBitOperation
{
    static abstract ulong Apply<T>(CpuState* s, ulong value, ulong other);
}

/// <summary>BMI1, BMI2, LZCNT, ADX and MOVBE (SDM 1 7.3.17, 7.3.18). Flags that the manual leaves undefined are as the others make them.</summary>
internal static unsafe class BitManipulation
{
    /// <summary>The result goes to <see cref="Op.Destination"/>.</summary>
    public static Op* Combine<TOp, TOperand, TOther, T>(CpuState* s, Op* o)
        where TOp : struct, IBitOperation
        where TOperand : struct, IOperand
        where TOther : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        TOther.Get<T>(s, o, out ulong other);
        Width.Set<T>(s, o->Destination, TOp.Apply<T>(s, value, other));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MULX: rDX times the operand, high half to the first register, low half to the second. If they are the same, the high half stays.</summary>
    public static Op* Mulx<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        ulong low;
        ulong high;
        if (sizeof(T) == 8)
        {
            high = Math.BigMul(value, s->Gpr[2], out low);
        }
        else
        {
            low = value * (uint)s->Gpr[2];
            high = low >> 32;
        }
        Width.Set<T>(s, o->Source, low);
        Width.Set<T>(s, o->Destination, high);
        o++;
        return o->Handler(s, o);
    }

    public static Op* LoadSwapped<T>(CpuState* s, Op* o)
    {
        if (!GuestAccess.Read(s, Wide.Linear(s, o), out T value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, Reversed<T>(Width.From(value)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreSwapped<T>(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), Width.To<T>(Reversed<T>(Width.Get<T>(s, o->Source)))))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Spreads the low bits of <paramref name="value"/> over the bits that are set in <paramref name="mask"/>.</summary>
    internal static ulong DepositPortably(ulong value, ulong mask)
    {
        ulong result = 0;
        for (ulong bit = 1; mask != 0; bit <<= 1)
        {
            ulong lowest = mask & (0 - mask);
            result |= (value & bit) != 0 ? lowest : 0;
            mask ^= lowest;
        }
        return result;
    }

    /// <summary>Gathers the bits of <paramref name="value"/> that are set in <paramref name="mask"/>.</summary>
    internal static ulong ExtractPortably(ulong value, ulong mask)
    {
        ulong result = 0;
        for (ulong bit = 1; mask != 0; bit <<= 1)
        {
            ulong lowest = mask & (0 - mask);
            result |= (value & lowest) != 0 ? bit : 0;
            mask ^= lowest;
        }
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Reversed<T>(ulong value) => System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(value) >> (64 - (8 * sizeof(T)));
}

internal readonly unsafe struct AndNot : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value & ~other;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

/// <summary>BEXTR: bits from start (bits 0 to 7 of the other operand), as many as length (bits 8 to 15) says.</summary>
internal readonly unsafe struct ExtractField : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        int start = (byte)other;
        int length = (byte)(other >> 8);
        ulong r = start < 64 ? value >> start : 0;
        r &= length < 64 ? (1UL << length) - 1 : ulong.MaxValue;
        Flags.SetLogic<T>(s, r);
        return r;
    }
}

internal readonly unsafe struct IsolateLowest : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value & (0 - value);
        Flags.SetResult<T>(s, r, value != 0, false);
        return r;
    }
}

internal readonly unsafe struct MaskToLowest : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value ^ (value - 1);
        Flags.SetResult<T>(s, r, value == 0, false);
        return r;
    }
}

internal readonly unsafe struct ResetLowest : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value & (value - 1);
        Flags.SetResult<T>(s, r, value == 0, false);
        return r;
    }
}

/// <summary>BZHI: clears the bits from the one that the other operand's low byte names.</summary>
internal readonly unsafe struct ZeroHigh : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        int count = (byte)other;
        bool beyond = count >= 8 * sizeof(T);
        ulong r = beyond ? value : value & ((1UL << count) - 1);
        Flags.SetResult<T>(s, r, beyond, false);
        return r;
    }
}

internal readonly unsafe struct Deposit : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) =>
        Bmi2.X64.IsSupported ? Bmi2.X64.ParallelBitDeposit(other, value) : BitManipulation.DepositPortably(other, value);
}

internal readonly unsafe struct Extract : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) =>
        Bmi2.X64.IsSupported ? Bmi2.X64.ParallelBitExtract(other, value) : BitManipulation.ExtractPortably(other, value);
}

internal readonly unsafe struct RotateQuietly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) =>
        sizeof(T) == 8 ? BitOperations.RotateRight(value, (int)other) : BitOperations.RotateRight((uint)value, (int)other);
}

internal readonly unsafe struct ShiftLeftQuietly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) => value << ((int)other & ((8 * sizeof(T)) - 1));
}

internal readonly unsafe struct ShiftRightQuietly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) => value >> ((int)other & ((8 * sizeof(T)) - 1));
}

internal readonly unsafe struct ShiftArithmeticQuietly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other) => (ulong)((long)Width.SignExtend<T>(value) >> ((int)other & ((8 * sizeof(T)) - 1)));
}

/// <summary>TZCNT.</summary>
internal readonly unsafe struct TrailingZeros : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value == 0 ? 8UL * (ulong)sizeof(T) : (ulong)BitOperations.TrailingZeroCount(value);
        Flags.SetResult<T>(s, r, value == 0, false);
        return r;
    }
}

/// <summary>LZCNT.</summary>
internal readonly unsafe struct LeadingZeros : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = (ulong)(BitOperations.LeadingZeroCount(value) - (64 - (8 * sizeof(T))));
        Flags.SetResult<T>(s, r, value == 0, false);
        return r;
    }
}

/// <summary>ADCX: an addition whose only flag, in and out, is CF.</summary>
internal readonly unsafe struct AddWithCarryOnly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value + other + (Flags.IsCarry(s) ? 1UL : 0);
        Flags.SetCarry(s, CarryOut<T>(value, other, r));
        return r;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool CarryOut<T>(ulong a, ulong b, ulong r) => Width.IsNegative<T>((a & b) | ((a | b) & ~r));
}

/// <summary>ADOX: likewise with OF.</summary>
internal readonly unsafe struct AddWithOverflowOnly : IBitOperation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Apply<T>(CpuState* s, ulong value, ulong other)
    {
        ulong r = value + other + (Flags.IsOverflow(s) ? 1UL : 0);
        Flags.SetCarryOverflow(s, Flags.IsCarry(s), AddWithCarryOnly.CarryOut<T>(value, other, r));
        return r;
    }
}
