using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ringfence.Cpu;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.State;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// Runs a processor's guest code in KVM. The local APIC stays ours, and so do the MSRs that are no state of the processor's core: their accesses come out as exits.
/// Interrupts are put in one at a time, as the 8259 pair and an external APIC would.
/// </summary>
internal sealed unsafe partial class KvmProcessor : IGuestRunner
{
    private const uint EmulationFailure = 1;

    private readonly KvmMachine _machine;
    private readonly KvmVcpuDescriptor _vcpu;
    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly KvmRun* _run;
    private readonly int _signal = KickSignal.Number;
    private readonly int _process = KvmCalls.ProcessId();
    private int _thread;
    private int _managedThread = -1;
    /// <summary>1 from before what was asked is looked at until KVM_RUN has returned.</summary>
    private int _inside;
    /// <summary>The page tells of the vCPU as it is.</summary>
    private bool _pageIsFresh;
    private bool _stopsWanted;
    private long? _ahead;
    private long _timeAhead;

    public KvmProcessor(KvmMachine machine, KvmVcpuDescriptor vcpu, Processor processor, IRunnerVcpu owner)
    {
        _machine = machine;
        _owner = owner;
        _chip = machine.Chip;
        _vcpu = vcpu;
        _processor = processor;
        _s = processor.State;
        _run = vcpu.Page;
        _emulatesSupervisor = !machine.Traits.RunsSupervisorNatively;
        _xsave = (byte*)NativeMemory.AlignedAlloc(XsaveBytes * 2, 64);
        vcpu.ReadXsave(_xsave);
        Unsafe.CopyBlock(_xsave + XsaveBytes, _xsave, XsaveBytes);
        if (machine.TscSettable)
        {
            vcpu.TscOffset = machine.Tsc.Offset;
        }
        _chip?.Add(this);
    }

    public string? ShutdownReport { get; private set; }

    public IEnumerable<KeyValuePair<string, long>> Counts =>
        _fallbacks.Select(fallback => KeyValuePair.Create($"fallback: {fallback.Key}", fallback.Value))
            .Append(KeyValuePair.Create("stays in our supervisor", _supervisorRuns))
            .Append(KeyValuePair.Create("eoi", _ends)).Where(count => count.Value != 0);

    public RunResult Run()
    {
        ShutdownReport = null;
        _ahead = null;
        try
        {
            return RunGuest();
        }
        catch (KvmException refused)
        {
            throw new GuestRunnerException(refused.Message);
        }
    }

    private RunResult RunGuest()
    {
        if (_machine.OwnCode)
        {
            Fetch();
            _machine.NoteOwnCode();
            return _processor.Run();
        }
        if (_ownSupervisor)
        {
            return RunSupervisor();
        }
        while (true)
        {
            if (_s->Event == ExitEvent.Shutdown)
            {
                _s->Event = ExitEvent.None;
                return RunResult.Shutdown;
            }
            if (_chip is { Held: false } && StaysOurs())
            {
                return RunSupervisor();
            }
            Entered entered = EnterKernel(out int error);
            if (entered == Entered.Again)
            {
                continue;
            }
            if (_ownSupervisor)
            {
                return RunSupervisor();
            }
            if (entered != Entered.Done)
            {
                return entered == Entered.Halted ? RunResult.Halted : RunResult.ExitRequested;
            }
            _pageIsFresh = true;
            if (_chip is null && _run->Cr8 != _processor.Apic.Cr8)
            {
                _processor.Apic.Cr8 = (uint)_run->Cr8;
            }
            if (error != 0)
            {
                if (error is KvmCalls.Interrupted or KvmCalls.TryAgain)
                {
                    continue;
                }
                throw new GuestRunnerException(_vcpu.RunRefused(error).Message);
            }
            if (Handle() is { } result)
            {
                return result;
            }
        }
    }

    /// <summary>What became of entering the kernel.</summary>
    private enum Entered
    {
        /// <summary>It has come back.</summary>
        Done,
        /// <summary>Not now: another look at everything comes first.</summary>
        Again,
        /// <summary>Someone wants <see cref="Run"/> to return.</summary>
        Exit,
        /// <summary>Nothing will ever run again.</summary>
        Halted,
    }

    private Entered EnterKernel(out int error)
    {
        if (_chip is null)
        {
            return Go(out error);
        }
        if (_chip.IsMoving)
        {
            _chip.AwaitMove();
        }
        lock (Entry)
        {
            return Go(out error);
        }
    }

    private Entered Go(out int error)
    {
        error = 0;
        Push();
        Entered entered = Prepare();
        if (entered == Entered.Done && !_ownSupervisor)
        {
            _entries++;
            error = _vcpu.Run();
        }
        Volatile.Write(ref _inside, 0);
        return entered;
    }

    public void Kick()
    {
        // Whoever asks has said what for before; the vCPU's thread looks after it has said that it is inside.
        _run->ImmediateExit = 1;
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _inside) != 0)
        {
            KvmCalls.Signal(_process, _thread, _signal);
        }
    }

    public void NoteStops(bool wanted)
    {
        if (wanted != _stopsWanted)
        {
            _stopsWanted = wanted;
            _machine.CountStops(wanted ? 1 : -1);
        }
    }

    public VcpuState ToMachineTime(VcpuState state) => Shift(state, Ahead(), ApicAhead(), TimeAhead());

    public VcpuState FromMachineTime(VcpuState state) => Shift(state, -Ahead(), -ApicAhead(), -TimeAhead());

    public void Dispose() => NativeMemory.AlignedFree(_xsave);

    /// <summary>How far the clock of a vCPU here is ahead of the machine's. As long as the vCPU does not run it is the same, so that what is loaded is saved.</summary>
    private long Ahead()
    {
        if (_ahead is null)
        {
            long now = _machine.HostClock.Now;
            _timeAhead = _processor.Platform.ClockNanoseconds - now;
            _ahead = _machine.Clock.Now - now;
        }
        return _ahead.Value;
    }

    /// <summary>The same in nanoseconds, for the time that guests are told, if they are.</summary>
    private long TimeAhead()
    {
        Ahead();
        return _processor.Paravirtual is null ? 0 : _timeAhead;
    }

    /// <summary>How far the clock of its local APIC's timer is ahead.</summary>
    private long ApicAhead() => _machine.ApicClock == _machine.HostClock ? 0 : Ahead();

    private static VcpuState Shift(VcpuState state, long ahead, long apicAhead, long timeAhead) => state with
    {
        Paravirtual = state.Paravirtual with { TimeOffset = state.Paravirtual.TimeOffset + timeAhead },
        TscOffset = state.TscOffset + (ulong)ahead,
        Apic = state.Apic with { TimerStart = state.Apic.TimerStart - apicAhead },
    };

    private void NameThread()
    {
        int managed = Environment.CurrentManagedThreadId;
        if (managed != _managedThread)
        {
            _managedThread = managed;
            _thread = KvmCalls.ThreadId();
        }
    }

    /// <summary>Looks at what others asked, and puts in what interrupts there are.</summary>
    private Entered Prepare()
    {
        NameThread();
        Volatile.Write(ref _inside, 1);
        _run->ImmediateExit = 0;
        Interlocked.MemoryBarrier();
        if (_chip is not null && (_chip.IsMoving || !(_chip.Held || _userMode)))
        {
            return Entered.Again;
        }
        int attention = Volatile.Read(ref _s->Attention);
        if ((attention & Attentions.Exit) != 0)
        {
            Interlocked.And(ref _s->Attention, ~Attentions.Exit);
            return Entered.Exit;
        }
        if (_chip is { IsHaltedForGood: true })
        {
            return Entered.Halted;
        }
        if ((attention & Attentions.AnyNmi) != 0)
        {
            if (_userMode)
            {
                _ownSupervisor = true;
                return Entered.Done;
            }
            PassNmis();
        }
        if ((attention & Attentions.Interrupt) != 0)
        {
            Interlocked.And(ref _s->Attention, ~Attentions.Interrupt);
        }
        _run->RequestInterruptWindow = 0;
        if (_processor.Apic.HasInterrupt)
        {
            PassInterrupt();
        }
        _run->Cr8 = _processor.Apic.Cr8;
        return Entered.Done;
    }

    private void PassNmis()
    {
        int nmis = _processor.PendingNmis;
        _processor.PendingNmis = 0;
        for (; nmis > 0; nmis--)
        {
            _processor.Count(ExitKind.Interrupt, (ulong)Vectors.Nmi, 0);
            if ((_run->DirtyRegisters & KvmSync.Events) != 0 && !Held)
            {
                // What the page is about to tell of NMIs counts.
                _run->Events.NmiPending++;
            }
            else
            {
                _vcpu.Nmi();
            }
        }
    }

    /// <summary>An interrupt waits: in with it, or the kernel is to tell when it can be taken.</summary>
    private void PassInterrupt()
    {
        if (_userMode || (_emulatesSupervisor && _hasFailed))
        {
            _ownSupervisor = true;
            return;
        }
        if (_pageIsFresh && _run->ReadyForInterrupt != 0 && _run->InterruptFlag != 0)
        {
            int vector = _processor.Apic.Acknowledge(_processor.Bus);
            if (vector >= 0)
            {
                _processor.Count(ExitKind.Interrupt, (ulong)vector, 0);
                if (Held)
                {
                    InjectExternal((byte)vector);
                }
                else
                {
                    _vcpu.Interrupt((uint)vector);
                }
                _pageIsFresh = false;
            }
            if (!_processor.Apic.HasInterrupt)
            {
                return;
            }
        }
        _run->RequestInterruptWindow = 1;
    }

    /// <summary>Acts on why KVM_RUN came back. Null to go on.</summary>
    private RunResult? Handle()
    {
        if (_processor.Trace is not null)
        {
            _run->ValidRegisters = KvmSync.Registers;
            _s->Rip = _run->Registers.Rip;
            _s->ExitIp = 0;
        }
        switch (_run->ExitReason)
        {
            case KvmExitReason.Port when IsHypercall(_run->Port):
                // The kernel finishes the instruction first: registers are whole then, and no longer its own.
                Fetch(StateGroups.Core);
                _processor.WritePort(HyperVHypercalls.Port, sizeof(uint), 0);
                return null;
            case KvmExitReason.Port or KvmExitReason.Memory or KvmExitReason.MsrRead or KvmExitReason.MsrWrite:
                Access();
                return null;
            case KvmExitReason.Halt:
                return Halt();
            case KvmExitReason.EndOfInterrupt:
                _ends++;
                _processor.Bus.EndOfInterrupt(_run->EndedVector);
                return null;
            case KvmExitReason.InterruptWindow or KvmExitReason.TaskPriority or KvmExitReason.Interrupted:
                return null;
            case KvmExitReason.Shutdown when _emulatesSupervisor:
                // The way out of user mode, a triple fault, or something that this kernel takes for one: our processor finds out.
                CountFallback(_userMode ? "leaving user mode" : "shutdown");
                _ownSupervisor = true;
                return RunSupervisor();
            case KvmExitReason.Shutdown:
                ExplainShutdown();
                return RunResult.Shutdown;
            case KvmExitReason.InternalError when _run->InternalError.Suberror == EmulationFailure:
                return FallBack();
            case KvmExitReason.InternalError:
                throw new GuestRunnerException($"kvm: internal error {_run->InternalError.Suberror} (data 0x{_run->InternalError.Data[0]:x} 0x{_run->InternalError.Data[1]:x})");
            case KvmExitReason.FailedEntry:
                throw new GuestRunnerException($"kvm: the processor refuses to run guest code (hardware reason 0x{_run->HardwareReason:x})");
            default:
                throw new GuestRunnerException($"kvm: guest code came out for reason {(uint)_run->ExitReason}, which is not known here");
        }
    }

    private RunResult Halt()
    {
        _processor.Count(ExitKind.Halt, 0, 0);
        if (_run->InterruptFlag == 0)
        {
            // Only an NMI or INIT can end it: what blocks NMIs matters.
            Fetch();
        }
        else
        {
            _s->SystemFlags |= Flags.Interrupt;
            _processor.NmiBlocked = false;
        }
        return RunResult.Halted;
    }

    /// <summary>A port, memory where there is none, or an MSR of ours. The next KVM_RUN finishes the instruction.</summary>
    private void Access()
    {
        switch (_run->ExitReason)
        {
            case KvmExitReason.Port:
                AccessPort();
                break;
            case KvmExitReason.Memory:
                AccessMemory();
                break;
            default:
                AccessMsr();
                break;
        }
    }

    private bool IsHypercall(in KvmPortExit access) => access is { Number: HyperVHypercalls.Port, Size: sizeof(uint), Count: 1 } && access.IsWrite != 0
        && _processor.Paravirtual is { TakesHypercalls: true };

    private void AccessPort()
    {
        KvmPortExit access = _run->Port;
        byte* data = (byte*)_run + access.DataOffset;
        for (uint i = 0; i < access.Count; i++, data += access.Size)
        {
            if (access.IsWrite != 0)
            {
                uint value = access.Size switch { 1 => *data, 2 => *(ushort*)data, _ => *(uint*)data };
                _processor.WritePort(access.Number, access.Size, value);
                continue;
            }
            uint read = _processor.ReadPort(access.Number, access.Size);
            switch (access.Size)
            {
                case 1: *data = (byte)read; break;
                case 2: *(ushort*)data = (ushort)read; break;
                default: *(uint*)data = read; break;
            }
        }
    }

    private void AccessMemory()
    {
        KvmMemoryExit* access = &_run->Memory;
        ulong address = access->Address;
        byte* data = access->Data;
        for (int left = (int)access->Size; left > 0;)
        {
            // What is no power of two is made of such.
            int size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            if (access->IsWrite != 0)
            {
                ulong value = 0;
                Unsafe.CopyBlockUnaligned(&value, data, (uint)size);
                if (!_machine.IsRom(address))
                {
                    _processor.WritePhysicalDevice(address, size, value);
                }
            }
            else
            {
                ulong value = _processor.ReadPhysicalDevice(address, size);
                Unsafe.CopyBlockUnaligned(data, &value, (uint)size);
            }
            address += (ulong)size;
            data += size;
            left -= size;
        }
    }

    private void AccessMsr()
    {
        const uint Invalid = 1;
        KvmMsrExit* access = &_run->Msr;
        uint msr = access->Index;
        bool isWrite = _run->ExitReason == KvmExitReason.MsrWrite;
        // The kernel's own that it refuses; x2APIC's are refused because there is no APIC in the kernel.
        bool refused = access->Reason == Invalid && msr is < 0x800 or > 0x8FF;
        ulong value = isWrite && msr == DeadlineMsr ? OnOurClock(access->Value) : access->Value;
        bool done = !refused && (isWrite ? _processor.Msrs.Write(msr, value) : _processor.Msrs.Read(msr, out value));
        _processor.Count(isWrite ? ExitKind.MsrWrite : ExitKind.MsrRead, msr, value);
        access->Error = (byte)(done ? 0 : 1);
        access->Value = !isWrite && msr == DeadlineMsr ? OnGuestsCounter(value) : value;
        if (!done)
        {
            _processor.ForgetFault();
        }
        else if (isWrite && msr == 0x1B)
        {
            // CPUID follows it: the kernel has to be told, with all else.
            Fetch();
        }
        else if (isWrite && msr is 0x10 or 0x3B)
        {
            PushTimeStamp();
        }
    }
}
