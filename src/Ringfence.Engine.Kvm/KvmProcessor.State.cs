using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>The state, from the kernel to the processor object and back. Each group is where it was changed last; what has not changed is not sent back.</summary>
internal sealed unsafe partial class KvmProcessor
{
    private const ulong Paging = 1UL << 31;
    private const ulong Pae = 1 << 5;
    private const ulong GlobalPages = 1 << 7;
    private const ulong LongModeActive = 1 << 10;
    private const ulong SyscallEnable = 1;
    private const ulong SyscallLength = 2;
    /// <summary>How far behind SYSCALL's target it may have come.</summary>
    private const ulong EntryLength = 16;
    /// <summary>In CR2 while user mode runs, which cannot see it: another address there is that of a page fault.</summary>
    private const ulong NoFault = 0xFFFF_8001_0203_0405;

    /// <summary>MSRs of the core, but those that the segments and EFER hold.</summary>
    private static readonly uint[] s_msrs = [0x174, 0x175, 0x176, 0x277, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103, 0xDA0];

    /// <summary>What is in the processor object. Empty while the kernel has all.</summary>
    private StateGroups _here = StateGroups.All;
    private KvmDebugRegisters _kernelDebug;
    private KvmMsr[]? _msrs;
    private ulong _kernelXcr0 = 1;
    private bool _kernelKnows;
    private int _generation;

    [Flags]
    private enum StateGroups
    {
        None = 0,
        /// <summary>General, segment and control registers, and events.</summary>
        Core = 1,
        Fpu = 2,
        Debug = 4,
        Msrs = 8,
        All = 15,
    }

    public void Fetch() => Fetch(StateGroups.All);

    private void Fetch(StateGroups groups)
    {
        groups |= StateGroups.Core;
        StateGroups missing = groups & ~_here;
        if (missing == StateGroups.None)
        {
            return;
        }
        if ((missing & StateGroups.Core) != 0)
        {
            Settle();
            FetchCore();
        }
        if ((missing & StateGroups.Fpu) != 0)
        {
            FetchFpu();
        }
        if ((missing & StateGroups.Debug) != 0)
        {
            FetchDebug();
        }
        if ((missing & StateGroups.Msrs) != 0 && !_userMode)
        {
            FetchMsrs();
        }
        bool first = _here == StateGroups.None;
        _here |= missing;
        _processor.StateLoaded();
        if (UsesPointers(_s->Cr0, _s->Cr4, _s->Efer))
        {
            FetchPointers();
        }
        _processor.ModeChanged();
        if (first)
        {
            TakeInjected();
        }
    }

    /// <summary>Lets the kernel finish the instruction whose access came out, and leave registers and events in the page.</summary>
    private void Settle()
    {
        NameThread();
        do
        {
            _run->ImmediateExit = 1;
            _run->RequestInterruptWindow = 0;
            _run->ValidRegisters = KvmSync.All;
            _run->Cr8 = _processor.Apic.Cr8;
            int error = _vcpu.Run();
            _run->ValidRegisters = KvmSync.None;
            if (error == KvmCalls.Interrupted)
            {
                return;
            }
            if (error != 0 && error != KvmCalls.TryAgain)
            {
                throw new GuestRunnerException(_vcpu.RunRefused(error).Message);
            }
            if (error == 0 && _run->ExitReason == KvmExitReason.EndOfInterrupt)
            {
                _processor.Bus.EndOfInterrupt(_run->EndedVector);
            }
            else if (error == 0 && _run->ExitReason is KvmExitReason.Port or KvmExitReason.Memory or KvmExitReason.MsrRead or KvmExitReason.MsrWrite)
            {
                Access();
            }
        }
        while (true);
    }

    private void FetchCore()
    {
        ref KvmRegisters r = ref _run->Registers;
        ulong* gpr = _s->Gpr;
        (gpr[0], gpr[1], gpr[2], gpr[3], gpr[4], gpr[5], gpr[6], gpr[7]) = (r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi);
        (gpr[8], gpr[9], gpr[10], gpr[11], gpr[12], gpr[13], gpr[14], gpr[15]) = (r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15);
        _s->Rip = r.Rip;
        Flags.Set(_s, r.Rflags);
        ref KvmSystemHead s = ref _run->System.Head;
        _s->Es = From(s.Es);
        _s->Cs = From(s.Cs);
        _s->Ss = From(s.Ss);
        _s->Ds = From(s.Ds);
        _s->Fs = From(s.Fs);
        _s->Gs = From(s.Gs);
        _s->Ldtr = From(s.Ldt);
        _s->Tr = From(s.Tr);
        (_s->GdtBase, _s->GdtLimit, _s->IdtBase) = (s.Gdt.Base, s.Gdt.Limit, s.Idt.Base);
        (_s->Cr0, _s->Cr3, _s->Cr4) = (s.Cr0, s.Cr3, s.Cr4);
        (_kernelCr8, _kernelApicBase) = (s.Cr8, s.ApicBase);
        _faulted = _userMode && s.Cr2 != NoFault ? s.Cr2 : null;
        if (!_userMode)
        {
            // Otherwise user mode ran without them, and cannot have changed them.
            _s->Cr2 = s.Cr2;
            _s->IdtLimit = s.Idt.Limit;
            _s->Efer = s.Efer;
        }
        _s->Cpl = (s.Cr0 & 1) == 0 ? 0 : _s->Ss.Dpl;
        if (_userMode && (r.Rip - _s->LStar < EntryLength || r.Rip - _s->CStar < EntryLength))
        {
            TakeBackSyscall();
        }
        ref KvmEvents e = ref _run->Events;
        _s->InterruptShadow = (e.InterruptShadow & 1) != 0 ? InterruptShadow.MovSs : (e.InterruptShadow & 2) != 0 ? InterruptShadow.Sti : InterruptShadow.None;
        _processor.NmiBlocked = e.NmiMasked != 0;
        _processor.PendingNmis = Math.Min(2, _processor.PendingNmis + e.NmiPending);
        _processor.DebugTraps = 0;
        TakeNmis();
    }

    /// <summary>Such a kernel does SYSCALL though it is off, and perhaps the SWAPGS behind it. RCX and R11 have where it was and its flags: our processor does it
    /// again.</summary>
    private void TakeBackSyscall()
    {
        _s->Rip = _run->Registers.Rcx - SyscallLength;
        Flags.Set(_s, _run->Registers.R11);
        _faulted = null;
        if (_s->Gs.Base == _s->KernelGsBase)
        {
            Span<KvmMsr> kernelGs = [new KvmMsr { Index = MsrState.KernelGsBase }];
            _vcpu.ReadMsrs(kernelGs);
            _s->Gs.Base = kernelGs[0].Value;
        }
    }

    /// <summary>An event that the kernel was about to deliver is delivered now: between two instructions nothing is on its way.</summary>
    private void TakeInjected()
    {
        const int Breakpoint = 3;
        const int Overflow = 4;
        KvmEvents e = _run->Events;
        if (_userMode)
        {
            // Whatever it was, our processor meets it again, or is told by CR2.
        }
        else if (e.ExceptionInjected != 0 || e.ExceptionPending != 0)
        {
            // INT3 and INTO are executed again.
            if (e.ExceptionVector is not (Breakpoint or Overflow))
            {
                _s->FaultAddress = _s->Cr2;
                Exits.Record(_s, (Vectors)e.ExceptionVector, e.ExceptionHasError != 0 ? e.ExceptionError : 0);
            }
        }
        else if (e.NmiInjected != 0)
        {
            _processor.Delivery.DeliverNmi();
        }
        else if (e.InterruptInjected != 0 && e.InterruptSoft == 0)
        {
            _processor.Delivery.DeliverInterrupt(e.InterruptVector);
        }
        while (_s->Event == ExitEvent.Fault)
        {
            _s->Event = ExitEvent.None;
            _processor.Delivery.DeliverFault();
        }
    }

    private void FetchPointers()
    {
        KvmSystemRegisters2 registers = _vcpu.SystemRegisters2;
        if ((registers.Flags & 1) != 0)
        {
            for (int i = 0; i < 4; i++)
            {
                _s->Pdpte[i] = registers.Pointers[i];
            }
        }
    }

    private void FetchDebug()
    {
        _kernelDebug = _vcpu.DebugRegisters;
        for (int i = 0; i < 4; i++)
        {
            _s->Dr[i] = _kernelDebug.Address[i];
        }
        _s->Dr[6] = _kernelDebug.Dr6;
        _s->Dr[7] = _kernelDebug.Dr7;
    }

    private void PushDebug()
    {
        KvmDebugRegisters debug = default;
        for (int i = 0; i < 4; i++)
        {
            debug.Address[i] = _s->Dr[i];
        }
        debug.Dr6 = _s->Dr[6] | _processor.DebugTraps;
        debug.Dr7 = _s->Dr[7];
        KvmDebugRegisters kernel = _kernelDebug;
        if (!_kernelKnows || !new ReadOnlySpan<ulong>(&debug, 6).SequenceEqual(new ReadOnlySpan<ulong>(&kernel, 6)))
        {
            _vcpu.DebugRegisters = _kernelDebug = debug;
        }
    }

    /// <summary>The MSRs that this kernel keeps for this model, with values as it has them.</summary>
    private KvmMsr[] KernelMsrs => _msrs ??= [.. s_msrs.Where(index => HasMsr(index) && _vcpu.HasMsr(index)).Select(index => new KvmMsr { Index = index })];

    private bool HasMsr(uint index) => index switch
    {
        0xDA0 => _processor.Model.Has(CpuFeature.XsaveS),
        0xC000_0103 => _processor.Model.Has(CpuFeature.Rdtscp) || _processor.Model.Has(CpuFeature.Rdpid),
        _ => true,
    };

    private void FetchMsrs()
    {
        _vcpu.ReadMsrs(KernelMsrs);
        foreach (KvmMsr msr in KernelMsrs)
        {
            MsrField(msr.Index) = msr.Value;
        }
    }

    private void PushMsrs()
    {
        bool changed = !_kernelKnows;
        foreach (ref KvmMsr msr in KernelMsrs.AsSpan())
        {
            changed |= msr.Value != MsrField(msr.Index);
            msr.Value = MsrField(msr.Index);
        }
        if (changed)
        {
            _vcpu.WriteMsrs(KernelMsrs);
        }
        PushTimeStamp();
    }

    private ref ulong MsrField(uint index)
    {
        switch (index)
        {
            case 0x174: return ref _s->SysenterCs;
            case 0x175: return ref _s->SysenterEsp;
            case 0x176: return ref _s->SysenterEip;
            case 0x277: return ref _s->Pat;
            case 0xC000_0081: return ref _s->Star;
            case 0xC000_0082: return ref _s->LStar;
            case 0xC000_0083: return ref _s->CStar;
            case 0xC000_0084: return ref _s->SFMask;
            case 0xC000_0102: return ref _s->KernelGsBase;
            case 0xC000_0103: return ref _s->TscAux;
            default: return ref _s->Xss;
        }
    }

    private ulong _kernelTscOffset;
    private int _turns;

    /// <summary>The processor's time-stamp offset is the kernel's too; where that cannot be, it is 0.</summary>
    private void PushTimeStamp()
    {
        if (_s->TscOffset == _kernelTscOffset)
        {
            return;
        }
        if (_machine.TscSettable)
        {
            _kernelTscOffset = _s->TscOffset;
            _vcpu.TscOffset = _machine.Tsc.Offset + _kernelTscOffset;
        }
        else
        {
            _s->TscOffset = 0;
            _processor.TimeStampChanged();
        }
    }

    /// <summary>By how much the guest's counter was behind the clock when a deadline was written last.</summary>
    private ulong _lag;

    /// <summary>A deadline of the guest's counter, as the local APIC's clock will show it. They are the same but where the kernel steers the counter, which at
    /// present stands where it stood when guest code came out: before it gets to the deadline nothing may come.</summary>
    private ulong OnOurClock(ulong deadline)
    {
        if (_machine.CountersAreSteady || deadline == 0)
        {
            return deadline;
        }
        Span<KvmMsr> counter = [new KvmMsr { Index = 0x10 }];
        _vcpu.ReadMsrs(counter);
        _lag = _processor.TimeStamp - counter[0].Value;
        return deadline > ulong.MaxValue / 2 ? deadline : deadline + _lag;
    }

    private ulong OnGuestsCounter(ulong deadline) => deadline is 0 or > ulong.MaxValue / 2 ? deadline : deadline - _lag;

    /// <summary>After a pause: the guest's counter stood still as well, and now goes on from where it was. Where that cannot be it has gone on, and a deadline
    /// that was far away is nearer.</summary>
    private void FollowClock()
    {
        int turns = _machine.Tsc.Turns;
        if (turns == _turns)
        {
            return;
        }
        _turns = turns;
        if (_machine.TscSettable)
        {
            _vcpu.TscOffset = _machine.Tsc.Offset + _kernelTscOffset;
        }
        else
        {
            _processor.Apic.TimeStampChanged();
        }
    }

    /// <summary>Gives the kernel what is in the processor object.</summary>
    private void Push()
    {
        if (_here == StateGroups.None)
        {
            return;
        }
        if ((_here & StateGroups.Fpu) != 0)
        {
            PushFpu();
        }
        if ((_here & StateGroups.Msrs) != 0)
        {
            PushMsrs();
        }
        if ((_here & StateGroups.Debug) != 0)
        {
            PushDebug();
        }
        PushCore();
        _kernelKnows |= _here == StateGroups.All;
        _here = StateGroups.None;
        _pageIsFresh = false;
    }

    private void PushCore()
    {
        ulong* gpr = _s->Gpr;
        _run->Registers = new KvmRegisters
        {
            Rax = gpr[0], Rcx = gpr[1], Rdx = gpr[2], Rbx = gpr[3], Rsp = gpr[4], Rbp = gpr[5], Rsi = gpr[6], Rdi = gpr[7],
            R8 = gpr[8], R9 = gpr[9], R10 = gpr[10], R11 = gpr[11], R12 = gpr[12], R13 = gpr[13], R14 = gpr[14], R15 = gpr[15],
            Rip = _s->Rip,
            Rflags = Flags.Get(_s),
        };
        bool held = Held;
        _userMode = _emulatesSupervisor && _s->Cpl == UserMode && !held;
        KvmSystemHead system = new()
        {
            Es = To(_s->Es), Cs = To(_s->Cs), Ss = To(_s->Ss), Ds = To(_s->Ds), Fs = To(_s->Fs), Gs = To(_s->Gs), Ldt = To(_s->Ldtr), Tr = To(_s->Tr),
            Gdt = new KvmTable { Base = _s->GdtBase, Limit = (ushort)_s->GdtLimit },
            Idt = new KvmTable { Base = _s->IdtBase, Limit = _userMode ? (ushort)0 : (ushort)_s->IdtLimit },
            Cr0 = _s->Cr0, Cr2 = _userMode ? NoFault : _s->Cr2, Cr3 = _s->Cr3, Cr4 = _s->Cr4, Efer = _userMode ? _s->Efer & ~SyscallEnable : _s->Efer,
            Cr8 = held ? _kernelCr8 : _processor.Apic.Cr8,
            ApicBase = held ? _kernelApicBase : _processor.Apic.Base,
        };
        KvmSync dirty = KvmSync.Registers | KvmSync.Events;
        if (_generation != _machine.Generation)
        {
            // Another CR4 for a moment makes the kernel flush what it and the processor hold of translations.
            _generation = _machine.Generation;
            SetSystem(system with { Cr4 = system.Cr4 ^ GlobalPages });
        }
        if (UsesPointers(_s->Cr0, _s->Cr4, _s->Efer))
        {
            SetSystem(system);
        }
        else
        {
            _run->System = new KvmSystemRegisters { Head = system };
            dirty |= KvmSync.System;
        }
        const uint NmiPendingIsValid = 1;
        const uint ShadowIsValid = 4;
        ulong traps = _processor.DebugTraps;
        _run->Events = new KvmEvents
        {
            // NMIs that have come to the kernel meanwhile stay there.
            Flags = held ? ShadowIsValid : NmiPendingIsValid | ShadowIsValid,
            InterruptShadow = (byte)(_s->InterruptShadow switch { InterruptShadow.MovSs => 1, InterruptShadow.Sti => 2, _ => 0 }),
            NmiMasked = (byte)(_processor.NmiBlocked ? 1 : 0),
            ExceptionInjected = (byte)(traps != 0 ? 1 : 0),
            ExceptionVector = (byte)(traps != 0 ? 1 : 0),
        };
        _run->DirtyRegisters = dirty;
    }

    private void SetSystem(in KvmSystemHead system)
    {
        KvmSystemRegisters2 wide = new() { Head = system };
        if (UsesPointers(system.Cr0, system.Cr4, system.Efer))
        {
            wide.Flags = 1;
            for (int i = 0; i < 4; i++)
            {
                wide.Pointers[i] = _s->Pdpte[i];
            }
        }
        _vcpu.SystemRegisters2 = wide;
    }

    private static bool UsesPointers(ulong cr0, ulong cr4, ulong efer) => (cr0 & Paging) != 0 && (cr4 & Pae) != 0 && (efer & LongModeActive) == 0;

    private static SegmentRegister From(in KvmSegment s) => new()
    {
        Selector = s.Selector,
        Base = s.Base,
        Limit = s.Limit,
        Attributes = (uint)(s.Type | (s.System << 4) | (s.Dpl << 5) | (s.Present << 7) | (s.Available << 12) | (s.Long << 13) | (s.Big << 14)
            | (s.Granularity << 15) | (s.Unusable << 16)),
    };

    private static KvmSegment To(in SegmentRegister s) => new()
    {
        Selector = (ushort)s.Selector,
        Base = s.Base,
        Limit = s.Limit,
        Type = (byte)(s.Attributes & 15),
        System = Bit(s.Attributes, 4),
        Dpl = (byte)s.Dpl,
        Present = Bit(s.Attributes, 7),
        Available = Bit(s.Attributes, 12),
        Long = Bit(s.Attributes, 13),
        Big = Bit(s.Attributes, 14),
        Granularity = Bit(s.Attributes, 15),
        Unusable = Bit(s.Attributes, 16),
    };

    private static byte Bit(uint attributes, int number) => (byte)((attributes >> number) & 1);
}
