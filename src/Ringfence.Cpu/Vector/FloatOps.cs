using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>An arithmetic operation: on the host's vectors, on its numbers, and in integers with all that MXCSR asks for.</summary>
internal interface IFloatOp
{
    static abstract Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged;

    static abstract T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>;

    /// <summary>True if a result of zero from these operands, each zero or normal, is exact.</summary>
    static abstract bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>;

    /// <summary>Whether an ordinary result was rounded.</summary>
    static abstract Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>;

    static abstract ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged;
}

internal readonly struct FloatAdd : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a + b;

    public static bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => true;

    /// <summary>The rounding error of a sum is a number, and two sums and differences find it (Knuth, TAOCP 2, 4.2.2).</summary>
    public static Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        T part = r - a;
        return a - (r - part) + (b - part) == T.Zero ? Exactness.Exact : Exactness.Rounded;
    }

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Add(a, b, subtract: false, ref status);
}

internal readonly struct FloatSubtract : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a - b;

    public static bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => true;

    public static Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => FloatAdd.Judge(a, -b, r);

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Add(a, b, subtract: true, ref status);
}

internal readonly struct FloatMultiply : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a * b;

    public static bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a == T.Zero || b == T.Zero;

    public static Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Rounded.Judge(r, T.FusedMultiplyAdd(a, b, -r));

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Multiply(a, b, ref status);
}

internal readonly struct FloatDivide : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a / b;

    public static bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a == T.Zero;

    public static Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Rounded.Judge(a, T.FusedMultiplyAdd(-r, b, a));

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Divide(a, b, ref status);
}

/// <summary>Of the second operand.</summary>
internal readonly struct FloatSquareRoot : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.Sqrt(b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.Sqrt(b);

    public static bool ZeroIsExact<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => true;

    public static Exactness Judge<T>(T a, T b, T r)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Rounded.Judge(b, T.FusedMultiplyAdd(-r, r, b));

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.SquareRoot(b, ref status);
}

/// <summary>Whether a result is the exact one.</summary>
internal enum Exactness
{
    Exact,
    Rounded,
    /// <summary>So near to the smallest numbers that the error may have none for itself.</summary>
    Unknown,
}

internal static class Rounded
{
    /// <param name="scale">The number whose size says whether the error can be told from 0.</param>
    /// <param name="error">What a fused operation left of the exact result.</param>
    public static unsafe Exactness Judge<T>(T scale, T error)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // An error is at least 2^-106 (2^-48) of it, and must not be smaller than the smallest normal number.
        int exponent = sizeof(T) == 4
            ? (int)(Unsafe.BitCast<T, uint>(scale) >> 23) & 0xFF : (int)(Unsafe.BitCast<T, ulong>(scale) >> 52) & 0x7FF;
        return exponent <= (sizeof(T) == 4 ? 56 : 112) ? Exactness.Unknown : error == T.Zero ? Exactness.Exact : Exactness.Rounded;
    }
}
