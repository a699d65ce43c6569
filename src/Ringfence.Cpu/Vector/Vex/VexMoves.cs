using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>A whole vector.</summary>
internal readonly unsafe struct Move<TWidth> : IVexInstruction
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, *(Vector128<byte>*)second);
        }
        else
        {
            VexHandlers.Write(s, o, *(Vector256<byte>*)second);
        }
        return true;
    }
}

/// <summary>One value in all places: <typeparamref name="T"/> is up to 128 bits.</summary>
internal readonly unsafe struct Broadcast<T, TWidth> : IVexInstruction
    where T : unmanaged
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<byte> value = sizeof(T) == 16 ? *(Vector128<byte>*)second : Vector128.Create(*(T*)second).AsByte();
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, value);
        }
        else
        {
            VexHandlers.Write(s, o, Vector256.Create(value, value));
        }
        return true;
    }
}

/// <summary>The first source with one of its elements, <see cref="Op.Extra"/>, replaced.</summary>
internal readonly unsafe struct InsertElement<T> : IVexInstruction
    where T : unmanaged, INumber<T>
{
    public static int Bytes => sizeof(T);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<T> place = Vector128.Equals(Vector128<T>.Indices, Vector128.Create(T.CreateTruncating(o->Extra)));
        VexHandlers.Write(s, o, Vector128.ConditionalSelect(place, Vector128.Create(*(T*)second), *(Vector128<T>*)first).AsByte());
        return true;
    }
}

/// <summary>VINSERTF128, VINSERTI128.</summary>
internal readonly unsafe struct InsertHalf : IVexInstruction
{
    public static int Bytes => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<byte> half = *(Vector128<byte>*)second;
        VexHandlers.Write(s, o, (o->Immediate & 1) == 0
            ? Vector256.Create(half, *(Vector128<byte>*)(first + 16))
            : Vector256.Create(*(Vector128<byte>*)first, half));
        return true;
    }
}

/// <summary>VPERM2F128, VPERM2I128: each half is one of four, or zero.</summary>
internal readonly unsafe struct PermuteHalves : IVexInstruction
{
    public static int Bytes => 32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        VexHandlers.Write(s, o, Vector256.Create(Half(first, second, o->Immediate), Half(first, second, o->Immediate >> 4)));
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Half(byte* first, byte* second, ulong control) => (control & 8) != 0 ? Vector128<byte>.Zero
        : ((Vector128<byte>*)((control & 2) == 0 ? first : second))[control & 1];
}

/// <summary>VPERMQ, VPERMPD.</summary>
internal readonly unsafe struct PermuteQuadwords : IVexInstruction
{
    public static int Bytes => 32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        ulong* source = (ulong*)second;
        ulong i = o->Immediate;
        VexHandlers.Write(s, o, Vector256.Create(source[i & 3], source[(i >> 2) & 3], source[(i >> 4) & 3], source[(i >> 6) & 3]).AsByte());
        return true;
    }
}

/// <summary>VPERMD, VPERMPS: the first source chooses among the doublewords of the second.</summary>
internal readonly unsafe struct PermuteDoublewords : IVexInstruction
{
    public static int Bytes => 32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        VexHandlers.Write(s, o, Vector256.Shuffle(*(Vector256<uint>*)second, *(Vector256<uint>*)first & Vector256.Create(7U)).AsByte());
        return true;
    }
}

/// <summary>VPBLENDVB, VBLENDVPS, VBLENDVPD: the mask's register is at <see cref="Op.Immediate"/>. <typeparamref name="T"/> is signed.</summary>
internal readonly unsafe struct BlendByRegister<T, TWidth> : IVexInstruction
    where T : unmanaged
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* mask = (byte*)s + o->Immediate;
        Vector128<byte> low = Half(mask, first, second);
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, low);
        }
        else
        {
            VexHandlers.Write(s, o, Vector256.Create(low, Half(mask + 16, first + 16, second + 16)));
        }
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Half(byte* mask, byte* first, byte* second) => Vector128.ConditionalSelect(
        Vector128.LessThan(*(Vector128<T>*)mask, Vector128<T>.Zero).AsByte(), *(Vector128<byte>*)second, *(Vector128<byte>*)first);
}

/// <summary>VPMOVSX, VPMOVZX.</summary>
internal readonly unsafe struct ExtendVector<TFrom, TTo, TWidth> : IVexInstruction
    where TFrom : unmanaged, INumber<TFrom>
    where TTo : unmanaged, INumber<TTo>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes / sizeof(TTo) * sizeof(TFrom);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        // Downwards: the destination may be the source.
        for (int i = (TWidth.Bytes / sizeof(TTo)) - 1; i >= 0; i--)
        {
            ((TTo*)d)[i] = TTo.CreateTruncating(((TFrom*)second)[i]);
        }
        VexHandlers.Clear<TWidth>(d);
        return true;
    }
}

/// <summary>VMOVMSKPS, VMOVMSKPD, VPMOVMSKB of 256 bits.</summary>
internal readonly unsafe struct WideSignMask<T> : IVectorInstruction<Vector256<byte>>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector256<byte> source)
    {
        *(ulong*)VectorHandlers.Destination(s, o) = source.As<byte, T>().ExtractMostSignificantBits();
        return true;
    }
}

/// <summary>VPTEST, VTESTPS, VTESTPD: ZF and CF tell whether the operands' bits under a mask have none in common, or all of the second are in the
/// first (as <see cref="TestBits"/>). <typeparamref name="T"/>: all bits if it is byte, the sign of each lane if not.</summary>
internal readonly unsafe struct TestVector<T, TWidth> : IVexInstruction
    where T : unmanaged
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    /// <summary>The destination is the one to compare with; nothing is written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        Vector128<byte> mask = sizeof(T) == 1 ? Vector128<byte>.AllBitsSet
            : sizeof(T) == 4 ? Vector128.Create(0x8000_0000U).AsByte() : Vector128.Create(0x8000_0000_0000_0000UL).AsByte();
        Vector128<byte> source = *(Vector128<byte>*)second & mask;
        Vector128<byte> common = *(Vector128<byte>*)d & source;
        Vector128<byte> missing = Vector128.AndNot(source, *(Vector128<byte>*)d);
        if (TWidth.Bytes == 32)
        {
            source = *(Vector128<byte>*)(second + 16) & mask;
            common |= *(Vector128<byte>*)(d + 16) & source;
            missing |= Vector128.AndNot(source, *(Vector128<byte>*)(d + 16));
        }
        Flags.SetArithmetic(s, (common == Vector128<byte>.Zero ? Flags.Zero : 0) | (missing == Vector128<byte>.Zero ? Flags.Carry : 0));
        return true;
    }
}

/// <summary>VZEROUPPER and VZEROALL: of the registers that the mode can name.</summary>
internal static unsafe class ClearRegisters
{
    public static Op* Upper16(CpuState* s, Op* o)
    {
        Clear(s, 16, 16);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Upper8(CpuState* s, Op* o)
    {
        Clear(s, 8, 16);
        o++;
        return o->Handler(s, o);
    }

    public static Op* All16(CpuState* s, Op* o)
    {
        Clear(s, 16, 0);
        o++;
        return o->Handler(s, o);
    }

    public static Op* All8(CpuState* s, Op* o)
    {
        Clear(s, 8, 0);
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Clear(CpuState* s, int registers, int from)
    {
        for (int i = 0; i < registers; i++)
        {
            VexHandlers.Clear(s->Vectors + (Slots.VectorBytes * i), from);
        }
    }
}
