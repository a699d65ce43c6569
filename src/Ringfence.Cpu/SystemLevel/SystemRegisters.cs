using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Control registers. False: #GP(0) is recorded, nothing changed.</summary>
internal sealed unsafe class SystemRegisters(Processor processor)
{
    private const ulong Cr4Implemented = ControlBits.TimeStampDisable | ControlBits.DebugExtensions | ControlBits.PageSizeExtensions | ControlBits.Pae
        | ControlBits.MachineCheck | ControlBits.PageGlobal | ControlBits.PerformanceCounters | ControlBits.OsFxsr | ControlBits.OsXmmExceptions;

    private readonly CpuState* _s = processor.State;

    public void Reset()
    {
        X87Unit.Initialize(&_s->X87);
        _s->Mxcsr = 0x1F80;
        _s->Xcr0 = 1;
        _s->Xss = 0;
        Init();
    }

    public void Init()
    {
        for (int i = 0; i < 16; i++)
        {
            _s->Gpr[i] = 0;
        }
        _s->Gpr[2] = processor.Model.Signature;
        _s->Rip = 0xFFF0;
        Flags.Set(_s, Flags.Fixed);
        SegmentRegister data = new() { Limit = 0xFFFF, Attributes = 0x93 };
        _s->Es = _s->Ss = _s->Ds = _s->Fs = _s->Gs = data;
        _s->Cs = new SegmentRegister { Selector = 0xF000, Base = 0xFFFF_0000, Limit = 0xFFFF, Attributes = 0x9B };
        _s->Ldtr = new SegmentRegister { Limit = 0xFFFF, Attributes = 0x82 };
        _s->Tr = new SegmentRegister { Limit = 0xFFFF, Attributes = 0x8B };
        _s->GdtBase = _s->IdtBase = 0;
        _s->GdtLimit = _s->IdtLimit = 0xFFFF;
        _s->Cpl = 0;
        _s->Cr0 = 0x6000_0010;
        _s->Cr2 = _s->Cr3 = _s->Cr4 = _s->Efer = 0;
        for (int i = 0; i < 8; i++)
        {
            _s->Dr[i] = 0;
        }
        _s->Dr[6] = 0xFFFF_0FF0;
        _s->Dr[7] = 0x400;
        _s->InterruptShadow = 0;
        _s->Event = ExitEvent.None;
    }

    public bool WriteCr0(ulong value)
    {
        value |= ControlBits.ExtensionType;
        if ((value >> 32) != 0 || ((value & ControlBits.Paging) != 0 && (value & ControlBits.ProtectedMode) == 0)
            || ((value & ControlBits.NotWriteThrough) != 0 && (value & ControlBits.CacheDisable) == 0))
        {
            return Refuse();
        }
        value &= ControlBits.Cr0Defined;
        ulong changed = value ^ _s->Cr0;
        if ((changed & ControlBits.Paging) != 0 && (value & ControlBits.Paging) != 0 && (_s->Efer & ControlBits.LongModeEnable) != 0)
        {
            if ((_s->Cr4 & ControlBits.Pae) == 0 || _s->Cs.Is(SegmentAttributes.Long))
            {
                return Refuse();
            }
            _s->Efer |= ControlBits.LongModeActive;
        }
        else if ((changed & ControlBits.Paging) != 0 && (value & ControlBits.Paging) == 0)
        {
            if ((_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64)
            {
                return Refuse();
            }
            _s->Efer &= ~ControlBits.LongModeActive;
        }
        _s->Cr0 = value;
        if ((changed & (ControlBits.Paging | ControlBits.ProtectedMode | ControlBits.WriteProtect)) != 0)
        {
            processor.Mmu.FlushAll();
        }
        processor.ModeChanged();
        return true;
    }

    public bool WriteCr3(ulong value)
    {
        if ((value >> Memory.PageWalker.PhysicalBits) != 0)
        {
            return Refuse();
        }
        _s->Cr3 = value;
        processor.Mmu.FlushLocal();
        return true;
    }

    public bool WriteCr4(ulong value)
    {
        if ((value & ~Cr4Implemented) != 0 || ((value & ControlBits.Pae) == 0 && (_s->Efer & ControlBits.LongModeActive) != 0))
        {
            return Refuse();
        }
        ulong changed = value ^ _s->Cr4;
        _s->Cr4 = value;
        if ((changed & (ControlBits.PageSizeExtensions | ControlBits.Pae | ControlBits.PageGlobal | ControlBits.Smep | ControlBits.Smap)) != 0)
        {
            processor.Mmu.FlushAll();
        }
        processor.ModeChanged();
        return true;
    }

    private bool Refuse()
    {
        Exits.Record(_s, Vectors.GeneralProtection);
        return false;
    }
}
