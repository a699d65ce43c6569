using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Control registers. False: #GP(0) is recorded, nothing changed.</summary>
internal sealed unsafe class SystemRegisters(Processor processor)
{
    /// <summary>What translations depend on.</summary>
    private const ulong Cr4Paging = ControlBits.PageSizeExtensions | ControlBits.Pae | ControlBits.PageGlobal | ControlBits.La57 | ControlBits.Smep
        | ControlBits.Smap | ControlBits.ProtectionKeys | ControlBits.SupervisorKeys | ControlBits.LamSupervisor;
    /// <summary>What makes the processor read PAE's directory pointers again when it changes (SDM 3A 4.4.1).</summary>
    private const ulong Cr4ReloadsPointers = ControlBits.PageSizeExtensions | ControlBits.Pae | ControlBits.PageGlobal | ControlBits.Smep;

    private readonly CpuState* _s = processor.State;
    /// <summary>The bits of CR4 that may be set: those whose feature the model has (SDM 3A 2.5).</summary>
    private readonly ulong _cr4Allowed = Cr4Allowed(processor.Model);

    public void Reset()
    {
        _s->Pkru = _s->Pkrs = 0;
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
        ulong efer = _s->Efer;
        if ((changed & ControlBits.Paging) != 0 && (value & ControlBits.Paging) != 0 && (efer & ControlBits.LongModeEnable) != 0)
        {
            if ((_s->Cr4 & ControlBits.Pae) == 0 || _s->Cs.Is(SegmentAttributes.Long))
            {
                return Refuse();
            }
            efer |= ControlBits.LongModeActive;
        }
        else if ((changed & ControlBits.Paging) != 0 && (value & ControlBits.Paging) == 0)
        {
            if ((_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 || (_s->Cr4 & ControlBits.Pcid) != 0)
            {
                return Refuse();
            }
            efer &= ~ControlBits.LongModeActive;
        }
        if ((changed & (ControlBits.Paging | ControlBits.CacheDisable | ControlBits.NotWriteThrough)) != 0
            && !LoadPointers(value, _s->Cr3, _s->Cr4, efer))
        {
            return false;
        }
        _s->Cr0 = value;
        _s->Efer = efer;
        if ((changed & (ControlBits.Paging | ControlBits.ProtectedMode | ControlBits.WriteProtect)) != 0)
        {
            processor.Mmu.FlushAll();
        }
        processor.ModeChanged();
        return true;
    }

    /// <summary>MOV to CR3 (SDM 2 MOV; SDM 3A 4.5, 4.10.4.1).</summary>
    public bool WriteCr3(ulong value)
    {
        bool pcids = (_s->Cr4 & ControlBits.Pcid) != 0;
        bool keep = pcids && (value & ControlBits.KeepTranslations) != 0;
        value &= ~(pcids ? ControlBits.KeepTranslations : 0);
        ulong masking = processor.Model.Has(CpuFeature.LinearAddressMasking) ? ControlBits.LamUser : 0;
        if (((value & ~masking) >> PageWalker.PhysicalBits) != 0)
        {
            return Refuse();
        }
        if (!LoadPointers(_s->Cr0, value, _s->Cr4, _s->Efer))
        {
            return false;
        }
        _s->Cr3 = value;
        processor.Mmu.EnterContext(keep);
        return true;
    }

    /// <summary>MOV to CR4 (SDM 3A 2.5, 4.10.1).</summary>
    public bool WriteCr4(ulong value)
    {
        ulong changed = value ^ _s->Cr4;
        bool longMode = (_s->Efer & ControlBits.LongModeActive) != 0;
        if ((value & ~_cr4Allowed) != 0
            || (longMode && ((value & ControlBits.Pae) == 0 || (changed & ControlBits.La57) != 0))
            || ((changed & value & ControlBits.Pcid) != 0 && (!longMode || (_s->Cr3 & ControlBits.PcidMask) != 0)))
        {
            return Refuse();
        }
        if ((changed & Cr4ReloadsPointers) != 0 && !LoadPointers(_s->Cr0, _s->Cr3, value, _s->Efer))
        {
            return false;
        }
        _s->Cr4 = value;
        if ((changed & ControlBits.Pcid) != 0)
        {
            processor.Mmu.ReenterContext();
        }
        else if ((changed & Cr4Paging) != 0)
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

    /// <summary>WRPKRU and XRSTOR: the rights of protection keys for user pages.</summary>
    /// <summary>XSETBV's checks and effect (SDM 2 XSETBV).</summary>
    public bool WriteXcr0(ulong value)
    {
        bool avxWithoutSse = (value & ExtendedStateLayout.Avx) != 0 && (value & ExtendedStateLayout.Sse) == 0;
        ulong avx512 = value & ExtendedStateLayout.Avx512;
        bool avx512InPart = avx512 != 0 && (avx512 != ExtendedStateLayout.Avx512 || (value & ExtendedStateLayout.Avx) == 0);
        if ((value & ~new ExtendedStateLayout(processor.Model).User) != 0 || (value & ExtendedStateLayout.X87) == 0 || avxWithoutSse || avx512InPart)
        {
            return Refuse();
        }
        _s->Xcr0 = value;
        processor.ModeChanged();
        return true;
    }

    /// <summary>IA32_XSS.</summary>
    public bool WriteXss(ulong value)
    {
        if ((value & ~new ExtendedStateLayout(processor.Model).Supervisor) != 0)
        {
            return Refuse();
        }
        _s->Xss = value;
        return true;
    }

    public void WritePkru(uint value)
    {
        uint changed = value ^ _s->Pkru;
        _s->Pkru = value;
        NoteKeys(changed, ControlBits.ProtectionKeys);
    }

    /// <summary>Makes anew what is derived from control registers that were set from outside.</summary>
    public void StateLoaded()
    {
        processor.Mmu.ReenterContext();
        if (UsesPointers(_s->Cr0, _s->Cr4, _s->Efer))
        {
            processor.Mmu.TryLoadPointers(_s->Cr3);
        }
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
        Allow(CpuFeature.Umip, ControlBits.Umip);
        Allow(CpuFeature.La57, ControlBits.La57);
        Allow(CpuFeature.Pcid, ControlBits.Pcid);
        Allow(CpuFeature.Smep, ControlBits.Smep);
        Allow(CpuFeature.Smap, ControlBits.Smap);
        Allow(CpuFeature.ProtectionKeys, ControlBits.ProtectionKeys);
        Allow(CpuFeature.SupervisorKeys, ControlBits.SupervisorKeys);
        Allow(CpuFeature.LinearAddressMasking, ControlBits.LamSupervisor);
        return allowed;

        void Allow(CpuFeature feature, ulong bits) => allowed |= model.Has(feature) ? bits : 0;
    }

    /// <summary>IA32_PKRS.</summary>
    public bool WritePkrs(ulong value)
    {
        if ((value >> 32) != 0)
        {
            return Refuse();
        }
        uint changed = (uint)value ^ _s->Pkrs;
        _s->Pkrs = (uint)value;
        NoteKeys(changed, ControlBits.SupervisorKeys);
        return true;
    }

    /// <param name="enable">The bit of CR4 that puts the register in force.</param>
    private void NoteKeys(uint changed, ulong enable)
    {
        if (changed != 0 && (_s->Cr4 & enable) != 0)
        {
            processor.Mmu.KeysChanged((changed & 3) != 0);
        }
    }

    /// <summary>PAE paging outside long mode.</summary>
    private static bool UsesPointers(ulong cr0, ulong cr4, ulong efer) =>
        (cr0 & ControlBits.Paging) != 0 && (cr4 & ControlBits.Pae) != 0 && (efer & ControlBits.LongModeActive) == 0;

    /// <summary>Reads PAE's directory pointers if that is the paging that will be in force. #GP if one has reserved bits (SDM 3A 4.4.1).</summary>
    private bool LoadPointers(ulong cr0, ulong cr3, ulong cr4, ulong efer) =>
        !UsesPointers(cr0, cr4, efer) || processor.Mmu.TryLoadPointers(cr3) || Refuse();

    private bool Refuse()
    {
        Exits.Record(_s, Vectors.GeneralProtection);
        return false;
    }
}
