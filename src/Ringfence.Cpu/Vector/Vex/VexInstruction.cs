using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>How wide an instruction's vectors are.</summary>
internal interface IVectorWidth
{
    static abstract int Bytes { get; }
}

internal readonly struct Bits128 : IVectorWidth
{
    public static int Bytes => 16;
}

internal readonly struct Bits256 : IVectorWidth
{
    public static int Bytes => 32;
}

/// <summary>
/// What a VEX instruction does once its operands are at hand. They are given by address: registers where they live, memory operands in guest
/// memory itself. What is in memory may change meanwhile: a long way reads it again, and decides by what it then finds.
/// </summary>
internal unsafe interface IVexInstruction
{
    /// <summary>The size of the second source when it is in memory.</summary>
    static abstract int Bytes { get; }

    /// <summary>Does it. False, with no effect on the destination, if <see cref="Otherwise"/> has to see to it.</summary>
    static abstract bool Do(CpuState* s, Op* o, byte* first, byte* second);

    /// <summary>What to do if <see cref="Do"/> did not: by default an exception has been recorded.</summary>
    static virtual Op* Otherwise(CpuState* s, Op* o) => Exits.Abort(s, o);
}

/// <summary>The frames that VEX instructions run in, and how they write their destination: the whole register, zeros above the result
/// (SDM 1 14.1.3).</summary>
internal static unsafe class VexHandlers
{
    public static Op* Register<TInstruction>(CpuState* s, Op* o)
        where TInstruction : struct, IVexInstruction
    {
        if (!TInstruction.Do(s, o, (byte*)s + o->First, (byte*)s + o->Source))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The second source is in memory, at any address.</summary>
    public static Op* Memory<TInstruction, TAddressing>(CpuState* s, Op* o)
        where TInstruction : struct, IVexInstruction
        where TAddressing : struct, IAddressing
    {
        byte* second = GuestAccess.Source(s, TAddressing.Linear(s, o), TInstruction.Bytes);
        if (second == null)
        {
            return Exits.Abort(s, o);
        }
        if (!TInstruction.Do(s, o, (byte*)s + o->First, second))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The second source is in memory, at a multiple of its size.</summary>
    public static Op* AlignedMemory<TInstruction, TAddressing>(CpuState* s, Op* o)
        where TInstruction : struct, IVexInstruction
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(s, o);
        if ((linear & ((ulong)TInstruction.Bytes - 1)) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        byte* second = GuestAccess.Source(s, linear, TInstruction.Bytes);
        if (second == null)
        {
            return Exits.Abort(s, o);
        }
        if (!TInstruction.Do(s, o, (byte*)s + o->First, second))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(CpuState* s, Op* o, Vector128<byte> value) => Write(s, o, value.ToVector256());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Write(CpuState* s, Op* o, Vector256<byte> value)
    {
        Vector256<byte>* d = (Vector256<byte>*)VectorHandlers.Destination(s, o);
        d[0] = value;
        d[1] = Vector256<byte>.Zero;
    }

    /// <summary>Writes the low lane; the rest of 128 bits comes from the first source.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void WriteMerged<T>(CpuState* s, Op* o, byte* first, T value)
        where T : unmanaged => Write(s, o, (*(Vector128<T>*)first).WithElement(0, value).AsByte());

    /// <summary>Clears a register from byte <paramref name="from"/> on.</summary>
    public static void Clear(byte* register, int from) => new Span<byte>(register + from, Slots.VectorBytes - from).Clear();

    /// <summary>Clears a register above the width.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Clear<TWidth>(byte* register)
        where TWidth : struct, IVectorWidth
    {
        if (TWidth.Bytes == 16)
        {
            *(Vector128<byte>*)(register + 16) = Vector128<byte>.Zero;
        }
        *(Vector256<byte>*)(register + 32) = Vector256<byte>.Zero;
    }

    /// <summary>Keeps the second source for the long way, for <see cref="IVexInstruction.Otherwise"/> is not told where it is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Keep<TWidth>(CpuState* s, byte* second)
        where TWidth : struct, IVectorWidth
    {
        if (TWidth.Bytes == 16)
        {
            *(Vector128<byte>*)s->Scratch = *(Vector128<byte>*)second;
        }
        else
        {
            *(Vector256<byte>*)s->Scratch = *(Vector256<byte>*)second;
        }
    }

    /// <summary>A vector; one of 128 bits in both halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Load<T, TWidth>(byte* from)
        where T : unmanaged
        where TWidth : struct, IVectorWidth => TWidth.Bytes == 16 ? FloatArithmetic.Both((Vector128<T>*)from) : *(Vector256<T>*)from;

    /// <summary>The end of a long way that has written the low <typeparamref name="TWidth"/> of the destination.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Next<TWidth>(CpuState* s, Op* o, bool done)
        where TWidth : struct, IVectorWidth
    {
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        Clear<TWidth>(VectorHandlers.Destination(s, o));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The end of a long way that has written the low lane of the destination.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* NextMerged<T>(CpuState* s, Op* o, bool done)
        where T : unmanaged
    {
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        WriteMerged(s, o, (byte*)s + o->First, *(T*)VectorHandlers.Destination(s, o));
        o++;
        return o->Handler(s, o);
    }
}

/// <summary>A legacy instruction that writes all of an XMM register, and here clears what is above.</summary>
internal readonly unsafe struct Cleared<TInstruction, T> : IVectorInstruction<T>
    where TInstruction : struct, IVectorInstruction<T>
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, T source)
    {
        if (!TInstruction.Do(s, o, source))
        {
            return false;
        }
        VexHandlers.Clear<Bits128>(VectorHandlers.Destination(s, o));
        return true;
    }

    public static Op* Otherwise(CpuState* s, Op* o) => TInstruction.Otherwise(s, o);
}

/// <summary>A function of two vectors, of each 16 bytes for themselves.</summary>
internal readonly unsafe struct Lanewise<TOp, TWidth> : IVexInstruction
    where TOp : struct, IVectorOp
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<byte> low = TOp.Do(*(Vector128<byte>*)first, *(Vector128<byte>*)second);
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, low);
        }
        else
        {
            VexHandlers.Write(s, o, Vector256.Create(low, TOp.Do(*(Vector128<byte>*)(first + 16), *(Vector128<byte>*)(second + 16))));
        }
        return true;
    }
}

/// <summary>A function of two vectors and an immediate, of each 16 bytes for themselves.</summary>
internal readonly unsafe struct LanewiseImmediate<TOp, TWidth> : IVexInstruction
    where TOp : struct, IVectorImmediateOp
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        Vector128<byte> low = TOp.Do(*(Vector128<byte>*)first, *(Vector128<byte>*)second, o->Immediate);
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, low);
        }
        else
        {
            VexHandlers.Write(s, o, Vector256.Create(
                low, TOp.Do(*(Vector128<byte>*)(first + 16), *(Vector128<byte>*)(second + 16), o->Immediate >> TOp.ImmediateStep)));
        }
        return true;
    }
}

/// <summary>A shift of all lanes by the low 64 bits of the second source, which is 16 bytes whatever the width.</summary>
internal readonly unsafe struct ShiftAll<TShift, TWidth> : IVexInstruction
    where TShift : struct, IShift
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        ulong count = *(ulong*)second;
        Vector128<byte> low = TShift.Do(*(Vector128<byte>*)first, count);
        if (TWidth.Bytes == 16)
        {
            VexHandlers.Write(s, o, low);
        }
        else
        {
            VexHandlers.Write(s, o, Vector256.Create(low, TShift.Do(*(Vector128<byte>*)(first + 16), count)));
        }
        return true;
    }
}
