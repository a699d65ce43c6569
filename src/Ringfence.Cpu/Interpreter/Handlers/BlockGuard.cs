using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Ops that are no instructions: they stand where a block begins or ends, in modes that ask for it, and see to it that the block may be
/// run as a whole. If not, its first instruction is run alone, decoded anew.</summary>
internal static unsafe class BlockGuard
{
    /// <summary>In code that is not flat. Goes on only if the whole block, of <see cref="Op.Immediate"/> bytes, lies within CS's limit; if not,
    /// the fetch of what lies beyond will fault.</summary>
    public static Op* CodeLimit(CpuState* s, Op* o)
    {
        if (s->Rip + o->Immediate - 1 > s->Cs.Limit)
        {
            return Alone(s);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>While breakpoints for code are armed. Goes on only if none lies in the block, of <see cref="Op.Immediate"/> bytes.</summary>
    public static Op* Breakpoints(CpuState* s, Op* o)
    {
        if (Processor.Of(s).Debugging.StopsWithin((s->Rip + s->Cs.Base) & s->LinearMask, o->Immediate))
        {
            return Alone(s);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Before an instruction that reaches into a second page: goes on only if that is mapped where it was.</summary>
    public static Op* Page(CpuState* s, Op* o)
    {
        ulong next = (((s->Rip + s->Cs.Base) | 0xFFF) + 1) & s->LinearMask;
        TlbEntry* entry = s->Tlb + ((next >> 12) & (GuestAccess.TlbEntries - 1));
        if ((entry->Execute ^ next) >= GuestAccess.PageBytes || next + entry->Addend != o->Immediate)
        {
            return Alone(s);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>
    /// Before a near transfer in code that is not flat, the next op, which ends the block: if that goes beyond CS's limit, the fault is the
    /// transfer's own (SDM 2 JMP, CALL, RET, Jcc, LOOP), with the registers as they were.
    /// </summary>
    public static Op* Branch(CpuState* s, Op* o)
    {
        ulong rip = s->Rip;
        ulong count = s->Gpr[1];
        ulong stack = s->Gpr[4];
        long retired = s->Retired;
        o++;
        Op* next = o->Handler(s, o);
        // One that is not taken may end where the segment does: what follows it is for the next fetch.
        if (s->Rip <= s->Cs.Limit || s->Event != ExitEvent.None || s->Rip == rip + o->IpOffset + o->Length)
        {
            return next;
        }
        s->Rip = rip;
        s->Gpr[1] = count;
        s->Gpr[4] = stack;
        s->Retired = retired;
        return Exits.Fault(s, o, Vectors.GeneralProtection);
    }

    private static Op* Alone(CpuState* s)
    {
        s->Event = ExitEvent.Step;
        s->LinkSlot = null;
        return null;
    }
}
