using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>
/// Arithmetic on all lanes at once that the quick way refuses: the precision flag is clear, so that it matters whether results are exact, or there are zeros.
/// Exact arithmetic may go on for ever without setting the flag that would make it quick.
/// </summary>
internal static class LanesAtOnce
{
    /// <summary>What it takes lane by lane to find out.</summary>
    public const uint Unsettled = uint.MaxValue;

    /// <summary>What the host's results <paramref name="r"/> raise: nothing or <see cref="Mxcsr.Precision"/>. <see cref="Unsettled"/> where they may not be
    /// the guest's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Raised<TOp, T>(uint mxcsr, Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where TOp : struct, IFloatOp
        where T : unmanaged
    {
        Vector256<T> noResult = Vector256.Equals(r, Vector256<T>.Zero);
        Vector256<T> settled = IsOrdinaryOrZero(a) & IsOrdinaryOrZero(b) & (FloatArithmetic.IsOrdinary(r) | (noResult & TOp.ZeroIsExact(a, b)));
        if (!Mxcsr.IsNearlyQuick(mxcsr))
        {
            return Unsettled;
        }
        if ((mxcsr & Mxcsr.Precision) != 0)
        {
            return IsAll(settled) ? 0 : Unsettled;
        }
        // An error is at least 2^-106 (2^-48) of this, and can be told from 0 only if it is no smaller than the smallest normal number.
        Vector256<T> sizable = Unsafe.SizeOf<T>() == 4 ? Vector256.Create(57U << 23).As<uint, T>() : Vector256.Create(113UL << 52).As<ulong, T>();
        settled &= noResult | Vector256.GreaterThanOrEqual(Vector256.Abs(TOp.Scale(a, b, r)), sizable);
        if (!IsAll(settled))
        {
            return Unsettled;
        }
        return IsAll(noResult | Vector256.Equals(TOp.Error(a, b, r), Vector256<T>.Zero)) ? 0 : Mxcsr.Precision;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> IsOrdinaryOrZero<T>(Vector256<T> x)
        where T : unmanaged => FloatArithmetic.IsOrdinary(x) | Vector256.Equals(x, Vector256<T>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsAll<T>(Vector256<T> mask)
        where T : unmanaged => mask.AsByte() == Vector256<byte>.AllBitsSet;
}
