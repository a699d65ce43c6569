using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Virtual-8086 mode extensions and protected-mode virtual interrupts: VIF stands for IF where IOPL forbids that (SDM 3B 21.3, 21.4).</summary>
internal static unsafe class VirtualInterrupts
{
    private const int RedirectionBytes = 32;

    /// <summary>CLI and STI, which IOPL forbids, act on VIF.</summary>
    public static bool HasFlag(CpuState* s) =>
        InVirtual8086(s) ? (s->Cr4 & ControlBits.Virtual8086Extensions) != 0 : s->Cpl == 3 && (s->Cr4 & ControlBits.ProtectedVirtualInterrupts) != 0;

    /// <summary>PUSHF, POPF and IRET of 16 bits do too; only in virtual-8086 mode.</summary>
    public static bool HasFlagsImage(CpuState* s, int operandSize) =>
        operandSize == 2 && InVirtual8086(s) && (s->Cr4 & ControlBits.Virtual8086Extensions) != 0;

    /// <summary>The flags as such a PUSHF shows them: VIF in the place of IF, and IOPL 3.</summary>
    public static ulong Image(CpuState* s)
    {
        ulong flags = Flags.Get(s);
        return (flags & ~(ulong)Flags.Interrupt) | Flags.Iopl | ((flags & Flags.VirtualInterrupt) != 0 ? Flags.Interrupt : 0);
    }

    /// <summary>Whether such a POPF or IRET may set these flags: not TF, and not VIF when an interrupt is pending.</summary>
    public static bool MaySet(CpuState* s, ulong image) => (image & Flags.Trap) == 0
        && ((image & Flags.Interrupt) == 0 || (s->SystemFlags & Flags.VirtualInterruptPending) == 0);

    public static void Set(CpuState* s, ulong image)
    {
        const ulong Keep = ~0xFFFFUL | Flags.Interrupt | Flags.Iopl;
        ulong flags = (Flags.Get(s) & Keep & ~(ulong)Flags.VirtualInterrupt) | (image & ~Keep);
        Flags.Set(s, (flags | ((image & Flags.Interrupt) != 0 ? Flags.VirtualInterrupt : 0)) & ~(ulong)Flags.Resume);
    }

    /// <summary>Whether INT n in virtual-8086 mode goes to the program's own vector table: its bit in the TSS's redirection map is clear
    /// (SDM 3B 21.3.3). False as result: a fault is recorded.</summary>
    public static bool TryIsRedirected(Processor processor, byte vector, out bool redirected)
    {
        CpuState* s = processor.State;
        redirected = false;
        if ((s->Cr4 & ControlBits.Virtual8086Extensions) == 0)
        {
            return true;
        }
        if (s->Tr.Limit < 103)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, 0);
        }
        if (!processor.Mmu.ReadSystem(s->Tr.Base + 102, out ushort map))
        {
            return false;
        }
        uint at = (uint)(map - RedirectionBytes + (vector >> 3));
        if (at > s->Tr.Limit)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, 0);
        }
        bool done = processor.Mmu.ReadSystem(s->Tr.Base + at, out byte bits);
        redirected = ((bits >> (vector & 7)) & 1) == 0;
        return done;
    }

    /// <summary>INT n as real mode has it, through the vector table at linear address 0; RIP is past it.</summary>
    public static bool TryRedirect(Processor processor, byte vector)
    {
        CpuState* s = processor.State;
        bool permitted = (s->SystemFlags & Flags.Iopl) == Flags.Iopl;
        if (!processor.Mmu.Access(vector * 4u, 4, AccessKind.Read, AccessKind.Read, s->Scratch))
        {
            return false;
        }
        uint target = *(uint*)s->Scratch;
        StackWriter stack = StackWriter.Current(processor, 2);
        if (!stack.Push(permitted ? Flags.Get(s) : Image(s)) || !stack.Push(s->Cs.Selector) || !stack.Push(s->Rip))
        {
            return false;
        }
        stack.Commit();
        s->SystemFlags &= ~(ulong)(Flags.Trap | Flags.Resume | (permitted ? Flags.Interrupt : Flags.VirtualInterrupt));
        s->Cs.Selector = target >> 16;
        s->Cs.Base = (ulong)(target >> 16) << 4;
        s->Rip = target & 0xFFFF;
        processor.ModeChanged();
        return true;
    }

    private static bool InVirtual8086(CpuState* s) => (s->SystemFlags & Flags.Virtual8086) != 0;
}
