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

    public static ulong Soft<T>(ulong a, ulong b, ref FloatStatus status)
        where T : unmanaged => SoftFloat<T>.SquareRoot(b, ref status);
}
