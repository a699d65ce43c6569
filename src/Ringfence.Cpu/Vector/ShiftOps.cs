using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>A shift of every lane by one count, which may be out of range.</summary>
internal interface IShift
{
    static abstract Vector128<byte> Do(Vector128<byte> d, ulong count);
}

internal readonly unsafe struct ShiftLeft<T> : IShift
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, ulong count) =>
        count < 8 * (ulong)sizeof(T) ? (d.As<byte, T>() << (int)count).AsByte() : Vector128<byte>.Zero;
}

internal readonly unsafe struct ShiftRight<T> : IShift
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, ulong count) =>
        count < 8 * (ulong)sizeof(T) ? (d.As<byte, T>() >>> (int)count).AsByte() : Vector128<byte>.Zero;
}

/// <summary>PSRAW, PSRAD: a count out of range leaves the sign. <typeparamref name="T"/> is signed.</summary>
internal readonly unsafe struct ShiftRightArithmetic<T> : IShift
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, ulong count) =>
        (d.As<byte, T>() >> (int)Math.Min(count, (8 * (ulong)sizeof(T)) - 1)).AsByte();
}

/// <summary>A shift by the low 64 bits of the second operand.</summary>
internal readonly struct ByRegister<TShift> : IVectorOp
    where TShift : struct, IShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => TShift.Do(d, s.AsUInt64().ToScalar());
}

/// <summary>A shift by the immediate.</summary>
internal readonly struct ByImmediate<TShift> : IVectorImmediateOp
    where TShift : struct, IShift
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) => TShift.Do(d, (byte)immediate);
}

/// <summary>PSLLDQ.</summary>
internal readonly struct ShiftLeftBytes : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.Shuffle(d, Vector128<byte>.Indices - Vector128.Create((byte)Math.Min((uint)(byte)immediate, 16)));
}

/// <summary>PSRLDQ.</summary>
internal readonly struct ShiftRightBytes : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.Shuffle(d, Vector128<byte>.Indices + Vector128.Create((byte)Math.Min((uint)(byte)immediate, 16)));
}

/// <summary>PALIGNR: 16 of the 32 bytes d:s, from byte <c>immediate</c> on.</summary>
internal readonly struct AlignRight : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        Vector128<byte> indices = Vector128<byte>.Indices + Vector128.Create((byte)Math.Min((uint)(byte)immediate, 32));
        return Vector128.Shuffle(s, indices) | Vector128.Shuffle(d, indices - Vector128.Create((byte)16));
    }
}
