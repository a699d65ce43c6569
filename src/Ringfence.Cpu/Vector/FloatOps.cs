using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>An arithmetic operation: on the host's vectors, on its numbers, and in integers with all that MXCSR asks for.</summary>
internal interface IFloatOp
{
    static abstract Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged;

    static abstract Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged;

    static abstract T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>;

    /// <summary>Lanes in which a result of zero from these operands, each zero or normal, is exact.</summary>
    static abstract Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged;

    /// <summary>How far ordinary results are from exact ones, or that with other signs.</summary>
    static abstract Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged;

    /// <summary>The numbers whose size says whether the error can be told from 0.</summary>
    static abstract Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged;

    static abstract ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged;
}

internal readonly struct FloatAdd : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256<T>.AllBitsSet;

    /// <summary>The rounding error of a sum is a number, and two sums and differences find it (Knuth, TAOCP 2, 4.2.2).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged
    {
        Vector256<T> part = r - a;
        return a - (r - part) + (b - part);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => Vector256<T>.One;

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Add(a, b, subtract: false, ref status);
}

internal readonly struct FloatSubtract : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256<T>.AllBitsSet;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => FloatAdd.Error(a, -b, r);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => Vector256<T>.One;

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Add(a, b, subtract: true, ref status);
}

internal readonly struct FloatMultiply : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256.Equals(a, Vector256<T>.Zero) | Vector256.Equals(b, Vector256<T>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => Fused.MultiplyAdd(a, b, -r);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => r;

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.Multiply(a, b, ref status);
}

internal readonly struct FloatDivide : IFloatOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256.Equals(a, Vector256<T>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => Fused.MultiplyAdd(-r, b, a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => a;

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
    public static Vector256<T> Do<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256.Sqrt(b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Do<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.Sqrt(b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> ZeroIsExact<T>(Vector256<T> a, Vector256<T> b)
        where T : unmanaged => Vector256<T>.AllBitsSet;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Error<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => Fused.MultiplyAdd(-r, r, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => b;

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.SquareRoot(b, ref status);
}

internal static class Fused
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> MultiplyAdd<T>(Vector256<T> x, Vector256<T> y, Vector256<T> z)
        where T : unmanaged => Unsafe.SizeOf<T>() == 4
            ? Vector256.FusedMultiplyAdd(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float, T>()
            : Vector256.FusedMultiplyAdd(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<double, T>();
}
