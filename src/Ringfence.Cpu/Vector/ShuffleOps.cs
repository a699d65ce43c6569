using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>Chooses four doublewords by an immediate that is only known at run time.</summary>
internal static class Permute
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<uint> Doublewords(Vector128<uint> source, ulong immediate)
    {
        if (Avx2.IsSupported)
        {
            // VPERMILPS looks at the low two bits of each control.
            Vector128<uint> control = Avx2.ShiftRightLogicalVariable(Vector128.Create((uint)immediate), Vector128.Create(0U, 2, 4, 6));
            return Avx.PermuteVar(source.AsSingle(), control.AsInt32()).AsUInt32();
        }
        uint i = (uint)immediate;
        return Vector128.Shuffle(source, Vector128.Create(i & 3, (i >> 2) & 3, (i >> 4) & 3, (i >> 6) & 3));
    }

    /// <summary>Byte controls for four words chosen from eight bytes by <paramref name="immediate"/>: what PSHUFLW and its kin keep in
    /// place of their immediate.</summary>
    public static ulong WordControl(byte immediate)
    {
        ulong control = 0;
        for (int i = 0; i < 4; i++)
        {
            uint word = (uint)(immediate >> (2 * i)) & 3;
            control |= (ulong)((word * 2) | (((word * 2) + 1) << 8)) << (16 * i);
        }
        return control;
    }
}

internal readonly struct ShuffleDoublewords : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Permute.Doublewords(s.AsUInt32(), immediate).AsByte();
}

/// <summary>PSHUFLW and PSHUFW; the immediate has become <see cref="Permute.WordControl"/>.</summary>
internal readonly struct ShuffleLowWords : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.Shuffle(s, Vector128.Create(immediate, 0x0F0E_0D0C_0B0A_0908).AsByte());
}

/// <summary>PSHUFHW; the immediate has become <see cref="Permute.WordControl"/>.</summary>
internal readonly struct ShuffleHighWords : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.Shuffle(s, Vector128.Create(0x0706_0504_0302_0100, immediate + 0x0808_0808_0808_0808).AsByte());
}

/// <summary>SHUFPS.</summary>
internal readonly struct ShuffleSingles : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) => Vector128.ConditionalSelect(
        Vector128.Create(ulong.MaxValue, 0).AsByte(),
        Permute.Doublewords(d.AsUInt32(), immediate).AsByte(),
        Permute.Doublewords(s.AsUInt32(), immediate).AsByte());
}

/// <summary>SHUFPD.</summary>
internal readonly struct ShuffleDoubles : IVectorImmediateOp
{
    public static int ImmediateStep => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) => Vector128.Create(
        (immediate & 1) == 0 ? d.AsUInt64().GetElement(0) : d.AsUInt64().GetElement(1),
        (immediate & 2) == 0 ? s.AsUInt64().GetElement(0) : s.AsUInt64().GetElement(1)).AsByte();
}

/// <summary>PSHUFB: the high bit of a control gives 0, else its low four bits choose.</summary>
internal readonly struct ShuffleBytes : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Ssse3.IsSupported
        ? Ssse3.Shuffle(d, s)
        : Vector128.Shuffle(d, s & Vector128.Create((byte)0x8F));
}

internal readonly unsafe struct UnpackLow<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        if (!Sse2.IsSupported)
        {
            return Portable.Interleave(d.As<byte, T>(), s.As<byte, T>(), 0).AsByte();
        }
        return sizeof(T) switch
        {
            1 => Sse2.UnpackLow(d, s),
            2 => Sse2.UnpackLow(d.AsUInt16(), s.AsUInt16()).AsByte(),
            4 => Sse2.UnpackLow(d.AsUInt32(), s.AsUInt32()).AsByte(),
            _ => Sse2.UnpackLow(d.AsUInt64(), s.AsUInt64()).AsByte(),
        };
    }
}

internal readonly unsafe struct UnpackHigh<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        if (!Sse2.IsSupported)
        {
            return Portable.Interleave(d.As<byte, T>(), s.As<byte, T>(), Vector128<T>.Count / 2).AsByte();
        }
        return sizeof(T) switch
        {
            1 => Sse2.UnpackHigh(d, s),
            2 => Sse2.UnpackHigh(d.AsUInt16(), s.AsUInt16()).AsByte(),
            4 => Sse2.UnpackHigh(d.AsUInt32(), s.AsUInt32()).AsByte(),
            _ => Sse2.UnpackHigh(d.AsUInt64(), s.AsUInt64()).AsByte(),
        };
    }
}

/// <summary>PHADD, PHSUB: neighbours of d, then neighbours of s, combined by <typeparamref name="TOp"/>.</summary>
internal readonly unsafe struct Neighbours<TOp, T> : IVectorOp
    where TOp : struct, IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        if (!Ssse3.IsSupported)
        {
            return TOp.Do(
                Portable.EverySecond(d.As<byte, T>(), s.As<byte, T>(), 0).AsByte(),
                Portable.EverySecond(d.As<byte, T>(), s.As<byte, T>(), 1).AsByte());
        }
        // Even lanes to the low half, odd lanes to the high half.
        Vector128<byte> order = sizeof(T) == 2
            ? Vector128.Create((byte)0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)
            : Vector128.Create((byte)0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
        Vector128<ulong> a = Ssse3.Shuffle(d, order).AsUInt64();
        Vector128<ulong> b = Ssse3.Shuffle(s, order).AsUInt64();
        return TOp.Do(Sse2.UnpackLow(a, b).AsByte(), Sse2.UnpackHigh(a, b).AsByte());
    }
}

/// <summary>MOVSLDUP, MOVSHDUP, MOVDDUP of a register: lanes chosen by a constant.</summary>
internal readonly struct DuplicateEvenSingles : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.Shuffle(s.AsUInt32(), Vector128.Create(0U, 0, 2, 2)).AsByte();
}

internal readonly struct DuplicateOddSingles : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Vector128.Shuffle(s.AsUInt32(), Vector128.Create(1U, 1, 3, 3)).AsByte();
}

/// <summary>PMOVSX, PMOVZX: the lanes of the source, widened.</summary>
internal readonly unsafe struct ExtendLanes<TFrom, TTo, TSource> : IVectorInstruction<TSource>
    where TFrom : unmanaged, INumber<TFrom>
    where TTo : unmanaged, INumber<TTo>
    where TSource : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TSource source)
    {
        *(TSource*)s->Scratch = source;
        TFrom* from = (TFrom*)s->Scratch;
        TTo* to = (TTo*)VectorHandlers.Destination(s, o);
        for (int i = 0; i < Vector128<TTo>.Count; i++)
        {
            to[i] = TTo.CreateTruncating(from[i]);
        }
        return true;
    }
}

/// <summary>INSERTPS: the lane of s that bits 7 and 6 of the immediate choose goes to the lane of d that bits 5 and 4 choose; then the lanes
/// whose bits 3 to 0 are set become 0.</summary>
internal readonly struct InsertSingle : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        Vector128<uint> moved = Vector128.Shuffle(s.AsUInt32(), Vector128.Create((uint)(immediate >> 6) & 3));
        Vector128<byte> chosen = Vector128.Equals(Vector128<uint>.Indices, Vector128.Create((uint)(immediate >> 4) & 3)).AsByte();
        return Blend<uint>.Do(Vector128.ConditionalSelect(chosen, moved.AsByte(), d), Vector128<byte>.Zero, immediate & 15);
    }
}

/// <summary>INSERTPS from memory: one single, whatever bits 7 and 6 of the immediate say.</summary>
internal readonly unsafe struct InsertLoadedSingle : IVectorInstruction<uint>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, uint source)
    {
        Vector128<byte>* d = (Vector128<byte>*)VectorHandlers.Destination(s, o);
        *d = InsertSingle.Do(*d, Vector128.CreateScalar(source).AsByte(), o->Immediate & 0x3F);
        return true;
    }
}

/// <summary>PBLENDW, BLENDPS, BLENDPD: a lane from s for each bit set in the immediate.</summary>
internal readonly unsafe struct Blend<T> : IVectorImmediateOp
    where T : unmanaged
{
    public static int ImmediateStep => sizeof(T) == 2 ? 0 : 16 / sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        Vector128<byte> bits = sizeof(T) switch
        {
            2 => Vector128.Create((ushort)1, 2, 4, 8, 16, 32, 64, 128).AsByte(),
            4 => Vector128.Create(1U, 2, 4, 8).AsByte(),
            _ => Vector128.Create(1UL, 2).AsByte(),
        };
        Vector128<byte> chosen = sizeof(T) switch
        {
            2 => Vector128.Create((ushort)(byte)immediate).AsByte(),
            4 => Vector128.Create((uint)immediate).AsByte(),
            _ => Vector128.Create(immediate).AsByte(),
        };
        return Vector128.ConditionalSelect(Vector128.Equals((chosen & bits).As<byte, T>(), bits.As<byte, T>()).AsByte(), s, d);
    }
}
