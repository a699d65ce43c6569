using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>Replaces a part of the destination: the low lane, or the one that <see cref="Op.Destination"/> was moved to.</summary>
internal readonly unsafe struct WritePart<T> : IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        *(T*)VectorHandlers.Destination(s, o) = source;
        return true;
    }
}

/// <summary>Writes the low lane of an XMM register and clears the rest.</summary>
internal readonly unsafe struct WriteScalar<T> : IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        *(Vector128<T>*)VectorHandlers.Destination(s, o) = Vector128.CreateScalar(source);
        return true;
    }
}

/// <summary>Writes both halves of an XMM register.</summary>
internal readonly unsafe struct WriteTwice : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        *(Vector128<ulong>*)VectorHandlers.Destination(s, o) = Vector128.Create(source);
        return true;
    }
}

/// <summary>Writes a general register, zero-extended: <typeparamref name="T"/> is unsigned.</summary>
internal readonly unsafe struct WriteGeneral<T> : IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        *(ulong*)VectorHandlers.Destination(s, o) = Bits.Of(source);
        return true;
    }
}

/// <summary>Writes a general register from an MMX register.</summary>
internal readonly unsafe struct WriteGeneralFromMmx<T> : IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        if (Mmx.Pending(s))
        {
            return false;
        }
        Mmx.Enter(s);
        *(ulong*)VectorHandlers.Destination(s, o) = Bits.Of(source);
        return true;
    }
}

/// <summary>Writes an XMM register's low half from an MMX register and clears the rest: MOVQ2DQ.</summary>
internal readonly unsafe struct WriteScalarFromMmx : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        if (Mmx.Pending(s))
        {
            return false;
        }
        Mmx.Enter(s);
        *(Vector128<ulong>*)VectorHandlers.Destination(s, o) = Vector128.CreateScalar(source);
        return true;
    }
}

/// <summary>Writes an MMX register, zero-extended.</summary>
internal readonly unsafe struct WriteMmx<T> : IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source) => Mmx.Finish(s, VectorHandlers.Destination(s, o), Bits.Of(source));
}

/// <summary>PINSRW on an MMX register: the immediate is the word's number, 0 to 3.</summary>
internal readonly unsafe struct InsertMmxWord : IVectorInstruction<ushort>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ushort source)
    {
        byte* d = VectorHandlers.Destination(s, o);
        int shift = 16 * ((int)o->Immediate & 3);
        return Mmx.Finish(s, d, (*(ulong*)d & ~(0xFFFFUL << shift)) | ((ulong)source << shift));
    }
}

/// <summary>MOVMSKPS, MOVMSKPD, PMOVMSKB: the sign of every lane.</summary>
internal readonly unsafe struct SignMask<T> : IVectorInstruction<Vector128<byte>>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        *(ulong*)VectorHandlers.Destination(s, o) = source.As<byte, T>().ExtractMostSignificantBits();
        return true;
    }
}

/// <summary>PMOVMSKB of an MMX register.</summary>
internal readonly unsafe struct MmxSignMask : IVectorInstruction<ulong>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, ulong source)
    {
        if (Mmx.Pending(s))
        {
            return false;
        }
        Mmx.Enter(s);
        *(ulong*)VectorHandlers.Destination(s, o) = Vector128.CreateScalar(source).AsByte().ExtractMostSignificantBits();
        return true;
    }
}

/// <summary>PTEST: ZF if the operands have no bit in common, CF if the first has all bits of the second.</summary>
internal readonly unsafe struct TestBits : IVectorInstruction<Vector128<byte>>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<byte> d = *(Vector128<byte>*)VectorHandlers.Destination(s, o);
        Flags.SetArithmetic(s,
            ((d & source) == Vector128<byte>.Zero ? Flags.Zero : 0) |
            (Vector128.AndNot(source, d) == Vector128<byte>.Zero ? Flags.Carry : 0));
        return true;
    }
}

/// <summary>PBLENDVB, BLENDVPS, BLENDVPD: a lane from the source where XMM0's lane is negative. <typeparamref name="T"/> is signed.</summary>
internal readonly unsafe struct BlendVariable<T> : IVectorInstruction<Vector128<byte>>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<byte>* d = (Vector128<byte>*)VectorHandlers.Destination(s, o);
        Vector128<T> mask = *(Vector128<T>*)s->Vectors;
        *d = Vector128.ConditionalSelect(Vector128.LessThan(mask, Vector128<T>.Zero).AsByte(), source, *d);
        return true;
    }
}

internal static unsafe class Bits
{
    /// <summary>The bits of an unsigned or floating-point value, zero-extended.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of<T>(T value)
        where T : unmanaged
    {
        // Not a switch: the JIT must drop the other cases before it looks into them, or the handler gets no tail call.
        if (sizeof(T) == 1)
        {
            return Unsafe.BitCast<T, byte>(value);
        }
        if (sizeof(T) == 2)
        {
            return Unsafe.BitCast<T, ushort>(value);
        }
        if (sizeof(T) == 4)
        {
            return Unsafe.BitCast<T, uint>(value);
        }
        return Unsafe.BitCast<T, ulong>(value);
    }
}

/// <summary>MASKMOVQ, MASKMOVDQU: stores those bytes of a register whose mask byte is negative.</summary>
/// <remarks>Bytes are stored one by one: others must not be touched, not even with what they hold.</remarks>
internal static unsafe class MaskedStore
{
    /// <summary>The mask is XMM register <see cref="Op.Extra"/>.</summary>
    public static Op* Xmm(CpuState* s, Op* o) => Store(s, o, s->Vectors + (64 * o->Extra), 16) ? Next(s, o) : Exits.Abort(s, o);

    /// <summary>The mask is MMX register <see cref="Op.Extra"/>.</summary>
    public static Op* Mm(CpuState* s, Op* o)
    {
        if (Mmx.Pending(s) || !Store(s, o, (byte*)&s->X87 + (16 * o->Extra), 8))
        {
            return Exits.Abort(s, o);
        }
        Mmx.Enter(s);
        return Next(s, o);
    }

    private static Op* Next(CpuState* s, Op* o)
    {
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Store(CpuState* s, Op* o, byte* mask, int bytes)
    {
        ulong linear = Wide.Linear(s, o);
        for (int i = 0; i < bytes; i++)
        {
            if ((mask[i] & 0x80) != 0 && !GuestAccess.Write(s, (linear + (ulong)i) & s->LinearMask, *((byte*)s + o->Source + i)))
            {
                return false;
            }
        }
        return true;
    }
}
