using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Control registers and model-specific registers. False: #GP(0) is recorded, nothing changed.</summary>
internal sealed unsafe partial class SystemRegisters(Processor processor)
{
    private const ulong EferImplemented = ControlBits.SyscallEnable | ControlBits.LongModeEnable | ControlBits.NxEnable;

    private readonly CpuState* _s = processor.State;
    private readonly Dictionary<uint, ulong> _plain = [];
    /// <summary>The bits of CR4 that may be set: those whose feature the model has (SDM 3A 2.5).</summary>
    private readonly ulong _cr4Allowed = Cr4Allowed(processor.Model);

    /// <summary>MSRs that hold what is written and do nothing else: MTRRs, and AMD's and Intel's configuration that systems read and write blindly.</summary>
    private static bool IsPlain(uint msr) => msr is (>= 0x200 and <= 0x20F) or 0x250 or 0x258 or 0x259 or (>= 0x268 and <= 0x26F) or 0x2FF
        or 0x1D9 or 0x8B or 0x17A or 0x17B or 0xC001_0015 or 0xC001_001F or 0xC001_0010 or 0xC001_0055 or 0xC001_1029 or 0xC001_1023;

    public void Reset()
    {
        _plain.Clear();
        _s->TscOffset = 0;
        _s->Pat = 0x0007_0406_0007_0406;
        _s->Star = _s->LStar = _s->CStar = _s->SFMask = _s->KernelGsBase = _s->TscAux = 0;
        _s->SysenterCs = _s->SysenterEip = _s->SysenterEsp = 0;
        _s->Pkru = _s->Pkrs = 0;
        X87Unit.Initialize(&_s->X87);
        _s->Mxcsr = 0x1F80;
        _s->Xcr0 = 1;
        _s->Xss = 0;
        Init();
    }

    /// <summary>As firmware leaves the memory types: MTRRs on, write-back by default (SDM 3A 12.11.2.1).</summary>
    public void SetFirmwareMemoryTypes() => _plain[0x2FF] = 0x806;

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
        if ((value & ~_cr4Allowed) != 0 || ((value & ControlBits.Pae) == 0 && (_s->Efer & ControlBits.LongModeActive) != 0))
        {
            return Refuse();
        }
        ulong changed = value ^ _s->Cr4;
        _s->Cr4 = value;
        if ((changed & (ControlBits.PageSizeExtensions | ControlBits.Pae | ControlBits.PageGlobal | ControlBits.Smep | ControlBits.Smap)) != 0)
        {
            processor.Mmu.FlushAll();
        }
        if ((changed & ControlBits.DebugExtensions) != 0)
        {
            processor.Debugging.Update();
        }
        processor.ModeChanged();
        return true;
    }

    public bool ReadMsr(uint msr, out ulong value)
    {
        switch (msr)
        {
            case 0x10: value = processor.TimeStamp; return true;
            case 0x1B: value = processor.Apic.Base; return true;
            case 0x3B: value = _s->TscOffset; return true;
            // MTRR capabilities: 8 variable ranges, fixed ranges, write-combining.
            case 0xFE: value = 0x508; return true;
            case 0x174: value = _s->SysenterCs; return true;
            case 0x175: value = _s->SysenterEsp; return true;
            case 0x176: value = _s->SysenterEip; return true;
            // No machine-check banks.
            case 0x179: value = 0; return true;
            case 0x277: value = _s->Pat; return true;
            case 0x6E0: value = processor.Apic.TscDeadline; return true;
            case 0xC000_0080: value = _s->Efer; return true;
            case 0xC000_0081: value = _s->Star; return true;
            case 0xC000_0082: value = _s->LStar; return true;
            case 0xC000_0083: value = _s->CStar; return true;
            case 0xC000_0084: value = _s->SFMask; return true;
            case 0xC000_0100: value = _s->Fs.Base; return true;
            case 0xC000_0101: value = _s->Gs.Base; return true;
            case 0xC000_0102: value = _s->KernelGsBase; return true;
            case 0xC000_0103: value = _s->TscAux; return true;
        }
        value = 0;
        return IsPlain(msr) ? _plain.TryGetValue(msr, out value) || true : Refuse();
    }

    public bool WriteMsr(uint msr, ulong value)
    {
        switch (msr)
        {
            case 0x10:
                _s->TscOffset += value - processor.TimeStamp;
                return true;
            case 0x3B:
                _s->TscOffset = value;
                return true;
            case 0x1B:
                processor.Apic.Base = value;
                processor.Mmu.FlushAll();
                return true;
            case 0x174: _s->SysenterCs = (uint)value; return true;
            case 0x175: return SetCanonical(ref _s->SysenterEsp, value);
            case 0x176: return SetCanonical(ref _s->SysenterEip, value);
            case 0x179: return true;
            case 0x277: return WritePat(value);
            case 0x6E0: processor.Apic.TscDeadline = value; return true;
            case 0xC000_0080: return WriteEfer(value);
            case 0xC000_0081: _s->Star = value; return true;
            case 0xC000_0082: return SetCanonical(ref _s->LStar, value);
            case 0xC000_0083: return SetCanonical(ref _s->CStar, value);
            case 0xC000_0084: _s->SFMask = (uint)value; return true;
            case 0xC000_0100: return SetCanonical(ref _s->Fs.Base, value);
            case 0xC000_0101: return SetCanonical(ref _s->Gs.Base, value);
            case 0xC000_0102: return SetCanonical(ref _s->KernelGsBase, value);
            case 0xC000_0103: _s->TscAux = (uint)value; return true;
        }
        if (!IsPlain(msr))
        {
            return Refuse();
        }
        _plain[msr] = value;
        return true;
    }

    private static ulong Cr4Allowed(CpuModel model)
    {
        ulong allowed = ControlBits.PerformanceCounters;
        Allow(CpuFeature.Vme, ControlBits.Virtual8086Extensions | ControlBits.ProtectedVirtualInterrupts);
        Allow(CpuFeature.Tsc, ControlBits.TimeStampDisable);
        Allow(CpuFeature.Debugging, ControlBits.DebugExtensions);
        Allow(CpuFeature.Pse, ControlBits.PageSizeExtensions);
        Allow(CpuFeature.Pae, ControlBits.Pae);
        Allow(CpuFeature.MachineCheckException, ControlBits.MachineCheck);
        Allow(CpuFeature.GlobalPages, ControlBits.PageGlobal);
        Allow(CpuFeature.Fxsr, ControlBits.OsFxsr);
        Allow(CpuFeature.Sse, ControlBits.OsXmmExceptions);
        Allow(CpuFeature.FsGsBase, ControlBits.FsGsBase);
        Allow(CpuFeature.Xsave, ControlBits.OsXsave);
        return allowed;

        void Allow(CpuFeature feature, ulong bits) => allowed |= model.Has(feature) ? bits : 0;
    }

    private bool WritePat(ulong value)
    {
        for (int i = 0; i < 64; i += 8)
        {
            if ((byte)(value >> i) is 2 or 3 or > 7)
            {
                return Refuse();
            }
        }
        _s->Pat = value;
        return true;
    }

    private bool WriteEfer(ulong value)
    {
        if ((value & ~(EferImplemented | ControlBits.LongModeActive)) != 0
            || (((value ^ _s->Efer) & ControlBits.LongModeEnable) != 0 && (_s->Cr0 & ControlBits.Paging) != 0))
        {
            return Refuse();
        }
        bool nxChanged = ((value ^ _s->Efer) & ControlBits.NxEnable) != 0;
        _s->Efer = (value & EferImplemented) | (_s->Efer & ControlBits.LongModeActive);
        if (nxChanged)
        {
            processor.Mmu.FlushAll();
        }
        processor.ModeChanged();
        return true;
    }

    private bool SetCanonical(ref ulong field, ulong value)
    {
        if ((long)(value << 16) >> 16 != (long)value)
        {
            return Refuse();
        }
        field = value;
        return true;
    }

    private bool Refuse()
    {
        Exits.Record(_s, Vectors.GeneralProtection);
        return false;
    }
}
