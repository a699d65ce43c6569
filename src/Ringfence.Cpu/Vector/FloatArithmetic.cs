using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>When the host's arithmetic is the guest's, and the long way for when it is not.</summary>
internal static unsafe class FloatArithmetic
{
    /// <summary>Of the widest vectors.</summary>
    public const int MaximumLanes = 16;

    /// <summary>True for normal numbers but the smallest binade, a result in which may have been tiny before it was rounded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsOrdinary<T>(T x)
        where T : unmanaged => sizeof(T) == 4
            ? ((Unsafe.BitCast<T, uint>(x) >> 23) & 0xFF) - 2 < 0xFDU
            : (uint)((Unsafe.BitCast<T, ulong>(x) >> 52) & 0x7FF) - 2 < 0x7FDU;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AreOrdinary<T>(Vector128<T> a, Vector128<T> b, Vector128<T> r)
        where T : unmanaged
    {
        Vector128<T> least = sizeof(T) == 4 ? Vector128.Create(0x0100_0000U).As<uint, T>() : Vector128.Create(0x0020_0000_0000_0000UL).As<ulong, T>();
        Vector128<T> most = sizeof(T) == 4 ? Vector128.Create(float.MaxValue).As<float, T>() : Vector128.Create(double.MaxValue).As<double, T>();
        a = Vector128.Abs(a);
        b = Vector128.Abs(b);
        r = Vector128.Abs(r);
        return ((Vector128.GreaterThanOrEqual(a, least) & Vector128.LessThanOrEqual(a, most))
            & (Vector128.GreaterThanOrEqual(b, least) & Vector128.LessThanOrEqual(b, most))
            & (Vector128.GreaterThanOrEqual(r, least) & Vector128.LessThanOrEqual(r, most))).AsByte() == Vector128<byte>.AllBitsSet;
    }

    /// <summary>The lanes that are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> IsOrdinary<T>(Vector256<T> x)
        where T : unmanaged
    {
        Vector256<T> least = sizeof(T) == 4 ? Vector256.Create(0x0100_0000U).As<uint, T>() : Vector256.Create(0x0020_0000_0000_0000UL).As<ulong, T>();
        Vector256<T> most = sizeof(T) == 4 ? Vector256.Create(float.MaxValue).As<float, T>() : Vector256.Create(double.MaxValue).As<double, T>();
        x = Vector256.Abs(x);
        return Vector256.GreaterThanOrEqual(x, least) & Vector256.LessThanOrEqual(x, most);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AreOrdinary<T>(Vector256<T> a, Vector256<T> b, Vector256<T> r)
        where T : unmanaged => (IsOrdinary(a) & IsOrdinary(b) & IsOrdinary(r)).AsByte() == Vector256<byte>.AllBitsSet;

    /// <summary>Does <paramref name="lanes"/> lanes one by one. False, with the destination unchanged, if an exception is not masked.</summary>
    public static bool Lanes<TOp, T>(CpuState* s, T* d, T* first, T* source, int lanes)
        where TOp : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Lanes<TOp, TOp, T>(s, d, first, source, lanes);

    /// <summary>The same with one operation for the even lanes and another for the odd ones.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<TEven, TOdd, T>(CpuState* s, T* d, T* first, T* source, int lanes)
        where TEven : struct, IFloatOp
        where TOdd : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var status = new FloatStatus(s);
        T* results = stackalloc T[MaximumLanes];
        for (int i = 0; i < lanes; i++)
        {
            results[i] = (i & 1) == 0 ? Lane<TEven, T>(first[i], source[i], ref status) : Lane<TOdd, T>(first[i], source[i], ref status);
        }
        if (!status.Commit(s))
        {
            return false;
        }
        for (int i = 0; i < lanes; i++)
        {
            d[i] = results[i];
        }
        return true;
    }

    public static T Lane<TOp, T>(T a, T b, ref FloatStatus status)
        where TOp : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Vector256<T> r = TOp.Do(Vector256.Create(a), Vector256.Create(b));
        uint raised = LanesAtOnce.Raised<TOp, T>(status.Control, Vector256.Create(a), Vector256.Create(b), r);
        if (raised != LanesAtOnce.Unsettled)
        {
            status.Raised |= raised;
            return r.ToScalar();
        }
        return Lane<T>(TOp.Soft<T>(Bits.Of(a), Bits.Of(b), ref status));
    }

    /// <summary>128 bits in both halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Both<T>(Vector128<T>* x)
        where T : unmanaged => Vector256.Create(*x, *x);

    /// <summary>A value from its bits.</summary>
    public static T Lane<T>(ulong bits)
        where T : unmanaged => sizeof(T) == 4 ? Unsafe.BitCast<uint, T>((uint)bits) : Unsafe.BitCast<ulong, T>(bits);

    public static bool IsOrdinaryOrZero<T>(T x)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => IsOrdinary(x) || x == T.Zero;
}

/// <summary>Arithmetic on the low lane.</summary>
internal readonly unsafe struct ScalarArithmetic<TOp, T> : IVectorInstruction<T>
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        T* d = (T*)VectorHandlers.Destination(s, o);
        T a = typeof(TOp) == typeof(FloatSquareRoot) ? source : *d;
        T r = TOp.Do(a, source);
        if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.IsOrdinary(a) && FloatArithmetic.IsOrdinary(source) && FloatArithmetic.IsOrdinary(r))
        {
            *d = r;
            return true;
        }
        *(T*)s->Scratch = source;
        return false;
    }

    public static Op* Otherwise(CpuState* s, Op* o)
    {
        byte* d = VectorHandlers.Destination(s, o);
        Vector256<T> b = Vector256.Create(*(T*)s->Scratch);
        Vector256<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : Vector256.Create(*(T*)d);
        Vector256<T> r = TOp.Do(a, b);
        uint raised = LanesAtOnce.Raised<TOp, T>(s->Mxcsr, a, b, r);
        if (raised == LanesAtOnce.Unsettled)
        {
            return OneByOne(s, o);
        }
        s->Mxcsr |= raised;
        *(T*)d = r.ToScalar();
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* OneByOne(CpuState* s, Op* o) =>
        VectorHandlers.Next(s, o, FloatArithmetic.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, 1));
}

/// <summary>Arithmetic on all lanes.</summary>
internal readonly unsafe struct PackedArithmetic<TOp, T> : IVectorInstruction<Vector128<byte>>
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        T* d = (T*)VectorHandlers.Destination(s, o);
        Vector128<T> b = source.As<byte, T>();
        Vector128<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : *(Vector128<T>*)d;
        Vector128<T> r = TOp.Do(a, b);
        if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.AreOrdinary(a, b, r))
        {
            *(Vector128<T>*)d = r;
            return true;
        }
        *(Vector128<byte>*)s->Scratch = source;
        return false;
    }

    public static Op* Otherwise(CpuState* s, Op* o)
    {
        byte* d = VectorHandlers.Destination(s, o);
        Vector256<T> b = FloatArithmetic.Both((Vector128<T>*)s->Scratch);
        Vector256<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : FloatArithmetic.Both((Vector128<T>*)d);
        Vector256<T> r = TOp.Do(a, b);
        uint raised = LanesAtOnce.Raised<TOp, T>(s->Mxcsr, a, b, r);
        if (raised == LanesAtOnce.Unsettled)
        {
            return OneByOne(s, o);
        }
        s->Mxcsr |= raised;
        *(Vector128<T>*)d = r.GetLower();
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* OneByOne(CpuState* s, Op* o) =>
        VectorHandlers.Next(s, o, FloatArithmetic.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, Vector128<T>.Count));
}

/// <summary>ADDSUBPS, ADDSUBPD: even lanes are subtracted, odd ones added.</summary>
internal readonly unsafe struct AlternatingArithmetic<T> : IVectorInstruction<Vector128<byte>>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<T>* d = (Vector128<T>*)VectorHandlers.Destination(s, o);
        Vector128<T> b = source.As<byte, T>();
        // Subtracting is adding with the sign turned.
        Vector128<T> evenSigns = sizeof(T) == 4
            ? Vector128.Create(0x8000_0000UL).As<ulong, T>() : Vector128.CreateScalar(0x8000_0000_0000_0000UL).As<ulong, T>();
        Vector128<T> r = *d + (b ^ evenSigns);
        if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.AreOrdinary(*d, b, r))
        {
            *d = r;
            return true;
        }
        *(Vector128<byte>*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) => VectorHandlers.Next(
        s, o, FloatArithmetic.Lanes<FloatSubtract, FloatAdd, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, Vector128<T>.Count));
}

/// <summary>HADDPS and its kin: neighbours of the destination, then of the source, combined.</summary>
internal readonly unsafe struct HorizontalArithmetic<TOp, T> : IVectorInstruction<Vector128<byte>>
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<T>* d = (Vector128<T>*)VectorHandlers.Destination(s, o);
        Vector128<T> even = Alternate(*d, source.As<byte, T>(), 0);
        Vector128<T> odd = Alternate(*d, source.As<byte, T>(), 1);
        Vector128<T> r = TOp.Do(even, odd);
        if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.AreOrdinary(even, odd, r))
        {
            *d = r;
            return true;
        }
        ((Vector128<T>*)s->Scratch)[0] = even;
        ((Vector128<T>*)s->Scratch)[1] = odd;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o)
    {
        T* even = (T*)s->Scratch;
        if (!FloatArithmetic.Lanes<TOp, T>(s, even, even, even + Vector128<T>.Count, Vector128<T>.Count))
        {
            return Exits.Abort(s, o);
        }
        *(Vector128<T>*)VectorHandlers.Destination(s, o) = *(Vector128<T>*)even;
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Every second lane of d, then of s, beginning with <paramref name="first"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Alternate(Vector128<T> d, Vector128<T> s, uint first)
    {
        if (sizeof(T) == 8)
        {
            return Vector128.Create(
                d.AsUInt64().GetElement((int)first), s.AsUInt64().GetElement((int)first)).As<ulong, T>();
        }
        Vector128<uint> order = first == 0 ? Vector128.Create(0U, 2, 0, 2) : Vector128.Create(1U, 3, 1, 3);
        return Vector128.Create(
            Vector128.Shuffle(d.AsUInt32(), order).GetLower(), Vector128.Shuffle(s.AsUInt32(), order).GetLower()).As<uint, T>();
    }
}
