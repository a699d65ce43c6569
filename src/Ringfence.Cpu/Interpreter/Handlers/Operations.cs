using System.Numerics;
using System.Runtime.CompilerServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>An operation of two operands: sets the flags, returns the result (bits above the width are noise).</summary>
internal unsafe interface IBinary
{
    /// <summary>False for CMP and TEST, which only set flags.</summary>
    static abstract bool Writes { get; }

    static abstract ulong Apply<T>(CpuState* s, ulong a, ulong b);
}

/// <summary>An operation of one operand.</summary>
internal unsafe interface IUnary
{
    static abstract ulong Apply<T>(CpuState* s, ulong a);
}

internal readonly struct Add : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        ulong r = a + b;
        Flags.SetAdd<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Adc : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        ulong r = a + b + (s->FlagCarry >> 63);
        Flags.SetAdd<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Sub : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        ulong r = a - b;
        Flags.SetSub<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Sbb : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        ulong r = a - b - (s->FlagCarry >> 63);
        Flags.SetSub<T>(s, a, b, r);
        return r;
    }
}

internal readonly struct Cmp : IBinary
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b) => Sub.Apply<T>(s, a, b);
}

internal readonly struct And : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        Flags.SetLogic<T>(s, a & b);
        return a & b;
    }
}

internal readonly struct Test : IBinary
{
    public static bool Writes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b) => And.Apply<T>(s, a, b);
}

internal readonly struct Or : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        Flags.SetLogic<T>(s, a | b);
        return a | b;
    }
}

internal readonly struct Xor : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        Flags.SetLogic<T>(s, a ^ b);
        return a ^ b;
    }
}

internal readonly struct Inc : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a)
    {
        ulong r = a + 1;
        Flags.SetKeepingCarry<T>(s, r, a & ~r);
        return r;
    }
}

internal readonly struct Dec : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a)
    {
        ulong r = a - 1;
        Flags.SetKeepingCarry<T>(s, r, ~a & r);
        return r;
    }
}

internal readonly struct Neg : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a) => Sub.Apply<T>(s, 0, a);
}

internal readonly struct Not : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a) => ~a;
}

/// <summary>Shifts and rotates: the second operand is the count, not yet masked. A count of 0 leaves the flags alone (SDM 2 SAL, RCL).</summary>
internal readonly struct Shl : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int count = (int)b & (sizeof(T) == 8 ? 63 : 31);
        if (count == 0)
        {
            return a;
        }
        int bits = 8 * sizeof(T);
        ulong r = a << count;
        bool carry = count <= bits && ((a >> (bits - count)) & 1) != 0;
        Flags.SetResult<T>(s, r, carry, carry != Width.IsNegative<T>(r));
        return r;
    }
}

internal readonly struct Shr : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int count = (int)b & (sizeof(T) == 8 ? 63 : 31);
        if (count == 0)
        {
            return a;
        }
        ulong r = a >> count;
        // OF is the sign of the operand for a count of 1; for larger counts it is undefined and processors give 0 or the same.
        Flags.SetResult<T>(s, r, ((a >> (count - 1)) & 1) != 0, count == 1 && Width.IsNegative<T>(a));
        return r;
    }
}

internal readonly struct Sar : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int count = (int)b & (sizeof(T) == 8 ? 63 : 31);
        if (count == 0)
        {
            return a;
        }
        long value = (long)Width.SignExtend<T>(a);
        ulong r = (ulong)(value >> count);
        Flags.SetResult<T>(s, r, ((value >> (count - 1)) & 1) != 0, false);
        return r;
    }
}

internal readonly struct Rol : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int bits = 8 * sizeof(T);
        int masked = (int)b & (sizeof(T) == 8 ? 63 : 31);
        if (masked == 0)
        {
            return a;
        }
        int count = masked & (bits - 1);
        ulong r = sizeof(T) == 8 ? BitOperations.RotateLeft(a, count) : Width.Truncate<T>((a << count) | (a >> (bits - count)));
        bool carry = (r & 1) != 0;
        Flags.SetCarryOverflow(s, carry, carry != Width.IsNegative<T>(r));
        return r;
    }
}

internal readonly struct Ror : IBinary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int bits = 8 * sizeof(T);
        int masked = (int)b & (sizeof(T) == 8 ? 63 : 31);
        if (masked == 0)
        {
            return a;
        }
        int count = masked & (bits - 1);
        ulong r = sizeof(T) == 8 ? BitOperations.RotateRight(a, count) : Width.Truncate<T>((a >> count) | (a << (bits - count)));
        bool carry = Width.IsNegative<T>(r);
        Flags.SetCarryOverflow(s, carry, carry != Width.IsNegative<T>(r << 1));
        return r;
    }
}

internal readonly struct Rcl : IBinary
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int bits = 8 * sizeof(T);
        int count = ((int)b & (sizeof(T) == 8 ? 63 : 31)) % (bits + 1);
        if (count == 0)
        {
            return a;
        }
        // The operand with CF above it, turned as bits + 1 bits.
        UInt128 wide = ((UInt128)(s->FlagCarry >> 63) << bits) | a;
        wide = (wide << count) | (wide >> (bits + 1 - count));
        bool carry = ((ulong)(wide >> bits) & 1) != 0;
        ulong r = Width.Truncate<T>((ulong)wide);
        Flags.SetCarryOverflow(s, carry, carry != Width.IsNegative<T>(r));
        return r;
    }
}

internal readonly struct Rcr : IBinary
{
    public static bool Writes => true;

    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b)
    {
        int bits = 8 * sizeof(T);
        int count = ((int)b & (sizeof(T) == 8 ? 63 : 31)) % (bits + 1);
        if (count == 0)
        {
            return a;
        }
        UInt128 wide = ((UInt128)(s->FlagCarry >> 63) << bits) | a;
        wide = (wide >> count) | (wide << (bits + 1 - count));
        bool carry = ((ulong)(wide >> bits) & 1) != 0;
        ulong r = Width.Truncate<T>((ulong)wide);
        Flags.SetCarryOverflow(s, carry, Width.IsNegative<T>(r) != Width.IsNegative<T>(r << 1));
        return r;
    }
}
