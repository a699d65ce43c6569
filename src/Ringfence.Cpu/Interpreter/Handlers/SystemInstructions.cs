using System.Runtime.CompilerServices;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Instructions that concern the processor as a whole. Those that can change how code is decoded or fetched leave the block.</summary>
internal static unsafe partial class SystemInstructions
{
    /// <summary>INT1, in <see cref="Op.Extra"/> of <see cref="Int"/>.</summary>
    public const byte Privileged = 2;

    public static Op* Cpuid(CpuState* s, Op* o)
    {
        Processor processor = Processor.Of(s);
        uint leaf = (uint)s->Gpr[0];
        s->ExitIp = o->IpOffset;
        processor.Count(ExitKind.Cpuid, leaf, (uint)s->Gpr[1]);
        CpuidAnswer* answer = processor.CpuidAnswers.Query(leaf, (uint)s->Gpr[1]);
        s->Gpr[0] = answer->Eax;
        s->Gpr[3] = answer->Ebx;
        s->Gpr[1] = answer->Ecx;
        s->Gpr[2] = answer->Edx;
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
        return s->Mode == mode ? Next(s, o) : ControlFlow.GoOn(s, o);
    }

    /// <summary>IN. The port is DX, or the immediate when <see cref="Op.Extra"/> is 1.</summary>
    public static Op* In<T>(CpuState* s, Op* o)
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
    {
        ushort port = o->Extra != 0 ? (byte)o->Immediate : (ushort)s->Gpr[2];
        if (!PortAccess.Allowed(s, port, sizeof(T)))
        {
            return Exits.Abort(s, o);
        }
        PortAccess.Write(s, o, port, sizeof(T), (uint)Width.Get<T>(s, Slots.Rax));
        return Next(s, o);
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
        return done ? ControlFlow.GoOn(s, o) : Exits.Abort(s, o);
    }

    public static Op* Clts(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Cr0 &= ~ControlBits.TaskSwitched;
        Processor.Of(s).ModeChanged();
        return ControlFlow.GoOn(s, o);
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
}
