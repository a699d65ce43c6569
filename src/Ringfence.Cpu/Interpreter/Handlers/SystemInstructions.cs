using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Instructions that concern the processor as a whole. Those that can change how code is decoded or fetched leave the block.</summary>
internal static unsafe class SystemInstructions
{
    /// <summary>INT1, in <see cref="Op.Extra"/> of <see cref="Int"/>.</summary>
    public const byte Privileged = 2;

    /// <summary>DR7.GD; DR6.BD is in the same place.</summary>
    private const ulong GeneralDetect = 1 << 13;

    public static Op* Cpuid(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        uint leaf = (uint)s->Gpr[0];
        s->ExitIp = o->IpOffset;
        processor.Count(ExitKind.Cpuid, leaf, (uint)s->Gpr[1]);
        (uint a, uint b, uint c, uint d) = processor.Model.Query(leaf, (uint)s->Gpr[1], processor.Apic.Id, (s->Cr4 & ControlBits.OsXsave) != 0);
        s->Gpr[0] = a;
        s->Gpr[3] = b;
        s->Gpr[1] = c;
        s->Gpr[2] = d;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Rdtsc(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.TimeStampDisable) != 0 && s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong counter = Processor.Of(s).TimeStamp;
        s->Gpr[0] = (uint)counter;
        s->Gpr[2] = counter >> 32;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Rdtscp(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.TimeStampDisable) != 0 && s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Gpr[1] = (uint)s->TscAux;
        return Rdtsc(s, o);
    }

    public static Op* Rdmsr(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor processor = Processor.Of(s);
        if (!processor.Registers.ReadMsr((uint)s->Gpr[1], out ulong value))
        {
            return Exits.Abort(s, o);
        }
        s->ExitIp = o->IpOffset;
        processor.Count(ExitKind.MsrRead, (uint)s->Gpr[1], value);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Wrmsr(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor processor = Processor.Of(s);
        ulong value = (uint)s->Gpr[0] | (s->Gpr[2] << 32);
        s->ExitIp = o->IpOffset;
        processor.Count(ExitKind.MsrWrite, (uint)s->Gpr[1], value);
        uint mode = s->Mode;
        if (!processor.Registers.WriteMsr((uint)s->Gpr[1], value))
        {
            return Exits.Abort(s, o);
        }
        return s->Mode == mode ? Next(s, o) : Exits.After(s, o);
    }

    /// <summary>IN. The port is DX, or the immediate when <see cref="Op.Extra"/> is 1.</summary>
    public static Op* In<T>(CpuState* s, Op* o)
        where T : unmanaged
    {
        ushort port = o->Extra != 0 ? (byte)o->Immediate : (ushort)s->Gpr[2];
        if (!PortAccess.Allowed(s, port, sizeof(T)))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, Slots.Rax, PortAccess.Read(s, o, port, sizeof(T)));
        return Next(s, o);
    }

    public static Op* Out<T>(CpuState* s, Op* o)
        where T : unmanaged
    {
        ushort port = o->Extra != 0 ? (byte)o->Immediate : (ushort)s->Gpr[2];
        if (!PortAccess.Allowed(s, port, sizeof(T)))
        {
            return Exits.Abort(s, o);
        }
        PortAccess.Write(s, o, port, sizeof(T), (uint)Width.Get<T>(s, Slots.Rax));
        return Next(s, o);
    }

    public static Op* Cli(CpuState* s, Op* o)
    {
        if (!MayChangeInterrupts(s))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->SystemFlags &= ~(ulong)Flags.Interrupt;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Sti(CpuState* s, Op* o)
    {
        if (!MayChangeInterrupts(s))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if ((s->SystemFlags & Flags.Interrupt) == 0)
        {
            s->SystemFlags |= Flags.Interrupt;
            s->InterruptShadow = InterruptShadow.Sti;
            Processor.Of(s).NoteInterrupts();
        }
        return Exits.After(s, o);
    }

    public static Op* Hlt(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Event = ExitEvent.Halt;
        return Exits.After(s, o);
    }

    /// <summary>MOV from a control register, whose number is <see cref="Op.Extra"/>, to <see cref="Op.Destination"/>.</summary>
    public static Op* MovFromControl(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong value = o->Extra switch
        {
            0 => s->Cr0,
            2 => s->Cr2,
            3 => s->Cr3,
            4 => s->Cr4,
            _ => Processor.Of(s).Apic.Cr8,
        };
        Width.Set<ulong>(s, o->Destination, (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? value : (uint)value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovToControl(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor processor = Processor.Of(s);
        ulong value = Width.Get<ulong>(s, o->Source);
        if ((s->Mode & CodeMode.BitsMask) != CodeMode.Bits64)
        {
            value = (uint)value;
        }
        s->ExitIp = o->IpOffset;
        processor.Count(ExitKind.ControlRegister, o->Extra, value);
        bool done = true;
        switch (o->Extra)
        {
            case 0: done = processor.Registers.WriteCr0(value); break;
            case 2: s->Cr2 = value; break;
            case 3: done = processor.Registers.WriteCr3(value); break;
            case 4: done = processor.Registers.WriteCr4(value); break;
            default:
                done = value <= 15;
                if (done)
                {
                    processor.Apic.Cr8 = (uint)value;
                }
                else
                {
                    Exits.Record(s, Vectors.GeneralProtection);
                }
                break;
        }
        return done ? Exits.After(s, o) : Exits.Abort(s, o);
    }

    public static Op* MovFromDebug(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        int number = DebugRegister(s, o);
        if (number < 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((s->Dr[7] & GeneralDetect) != 0)
        {
            return DetectDebugAccess(s, o);
        }
        Width.Set<ulong>(s, o->Destination, s->Dr[number]);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovToDebug(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        int number = DebugRegister(s, o);
        if (number < 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((s->Dr[7] & GeneralDetect) != 0)
        {
            return DetectDebugAccess(s, o);
        }
        ulong value = Width.Get<ulong>(s, o->Source);
        if (number >= 6 && (value >> 32) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Dr[number] = number switch
        {
            6 => (value & 0xE00F) | 0xFFFF_0FF0,
            7 => (value & 0xFFFF_2BFF) | 0x400,
            _ => value,
        };
        return Exits.After(s, o);
    }

    public static Op* Clts(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Cr0 &= ~ControlBits.TaskSwitched;
        Processor.Of(s).ModeChanged();
        return Exits.After(s, o);
    }

    public static Op* Lmsw<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        // LMSW sets PE but cannot clear it.
        ulong cr0 = (s->Cr0 & ~0xEUL) | (value & 0xF);
        return Processor.Of(s).Registers.WriteCr0(cr0) ? Exits.After(s, o) : Exits.Abort(s, o);
    }

    /// <summary>SMSW, SLDT, STR to a register: <see cref="Op.Extra"/> says which.</summary>
    public static Op* StoreSystemR<T>(CpuState* s, Op* o)
        where T : unmanaged
    {
        Width.Set<T>(s, o->Destination, SystemWord(s, o));
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreSystemM(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)SystemWord(s, o)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>LGDT (<see cref="Op.Extra"/> 0) and LIDT (1). The operand is 6 bytes, 10 in 64-bit mode; with a 16-bit operand size 24 bits of base count.</summary>
    public static Op* LoadTable(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong linear = Wide.Linear(s, o);
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        ulong tableBase;
        if (!GuestAccess.Read(s, linear, out ushort limit))
        {
            return Exits.Abort(s, o);
        }
        if (wide)
        {
            if (!GuestAccess.Read(s, linear + 2, out tableBase))
            {
                return Exits.Abort(s, o);
            }
            if (!ControlFlow.CheckTarget(s, tableBase))
            {
                return Exits.Abort(s, o);
            }
        }
        else
        {
            if (!GuestAccess.Read(s, (linear + 2) & s->LinearMask, out uint narrow))
            {
                return Exits.Abort(s, o);
            }
            tableBase = o->Immediate == 2 ? narrow & 0xFF_FFFF : narrow;
        }
        if (o->Extra == 0)
        {
            s->GdtBase = tableBase;
            s->GdtLimit = limit;
        }
        else
        {
            s->IdtBase = tableBase;
            s->IdtLimit = limit;
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreTable(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong tableBase = o->Extra == 0 ? s->GdtBase : s->IdtBase;
        ushort limit = (ushort)(o->Extra == 0 ? s->GdtLimit : s->IdtLimit);
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        bool done = GuestAccess.Write(s, linear, limit)
            && (wide ? GuestAccess.Write(s, linear + 2, tableBase) : GuestAccess.Write(s, (linear + 2) & s->LinearMask, (uint)tableBase));
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>LLDT (<see cref="Op.Extra"/> 0) and LTR (1).</summary>
    public static Op* LoadSystemSegment<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong selector))
        {
            return Exits.Abort(s, o);
        }
        SegmentLoader loader = Processor.Of(s).Segments;
        bool done = o->Extra == 0 ? loader.LoadLdt((ushort)selector) : loader.LoadTask((ushort)selector);
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Invlpg(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor.Of(s).Mmu.FlushPage(Wide.Linear(s, o));
        return Exits.After(s, o);
    }

    /// <summary>WBINVD, INVD: there is no cache to write back, only the right to ask.</summary>
    public static Op* PrivilegedNop(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Nop(CpuState* s, Op* o)
    {
        o++;
        return o->Handler(s, o);
    }

    public static Op* InvalidOpcode(CpuState* s, Op* o) => Exits.Fault(s, o, Vectors.InvalidOpcode);

    public static Op* DeviceNotAvailable(CpuState* s, Op* o) => Exits.Fault(s, o, Vectors.DeviceNotAvailable);

    public static Op* TooLong(CpuState* s, Op* o) => Exits.Fault(s, o, Vectors.GeneralProtection);

    public static Op* Pushf<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
        where T : unmanaged
    {
        if ((s->SystemFlags & Flags.Virtual8086) != 0 && (s->SystemFlags & Flags.Iopl) != Flags.Iopl)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        // VM and RF are pushed as 0 (SDM 2 PUSHF).
        if (!Stack.TryPush<TStack, T>(s, Flags.Get(s) & ~(ulong)(Flags.Virtual8086 | Flags.Resume)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Popf<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
        where T : unmanaged
    {
        if ((s->SystemFlags & Flags.Virtual8086) != 0 && (s->SystemFlags & Flags.Iopl) != Flags.Iopl)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!Stack.TryPeek<TStack, T>(s, 0, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        ulong keep = Flags.Virtual8086 | Flags.VirtualInterrupt | Flags.VirtualInterruptPending | (sizeof(T) == 2 ? ~0xFFFFUL : 0)
            | (s->Cpl != 0 ? Flags.Iopl : 0u) | (MayChangeInterrupts(s) ? 0u : Flags.Interrupt);
        ulong old = Flags.Get(s);
        Flags.Set(s, ((value & ~keep) | (old & keep)) & ~(ulong)Flags.Resume);
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

    /// <summary>IRET; the operand size is <see cref="Op.Extra"/>.</summary>
    public static Op* Iret(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        // Even an IRET that faults lets NMIs in again (SDM 3A 6.7.1).
        processor.Delivery.NmiBlocked = false;
        ulong block = s->Rip;
        if (!processor.Segments.ReturnFromInterrupt(o->Extra))
        {
            s->Rip = block;
            return Exits.Abort(s, o);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>INT n and INT3 (the immediate is the vector), INTO, INT1. <see cref="Op.Extra"/>: 0 for INT n, else not subject to IOPL in
    /// virtual-8086 mode; <see cref="Privileged"/> for INT1, not subject to the gate's level either.</summary>
    public static Op* Int(CpuState* s, Op* o)
    {
        byte vector = (byte)o->Immediate;
        if ((s->SystemFlags & Flags.Virtual8086) != 0 && (s->SystemFlags & Flags.Iopl) != Flags.Iopl && o->Extra == 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong block = s->Rip;
        s->Rip = (block + o->IpOffset + o->Length) & s->LinearMask;
        if (!Processor.Of(s).Delivery.TrySoftwareInterrupt(vector, o->Extra == Privileged))
        {
            s->Rip = block;
            return Exits.Abort(s, o);
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
            s->Rip = block;
            return Exits.Abort(s, o);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>MOV to a segment register, whose number is <see cref="Op.Extra"/>.</summary>
    public static Op* MovToSegment<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<ushort>(s, o, out ulong selector) || !Processor.Of(s).Segments.LoadData(o->Extra, (ushort)selector))
        {
            return Exits.Abort(s, o);
        }
        s->InterruptShadow = o->Extra == 2 ? InterruptShadow.MovSs : InterruptShadow.None;
        return Exits.After(s, o);
    }

    public static Op* MovFromSegmentR<T>(CpuState* s, Op* o)
        where T : unmanaged
    {
        Width.Set<T>(s, o->Destination, (&s->Es + o->Extra)->Selector);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovFromSegmentM(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)(&s->Es + o->Extra)->Selector))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PushSegment<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
        where T : unmanaged
    {
        if (!Stack.TryPush<TStack, T>(s, (&s->Es + o->Extra)->Selector))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PopSegment<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
        where T : unmanaged
    {
        if (!Stack.TryPeek<TStack, T>(s, 0, out ulong selector) || !Processor.Of(s).Segments.LoadData(o->Extra, (ushort)selector))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        s->InterruptShadow = o->Extra == 2 ? InterruptShadow.MovSs : InterruptShadow.None;
        return Exits.After(s, o);
    }

    /// <summary>LDS, LES, LFS, LGS, LSS: <see cref="Op.Extra"/> is the segment register.</summary>
    public static Op* LoadPointer<T>(CpuState* s, Op* o)
        where T : unmanaged
    {
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.Read(s, linear, out T offset) || !GuestAccess.Read(s, (linear + (ulong)sizeof(T)) & s->LinearMask, out ushort selector)
            || !Processor.Of(s).Segments.LoadData(o->Extra, selector))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, Width.From(offset));
        return Exits.After(s, o);
    }

    public static Op* Syscall(CpuState* s, Op* o)
    {
        if ((s->Efer & ControlBits.SyscallEnable) == 0 || (s->Efer & ControlBits.LongModeActive) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        bool from64 = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        s->Gpr[1] = (s->Rip + o->IpOffset + o->Length) & s->LinearMask;
        s->Gpr[11] = Flags.Get(s) & ~(ulong)Flags.Resume;
        s->Rip = from64 ? s->LStar : s->CStar;
        Flags.Set(s, s->Gpr[11] & ~s->SFMask);
        // The mask takes effect before the trap would.
        Processor.Of(s).Delivery.TrapPending &= (s->SystemFlags & Flags.Trap) != 0;
        EnterFlat(s, (ushort)(s->Star >> 32), 0, true);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSRET; <see cref="Op.Extra"/> is 8 with REX.W.</summary>
    public static Op* Sysret(CpuState* s, Op* o)
    {
        if ((s->Efer & ControlBits.SyscallEnable) == 0 || (s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        bool to64 = o->Extra == 8;
        ushort selector = (ushort)(s->Star >> 48);
        s->Rip = to64 ? s->Gpr[1] : (uint)s->Gpr[1];
        Flags.Set(s, s->Gpr[11] & ~(ulong)(Flags.Resume | Flags.Virtual8086));
        s->Cs = new SegmentRegister
        {
            Selector = (uint)((to64 ? selector + 16 : selector) | 3) & 0xFFFF,
            Limit = uint.MaxValue,
            Attributes = to64 ? 0xA0FBu : 0xC0FBu,
        };
        s->Ss = new SegmentRegister { Selector = (uint)((selector + 8) | 3) & 0xFFFF, Limit = uint.MaxValue, Attributes = 0xC0F3 };
        s->Cpl = 3;
        Processor processor = Processor.Of(s);
        processor.ModeChanged();
        processor.NoteInterrupts();
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    public static Op* Sysenter(CpuState* s, Op* o)
    {
        if ((s->Cr0 & ControlBits.ProtectedMode) == 0 || (s->SysenterCs & 0xFFFC) == 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        s->SystemFlags &= ~(ulong)(Flags.Interrupt | Flags.Virtual8086);
        s->Rip = longMode ? s->SysenterEip : (uint)s->SysenterEip;
        s->Gpr[4] = longMode ? s->SysenterEsp : (uint)s->SysenterEsp;
        EnterFlat(s, (ushort)(s->SysenterCs & 0xFFFC), 0, longMode);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    /// <summary>SYSEXIT; <see cref="Op.Extra"/> is 8 with REX.W.</summary>
    public static Op* Sysexit(CpuState* s, Op* o)
    {
        if ((s->Mode & CodeMode.Protected) == 0 || (s->SysenterCs & 0xFFFC) == 0 || s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        bool to64 = o->Extra == 8;
        s->Rip = to64 ? s->Gpr[2] : (uint)s->Gpr[2];
        s->Gpr[4] = to64 ? s->Gpr[1] : (uint)s->Gpr[1];
        EnterFlat(s, (ushort)((s->SysenterCs & 0xFFFC) + (to64 ? 32u : 16u)), 3, to64);
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
    }

    public static Op* Swapgs(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        (s->Gs.Base, s->KernelGsBase) = (s->KernelGsBase, s->Gs.Base);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>VERR, VERW, LAR, LSL: <see cref="Op.Extra"/> 0 to 3.</summary>
    public static Op* Probe<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
        where T : unmanaged
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong raw))
        {
            return Exits.Abort(s, o);
        }
        ushort selector = (ushort)raw;
        bool found = Processor.Of(s).Segments.TryProbe(selector, out Descriptor descriptor, out bool faulted);
        if (faulted)
        {
            return Exits.Abort(s, o);
        }
        bool visible = found && (descriptor.IsConforming || Math.Max(s->Cpl, selector & 3u) <= descriptor.Dpl);
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        // Which system descriptors LAR and LSL accept: SDM 2 LAR, LSL.
        uint accepted = o->Extra == 2 ? (longMode ? 0x1A04u : 0x1A3Eu) : longMode ? 0xA04u : 0xA0Eu;
        bool ok = visible && o->Extra switch
        {
            0 => descriptor.IsReadable,
            1 => descriptor.IsWritableData,
            _ => !descriptor.IsSystem || ((accepted >> (int)descriptor.Type) & 1) != 0,
        };
        if (ok && o->Extra >= 2)
        {
            Width.Set<T>(s, o->Destination, o->Extra == 2 ? (descriptor.Attributes & 0xF0FFu) << 8 : descriptor.Limit);
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (ok ? Flags.Zero : 0));
        o++;
        return o->Handler(s, o);
    }

    public static Op* Arpl<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong selector))
        {
            return Exits.Abort(s, o);
        }
        ulong rpl = Width.Get<ushort>(s, o->Source) & 3;
        bool raise = (selector & 3) < rpl;
        if (raise)
        {
            selector = (selector & ~3UL) | rpl;
            if (typeof(TOperand) == typeof(MemoryValue))
            {
                if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)selector))
                {
                    return Exits.Abort(s, o);
                }
            }
            else
            {
                Width.Set<ushort>(s, o->Destination, selector);
            }
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (raise ? Flags.Zero : 0));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>After an instruction that a device saw: on, unless it brought something to attend to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Op* Next(CpuState* s, Op* o)
    {
        if (s->Attention != 0)
        {
            return Exits.After(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>A debug register was touched with DR7.GD set (SDM 3B 18.2.4): #DB, with DR6.BD.</summary>
    private static Op* DetectDebugAccess(CpuState* s, Op* o)
    {
        s->Dr[6] |= GeneralDetect;
        s->Dr[7] &= ~GeneralDetect;
        return Exits.Fault(s, o, Vectors.Debug);
    }

    private static bool MayChangeInterrupts(CpuState* s) => s->Cpl <= (uint)(s->SystemFlags & Flags.Iopl) >> 12;

    /// <summary>DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist: -1.</summary>
    private static int DebugRegister(CpuState* s, Op* o) => o->Extra is not (4 or 5) ? o->Extra : (s->Cr4 & ControlBits.DebugExtensions) == 0 ? o->Extra + 2 : -1;

    private static ulong SystemWord(CpuState* s, Op* o) => o->Extra switch
    {
        0 => s->Ldtr.Selector,
        1 => s->Tr.Selector,
        _ => s->Cr0,
    };

    private static Op* Far(CpuState* s, Op* o, ushort selector, ulong offset)
    {
        SegmentLoader loader = Processor.Of(s).Segments;
        ulong block = s->Rip;
        bool done = o->Extra == 0
            ? loader.JumpFar(selector, offset, o->Source)
            : loader.CallFar(selector, offset, o->Source, (block + o->IpOffset + o->Length) & s->LinearMask);
        if (!done)
        {
            s->Rip = block;
            return Exits.Abort(s, o);
        }
        s->Retired += o->Ordinal + 1;
        return ControlFlow.DispatchUnlessTrapping(s);
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
