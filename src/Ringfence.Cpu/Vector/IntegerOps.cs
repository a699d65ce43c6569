using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ringfence.Cpu.Vector;

// The integer functions of MMX, SSE2 and what follows; T is the lane.

internal readonly struct MoveVector : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        s;
}

internal readonly struct BitwiseAnd : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        d & s;
}

internal readonly struct BitwiseAndNot : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.AndNot(s, d);
}

internal readonly struct BitwiseOr : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        d | s;
}

internal readonly struct BitwiseXor : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        d ^ s;
}

internal readonly struct Add<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        (d.As<byte, T>() + s.As<byte, T>()).AsByte();
}

internal readonly struct Subtract<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        (d.As<byte, T>() - s.As<byte, T>()).AsByte();
}

internal readonly struct AddSaturate<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.AddSaturate(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct SubtractSaturate<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.SubtractSaturate(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct CompareEqual<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.Equals(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct CompareGreater<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.GreaterThan(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct Minimum<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.Min(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct Maximum<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.Max(d.As<byte, T>(), s.As<byte, T>()).AsByte();
}

internal readonly struct MultiplyLow<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        (d.As<byte, T>() * s.As<byte, T>()).AsByte();
}

/// <summary>PABS: the most negative value stays itself.</summary>
internal readonly struct Absolute<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.ConditionalSelect(Vector128.LessThan(s.As<byte, T>(), Vector128<T>.Zero), -s.As<byte, T>(), s.As<byte, T>()).AsByte();
}

/// <summary>PSIGN.</summary>
internal readonly struct Sign<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        (Vector128.ConditionalSelect(Vector128.LessThan(s.As<byte, T>(), Vector128<T>.Zero), -d.As<byte, T>(), d.As<byte, T>()) & ~Vector128.Equals(s.As<byte, T>(), Vector128<T>.Zero)).AsByte();
}

internal readonly struct AverageBytes : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported ? Sse2.Average(d, s) : (d | s) - ((d ^ s) >>> 1);
}

internal readonly struct AverageWords : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.Average(d.AsUInt16(), s.AsUInt16()).AsByte()
            : ((d | s).AsUInt16() - ((d ^ s).AsUInt16() >>> 1)).AsByte();
}

internal readonly struct MultiplyHighSigned : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.MultiplyHigh(d.AsInt16(), s.AsInt16()).AsByte()
            : Portable.MultiplyShift(d.AsInt16(), s.AsInt16(), 0, 16).AsByte();
}

internal readonly struct MultiplyHighUnsigned : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.MultiplyHigh(d.AsUInt16(), s.AsUInt16()).AsByte()
            : Portable.MultiplyHigh(d.AsUInt16(), s.AsUInt16()).AsByte();
}

internal readonly struct MultiplyHighRounded : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Ssse3.IsSupported
            ? Ssse3.MultiplyHighRoundScale(d.AsInt16(), s.AsInt16()).AsByte()
            : Portable.MultiplyShift(d.AsInt16(), s.AsInt16(), 0x4000, 15).AsByte();
}

/// <summary>PMULUDQ.</summary>
internal readonly struct MultiplyEven : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.Multiply(d.AsUInt32(), s.AsUInt32()).AsByte()
            : ((d.AsUInt64() & Vector128.Create(0xFFFF_FFFFUL)) * (s.AsUInt64() & Vector128.Create(0xFFFF_FFFFUL))).AsByte();
}

/// <summary>PMULDQ.</summary>
internal readonly struct MultiplyEvenSigned : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse41.IsSupported
            ? Sse41.Multiply(d.AsInt32(), s.AsInt32()).AsByte()
            : (((d.AsInt64() << 32) >> 32) * ((s.AsInt64() << 32) >> 32)).AsByte();
}

/// <summary>PMADDWD.</summary>
internal readonly struct MultiplyAdd : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.MultiplyAddAdjacent(d.AsInt16(), s.AsInt16()).AsByte()
            : Portable.MultiplyAdd(d.AsInt16(), s.AsInt16()).AsByte();
}

/// <summary>PMADDUBSW.</summary>
internal readonly struct MultiplyAddBytes : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Ssse3.IsSupported
            ? Ssse3.MultiplyAddAdjacent(d, s.AsSByte()).AsByte()
            : Portable.MultiplyAdd(d, s.AsSByte()).AsByte();
}

internal readonly struct SumAbsoluteDifferences : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.SumAbsoluteDifferences(d, s).AsByte()
            : Portable.SumAbsoluteDifferences(d, s).AsByte();
}

/// <summary>MPSADBW: eight sums, of four bytes of the source and the first four, the next four and so on of the destination, from where
/// the immediate says: bit 2 for the destination, bits 1 and 0 for the source, in doublewords.</summary>
internal readonly struct SumsOfAbsoluteDifferences : IVectorImmediateOp
{
    public static int ImmediateStep => 3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        Vector128<byte> windows = Vector128.Shuffle(d, Vector128<byte>.Indices + Vector128.Create((byte)(immediate & 4)));
        Vector128<byte> block = Vector128.Shuffle(s, Vector128<byte>.Indices + Vector128.Create((byte)((immediate & 3) * 4)));
        return Sse41.IsSupported
            ? Sse41.MultipleSumAbsoluteDifferences(windows, block, 0).AsByte()
            : Portable.SumsOfAbsoluteDifferences(windows, block).AsByte();
    }
}

/// <summary>PHMINPOSUW: the smallest word, then the number of the first such.</summary>
internal readonly struct MinimumPosition : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse41.IsSupported
            ? Sse41.MinHorizontal(s.AsUInt16()).AsByte()
            : Portable.MinimumPosition(s.AsUInt16()).AsByte();
}

internal readonly struct PackSignedWords : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.PackSignedSaturate(d.AsInt16(), s.AsInt16()).AsByte()
            : Vector128.NarrowWithSaturation(d.AsInt16(), s.AsInt16()).AsByte();
}

internal readonly struct PackSignedDoublewords : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.PackSignedSaturate(d.AsInt32(), s.AsInt32()).AsByte()
            : Vector128.NarrowWithSaturation(d.AsInt32(), s.AsInt32()).AsByte();
}

internal readonly struct PackUnsignedWords : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse2.IsSupported
            ? Sse2.PackUnsignedSaturate(d.AsInt16(), s.AsInt16())
            : Vector128.NarrowWithSaturation(
                Vector128.Max(d.AsInt16(), Vector128<short>.Zero).AsUInt16(), Vector128.Max(s.AsInt16(), Vector128<short>.Zero).AsUInt16());
}

internal readonly struct PackUnsignedDoublewords : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Sse41.IsSupported
            ? Sse41.PackUnsignedSaturate(d.AsInt32(), s.AsInt32()).AsByte()
            : Vector128.NarrowWithSaturation(
                Vector128.Max(d.AsInt32(), Vector128<int>.Zero).AsUInt32(), Vector128.Max(s.AsInt32(), Vector128<int>.Zero).AsUInt32()).AsByte();
}
