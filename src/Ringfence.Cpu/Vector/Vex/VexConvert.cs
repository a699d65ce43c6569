using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>A conversion to the low lane.</summary>
internal readonly unsafe struct ConvertOne<TOp, TFrom, TTo> : IVexInstruction
    where TOp : struct, IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
{
    public static int Bytes => sizeof(TFrom);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        TFrom x = *(TFrom*)second;
        TTo r = TOp.Host(x);
        if (TOp.IsHost(x, r, s->Mxcsr))
        {
            VexHandlers.WriteMerged(s, o, first, r);
            return true;
        }
        *(TFrom*)s->Scratch = x;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o)
    {
        if (!FloatConvert.Lanes<TOp, TFrom, TTo>(s, (TFrom*)s->Scratch, 1))
        {
            return Exits.Abort(s, o);
        }
        VexHandlers.WriteMerged(s, o, (byte*)s + o->First, *(TTo*)(s->Scratch + FloatConvert.Results));
        o++;
        return o->Handler(s, o);
    }
}

/// <summary>A conversion of as many lanes as fit in <typeparamref name="TWidth"/>, of the wider of source and result.</summary>
internal readonly unsafe struct ConvertAll<TOp, TFrom, TTo, TWidth> : IVexInstruction
    where TOp : struct, IConversion<TFrom, TTo>
    where TFrom : unmanaged
    where TTo : unmanaged
    where TWidth : struct, IVectorWidth
{
    private static int Lanes => TWidth.Bytes / Math.Max(sizeof(TFrom), sizeof(TTo));

    public static int Bytes => Lanes * sizeof(TFrom);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        if (typeof(TOp) == typeof(IntegerToFloat<int, float>) && Mxcsr.IsQuick(s->Mxcsr))
        {
            if (TWidth.Bytes == 16)
            {
                VexHandlers.Write(s, o, Vector128.ConvertToSingle(*(Vector128<int>*)second).AsByte());
            }
            else
            {
                VexHandlers.Write(s, o, Vector256.ConvertToSingle(*(Vector256<int>*)second).AsByte());
            }
            return true;
        }
        if (!FloatConvert.Lanes<TOp, TFrom, TTo>(s, (TFrom*)second, Lanes))
        {
            return false;
        }
        VexHandlers.Write(s, o, *(Vector256<byte>*)(s->Scratch + FloatConvert.Results));
        return true;
    }
}

/// <summary>VCVTPH2PS: always exact; denormal halves are numbers like others, MXCSR.DAZ notwithstanding.</summary>
internal readonly struct HalfToSingle : IConversion<ushort, float>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Host(ushort x) => (float)BitConverter.UInt16BitsToHalf(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsHost(ushort x, float result, uint mxcsr) => (x & 0x7FFF) <= 0x7C00;

    /// <summary>NaN.</summary>
    public static float Soft(ushort x, ref FloatStatus status)
    {
        status.Raised |= (x & 0x200) == 0 ? Mxcsr.Invalid : 0;
        return BitConverter.UInt32BitsToSingle(((uint)(x & 0x8000) << 16) | 0x7FC0_0000 | ((uint)(x & 0x1FF) << 13));
    }
}

/// <summary>VCVTPS2PH. Immediate: bits 0 and 1 rounding, bit 2 use MXCSR's instead. MXCSR.FTZ does not matter (SDM 2).</summary>
internal static unsafe class SingleToHalf
{
    public static Op* Register<TWidth>(CpuState* s, Op* o)
        where TWidth : struct, IVectorWidth
    {
        if (!ToRegister(s, o, TWidth.Bytes / sizeof(float)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Memory<TWidth>(CpuState* s, Op* o)
        where TWidth : struct, IVectorWidth
    {
        if (!ToMemory(s, o, TWidth.Bytes / sizeof(float)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool ToRegister(CpuState* s, Op* o, int lanes)
    {
        if (!Convert(s, o, lanes, out Vector128<ushort> result).Commit(s))
        {
            return false;
        }
        VexHandlers.Write(s, o, result.AsByte());
        return true;
    }

    /// <summary>Flags are set once the result is stored, unless they keep it from being stored.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool ToMemory(CpuState* s, Op* o, int lanes)
    {
        FloatStatus status = Convert(s, o, lanes, out Vector128<ushort> result);
        if (status.IsMasked)
        {
            ulong linear = Wide.Linear(s, o);
            if (!(lanes == 4 ? GuestAccess.Write(s, linear, result.AsUInt64().ToScalar()) : GuestAccess.Write(s, linear, result)))
            {
                return false;
            }
        }
        return status.Commit(s);
    }

    private static FloatStatus Convert(CpuState* s, Op* o, int lanes, out Vector128<ushort> result)
    {
        const uint RoundingBits = 3U << Mxcsr.RoundingShift;
        uint control = s->Mxcsr & ~Mxcsr.FlushToZero;
        if ((o->Immediate & 4) == 0)
        {
            control = (control & ~RoundingBits) | ((uint)(o->Immediate & 3) << Mxcsr.RoundingShift);
        }
        var status = new FloatStatus(control);
        uint* source = (uint*)((byte*)s + o->Source);
        result = default;
        for (int i = 0; i < lanes; i++)
        {
            result = result.WithElement(i, (ushort)Convert(source[i], ref status));
        }
        return status;
    }

    private static uint Convert(uint x, ref FloatStatus status)
    {
        x = (uint)SoftFloat<float>.Operand(x, status);
        uint sign = (x >> 31) << 15;
        if (SoftFloat<float>.IsNaN(x))
        {
            status.Raised |= SoftFloat<float>.IsSignaling(x) ? Mxcsr.Invalid : 0;
            return sign | 0x7E00 | ((x >> 13) & 0x1FF);
        }
        if (SoftFloat<float>.IsInfinity(x) || SoftFloat<float>.IsZero(x))
        {
            return sign | ((x >> 13) & 0x7C00);
        }
        SoftFloat<float>.NoteDenormals(x, x, ref status);
        SoftFloat<float>.Unpack(x, out int exponent, out ulong significand);
        return (uint)SoftFloat<Half>.FromUnpacked(sign != 0, exponent, 0x7F, significand, ref status);
    }
}
