using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Transfers that change segment or privilege: interrupts and returns from them, far jumps, system calls.</summary>
internal static unsafe partial class SystemInstructions
{
    /// <summary>IRET; the operand size is <see cref="Op.Extra"/>.</summary>
    public static Op* Iret(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        // Even an IRET that faults lets NMIs in again (SDM 3A 6.7.1).
        processor.EndNmi();
        ulong block = s->Rip;
        if (!processor.Segments.ReturnFromInterrupt(o->Extra, (block + o->IpOffset + o->Length) & s->LinearMask))
        {
            return AbandonTransfer(s, o, block);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>INT n and INT3 (the immediate is the vector), INTO, INT1. <see cref="Op.Extra"/>: 0 for INT n, else not subject to IOPL in
    /// virtual-8086 mode; <see cref="Privileged"/> for INT1, not subject to the gate's level either.</summary>
    public static Op* Int(CpuState* s, Op* o)
    {
        byte vector = (byte)o->Immediate;
        Processor processor = Processor.Of(s);
        bool redirected = false;
        if ((s->SystemFlags & Flags.Virtual8086) != 0 && o->Extra == 0)
        {
            if (!VirtualInterrupts.TryIsRedirected(processor, vector, out redirected))
            {
                return Exits.Abort(s, o);
            }
            if (!redirected && (s->SystemFlags & Flags.Iopl) != Flags.Iopl)
            {
                return Exits.Fault(s, o, Vectors.GeneralProtection);
            }
        }
        ulong block = s->Rip;
        s->Rip = (block + o->IpOffset + o->Length) & s->LinearMask;
        if (!(redirected ? VirtualInterrupts.TryRedirect(processor, vector) : processor.Delivery.TrySoftwareInterrupt(vector, o->Extra == Privileged)))
        {
            return AbandonTransfer(s, o, block);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    public static Op* Into(CpuState* s, Op* o)
    {
        if (Flags.IsOverflow(s))
        {
            return Int(s, o);
        }
        return Exits.After(s, o);
    }

    /// <summary>JMP far (<see cref="Op.Extra"/> 0) and CALL far (1) to an immediate: selector above bit 32, offset below. <see cref="Op.Source"/> is the operand size.</summary>
    public static Op* FarDirect(CpuState* s, Op* o) => Far(s, o, (ushort)(o->Immediate >> 32), (uint)o->Immediate);

    /// <summary>The same through memory.</summary>
    public static Op* FarIndirect(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong offset;
        if (o->Source == 8)
        {
            if (!GuestAccess.Read(s, linear, out offset))
            {
                return Exits.Abort(s, o);
            }
        }
        else if (o->Source == 4)
        {
            if (!GuestAccess.Read(s, linear, out uint wide))
            {
                return Exits.Abort(s, o);
            }
            offset = wide;
        }
        else
        {
            if (!GuestAccess.Read(s, linear, out ushort narrow))
            {
                return Exits.Abort(s, o);
            }
            offset = narrow;
        }
        if (!GuestAccess.Read(s, (linear + o->Source) & s->LinearMask, out ushort selector))
        {
            return Exits.Abort(s, o);
        }
        return Far(s, o, selector, offset);
    }

    /// <summary>RET far; <see cref="Op.Extra"/> is the operand size, the immediate what to release.</summary>
    public static Op* FarReturn(CpuState* s, Op* o)
    {
        ulong block = s->Rip;
        if (!Processor.Of(s).Segments.ReturnFar(o->Extra, (ushort)o->Immediate))
        {
            return AbandonTransfer(s, o, block);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSCALL. AMD's processors have it outside 64-bit code too, with the target in STAR in legacy mode (APM 2 6.1.1).</summary>
    public static Op* Syscall(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        bool from64 = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        if ((s->Efer & ControlBits.SyscallEnable) == 0 || (s->Cr0 & ControlBits.ProtectedMode) == 0 || !(from64 || processor.Model.IsAmd))
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        s->Gpr[1] = (s->Rip + o->IpOffset + o->Length) & s->LinearMask;
        if (longMode)
        {
            s->Gpr[11] = Flags.Get(s) & ~(ulong)Flags.Resume;
            s->Rip = from64 ? s->LStar : s->CStar;
            Flags.Set(s, s->Gpr[11] & ~s->SFMask);
            // The mask takes effect before the trap would.
            processor.Delivery.TrapPending &= (s->SystemFlags & Flags.Trap) != 0;
        }
        else
        {
            s->Rip = (uint)s->Star;
            s->SystemFlags &= ~(ulong)(Flags.Interrupt | Flags.Virtual8086 | Flags.Resume);
        }
        EnterFlat(s, (ushort)(s->Star >> 32), 0, longMode);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSRET; <see cref="Op.Extra"/> is 8 with REX.W.</summary>
    public static Op* Sysret(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        bool from64 = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        if ((s->Efer & ControlBits.SyscallEnable) == 0 || (s->Mode & CodeMode.Protected) == 0 || !(from64 || processor.Model.IsAmd))
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        bool to64 = o->Extra == 8;
        // AMD's go to a non-canonical address and fault there.
        if (s->Cpl != 0 || (to64 && !processor.Model.IsAmd && !LinearAddress.IsCanonical(s, s->Gpr[1])))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ushort selector = (ushort)(s->Star >> 48);
        s->Rip = to64 ? s->Gpr[1] : (uint)s->Gpr[1];
        if ((s->Efer & ControlBits.LongModeActive) != 0)
        {
            Flags.Set(s, s->Gpr[11] & ~(ulong)(Flags.Resume | Flags.Virtual8086));
        }
        else
        {
            s->SystemFlags |= Flags.Interrupt;
        }
        s->Cs = new SegmentRegister
        {
            Selector = (uint)((to64 ? selector + 16 : selector) | 3) & 0xFFFF,
            Limit = uint.MaxValue,
            Attributes = to64 ? 0xA0FBu : 0xC0FBu,
        };
        s->Ss = new SegmentRegister { Selector = (uint)((selector + 8) | 3) & 0xFFFF, Limit = uint.MaxValue, Attributes = 0xC0F3 };
        s->Cpl = 3;
        // The flags that it loads tell whether it is trapped itself, as if SYSCALL had been (SDM 3B 18.3.1.4).
        processor.Delivery.TrapPending = (s->SystemFlags & Flags.Trap) != 0;
        processor.ModeChanged();
        processor.NoteInterrupts();
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSENTER. AMD's processors have neither it nor SYSEXIT in long mode (APM 2 6.1.2).</summary>
    public static Op* Sysenter(CpuState* s, Op* o)
    {
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        if (longMode && Processor.Of(s).Model.IsAmd)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((s->Cr0 & ControlBits.ProtectedMode) == 0 || (s->SysenterCs & 0xFFFC) == 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->SystemFlags &= ~(ulong)(Flags.Interrupt | Flags.Virtual8086 | Flags.Resume);
        s->Rip = longMode ? s->SysenterEip : (uint)s->SysenterEip;
        s->Gpr[4] = longMode ? s->SysenterEsp : (uint)s->SysenterEsp;
        EnterFlat(s, (ushort)(s->SysenterCs & 0xFFFC), 0, longMode);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSEXIT; <see cref="Op.Extra"/> is 8 with REX.W.</summary>
    public static Op* Sysexit(CpuState* s, Op* o)
    {
        if ((s->Efer & ControlBits.LongModeActive) != 0 && Processor.Of(s).Model.IsAmd)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        bool to64 = o->Extra == 8;
        if ((s->Mode & CodeMode.Protected) == 0 || (s->SysenterCs & 0xFFFC) == 0 || s->Cpl != 0
            || (to64 && !(LinearAddress.IsCanonical(s, s->Gpr[1]) && LinearAddress.IsCanonical(s, s->Gpr[2]))))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Rip = to64 ? s->Gpr[2] : (uint)s->Gpr[2];
        s->Gpr[4] = to64 ? s->Gpr[1] : (uint)s->Gpr[1];
        EnterFlat(s, (ushort)((s->SysenterCs & 0xFFFC) + (to64 ? 32u : 16u)), 3, to64);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    private static Op* Far(CpuState* s, Op* o, ushort selector, ulong offset)
    {
        SegmentLoader loader = Processor.Of(s).Segments;
        ulong block = s->Rip;
        ulong next = (block + o->IpOffset + o->Length) & s->LinearMask;
        if (!(o->Extra == 0 ? loader.JumpFar(selector, offset, next) : loader.CallFar(selector, offset, o->Source, next)))
        {
            return AbandonTransfer(s, o, block);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>A transfer failed: back to its instruction, unless that has switched to another task, whose fault it is then.</summary>
    private static Op* AbandonTransfer(CpuState* s, Op* o, ulong block)
    {
        if (!Processor.Of(s).Tasks.TakeSwitched())
        {
            s->Rip = block;
            return Exits.Abort(s, o);
        }
        s->Retired += o->Ordinal + 1;
        s->LinkSlot = null;
        return null;
    }

    private static void EnterFlat(CpuState* s, ushort selector, uint cpl, bool wide)
    {
        uint dpl = cpl << 5;
        s->Cs = new SegmentRegister { Selector = (uint)(selector & ~3) | cpl, Limit = uint.MaxValue, Attributes = (wide ? 0xA09Bu : 0xC09Bu) | dpl };
        s->Ss = new SegmentRegister { Selector = (uint)((selector & ~3) + 8) | cpl, Limit = uint.MaxValue, Attributes = 0xC093 | dpl };
        s->Cpl = cpl;
        Processor.Of(s).ModeChanged();
    }
}
