using System.Numerics;
using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>Rounding to integral values.</summary>
internal static unsafe class FloatRound
{
    public static double ToIntegral(double value, Rounding rounding) => rounding switch
    {
        Rounding.Nearest => Math.Round(value, MidpointRounding.ToEven),
        Rounding.Down => Math.Floor(value),
        Rounding.Up => Math.Ceiling(value),
        _ => Math.Truncate(value),
    };

    /// <summary>ROUNDPS and its kin on lanes. Immediate: bits 0 and 1 rounding, bit 2 use MXCSR's instead, bit 3 do not raise precision.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<T>(CpuState* s, T* d, T* source, int lanes, uint immediate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var status = new FloatStatus(s);
        Rounding rounding = (immediate & 4) != 0 ? status.Rounding : (Rounding)(immediate & 3);
        T* results = stackalloc T[FloatArithmetic.MaximumLanes];
        for (int i = 0; i < lanes; i++)
        {
            ulong bits = SoftFloat<T>.Operand(Bits.Of(source[i]), status);
            if (SoftFloat<T>.IsNaN(bits))
            {
                status.Raised |= SoftFloat<T>.IsSignaling(bits) ? Mxcsr.Invalid : 0;
                results[i] = FloatArithmetic.Lane<T>(bits | SoftFloat<T>.QuietBit);
                continue;
            }
            T value = FloatArithmetic.Lane<T>(bits);
            T result = T.CreateTruncating(ToIntegral(double.CreateTruncating(value), rounding));
            results[i] = T.CopySign(result, value);
            if (result != value && (immediate & 8) == 0)
            {
                status.Raised |= Mxcsr.Precision;
            }
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
}

/// <summary>ROUNDSS, ROUNDSD (the source is one lane) and ROUNDPS, ROUNDPD (the source is a vector).</summary>
internal readonly unsafe struct RoundLanes<T, TSource> : IVectorInstruction<TSource>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TSource : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, TSource source)
    {
        *(TSource*)s->Scratch = source;
        return FloatRound.Lanes(s, (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, sizeof(TSource) / sizeof(T), (uint)o->Immediate);
    }
}
