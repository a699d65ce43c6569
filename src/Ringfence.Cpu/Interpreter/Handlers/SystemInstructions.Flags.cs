using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Instructions whose right to the interrupt flag depends on IOPL; or they act on VIF in its place.</summary>
internal static unsafe partial class SystemInstructions
{
    public static Op* Cli(CpuState* s, Op* o)
    {
        if (MayChangeInterrupts(s))
        {
            s->SystemFlags &= ~(ulong)Flags.Interrupt;
        }
        else if (VirtualInterrupts.HasFlag(s))
        {
            s->SystemFlags &= ~(ulong)Flags.VirtualInterrupt;
        }
        else
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Sti(CpuState* s, Op* o)
    {
        if (!MayChangeInterrupts(s))
        {
            // A virtual interrupt that is pending goes to the monitor.
            if (!VirtualInterrupts.HasFlag(s) || (s->SystemFlags & Flags.VirtualInterruptPending) != 0)
            {
                return Exits.Fault(s, o, Vectors.GeneralProtection);
            }
            s->SystemFlags |= Flags.VirtualInterrupt;
        }
        else if ((s->SystemFlags & Flags.Interrupt) == 0)
        {
            s->SystemFlags |= Flags.Interrupt;
            s->InterruptShadow = InterruptShadow.Sti;
            Processor.Of(s).NoteInterrupts();
        }
        return Exits.After(s, o);
    }

    public static Op* Pushf<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        ulong image = Flags.Get(s);
        if (IsBarred(s))
        {
            if (!VirtualInterrupts.HasFlagsImage(s, sizeof(T)))
            {
                return Exits.Fault(s, o, Vectors.GeneralProtection);
            }
            image = VirtualInterrupts.Image(s);
        }
        // VM and RF are pushed as 0 (SDM 2 PUSHF).
        if (!Stack.TryPush<TStack, T>(s, image & ~(ulong)(Flags.Virtual8086 | Flags.Resume)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Popf<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        bool barred = IsBarred(s);
        if (barred && !VirtualInterrupts.HasFlagsImage(s, sizeof(T)))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!Stack.TryPeek<TStack, T>(s, 0, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        if (barred && !VirtualInterrupts.MaySet(s, value))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        ulong old = Flags.Get(s);
        if (barred)
        {
            VirtualInterrupts.Set(s, value);
        }
        else
        {
            ulong keep = Flags.Virtual8086 | Flags.VirtualInterrupt | Flags.VirtualInterruptPending | (sizeof(T) == 2 ? ~0xFFFFUL : 0)
                | (s->Cpl != 0 ? Flags.Iopl : 0u) | (MayChangeInterrupts(s) ? 0u : Flags.Interrupt);
            Flags.Set(s, ((value & ~keep) | (old & keep)) & ~(ulong)Flags.Resume);
        }
        ulong changed = old ^ s->SystemFlags;
        if ((changed & (Flags.Interrupt | Flags.AlignmentCheck | Flags.Trap)) == 0)
        {
            o++;
            return o->Handler(s, o);
        }
        Processor processor = Processor.Of(s);
        processor.Mmu.SelectTlb();
        processor.NoteInterrupts();
        return Exits.After(s, o);
    }

    private static bool MayChangeInterrupts(CpuState* s) => s->Cpl <= (uint)(s->SystemFlags & Flags.Iopl) >> 12;

    /// <summary>Virtual-8086 mode with an IOPL below 3, where instructions that touch the flags are the monitor's to emulate.</summary>
    private static bool IsBarred(CpuState* s) => (s->SystemFlags & Flags.Virtual8086) != 0 && (s->SystemFlags & Flags.Iopl) != Flags.Iopl;
}
