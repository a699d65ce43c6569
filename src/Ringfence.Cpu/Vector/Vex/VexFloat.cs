using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

// Arithmetic and comparisons with three operands: the same operations and long ways as those with two.

/// <summary>Arithmetic on the low lane.</summary>
internal readonly unsafe struct ScalarFloat<TOp, T> : IVexInstruction
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        T b = *(T*)second;
        T a = typeof(TOp) == typeof(FloatSquareRoot) ? b : *(T*)first;
        T r = TOp.Do(a, b);
        if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.IsOrdinary(a) && FloatArithmetic.IsOrdinary(b) && FloatArithmetic.IsOrdinary(r))
        {
            VexHandlers.WriteMerged(s, o, first, r);
            return true;
        }
        *(T*)s->Scratch = b;
        return false;
    }

    public static Op* Otherwise(CpuState* s, Op* o)
    {
        byte* first = (byte*)s + o->First;
        Vector256<T> b = Vector256.Create(*(T*)s->Scratch);
        Vector256<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : Vector256.Create(*(T*)first);
        Vector256<T> r = TOp.Do(a, b);
        uint raised = LanesAtOnce.Raised<TOp, T>(s->Mxcsr, a, b, r);
        if (raised == LanesAtOnce.Unsettled)
        {
            return OneByOne(s, o);
        }
        s->Mxcsr |= raised;
        VexHandlers.WriteMerged(s, o, first, r.ToScalar());
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* OneByOne(CpuState* s, Op* o) => VexHandlers.NextMerged<T>(
        s, o, FloatArithmetic.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)((byte*)s + o->First), (T*)s->Scratch, 1));
}

/// <summary>Arithmetic on all lanes.</summary>
internal readonly unsafe struct PackedFloat<TOp, T, TWidth> : IVexInstruction
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        if (TWidth.Bytes == 16)
        {
            Vector128<T> b = *(Vector128<T>*)second;
            Vector128<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : *(Vector128<T>*)first;
            Vector128<T> r = TOp.Do(a, b);
            if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.AreOrdinary(a, b, r))
            {
                VexHandlers.Write(s, o, r.AsByte());
                return true;
            }
        }
        else
        {
            Vector256<T> b = *(Vector256<T>*)second;
            Vector256<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : *(Vector256<T>*)first;
            Vector256<T> r = TOp.Do(a, b);
            if (Mxcsr.IsQuick(s->Mxcsr) && FloatArithmetic.AreOrdinary(a, b, r))
            {
                VexHandlers.Write(s, o, r.AsByte());
                return true;
            }
        }
        VexHandlers.Keep<TWidth>(s, second);
        return false;
    }

    public static Op* Otherwise(CpuState* s, Op* o)
    {
        Vector256<T> b = VexHandlers.Load<T, TWidth>(s->Scratch);
        Vector256<T> a = typeof(TOp) == typeof(FloatSquareRoot) ? b : VexHandlers.Load<T, TWidth>((byte*)s + o->First);
        Vector256<T> r = TOp.Do(a, b);
        uint raised = LanesAtOnce.Raised<TOp, T>(s->Mxcsr, a, b, r);
        if (raised == LanesAtOnce.Unsettled)
        {
            return OneByOne(s, o);
        }
        s->Mxcsr |= raised;
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, r.GetLower().AsByte());
        }
        else
        {
            VexHandlers.Write(s, o, r.AsByte());
        }
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* OneByOne(CpuState* s, Op* o) => VexHandlers.Next<TWidth>(s, o, FloatArithmetic.Lanes<TOp, T>(
        s, (T*)VectorHandlers.Destination(s, o), (T*)((byte*)s + o->First), (T*)s->Scratch, TWidth.Bytes / sizeof(T)));
}

/// <summary>VADDSUBPS, VADDSUBPD: always the long way, being rare.</summary>
internal readonly unsafe struct AlternatingFloat<T, TWidth> : IVexInstruction
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        VexHandlers.Keep<TWidth>(s, second);
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) => VexHandlers.Next<TWidth>(s, o, FloatArithmetic.Lanes<FloatSubtract, FloatAdd, T>(
        s, (T*)VectorHandlers.Destination(s, o), (T*)((byte*)s + o->First), (T*)s->Scratch, TWidth.Bytes / sizeof(T)));
}

/// <summary>VHADDPS and its kin: in each 16 bytes, neighbours of the first source, then of the second.</summary>
internal readonly unsafe struct HorizontalFloat<TOp, T, TWidth> : IVexInstruction
    where TOp : struct, IFloatOp
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<T>* evens = (Vector128<T>*)s->Scratch;
        Vector128<T> a = *(Vector128<T>*)first;
        Vector128<T> b = *(Vector128<T>*)second;
        Vector128<T> d = TWidth.Bytes == 16 ? default : *(Vector128<T>*)(second + 16);
        evens[0] = HorizontalArithmetic<TOp, T>.Alternate(a, b, 0);
        evens[TWidth.Bytes / 16] = HorizontalArithmetic<TOp, T>.Alternate(a, b, 1);
        if (TWidth.Bytes == 32)
        {
            a = *(Vector128<T>*)(first + 16);
            evens[1] = HorizontalArithmetic<TOp, T>.Alternate(a, d, 0);
            evens[3] = HorizontalArithmetic<TOp, T>.Alternate(a, d, 1);
        }
        return FloatArithmetic.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)evens, (T*)(s->Scratch + TWidth.Bytes), TWidth.Bytes / sizeof(T))
            && Finish(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Finish(CpuState* s, Op* o)
    {
        VexHandlers.Clear<TWidth>(VectorHandlers.Destination(s, o));
        return true;
    }
}

/// <summary>VMIN, VMAX, VCMP on the low lane.</summary>
internal readonly unsafe struct ScalarChoice<TOp, T> : IVexInstruction
    where TOp : struct, IFloatSelect
    where T : unmanaged
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<T> a = Vector128.CreateScalar(*(T*)first);
        Vector128<T> b = Vector128.CreateScalar(*(T*)second);
        if (FloatSelect.ArePlain(a, b))
        {
            VexHandlers.WriteMerged(s, o, first, TOp.Do(a, b).ToScalar());
            return true;
        }
        *(T*)s->Scratch = b.ToScalar();
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) => VexHandlers.NextMerged<T>(
        s, o, FloatSelect.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)((byte*)s + o->First), (T*)s->Scratch, 1));
}

/// <summary>VMIN, VMAX, VCMP on all lanes.</summary>
internal readonly unsafe struct PackedChoice<TOp, T, TWidth> : IVexInstruction
    where TOp : struct, IFloatSelect
    where T : unmanaged
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<T> a = *(Vector128<T>*)first;
        Vector128<T> b = *(Vector128<T>*)second;
        bool plain = FloatSelect.ArePlain(a, b);
        if (TWidth.Bytes == 16)
        {
            if (plain)
            {
                VexHandlers.Write(s, o, TOp.Do(a, b).AsByte());
                return true;
            }
        }
        else
        {
            Vector128<T> c = *(Vector128<T>*)(first + 16);
            Vector128<T> d = *(Vector128<T>*)(second + 16);
            if (plain && FloatSelect.ArePlain(c, d))
            {
                VexHandlers.Write(s, o, Vector256.Create(TOp.Do(a, b), TOp.Do(c, d)).AsByte());
                return true;
            }
        }
        VexHandlers.Keep<TWidth>(s, second);
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) => VexHandlers.Next<TWidth>(s, o, FloatSelect.Lanes<TOp, T>(
        s, (T*)VectorHandlers.Destination(s, o), (T*)((byte*)s + o->First), (T*)s->Scratch, TWidth.Bytes / sizeof(T)));
}

/// <summary>VROUNDSS, VROUNDSD.</summary>
internal readonly unsafe struct ScalarRound<T> : IVexInstruction
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        if (!FloatRound.Lanes(s, (T*)d, (T*)second, 1, (uint)o->Immediate))
        {
            return false;
        }
        VexHandlers.WriteMerged(s, o, first, *(T*)d);
        return true;
    }
}

/// <summary>VROUNDPS, VROUNDPD.</summary>
internal readonly unsafe struct PackedRound<T, TWidth> : IVexInstruction
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        if (!FloatRound.Lanes(s, (T*)d, (T*)second, TWidth.Bytes / sizeof(T), (uint)o->Immediate))
        {
            return false;
        }
        VexHandlers.Clear<TWidth>(d);
        return true;
    }
}

/// <summary>VRCPSS, VRSQRTSS.</summary>
internal readonly unsafe struct EstimateOne<TOp> : IVexInstruction
    where TOp : struct, IVectorOp
{
    public static int Bytes => sizeof(uint);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        VexHandlers.WriteMerged(s, o, first, TOp.Do(default, Vector128.CreateScalar(*(uint*)second).AsByte()).AsUInt32().ToScalar());
        return true;
    }
}
