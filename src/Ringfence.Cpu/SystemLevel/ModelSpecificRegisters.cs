using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Model-specific registers (SDM 4; APM 2 appendix A). False: #GP(0) is recorded, nothing changed.</summary>
internal sealed unsafe partial class ModelSpecificRegisters(Processor processor)
{
    private const ulong EferImplemented = ControlBits.SyscallEnable | ControlBits.LongModeEnable | ControlBits.NxEnable;

    private const uint MiscEnable = 0x1A0;
    /// <summary>IA32_MISC_ENABLE (SDM 4 table 2-2): fast strings; no branch trace storage, no event-based sampling.</summary>
    private const ulong MiscEnableDefault = (1 << 0) | (1 << 11) | (1 << 12);
    private const ulong MiscEnableMonitor = 1 << 18;
    /// <summary>IA32_ARCH_CAPABILITIES (SDM 4 table 2-2): none of Meltdown, L1TF, SSB, MDS, page-size machine checks, TAA, SBDR, FBSDP, PSDP, BHI,
    /// PBRSB, GDS, RFDS, ITS. An interpreter runs nothing ahead of time.</summary>
    private const ulong ArchCapabilities = (1 << 0) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 8) | (1 << 13) | (1 << 14) | (1 << 15)
        | (1 << 20) | (1 << 24) | (1 << 26) | (1 << 27) | (1UL << 62);

    private readonly CpuState* _s = processor.State;
    private readonly Dictionary<uint, ulong> _plain = [];

    /// <summary>MSRs that hold what is written and do nothing else: MTRRs, and AMD's and Intel's configuration that systems read and write blindly.</summary>
    private static bool IsPlain(uint msr) => msr is (>= 0x200 and <= 0x20F) or 0x250 or 0x258 or 0x259 or (>= 0x268 and <= 0x26F) or 0x2FF
        or 0x1D9 or 0x8B or 0x17A or 0x17B or 0xC001_0015 or 0xC001_001F or 0xC001_0010 or 0xC001_0055 or 0xC001_1029 or 0xC001_1023;

    public void Reset()
    {
        _plain.Clear();
        // Kernels read these of Intel's before they can survive a fault: the features they turn off, and the platform ID.
        if (processor.Model.IsIntel || processor.Model.IsGeneric)
        {
            _plain[MiscEnable] = MiscEnableDefault | (processor.Model.Has(CpuFeature.MonitorWait) ? MiscEnableMonitor : 0);
        }
        if (processor.Model.IsIntel)
        {
            _plain[0x17] = 0;
        }
        _s->TscOffset = 0;
        _s->Pat = 0x0007_0406_0007_0406;
        _s->Star = _s->LStar = _s->CStar = _s->SFMask = _s->KernelGsBase = _s->TscAux = 0;
        _s->SysenterCs = _s->SysenterEip = _s->SysenterEsp = 0;
    }

    /// <summary>As firmware leaves the memory types: MTRRs on, write-back by default (SDM 3A 12.11.2.1).</summary>
    public void SetFirmwareMemoryTypes() => _plain[0x2FF] = 0x806;

    public bool Read(uint msr, out ulong value)
    {
        switch (msr)
        {
            case 0x10: value = processor.TimeStamp; return true;
            case 0x1B: value = processor.Apic.Base; return true;
            case 0x3B when Has(CpuFeature.TscAdjust): value = _s->TscOffset; return true;
            // MTRR capabilities: 8 variable ranges, fixed ranges, write-combining.
            case 0xFE: value = 0x508; return true;
            case 0x10A when processor.Model.Has(CpuFeature.ArchCapabilities): value = ArchCapabilities; return true;
            case 0x174: value = _s->SysenterCs; return true;
            case 0x175: value = _s->SysenterEsp; return true;
            case 0x176: value = _s->SysenterEip; return true;
            // No machine-check banks.
            case 0x179: value = 0; return true;
            case 0x277: value = _s->Pat; return true;
            case >= 0x800 and <= 0x8FF: return processor.Apic.TryReadMsr(msr, out value) || Refuse();
            case 0x6E0 when Has(CpuFeature.TscDeadline): value = processor.Apic.TscDeadline; return true;
            case 0x6E1 when processor.Model.Has(CpuFeature.SupervisorKeys): value = _s->Pkrs; return true;
            case 0xDA0 when processor.Model.Has(CpuFeature.XsaveS): value = _s->Xss; return true;
            // Event selectors and performance counters of families 6 to 14h: there, and nothing counts.
            case >= 0xC001_0000 and <= 0xC001_0007: value = 0; return true;
            case 0xC000_0080: value = _s->Efer; return true;
            case 0xC000_0081: value = _s->Star; return true;
            case 0xC000_0082: value = _s->LStar; return true;
            case 0xC000_0083: value = _s->CStar; return true;
            case 0xC000_0084: value = _s->SFMask; return true;
            case 0xC000_0100: value = _s->Fs.Base; return true;
            case 0xC000_0101: value = _s->Gs.Base; return true;
            case 0xC000_0102: value = _s->KernelGsBase; return true;
            case 0xC000_0103 when HasTscAux: value = _s->TscAux; return true;
        }
        value = 0;
        return _plain.TryGetValue(msr, out value) || IsPlain(msr) || (processor.Paravirtual?.TryRead(msr, out value) ?? false) || Refuse();
    }

    public bool Write(uint msr, ulong value)
    {
        switch (msr)
        {
            case 0x10:
                // SDM 3B 18.17.3: the adjustment changes by as much.
                _s->TscOffset += value - processor.TimeStamp;
                processor.TimeStampChanged();
                return true;
            case 0x3B when Has(CpuFeature.TscAdjust):
                _s->TscOffset = value;
                processor.TimeStampChanged();
                return true;
            case 0x1B:
                if (!processor.Apic.TrySetBase(value))
                {
                    return Refuse();
                }
                processor.Mmu.FlushAll();
                return true;
            case 0x174: _s->SysenterCs = (uint)value; return true;
            case 0x175: return SetCanonical(ref _s->SysenterEsp, value);
            case 0x176: return SetCanonical(ref _s->SysenterEip, value);
            case 0x277: return WritePat(value);
            case >= 0x800 and <= 0x8FF: return processor.Apic.TryWriteMsr(msr, value) || Refuse();
            case 0x6E0 when Has(CpuFeature.TscDeadline): processor.Apic.TscDeadline = value; return true;
            case 0x6E1 when processor.Model.Has(CpuFeature.SupervisorKeys): return processor.Registers.WritePkrs(value);
            case 0xDA0 when processor.Model.Has(CpuFeature.XsaveS): return processor.Registers.WriteXss(value);
            case >= 0xC001_0000 and <= 0xC001_0007: return true;
            case 0xC000_0080: return WriteEfer(value);
            case 0xC000_0081: _s->Star = value; return true;
            case 0xC000_0082: return SetCanonical(ref _s->LStar, value);
            case 0xC000_0083: return SetCanonical(ref _s->CStar, value);
            case 0xC000_0084: _s->SFMask = (uint)value; return true;
            case 0xC000_0100: return SetCanonical(ref _s->Fs.Base, value);
            case 0xC000_0101: return SetCanonical(ref _s->Gs.Base, value);
            case 0xC000_0102: return SetCanonical(ref _s->KernelGsBase, value);
            case 0xC000_0103 when HasTscAux: _s->TscAux = (uint)value; return true;
        }
        if (processor.Paravirtual?.TryWrite(msr, value) ?? false)
        {
            return true;
        }
        if ((!IsPlain(msr) && !_plain.ContainsKey(msr)) || !IsMemoryTypeValid(msr, value))
        {
            return Refuse();
        }
        _plain[msr] = value;
        return true;
    }

    /// <summary>What the memory-type range registers refuse (SDM 3A 12.11.2): types that there are not, and reserved bits.</summary>
    private static bool IsMemoryTypeValid(uint msr, ulong value)
    {
        const ulong PhysicalAddress = ((1UL << Memory.PageWalker.PhysicalBits) - 1) & ~0xFFFUL;
        switch (msr)
        {
            case 0x2FF:
                return (value & ~0xCFFUL) == 0 && IsRangeType((byte)value);
            case >= 0x200 and <= 0x20F:
                return (msr & 1) == 0
                    ? (value & ~(PhysicalAddress | 0xFF)) == 0 && IsRangeType((byte)value)
                    : (value & ~(PhysicalAddress | 0x800)) == 0;
            case 0x250 or 0x258 or 0x259 or (>= 0x268 and <= 0x26F):
                for (int i = 0; i < 64; i += 8)
                {
                    if (!IsRangeType((byte)(value >> i)))
                    {
                        return false;
                    }
                }
                return true;
            default:
                return true;
        }
    }

    /// <summary>Uncacheable, write-combining, write-through, write-protected, write-back.</summary>
    private static bool IsRangeType(byte type) => type is 0 or 1 or 4 or 5 or 6;

    private bool HasTscAux => Has(CpuFeature.Rdtscp) || Has(CpuFeature.Rdpid);

    private bool Has(CpuFeature feature) => processor.Model.Has(feature);

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
        if (!LinearAddress.IsCanonicalForRegisters(processor.Model, value))
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
