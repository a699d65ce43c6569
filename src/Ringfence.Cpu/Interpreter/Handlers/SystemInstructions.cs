using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Instructions that concern the processor as a whole. Those that can change how code is decoded or fetched leave the block.</summary>
internal static unsafe partial class SystemInstructions
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
        (uint a, uint b, uint c, uint d) = Models.Cpuid.Query(
            processor.Model, leaf, (uint)s->Gpr[1], new CpuidContext((uint)processor.ApicId, processor.Shared.Processors, s->Cr4, 0, 0, processor.Apic.Enabled));
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
        if (!processor.Msrs.Read((uint)s->Gpr[1], out ulong value))
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
        if (!processor.Msrs.Write((uint)s->Gpr[1], value))
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
}
