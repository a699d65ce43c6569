using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>How long the two strings of PCMPESTRI and its kin are, in elements: at most as many as a register holds.</summary>
internal unsafe interface IStringLengths
{
    static abstract (int First, int Second) Get<T>(CpuState* s, Vector128<T> first, Vector128<T> second)
        where T : unmanaged;
}

/// <summary>PCMPISTRI, PCMPISTRM: up to the first element that is 0.</summary>
internal readonly unsafe struct ImplicitLengths : IStringLengths
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int First, int Second) Get<T>(CpuState* s, Vector128<T> first, Vector128<T> second)
        where T : unmanaged => (Length(first), Length(second));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Length<T>(Vector128<T> text)
        where T : unmanaged =>
        BitOperations.TrailingZeroCount(Vector128.Equals(text, Vector128<T>.Zero).ExtractMostSignificantBits() | (1U << Vector128<T>.Count));
}

/// <summary>PCMPESTRI, PCMPESTRM: the magnitudes of EAX and EDX, or with REX.W of RAX and RDX. <typeparamref name="TRegister"/> is signed.</summary>
internal readonly unsafe struct ExplicitLengths<TRegister> : IStringLengths
    where TRegister : unmanaged, IBinaryInteger<TRegister>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int First, int Second) Get<T>(CpuState* s, Vector128<T> first, Vector128<T> second)
        where T : unmanaged => (Length<T>(s->Gpr[0]), Length<T>(s->Gpr[2]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Length<T>(ulong register)
        where T : unmanaged
    {
        long value = long.CreateTruncating(TRegister.CreateTruncating(register));
        return (int)Math.Min((ulong)(value < 0 ? -value : value), (ulong)Vector128<T>.Count);
    }
}

/// <summary>What PCMPESTRI and its kin do with the bits that the comparison gave.</summary>
internal unsafe interface IStringResult
{
    static abstract void Store<T>(CpuState* s, uint bits, uint control)
        where T : unmanaged, IBinaryInteger<T>;
}

/// <summary>PCMPESTRI, PCMPISTRI: the number of the lowest or highest one to ECX, that of elements if there is none.</summary>
internal readonly unsafe struct StringIndex : IStringResult
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(CpuState* s, uint bits, uint control)
        where T : unmanaged, IBinaryInteger<T> => s->Gpr[1] = bits == 0 ? (uint)Vector128<T>.Count
            : (control & 0x40) == 0 ? (uint)BitOperations.TrailingZeroCount(bits) : (uint)BitOperations.Log2(bits);
}

/// <summary>PCMPESTRM, PCMPISTRM: the bits, or as many elements of all ones, to XMM0.</summary>
internal readonly unsafe struct StringMask : IStringResult
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(CpuState* s, uint bits, uint control)
        where T : unmanaged, IBinaryInteger<T>
    {
        if ((control & 0x40) == 0)
        {
            *(Vector128<uint>*)s->Vectors = Vector128.CreateScalar(bits);
            return;
        }
        T* elements = (T*)s->Vectors;
        for (int i = 0; i < Vector128<T>.Count; i++)
        {
            elements[i] = ((bits >> i) & 1) != 0 ? T.AllBitsSet : T.Zero;
        }
    }
}

/// <summary>PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 2 4.1). <typeparamref name="T"/> is the element; the first string is the
/// register operand, the second may be in memory at any address.</summary>
internal readonly unsafe struct CompareStrings<TLengths, TResult, T> : IVectorInstruction<Vector128<byte>>
    where TLengths : struct, IStringLengths
    where TResult : struct, IStringResult
    where T : unmanaged, IBinaryInteger<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        *(Vector128<byte>*)s->Scratch = source;
        Run(s, (T*)VectorHandlers.Destination(s, o), (T*)s->Scratch, (uint)o->Immediate);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Run(CpuState* s, T* first, T* second, uint control)
    {
        Vector128<T> a = *(Vector128<T>*)first;
        Vector128<T> b = *(Vector128<T>*)second;
        (int lengthA, int lengthB) = TLengths.Get(s, a, b);
        uint validB = (1U << lengthB) - 1;
        uint all = (1U << Vector128<T>.Count) - 1;
        uint bits = Aggregate(first, lengthA, b, validB, control);
        bits = ((control >> 4) & 3) switch
        {
            1 => bits ^ all,
            3 => bits ^ validB,
            _ => bits,
        };
        TResult.Store<T>(s, bits, control);
        Flags.SetArithmetic(s,
            (bits != 0 ? Flags.Carry : 0) | (lengthB < Vector128<T>.Count ? Flags.Zero : 0)
            | (lengthA < Vector128<T>.Count ? Flags.Sign : 0) | ((bits & 1) != 0 ? Flags.Overflow : 0));
    }

    /// <summary>SDM 2 4.1.3: a bit for each element of <paramref name="b"/>. Elements behind a string's end count as 4.1.6 says.</summary>
    private static uint Aggregate(T* first, int length, Vector128<T> b, uint validB, uint control)
    {
        uint all = (1U << Vector128<T>.Count) - 1;
        uint bits = 0;
        switch ((control >> 2) & 3)
        {
            case 0:
                // Equal any: the first is a set of elements.
                for (int i = 0; i < length; i++)
                {
                    bits |= Where(Vector128.Equals(b, Vector128.Create(first[i])));
                }
                return bits & validB;
            case 1:
                // Ranges: the first is pairs of bounds.
                for (int i = 0; i + 1 < length; i += 2)
                {
                    bits |= Where(Vector128.GreaterThanOrEqual(b, Vector128.Create(first[i])) & Vector128.LessThanOrEqual(b, Vector128.Create(first[i + 1])));
                }
                return bits & validB;
            case 2:
                // Equal each: two ends of strings are equal too.
                uint validA = (1U << length) - 1;
                return (Where(Vector128.Equals(b, *(Vector128<T>*)first)) & validA & validB) | (all & ~(validA | validB));
            default:
                // Equal ordered: the first is looked for in the second; what would lie beyond the register is not known to differ.
                bits = all;
                for (int i = 0; i < length; i++)
                {
                    bits &= ((Where(Vector128.Equals(b, Vector128.Create(first[i]))) & validB) >> i) | ~(all >> i);
                }
                return bits;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Where(Vector128<T> lanes) => lanes.ExtractMostSignificantBits();
}
