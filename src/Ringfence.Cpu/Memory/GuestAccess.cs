using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// How handlers reach guest memory by linear address. The fast path is inlined: one TLB entry, one comparison. On failure the fault is
/// already recorded in the state and the handler returns <see cref="Exits.Abort"/>.
/// </summary>
/// <remarks>
/// x86 keeps loads in order, and stores, and no store overtakes a load before it (SDM 3A 9.2.2). On other hosts each access begins with a barrier: what was loaded before
/// comes first, and before a store what was stored too. On x86 hosts nothing of that is compiled.
/// </remarks>
internal static unsafe class GuestAccess
{
    public const int TlbEntries = 4096;
    public const int PageBytes = 4096;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Read<T>(CpuState* s, ulong linear, out T value)
    {
        if (!X86Base.IsSupported)
        {
            Volatile.ReadBarrier();
        }
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (TlbEntries - 1));
        if ((entry->Read ^ linear) <= (ulong)(PageBytes - sizeof(T)))
        {
            value = *(T*)(linear + entry->Addend);
            return true;
        }
        if (SlowAccess.Read(s, linear, sizeof(T)))
        {
            value = *(T*)s->Scratch;
            return true;
        }
        value = default!;
        return false;
    }

    /// <summary>Where the <paramref name="size"/> bytes of an operand lie that is only read: in guest memory, or in
    /// <see cref="CpuState.Scratch"/> if they had to be read the long way. Null: the fault is recorded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte* Source(CpuState* s, ulong linear, int size)
    {
        if (!X86Base.IsSupported)
        {
            Volatile.ReadBarrier();
        }
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (TlbEntries - 1));
        if ((entry->Read ^ linear) <= (ulong)(PageBytes - size))
        {
            return (byte*)(linear + entry->Addend);
        }
        return SlowAccess.Read(s, linear, size) ? s->Scratch : null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Write<T>(CpuState* s, ulong linear, T value)
    {
        if (!X86Base.IsSupported)
        {
            Volatile.ReadBarrier();
            Volatile.WriteBarrier();
        }
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (TlbEntries - 1));
        if ((entry->Write ^ linear) <= (ulong)(PageBytes - sizeof(T)))
        {
            *(T*)(linear + entry->Addend) = value;
            return true;
        }
        *(T*)s->Scratch = value;
        return SlowAccess.Write(s, linear, sizeof(T));
    }

    /// <summary>The host address of guest memory that may be read and written in place, for a read-modify-write; null when the access
    /// must go the long way (<see cref="Read"/> with write intent, then <see cref="Write"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* Modify<T>(CpuState* s, ulong linear)
    {
        if (!X86Base.IsSupported)
        {
            Volatile.ReadBarrier();
            Volatile.WriteBarrier();
        }
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (TlbEntries - 1));
        // A page that may be written may be read.
        return (entry->Write ^ linear) <= (ulong)(PageBytes - sizeof(T)) ? (T*)(linear + entry->Addend) : null;
    }

    /// <summary>As <see cref="Modify"/>, for operations that must be atomic. What lies at a multiple of its size in a page that may be written is
    /// found at once; <see cref="LockedAccess"/> sees to all else. Null on a fault, which is recorded, and for MMIO, which takes two accesses.
    /// To be followed by <see cref="Settle"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T* ModifyAtomic<T>(CpuState* s, ulong linear)
    {
        TlbEntry* entry = s->Tlb + ((linear >> 12) & (TlbEntries - 1));
        // Turned right by the bits that must be 0: if they are not, the number is large. One comparison for page, right and alignment.
        ulong turned = BitOperations.RotateRight(entry->Write ^ linear, sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3);
        return turned < (ulong)(PageBytes / sizeof(T)) ? (T*)(linear + entry->Addend) : (T*)SlowAccess.Locate(s, linear, sizeof(T));
    }

    /// <summary>After an atomic operation was made.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Settle(CpuState* s)
    {
        if (s->Unsettled != 0)
        {
            SlowAccess.Settle(s);
        }
    }

    /// <summary>The long way's first half: reads with the rights of a write, so that a read-modify-write faults before it has effects.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool ReadForWrite<T>(CpuState* s, ulong linear, out T value)
    {
        bool done = SlowAccess.ReadForWrite(s, linear, sizeof(T));
        value = *(T*)s->Scratch;
        return done;
    }

    /// <summary>The linear address of the op's memory operand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Linear(CpuState* s, Op* o) => Wide.Linear(s, o);
}

/// <summary>How an op's memory operand becomes a linear address. A type parameter of handlers, so that each pays only for its own.</summary>
internal unsafe interface IAddressing
{
    static abstract ulong Linear(CpuState* s, Op* o);
}

/// <summary>64-bit code, 64-bit address size, no segment base: nearly everything in long mode.</summary>
internal readonly struct Plain : IAddressing
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, Op* o) =>
        *(ulong*)((byte*)s + o->Base) + (*(ulong*)((byte*)s + o->Index) << o->Scale) + (ulong)o->Displacement;
}

/// <summary>Any address size, any segment base, wrapping as the mode says.</summary>
internal readonly struct Wide : IAddressing
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Linear(CpuState* s, Op* o) =>
        ((Plain.Linear(s, o) & o->AddressMask) + *(ulong*)((byte*)s + o->Segment)) & s->LinearMask;
}
