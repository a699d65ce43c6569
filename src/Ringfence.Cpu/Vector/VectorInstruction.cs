using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>What an instruction does once its source, <typeparamref name="T"/> wide, is at hand from a register or from memory.</summary>
internal unsafe interface IVectorInstruction<T>
    where T : unmanaged
{
    /// <summary>Does it. False, with no effect on the destination, if <see cref="Otherwise"/> has to see to it.</summary>
    static abstract bool Do(CpuState* s, Op* o, T source);

    /// <summary>What to do if <see cref="Do"/> did not: by default an exception has been recorded. Jumped to, so that the frequent way
    /// needs no frame.</summary>
    static virtual Op* Otherwise(CpuState* s, Op* o) => Exits.Abort(s, o);
}

/// <summary>The frames that all vector instructions run in: where the source comes from, where the next instruction is.</summary>
internal static unsafe class VectorHandlers
{
    /// <summary>The source is a register.</summary>
    public static Op* Register<TInstruction, T>(CpuState* s, Op* o)
        where TInstruction : struct, IVectorInstruction<T>
        where T : unmanaged
    {
        if (!TInstruction.Do(s, o, *(T*)((byte*)s + o->Source)))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The source is in memory, at any address.</summary>
    public static Op* Memory<TInstruction, T, TAddressing>(CpuState* s, Op* o)
        where TInstruction : struct, IVectorInstruction<T>
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        if (!GuestAccess.Read(s, TAddressing.Linear(s, o), out T source))
        {
            return Exits.Abort(s, o);
        }
        if (!TInstruction.Do(s, o, source))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The source is in memory, at a multiple of 16.</summary>
    public static Op* AlignedMemory<TInstruction, TAddressing>(CpuState* s, Op* o)
        where TInstruction : struct, IVectorInstruction<Vector128<byte>>
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(s, o);
        if ((linear & 15) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!GuestAccess.Read(s, linear, out Vector128<byte> source))
        {
            return Exits.Abort(s, o);
        }
        if (!TInstruction.Do(s, o, source))
        {
            return TInstruction.Otherwise(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Stores a register, or the part of one that <see cref="Op.Source"/> points to.</summary>
    public static Op* Store<T, TAddressing>(CpuState* s, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        if (!GuestAccess.Write(s, TAddressing.Linear(s, o), *(T*)((byte*)s + o->Source)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Stores a whole vector at a multiple of its size.</summary>
    public static Op* AlignedStore<T, TAddressing>(CpuState* s, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        ulong linear = TAddressing.Linear(s, o);
        if ((linear & ((ulong)sizeof(T) - 1)) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!GuestAccess.Write(s, linear, *(T*)((byte*)s + o->Source)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Stores an MMX register or part of one.</summary>
    public static Op* MmxStore<T, TAddressing>(CpuState* s, Op* o)
        where T : unmanaged
        where TAddressing : struct, IAddressing
    {
        if (Mmx.Pending(s) || !GuestAccess.Write(s, TAddressing.Linear(s, o), *(T*)((byte*)s + o->Source)))
        {
            return Exits.Abort(s, o);
        }
        Mmx.Enter(s);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The end of a long way: on to the next instruction, or out of the block.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Next(CpuState* s, Op* o, bool done)
    {
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The first register operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Destination(CpuState* s, Op* o) => (byte*)s + o->Destination;
}
