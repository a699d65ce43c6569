using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// Near transfers and how blocks follow each other. A direct transfer inside its page is linked once and for all: the page's physical
/// identity is the block's own. Every other goes by <see cref="Dispatch"/>, which checks the translation of the target's page.
/// </summary>
internal static unsafe class ControlFlow
{
    public const int JumpCacheEntries = 8192;
    /// <summary>Bits of <see cref="Op.Extra"/> in direct jumps: this way may be linked.</summary>
    public const byte LinkTaken = 1;
    public const byte LinkNotTaken = 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int JumpCacheIndex(ulong linear) => (int)((linear ^ (linear >> 13)) & (JumpCacheEntries - 1));

    /// <summary>The block at RIP if it is known and still valid, else null: the outer loop finds or makes it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Dispatch(CpuState* s)
    {
        ulong linear = (s->Rip + s->Cs.Base) & s->LinearMask;
        JumpCacheEntry* entry = s->JumpCache + JumpCacheIndex(linear);
        s->LinkSlot = null;
        if (entry->Linear == linear && entry->Mode == s->Mode && s->Attention == 0)
        {
            TlbEntry* page = s->Tlb + ((linear >> 12) & (GuestAccess.TlbEntries - 1));
            if ((page->Execute ^ linear) < GuestAccess.PageBytes && page->Addend + linear == entry->HostCode)
            {
                return entry->Ops;
            }
        }
        return null;
    }

    /// <summary>After an instruction that may have set TF, RF or an interrupt shadow: those are for the outer loop.</summary>
    public static Op* DispatchUnlessTrapping(CpuState* s)
    {
        s->LinkSlot = null;
        if ((s->SystemFlags & (Flags.Trap | Flags.Resume)) != 0)
        {
            if ((s->SystemFlags & Flags.Trap) != 0 || (s->Mode & CodeMode.Breakpoints) != 0 || s->Attention != 0)
            {
                return null;
            }
            // RF lets breakpoints pass for one instruction, and there are none.
            s->SystemFlags &= ~(ulong)Flags.Resume;
        }
        return Dispatch(s);
    }

    /// <summary>To the next instruction, after one that may have changed how it is fetched or decoded: in a block that is looked for anew.</summary>
    public static Op* GoOn(CpuState* s, Op* o) => Go(s, o, (s->Rip + o->IpOffset + o->Length) & s->LinearMask);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Take(CpuState* s, Op* o)
    {
        s->Rip = (s->Rip + (ulong)o->Displacement) & s->LinearMask;
        s->Retired += o->Ordinal + 1;
        Op* next = o->Taken;
        return next != null && s->Attention == 0 ? next : Follow(s, (o->Extra & LinkTaken) != 0 ? (Op**)&o->Immediate : null);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* FallThrough(CpuState* s, Op* o)
    {
        s->Rip = (s->Rip + o->IpOffset + o->Length) & s->LinearMask;
        s->Retired += o->Ordinal + 1;
        Op* next = o->NotTaken;
        return next != null && s->Attention == 0 ? next : Follow(s, (o->Extra & LinkNotTaken) != 0 ? (Op**)&o->AddressMask : null);
    }

    public static Op* Jump(CpuState* s, Op* o) => Take(s, o);

    /// <summary>The end of a block that no transfer ended. Not an instruction: <see cref="Op.Ordinal"/> counts those before it, its length is 0.</summary>
    public static Op* EndOfBlock(CpuState* s, Op* o)
    {
        s->Retired--;
        return FallThrough(s, o);
    }

    /// <summary>The end of a block of one instruction run on its own: always back to the outer loop.</summary>
    public static Op* EndOfStep(CpuState* s, Op* o)
    {
        s->Retired--;
        return Exits.After(s, o);
    }

    /// <summary>What every op of a block becomes when its code has changed: leaves before the instruction.</summary>
    public static Op* Stale(CpuState* s, Op* o)
    {
        s->Event = ExitEvent.Redecode;
        return Exits.Abort(s, o);
    }

    public static Op* Call<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!Stack.TryPush<TStack, T>(s, s->Rip + o->IpOffset + o->Length))
        {
            return Exits.Abort(s, o);
        }
        return Take(s, o);
    }

    public static Op* CallIndirect<TOperand, TStack, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
        where TStack : struct, IStack
    {
        if (!TOperand.Get<T>(s, o, out ulong target) || !CheckTarget(s, target)
            || !Stack.TryPush<TStack, T>(s, s->Rip + o->IpOffset + o->Length))
        {
            return Exits.Abort(s, o);
        }
        return Go(s, o, target);
    }

    public static Op* JumpIndirect<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong target) || !CheckTarget(s, target))
        {
            return Exits.Abort(s, o);
        }
        return Go(s, o, target);
    }

    /// <summary>RET and RET n (the immediate).</summary>
    public static Op* Return<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!Stack.TryPeek<TStack, T>(s, 0, out ulong target) || !CheckTarget(s, target))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T) + (o->Immediate & 0xFFFF));
        return Go(s, o, target);
    }

    /// <summary>JMP, Jcc and CALL with a 16-bit operand size: IP wraps at 64 KiB.</summary>
    public static Op* Jump16<TCondition>(CpuState* s, Op* o)
        where TCondition : struct, ICondition
    {
        ulong next = s->Rip + o->IpOffset + o->Length;
        return Go(s, o, TCondition.Holds(s) ? (ushort)(s->Rip + (ulong)o->Displacement) : next & s->LinearMask);
    }

    public static Op* Call16<TStack>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!Stack.TryPush<TStack, ushort>(s, s->Rip + o->IpOffset + o->Length))
        {
            return Exits.Abort(s, o);
        }
        return Go(s, o, (ushort)(s->Rip + (ulong)o->Displacement));
    }

    /// <summary>LOOP, LOOPE, LOOPNE and JCXZ: <typeparamref name="TCount"/> is the counter's width, by address size.</summary>
    public static Op* Loop<TLoop, TCount>(CpuState* s, Op* o)
        where TLoop : struct, ILoop
        where TCount : unmanaged
    {
        ulong count = Width.Get<TCount>(s, Slots.Rcx);
        if (TLoop.Decrements)
        {
            count = Width.Truncate<TCount>(count - 1);
            Width.Set<TCount>(s, Slots.Rcx, count);
        }
        // A 16-bit operand size truncates the target; Source says so.
        if (!TLoop.Taken(s, count))
        {
            return FallThrough(s, o);
        }
        return o->Source == 0 ? Take(s, o) : Go(s, o, (ushort)(s->Rip + (ulong)o->Displacement));
    }

    /// <summary>Goes on at a target that was computed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Go(CpuState* s, Op* o, ulong target)
    {
        s->Rip = target;
        s->Retired += o->Ordinal + 1;
        return Dispatch(s);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool CheckTarget(CpuState* s, ulong target)
    {
        if (LinearAddress.IsCanonical(s, target))
        {
            return true;
        }
        Exits.Record(s, Vectors.GeneralProtection);
        return false;
    }

    /// <summary>A transfer whose link is not made yet, or with something to attend to.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* Follow(CpuState* s, Op** slot)
    {
        if (s->Attention != 0)
        {
            s->LinkSlot = null;
            return null;
        }
        Op* next = Dispatch(s);
        if (slot == null)
        {
            return next;
        }
        if (next != null)
        {
            *slot = next;
        }
        s->LinkSlot = slot;
        return next;
    }
}

internal interface ILoop
{
    static abstract bool Decrements { get; }

    static abstract unsafe bool Taken(CpuState* s, ulong count);
}

internal readonly struct LoopAlways : ILoop
{
    public static bool Decrements => true;

    public static unsafe bool Taken(CpuState* s, ulong count) => count != 0;
}

internal readonly struct LoopWhile<TCondition> : ILoop
    where TCondition : struct, ICondition
{
    public static bool Decrements => true;

    public static unsafe bool Taken(CpuState* s, ulong count) => count != 0 && TCondition.Holds(s);
}

internal readonly struct JumpIfZeroCount : ILoop
{
    public static bool Decrements => false;

    public static unsafe bool Taken(CpuState* s, ulong count) => count == 0;
}

internal readonly struct Always : ICondition
{
    public static unsafe bool Holds(CpuState* s) => true;
}
