using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>A conversion of one number.</summary>
internal interface IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
{
    /// <summary>The host's conversion: right if <see cref="IsHost"/> says so.</summary>
    static abstract TTo Host(TFrom x);

    /// <summary>True if <paramref name="result"/> is what the guest gets, and no flag changes.</summary>
    static abstract bool IsHost(TFrom x, TTo result, uint mxcsr);

    static abstract TTo Soft(TFrom x, ref FloatStatus status);
}

internal readonly struct IntegerToFloat<TInteger, TFloat> : IConversion<TInteger, TFloat>
    where TInteger : unmanaged, IBinaryInteger<TInteger>
    where TFloat : unmanaged, IBinaryFloatingPointIeee754<TFloat>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TFloat Host(TInteger x) => TFloat.CreateTruncating(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool IsHost(TInteger x, TFloat result, uint mxcsr)
    {
        if (sizeof(TInteger) < sizeof(TFloat) || Mxcsr.IsQuick(mxcsr))
        {
            return true;
        }
        // Few enough bits to be exact.
        long limit = sizeof(TFloat) == 4 ? 1L << 24 : 1L << 53;
        return (ulong)(long.CreateTruncating(x) + limit) <= 2 * (ulong)limit;
    }

    public static TFloat Soft(TInteger x, ref FloatStatus status) =>
        FloatArithmetic.Lane<TFloat>(SoftFloat<TFloat>.FromInteger(long.CreateTruncating(x), ref status));
}

/// <summary>CVT(T)SS2SI and their kin; the integer is unsigned here but stands for a signed one.</summary>
internal readonly unsafe struct FloatToInteger<TFloat, TInteger, TRounding> : IConversion<TFloat, TInteger>
    where TFloat : unmanaged, IBinaryFloatingPointIeee754<TFloat>
    where TInteger : unmanaged, IBinaryInteger<TInteger>
    where TRounding : struct, IToInteger
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInteger Host(TFloat x)
    {
        // Outside the range IsHost refuses, whatever comes here.
        double rounded = double.CreateTruncating(TRounding.Truncates ? x : TFloat.Round(x));
        return sizeof(TInteger) == 4 ? Unsafe.BitCast<int, TInteger>((int)rounded) : Unsafe.BitCast<long, TInteger>((long)rounded);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsHost(TFloat x, TInteger result, uint mxcsr)
    {
        TFloat limit = TFloat.CreateTruncating(sizeof(TInteger) == 4 ? 2147483520.0 : 9223371487098961920.0);
        if (!(TFloat.Abs(x) <= limit))
        {
            return false;
        }
        if (Mxcsr.IsQuick(mxcsr))
        {
            return true;
        }
        // Nothing was rounded, so the mode does not matter. Only what is not a denormal can come back the same, zero apart.
        return (sizeof(TInteger) == 4
            ? TFloat.CreateTruncating(Unsafe.BitCast<TInteger, int>(result))
            : TFloat.CreateTruncating(Unsafe.BitCast<TInteger, long>(result))) == x;
    }

    public static TInteger Soft(TFloat x, ref FloatStatus status)
    {
        x = FloatArithmetic.Lane<TFloat>(SoftFloat<TFloat>.Operand(Bits.Of(x), status));
        double value = double.CreateTruncating(x);
        double rounded = RoundToIntegral(value, TRounding.Truncates ? Rounding.Zero : status.Rounding);
        double limit = sizeof(TInteger) == 4 ? 2147483648.0 : 9223372036854775808.0;
        if (!(rounded >= -limit && rounded < limit))
        {
            status.Raised |= Mxcsr.Invalid;
            return sizeof(TInteger) == 4 ? Unsafe.BitCast<int, TInteger>(int.MinValue) : Unsafe.BitCast<long, TInteger>(long.MinValue);
        }
        if (rounded != value)
        {
            status.Raised |= Mxcsr.Precision;
        }
        return sizeof(TInteger) == 4 ? Unsafe.BitCast<int, TInteger>((int)rounded) : Unsafe.BitCast<long, TInteger>((long)rounded);
    }

    private static double RoundToIntegral(double value, Rounding rounding) => FloatRound.ToIntegral(value, rounding);
}

/// <summary>How a conversion to an integer rounds.</summary>
internal interface IToInteger
{
    /// <summary>True: towards zero. False: as MXCSR.RC says.</summary>
    static abstract bool Truncates { get; }
}

internal readonly struct Truncating : IToInteger
{
    public static bool Truncates => true;
}

internal readonly struct AsControlled : IToInteger
{
    public static bool Truncates => false;
}

/// <summary>CVTSS2SD.</summary>
internal readonly struct SingleToDouble : IConversion<float, double>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double Host(float x) => x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsHost(float x, double result, uint mxcsr) => FloatArithmetic.IsOrdinary(x) || BitConverter.SingleToUInt32Bits(x) << 1 == 0;

    public static double Soft(float x, ref FloatStatus status)
    {
        ulong bits = SoftFloat<float>.Operand(BitConverter.SingleToUInt32Bits(x), status);
        ulong sign = (bits >> 31) << 63;
        if (SoftFloat<float>.IsNaN(bits))
        {
            status.Raised |= SoftFloat<float>.IsSignaling(bits) ? Mxcsr.Invalid : 0;
            return BitConverter.UInt64BitsToDouble(sign | 0x7FF8_0000_0000_0000 | ((bits & 0x003F_FFFF) << 29));
        }
        SoftFloat<float>.NoteDenormals(bits, bits, ref status);
        // All that remains is exact.
        return BitConverter.UInt32BitsToSingle((uint)bits);
    }
}

/// <summary>CVTSD2SS.</summary>
internal readonly struct DoubleToSingle : IConversion<double, float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Host(double x) => (float)x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsHost(double x, float result, uint mxcsr) =>
        (Mxcsr.IsQuick(mxcsr) && FloatArithmetic.IsOrdinary(result)) || BitConverter.DoubleToUInt64Bits(x) << 1 == 0;

    public static float Soft(double x, ref FloatStatus status)
    {
        ulong bits = SoftFloat<double>.Operand(BitConverter.DoubleToUInt64Bits(x), status);
        uint sign = (uint)(bits >> 63) << 31;
        if (SoftFloat<double>.IsNaN(bits))
        {
            status.Raised |= SoftFloat<double>.IsSignaling(bits) ? Mxcsr.Invalid : 0;
            return BitConverter.UInt32BitsToSingle(sign | 0x7FC0_0000 | ((uint)(bits >> 29) & 0x003F_FFFF));
        }
        if (SoftFloat<double>.IsZero(bits) || SoftFloat<double>.IsInfinity(bits))
        {
            return (float)BitConverter.UInt64BitsToDouble(bits);
        }
        SoftFloat<double>.NoteDenormals(bits, bits, ref status);
        SoftFloat<double>.Unpack(bits, out int exponent, out ulong significand);
        return BitConverter.UInt32BitsToSingle((uint)SoftFloat<float>.FromUnpacked(sign != 0, exponent, 0x3FF, significand, ref status));
    }
}

internal static unsafe class FloatConvert
{
    /// <summary>Where in the scratch area results are left.</summary>
    public const int Results = 32;

    /// <summary>Converts lanes; the results go to the second half of the scratch area, which is cleared first.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<TOp, TFrom, TTo>(CpuState* s, TFrom* source, int lanes)
        where TOp : struct, IConversion<TFrom, TTo>
        where TFrom : unmanaged
        where TTo : unmanaged
    {
        var status = new FloatStatus(s);
        TTo* results = (TTo*)(s->Scratch + Results);
        *(Vector256<byte>*)results = default;
        for (int i = 0; i < lanes; i++)
        {
            TFrom x = source[i];
            TTo r = TOp.Host(x);
            results[i] = TOp.IsHost(x, r, status.Control) ? r : TOp.Soft(x, ref status);
        }
        return status.Raised == 0 || status.Commit(s);
    }
}

/// <summary>A conversion to the low lane of an XMM register.</summary>
internal readonly unsafe struct ScalarConvert<TOp, TFrom, TTo> : IVectorInstruction<TFrom>
    where TOp : struct, IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TFrom source)
    {
        TTo r = TOp.Host(source);
        if (TOp.IsHost(source, r, s->Mxcsr))
        {
            *(TTo*)VectorHandlers.Destination(s, o) = r;
            return true;
        }
        *(TFrom*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o)
    {
        if (!FloatConvert.Lanes<TOp, TFrom, TTo>(s, (TFrom*)s->Scratch, 1))
        {
            return Exits.Abort(s, o);
        }
        *(TTo*)VectorHandlers.Destination(s, o) = *(TTo*)(s->Scratch + FloatConvert.Results);
        o++;
        return o->Handler(s, o);
    }
}

/// <summary>A conversion to a general register.</summary>
internal readonly unsafe struct GeneralConvert<TOp, TFrom, TTo> : IVectorInstruction<TFrom>
    where TOp : struct, IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TFrom source)
    {
        TTo r = TOp.Host(source);
        if (TOp.IsHost(source, r, s->Mxcsr))
        {
            *(ulong*)VectorHandlers.Destination(s, o) = Bits.Of(r);
            return true;
        }
        *(TFrom*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o)
    {
        if (!FloatConvert.Lanes<TOp, TFrom, TTo>(s, (TFrom*)s->Scratch, 1))
        {
            return Exits.Abort(s, o);
        }
        // What is not written of the result is clear.
        *(ulong*)VectorHandlers.Destination(s, o) = *(ulong*)(s->Scratch + FloatConvert.Results);
        o++;
        return o->Handler(s, o);
    }
}

/// <summary>A conversion of all lanes of a 64 or 128 bit source (<typeparamref name="TSource"/>); half a result clears the other half.</summary>
internal readonly unsafe struct PackedConvert<TOp, TFrom, TTo, TSource> : IVectorInstruction<TSource>
    where TOp : struct, IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
    where TSource : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TSource source)
    {
        if (typeof(TOp) == typeof(IntegerToFloat<int, float>) && Mxcsr.IsQuick(s->Mxcsr))
        {
            *(Vector128<float>*)VectorHandlers.Destination(s, o) = Vector128.ConvertToSingle(Unsafe.BitCast<TSource, Vector128<int>>(source));
            return true;
        }
        *(TSource*)s->Scratch = source;
        if (!FloatConvert.Lanes<TOp, TFrom, TTo>(s, (TFrom*)s->Scratch, sizeof(TSource) / sizeof(TFrom)))
        {
            return false;
        }
        *(Vector128<byte>*)VectorHandlers.Destination(s, o) = *(Vector128<byte>*)(s->Scratch + FloatConvert.Results);
        return true;
    }
}

/// <summary>CVTPI2PS from an MMX register or memory: the high half of the destination stays.</summary>
internal readonly unsafe struct MmxToSingles : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        *(ulong*)s->Scratch = source;
        if (Mmx.Pending(s) || !FloatConvert.Lanes<IntegerToFloat<int, float>, int, float>(s, (int*)s->Scratch, 2))
        {
            return false;
        }
        Mmx.Enter(s);
        *(ulong*)VectorHandlers.Destination(s, o) = *(ulong*)(s->Scratch + FloatConvert.Results);
        return true;
    }
}

/// <summary>CVTDQ2PD, and CVTPI2PD from memory: always exact.</summary>
internal readonly unsafe struct DoublewordsToDoubles : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        *(Vector128<double>*)VectorHandlers.Destination(s, o) = Vector128.Create((double)(int)source, (int)(source >> 32));
        return true;
    }
}

/// <summary>CVTPI2PD from an MMX register; from memory it has nothing to do with the x87 unit.</summary>
internal readonly unsafe struct MmxToDoubles : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        if (Mmx.Pending(s))
        {
            return false;
        }
        Mmx.Enter(s);
        *(Vector128<double>*)VectorHandlers.Destination(s, o) = Vector128.Create((double)(int)source, (int)(source >> 32));
        return true;
    }
}

/// <summary>CVT(T)PS2PI and CVT(T)PD2PI: two integers to an MMX register.</summary>
internal readonly unsafe struct ConvertToMmx<TFloat, TRounding, TSource> : IVectorInstruction<TSource>
    where TFloat : unmanaged, IBinaryFloatingPointIeee754<TFloat>
    where TRounding : struct, IToInteger
    where TSource : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TSource source)
    {
        *(TSource*)s->Scratch = source;
        return !Mmx.Pending(s)
            && FloatConvert.Lanes<FloatToInteger<TFloat, uint, TRounding>, TFloat, uint>(s, (TFloat*)s->Scratch, 2)
            && Mmx.Finish(s, VectorHandlers.Destination(s, o), *(ulong*)(s->Scratch + FloatConvert.Results));
    }
}

/// <summary>RCPPS: relative error below 1.5 * 2^-12. No exceptions; denormals count as zeros. T is the width: a lane or all.</summary>
internal readonly unsafe struct Reciprocal : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Sse.IsSupported
        ? Sse.Reciprocal(s.AsSingle()).AsByte()
        : Estimate.Flush((Vector128<float>.One / Estimate.Flush(s.AsSingle())).AsSingle()).AsByte();
}

/// <summary>RSQRTPS, likewise.</summary>
internal readonly unsafe struct ReciprocalSquareRoot : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Sse.IsSupported
        ? Sse.ReciprocalSqrt(s.AsSingle()).AsByte()
        : (Vector128<float>.One / Vector128.Sqrt(Estimate.Flush(s.AsSingle()))).AsByte();
}

internal static class Estimate
{
    /// <summary>Denormals become zeros of their sign.</summary>
    public static Vector128<float> Flush(Vector128<float> x)
    {
        Vector128<uint> exponent = x.AsUInt32() & Vector128.Create(0x7F80_0000U);
        return Vector128.ConditionalSelect(Vector128.Equals(exponent, Vector128<uint>.Zero), x.AsUInt32() & Vector128.Create(0x8000_0000U), x.AsUInt32())
            .AsSingle();
    }
}

/// <summary>An estimate of the low lane.</summary>
internal readonly unsafe struct ScalarEstimate<TOp> : IVectorInstruction<uint>
    where TOp : struct, IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, uint source)
    {
        *(uint*)VectorHandlers.Destination(s, o) = TOp.Do(default, Vector128.CreateScalar(source).AsByte()).AsUInt32().ToScalar();
        return true;
    }
}
