using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>An operation that compares two numbers and so never rounds: only NaN and denormal operands raise exceptions.</summary>
internal interface IFloatSelect
{
    static abstract Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged;

    /// <summary>True if a quiet NaN, too, is an invalid operand.</summary>
    static abstract bool QuietIsInvalid { get; }
}

internal readonly struct SelectMinimum : IFloatSelect
{
    /// <summary>The second operand if either is NaN or both are zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.ConditionalSelect(Vector128.LessThan(a, b), a, b);

    public static bool QuietIsInvalid => true;
}

internal readonly struct SelectMaximum : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.ConditionalSelect(Vector128.GreaterThan(a, b), a, b);

    public static bool QuietIsInvalid => true;
}

internal readonly struct CompareFloatEqual : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.Equals(a, b);

    public static bool QuietIsInvalid => false;
}

internal readonly struct CompareFloatLess : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.LessThan(a, b);

    public static bool QuietIsInvalid => true;
}

internal readonly struct CompareFloatLessOrEqual : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.LessThanOrEqual(a, b);

    public static bool QuietIsInvalid => true;
}

internal readonly struct CompareFloatOrdered : IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => Vector128.Equals(a, a) & Vector128.Equals(b, b);

    public static bool QuietIsInvalid => false;
}

/// <summary>The opposite of another comparison.</summary>
internal readonly struct Not<TOp> : IFloatSelect
    where TOp : struct, IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Do<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged => ~TOp.Do(a, b);

    public static bool QuietIsInvalid => TOp.QuietIsInvalid;
}

internal static unsafe class FloatSelect
{
    /// <summary>True if no lane is NaN or denormal.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool ArePlain<T>(Vector128<T> a, Vector128<T> b)
        where T : unmanaged
    {
        Vector128<T> least = sizeof(T) == 4 ? Vector128.Create(0x0080_0000U).As<uint, T>() : Vector128.Create(0x0010_0000_0000_0000UL).As<ulong, T>();
        a = Vector128.Abs(a);
        b = Vector128.Abs(b);
        return ((Vector128.GreaterThanOrEqual(a, least) | Vector128.Equals(a, Vector128<T>.Zero))
            & (Vector128.GreaterThanOrEqual(b, least) | Vector128.Equals(b, Vector128<T>.Zero))).AsByte() == Vector128<byte>.AllBitsSet;
    }

    /// <summary>Notes what two operands raise and makes denormals zeros if MXCSR says so.</summary>
    public static void Examine<T>(ref T a, ref T b, bool quietIsInvalid, ref FloatStatus status)
        where T : unmanaged
    {
        ulong x = SoftFloat<T>.Operand(Bits.Of(a), status);
        ulong y = SoftFloat<T>.Operand(Bits.Of(b), status);
        if (SoftFloat<T>.IsNaN(x) || SoftFloat<T>.IsNaN(y))
        {
            if (quietIsInvalid || SoftFloat<T>.IsSignaling(x) || SoftFloat<T>.IsSignaling(y))
            {
                status.Raised |= Mxcsr.Invalid;
            }
        }
        else
        {
            SoftFloat<T>.NoteDenormals(x, y, ref status);
        }
        a = FloatArithmetic.Lane<T>(x);
        b = FloatArithmetic.Lane<T>(y);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<TOp, T>(CpuState* s, T* d, T* first, T* source, int lanes)
        where TOp : struct, IFloatSelect
        where T : unmanaged
    {
        var status = new FloatStatus(s);
        T* results = stackalloc T[FloatArithmetic.MaximumLanes];
        for (int i = 0; i < lanes; i++)
        {
            T a = first[i];
            T b = source[i];
            Examine(ref a, ref b, TOp.QuietIsInvalid, ref status);
            results[i] = TOp.Do(Vector128.CreateScalar(a), Vector128.CreateScalar(b)).ToScalar();
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

    /// <summary>COMIS, UCOMIS when an operand is NaN or denormal.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Compare<T>(CpuState* s, T* d, T* source, bool quietIsInvalid)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var status = new FloatStatus(s);
        T a = *d;
        T b = *source;
        Examine(ref a, ref b, quietIsInvalid, ref status);
        if (!status.Commit(s))
        {
            return false;
        }
        Flags.SetArithmetic(s, Relation(a, b));
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Relation<T>(T a, T b)
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        a > b ? 0 : a < b ? Flags.Carry : a == b ? Flags.Zero : Flags.Zero | Flags.Parity | Flags.Carry;
}

internal readonly unsafe struct PackedSelect<TOp, T> : IVectorInstruction<Vector128<byte>>
    where TOp : struct, IFloatSelect
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        T* d = (T*)VectorHandlers.Destination(s, o);
        Vector128<T> a = *(Vector128<T>*)d;
        Vector128<T> b = source.As<byte, T>();
        if (FloatSelect.ArePlain(a, b))
        {
            *(Vector128<T>*)d = TOp.Do(a, b);
            return true;
        }
        *(Vector128<byte>*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) =>
        VectorHandlers.Next(s, o, FloatSelect.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, Vector128<T>.Count));
}

internal readonly unsafe struct ScalarSelect<TOp, T> : IVectorInstruction<T>
    where TOp : struct, IFloatSelect
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        T* d = (T*)VectorHandlers.Destination(s, o);
        Vector128<T> a = Vector128.CreateScalar(*d);
        Vector128<T> b = Vector128.CreateScalar(source);
        if (FloatSelect.ArePlain(a, b))
        {
            *d = TOp.Do(a, b).ToScalar();
            return true;
        }
        *(T*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) =>
        VectorHandlers.Next(s, o, FloatSelect.Lanes<TOp, T>(s, (T*)VectorHandlers.Destination(s, o), (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, 1));
}

/// <summary>COMIS and UCOMIS: ZF, PF and CF tell the relation, OF, AF and SF are cleared.</summary>
internal readonly unsafe struct CompareToFlags<T, TQuiet> : IVectorInstruction<T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TQuiet : struct, IFloatSelect
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        T* d = (T*)VectorHandlers.Destination(s, o);
        T a = *d;
        if (FloatSelect.ArePlain(Vector128.CreateScalar(a), Vector128.CreateScalar(source)))
        {
            Flags.SetArithmetic(s, a > source ? 0 : a < source ? Flags.Carry : Flags.Zero);
            return true;
        }
        *(T*)s->Scratch = source;
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Otherwise(CpuState* s, Op* o) =>
        VectorHandlers.Next(s, o, FloatSelect.Compare(s, (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, TQuiet.QuietIsInvalid));
}
