using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>Which signs of a fused multiply-add are turned (SDM 1 14.5.2).</summary>
internal interface IFusedOp
{
    static abstract bool NegatesProduct { get; }

    /// <summary>Of even lanes.</summary>
    static abstract bool NegatesAddend { get; }

    static abstract bool NegatesOddAddend { get; }
}

internal readonly struct MultiplyThenAdd : IFusedOp
{
    public static bool NegatesProduct => false;

    public static bool NegatesAddend => false;

    public static bool NegatesOddAddend => false;
}

internal readonly struct MultiplyThenSubtract : IFusedOp
{
    public static bool NegatesProduct => false;

    public static bool NegatesAddend => true;

    public static bool NegatesOddAddend => true;
}

internal readonly struct MultiplyThenAlternate : IFusedOp
{
    public static bool NegatesProduct => false;

    public static bool NegatesAddend => true;

    public static bool NegatesOddAddend => false;
}

/// <summary>VFMSUBADD.</summary>
internal readonly struct MultiplyThenAlternateBack : IFusedOp
{
    public static bool NegatesProduct => false;

    public static bool NegatesAddend => false;

    public static bool NegatesOddAddend => true;
}

/// <summary>The negative product instead.</summary>
internal readonly struct Negated<TOp> : IFusedOp
    where TOp : struct, IFusedOp
{
    public static bool NegatesProduct => true;

    public static bool NegatesAddend => TOp.NegatesAddend;

    public static bool NegatesOddAddend => TOp.NegatesOddAddend;
}

/// <summary>Which operands are multiplied and which is added: the digits in the mnemonic.</summary>
internal unsafe interface IFusedOrder
{
    static abstract byte* Multiplicand(byte* d, byte* first, byte* second);

    static abstract byte* Multiplier(byte* d, byte* first, byte* second);

    static abstract byte* Addend(byte* d, byte* first, byte* second);
}

internal readonly unsafe struct Order132 : IFusedOrder
{
    public static byte* Multiplicand(byte* d, byte* first, byte* second) => d;

    public static byte* Multiplier(byte* d, byte* first, byte* second) => second;

    public static byte* Addend(byte* d, byte* first, byte* second) => first;
}

internal readonly unsafe struct Order213 : IFusedOrder
{
    public static byte* Multiplicand(byte* d, byte* first, byte* second) => first;

    public static byte* Multiplier(byte* d, byte* first, byte* second) => d;

    public static byte* Addend(byte* d, byte* first, byte* second) => second;
}

internal readonly unsafe struct Order231 : IFusedOrder
{
    public static byte* Multiplicand(byte* d, byte* first, byte* second) => first;

    public static byte* Multiplier(byte* d, byte* first, byte* second) => second;

    public static byte* Addend(byte* d, byte* first, byte* second) => d;
}

internal static unsafe class FusedArithmetic
{
    /// <summary>The host's fused multiply-add of vectors. Ordinary operands only: signs of NaN would turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Host<TOp, T>(Vector128<T> x, Vector128<T> y, Vector128<T> z)
        where TOp : struct, IFusedOp
        where T : unmanaged
    {
        Vector128<T> all = sizeof(T) == 4 ? Vector128.Create(0x8000_0000U).As<uint, T>() : Vector128.Create(0x8000_0000_0000_0000UL).As<ulong, T>();
        if (TOp.NegatesProduct)
        {
            x ^= all;
        }
        if (TOp.NegatesAddend && TOp.NegatesOddAddend)
        {
            z ^= all;
        }
        else if (TOp.NegatesAddend || TOp.NegatesOddAddend)
        {
            Vector128<T> even = sizeof(T) == 4
                ? Vector128.Create(0x8000_0000UL).As<ulong, T>() : Vector128.CreateScalar(0x8000_0000_0000_0000UL).As<ulong, T>();
            z ^= TOp.NegatesAddend ? even : even ^ all;
        }
        return sizeof(T) == 4
            ? Vector128.FusedMultiplyAdd(x.AsSingle(), y.AsSingle(), z.AsSingle()).As<float, T>()
            : Vector128.FusedMultiplyAdd(x.AsDouble(), y.AsDouble(), z.AsDouble()).As<double, T>();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AreOrdinary<T>(Vector128<T> x, Vector128<T> y, Vector128<T> z, Vector128<T> r)
        where T : unmanaged => FloatArithmetic.AreOrdinary(x, y, z) && FloatArithmetic.AreOrdinary(r, r, r);

    /// <summary>The long way. <paramref name="second"/> may not be the destination.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<TOp, TOrder, T>(CpuState* s, Op* o, T* second, int lanes)
        where TOp : struct, IFusedOp
        where TOrder : struct, IFusedOrder
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var status = new FloatStatus(s);
        T* results = stackalloc T[FloatArithmetic.MaximumLanes];
        byte* d = VectorHandlers.Destination(s, o);
        byte* first = (byte*)s + o->First;
        for (int i = 0; i < lanes; i++)
        {
            T x = ((T*)TOrder.Multiplicand(d, first, (byte*)second))[i];
            T y = ((T*)TOrder.Multiplier(d, first, (byte*)second))[i];
            T z = ((T*)TOrder.Addend(d, first, (byte*)second))[i];
            bool negates = (i & 1) == 0 ? TOp.NegatesAddend : TOp.NegatesOddAddend;
            results[i] = Lane(x, y, z, TOp.NegatesProduct, negates, ref status);
        }
        if (!status.Commit(s))
        {
            return false;
        }
        new Span<T>(results, lanes).CopyTo(new Span<T>(d, lanes));
        return true;
    }

    private static T Lane<T>(T x, T y, T z, bool negatesProduct, bool negatesAddend, ref FloatStatus status)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (Mxcsr.IsQuick(status.Control)
            && FloatArithmetic.IsOrdinaryOrZero(x) && FloatArithmetic.IsOrdinaryOrZero(y) && FloatArithmetic.IsOrdinaryOrZero(z))
        {
            T r = T.FusedMultiplyAdd(negatesProduct ? -x : x, y, negatesAddend ? -z : z);
            if (FloatArithmetic.IsOrdinary(r))
            {
                return r;
            }
        }
        return FloatArithmetic.Lane<T>(SoftFloat<T>.MultiplyAdd(Bits.Of(x), Bits.Of(y), Bits.Of(z), negatesProduct, negatesAddend, ref status));
    }
}

/// <summary>VFMADD and its kin on the low lane: the rest of 128 bits of the destination stays.</summary>
internal readonly unsafe struct FusedOne<TOp, TOrder, T> : IVexInstruction
    where TOp : struct, IFusedOp
    where TOrder : struct, IFusedOrder
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        T source = *(T*)second;
        *(T*)s->Scratch = source;
        byte* d = VectorHandlers.Destination(s, o);
        Vector128<T> x = Vector128.Create(*(T*)TOrder.Multiplicand(d, first, s->Scratch));
        Vector128<T> y = Vector128.Create(*(T*)TOrder.Multiplier(d, first, s->Scratch));
        Vector128<T> z = Vector128.Create(*(T*)TOrder.Addend(d, first, s->Scratch));
        Vector128<T> r = FusedArithmetic.Host<TOp, T>(x, y, z);
        if (Mxcsr.IsQuick(s->Mxcsr) && FusedArithmetic.AreOrdinary(x, y, z, r))
        {
            VexHandlers.WriteMerged(s, o, d, r.ToScalar());
            return true;
        }
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) =>
        VexHandlers.Next<Bits128>(s, o, FusedArithmetic.Lanes<TOp, TOrder, T>(s, o, (T*)s->Scratch, 1));
}

/// <summary>VFMADD and its kin on all lanes.</summary>
internal readonly unsafe struct FusedAll<TOp, TOrder, T, TWidth> : IVexInstruction
    where TOp : struct, IFusedOp
    where TOrder : struct, IFusedOrder
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        Vector128<T> x = *(Vector128<T>*)TOrder.Multiplicand(d, first, second);
        Vector128<T> y = *(Vector128<T>*)TOrder.Multiplier(d, first, second);
        Vector128<T> z = *(Vector128<T>*)TOrder.Addend(d, first, second);
        Vector128<T> r = FusedArithmetic.Host<TOp, T>(x, y, z);
        bool quick = Mxcsr.IsQuick(s->Mxcsr) && FusedArithmetic.AreOrdinary(x, y, z, r);
        if (TWidth.Bytes == 16)
        {
            if (quick)
            {
                VexHandlers.Write(s, o, r.AsByte());
                return true;
            }
        }
        else
        {
            x = *(Vector128<T>*)(TOrder.Multiplicand(d, first, second) + 16);
            y = *(Vector128<T>*)(TOrder.Multiplier(d, first, second) + 16);
            z = *(Vector128<T>*)(TOrder.Addend(d, first, second) + 16);
            Vector128<T> q = FusedArithmetic.Host<TOp, T>(x, y, z);
            if (quick && FusedArithmetic.AreOrdinary(x, y, z, q))
            {
                VexHandlers.Write(s, o, Vector256.Create(r, q).AsByte());
                return true;
            }
        }
        VexHandlers.Keep<TWidth>(s, second);
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) => VexHandlers.Next<TWidth>(
        s, o, FusedArithmetic.Lanes<TOp, TOrder, T>(s, o, (T*)s->Scratch, TWidth.Bytes / sizeof(T)));
}
