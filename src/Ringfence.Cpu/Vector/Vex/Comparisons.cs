using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector.Vex;

// What VCMPPS and its kin have beyond the eight predicates of CMPPS (SDM 2 CMPPS, table 3-8).

internal readonly struct CompareFloatGreater : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.GreaterThan(a, b);

    public static bool QuietIsInvalid => true;
}

internal readonly struct CompareFloatGreaterOrEqual : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.GreaterThanOrEqual(a, b);

    public static bool QuietIsInvalid => true;
}

/// <summary>Less or greater: not equal, and ordered.</summary>
internal readonly struct CompareFloatUnlike : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.LessThan(a, b) | Vector128.GreaterThan(a, b);

    public static bool QuietIsInvalid => false;
}

internal readonly struct CompareFloatNever : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128<T>.Zero;

    public static bool QuietIsInvalid => false;
}

/// <summary>The same comparison where a quiet NaN is invalid if it was not, and the other way round: predicates 16 to 31.</summary>
internal readonly struct Turned<TOp> : IFloatSelect
    where TOp : struct, IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => TOp.Do(a, b);

    public static bool QuietIsInvalid => !TOp.QuietIsInvalid;
}
