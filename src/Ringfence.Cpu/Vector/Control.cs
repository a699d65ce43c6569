using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>LDMXCSR.</summary>
internal readonly unsafe struct LoadMxcsr : IVectorInstruction<uint>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, uint source)
    {
        if ((source & ~Mxcsr.Writable) != 0)
        {
            Exits.Record(s, Vectors.GeneralProtection);
            return false;
        }
        s->Mxcsr = source;
        return true;
    }
}

/// <summary>CLFLUSH and its kin: caches are coherent here, what remains is the access check.</summary>
internal readonly unsafe struct Touch : IVectorInstruction<byte>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte source) => true;
}

/// <summary>Instructions without operands, and those that are only advice.</summary>
internal static unsafe class Control
{
    public static Op* StoreMxcsr<TAddressing>(CpuState* s, Op* o)
        where TAddressing : struct, IAddressing
    {
        if (!GuestAccess.Write(s, TAddressing.Linear(s, o), s->Mxcsr))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>PREFETCH.</summary>
    public static Op* Nothing(CpuState* s, Op* o)
    {
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MFENCE, and on hosts that order memory less strictly than x86 also LFENCE and SFENCE.</summary>
    public static Op* Fence(CpuState* s, Op* o)
    {
        Interlocked.MemoryBarrier();
        o++;
        return o->Handler(s, o);
    }

    public static Op* EmptyMmx(CpuState* s, Op* o)
    {
        if (Mmx.Pending(s))
        {
            return Exits.Abort(s, o);
        }
        s->X87.Tags = 0;
        o++;
        return o->Handler(s, o);
    }
}
