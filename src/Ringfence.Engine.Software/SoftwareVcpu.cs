using System.Diagnostics;
using Ringfence.Cpu;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.Translator;

namespace Ringfence.Engine.Software;

/// <summary>One interpreted processor as an engine's vCPU: it sleeps in HLT, and passes port and memory accesses on to the bus.</summary>
internal sealed unsafe class SoftwareVcpu : IVcpu, IProcessorBus, IProcessorTrace, IRunnerVcpu, IDisposable
{
    private readonly SoftwareVm _vm;
    private readonly IVcpuBus _bus;
    private readonly IExitTrace? _trace;
    private readonly Func<bool> _startUpAsked;
    private readonly Func<bool> _wakeAsked;
    private readonly ManualResetEventSlim _wake = new(false, 0);
    /// <summary>Null where guest code runs in our own.</summary>
    private readonly IGuestRunner? _runner;
    private readonly double _clockHertz;
    private readonly IdleMemory _idle;
    private const int InitPending = 0x100;
    private const int SipiPending = 0x200;
    private long _running;
    private long _halted;
    /// <summary>INIT and SIPI not yet acted on; the low byte is SIPI's vector. Any thread.</summary>
    private int _startUp;
    private int _exitRequested;
    private VcpuActivity _activity;

    public SoftwareVcpu(SoftwareVm vm, VmOptions options, CpuModel model, int index, SharedCode shared, ParavirtualPlatform platform,
        ITranslatorFactory? translators, IGuestRunnerFactory? runners)
    {
        _vm = vm;
        _bus = options.Bus;
        _trace = options.Trace;
        Index = index;
        Processor = new Processor(options.Memory, this, runners?.Clock ?? options.Clock, model, index, Wake, shared, translators, platform, runners?.ApicClock);
        Processor.Trace = _trace is null ? null : this;
        Processor.MeasureBus = options.MeasureTime;
        Processor.PrepareAsFirmware();
        _activity = index != 0 ? VcpuActivity.WaitingForSipi : VcpuActivity.Active;
        _clockHertz = platform.ClockHertz;
        _idle = new IdleMemory(Processor);
        try
        {
            _runner = runners?.Create(Processor, this);
        }
        catch
        {
            Processor.Dispose();
            throw;
        }
        _startUpAsked = () => Volatile.Read(ref _startUp) != 0;
        _wakeAsked = () => Processor.HasWakeEvent || Volatile.Read(ref _startUp) != 0;
    }

    public int Index { get; }

    public Processor Processor { get; }

    public VcpuStatistics Statistics
    {
        get
        {
            TimeSpan bus = TimeSpan.FromSeconds(Processor.BusNanoseconds / _clockHertz);
            return new VcpuStatistics(
                Processor.State->Retired, Stopwatch.GetElapsedTime(0, _running) - bus, bus, Stopwatch.GetElapsedTime(0, _halted),
                new Dictionary<string, long>(Enum.GetValues<ExitKind>().Where(k => Processor.CountOf(k) != 0)
                    .Select(k => KeyValuePair.Create(NameOf(k), Processor.CountOf(k))).Concat(_runner?.Counts ?? [])),
                (Processor.Translator as BlockTranslator)?.Describe());
        }
    }

    public int VectorBytes =>
        Processor.Model.Has(CpuFeature.Avx512F) ? 64 : Processor.Model.Has(CpuFeature.Avx) ? 32 : 16;

    public VcpuExit Run()
    {
        try
        {
            return RunGuest();
        }
        catch (TranslationDifferenceException difference)
        {
            return new VcpuExit(VcpuExitReason.Failed, difference.Message);
        }
        catch (GuestRunnerException failure)
        {
            return new VcpuExit(VcpuExitReason.Failed, failure.Message);
        }
    }

    private VcpuExit RunGuest()
    {
        while (Interlocked.Exchange(ref _exitRequested, 0) == 0)
        {
            _runner?.Enter();
            TakeStartUp();
            if (_activity == VcpuActivity.WaitingForSipi)
            {
                if (StopUntil(_startUpAsked))
                {
                    return new VcpuExit(VcpuExitReason.Halted);
                }
                continue;
            }
            if (_activity == VcpuActivity.Halted)
            {
                if (StayHalted())
                {
                    return new VcpuExit(VcpuExitReason.Halted);
                }
                continue;
            }
            long start = Stopwatch.GetTimestamp();
            RunResult result = _runner is null ? Processor.Run() : _runner.Run();
            long end = Stopwatch.GetTimestamp();
            _running += end - start;
            switch (result)
            {
                case RunResult.Shutdown:
                    return new VcpuExit(VcpuExitReason.Shutdown, _runner?.ShutdownReport ?? Processor.ShutdownReport);
                case RunResult.Stopped:
                    return new VcpuExit(VcpuExitReason.Debug, null, StopConversion.From(Processor.Stop));
                case RunResult.Halted when _runner is { SleepsInside: true }:
                    return new VcpuExit(VcpuExitReason.Halted);
                case RunResult.Halted:
                    _activity = VcpuActivity.Halted;
                    break;
                case RunResult.Waiting when !Processor.StepDone:
                    AwaitStore();
                    _halted += Stopwatch.GetTimestamp() - end;
                    break;
            }
            if (Processor.StepDone)
            {
                // Of HLT or MWAIT.
                return new VcpuExit(VcpuExitReason.Debug, null, new DebugStop(DebugStopKind.Step));
            }
        }
        return new VcpuExit(VcpuExitReason.Interrupted);
    }

    public void RequestExit()
    {
        Volatile.Write(ref _exitRequested, 1);
        Processor.RequestExit();
    }

    public void SetDebug(DebugControl control)
    {
        Processor.SetStops([.. control.Points.Select(StopConversion.To)], control.SingleStep);
        _runner?.NoteStops(control.SingleStep || control.Points.Count != 0);
    }

    public VcpuState Save()
    {
        _runner?.Fetch();
        _runner?.ShowApic();
        int startUp = Volatile.Read(ref _startUp);
        VcpuState state = StateConversion.Save(Processor) with
        {
            Events = new EventState
            {
                Activity = _activity,
                Shadow = StateConversion.Shadow(Processor),
                PendingNmis = Processor.PendingNmis,
                NmiBlocked = Processor.NmiBlocked,
                DebugTraps = Processor.DebugTraps,
                InitPending = (startUp & InitPending) != 0,
                SipiPending = (startUp & SipiPending) != 0 ? (byte)startUp : null,
            },
        };
        _runner?.HideApic();
        return _runner?.ToMachineTime(state) ?? state;
    }

    public void Load(VcpuState state)
    {
        _runner?.Fetch();
        state = _runner?.FromMachineTime(state) ?? state;
        StateConversion.Load(state, Processor);
        _activity = state.Events.Activity;
        Processor.PendingNmis = state.Events.PendingNmis;
        Processor.NmiBlocked = state.Events.NmiBlocked;
        Processor.DebugTraps = state.Events.DebugTraps;
        Volatile.Write(ref _startUp, (state.Events.InitPending ? InitPending : 0) | (state.Events.SipiPending is { } vector ? SipiPending | vector : 0));
        Processor.StateLoaded();
        StateConversion.LoadPointers(state, Processor);
        _runner?.Loaded();
    }

    /// <summary>Takes an interrupt of any delivery mode but lowest priority, which is fixed for the one that was chosen. There is no system
    /// management mode, so an SMI does nothing. Any thread.</summary>
    public void Accept(DeliveryMode mode, byte vector, bool levelTriggered)
    {
        if (_runner is not null && _runner.TryAccept(mode, vector, levelTriggered))
        {
            return;
        }
        switch (mode)
        {
            case DeliveryMode.Fixed or DeliveryMode.LowestPriority:
                Processor.Apic.Accept(vector, levelTriggered);
                break;
            case DeliveryMode.Nmi:
                Processor.RequestNmi();
                break;
            case DeliveryMode.Init:
                Interlocked.Or(ref _startUp, InitPending);
                Processor.RequestExit();
                break;
            case DeliveryMode.StartUp:
                Interlocked.Exchange(ref _startUp, (_startUp & InitPending) | SipiPending | vector);
                Processor.RequestExit();
                break;
            case DeliveryMode.External:
                Processor.Apic.AcceptExternal();
                break;
        }
    }

    public void Dispose()
    {
        _runner?.Dispose();
        Processor.Dispose();
        _wake.Dispose();
    }

    VcpuActivity IRunnerVcpu.Activity
    {
        get => _activity;
        set => _activity = value;
    }

    void IRunnerVcpu.TakeStartUp() => TakeStartUp();

    uint IProcessorBus.ReadPort(ushort port, int size) => _bus.ReadPort(port, size);

    void IProcessorBus.WritePort(ushort port, int size, uint value) => _bus.WritePort(port, size, value);

    Func<ushort, int, uint> IProcessorBus.PortReader => _bus.ReadPort;

    Action<ushort, int, uint> IProcessorBus.PortWriter => _bus.WritePort;

    ulong IProcessorBus.ReadMemory(ulong address, int size) => _bus.ReadMemory(address, size);

    void IProcessorBus.WriteMemory(ulong address, int size, ulong value) => _bus.WriteMemory(address, size, value);

    int IProcessorBus.AcknowledgeExternalInterrupt() => _bus.AcknowledgeExternalInterrupt();

    void IProcessorBus.EndOfInterrupt(byte vector) => _bus.EndOfInterrupt(vector);

    void IProcessorBus.SendInterprocessorInterrupt(uint command, uint destination) => _vm.SendInterprocessorInterrupt(this, command, destination);

    void IProcessorTrace.Exit(ulong rip, ExitKind kind, ulong address, ulong value) => _trace!.Exit(Index, rip, NameOf(kind), address, value);

    private static string NameOf(ExitKind kind) => kind switch
    {
        ExitKind.PortRead => "in",
        ExitKind.PortWrite => "out",
        ExitKind.MmioRead => "mmio-read",
        ExitKind.MmioWrite => "mmio-write",
        ExitKind.ApicRead => "apic-read",
        ExitKind.ApicWrite => "apic-write",
        ExitKind.Cpuid => "cpuid",
        ExitKind.MsrRead => "rdmsr",
        ExitKind.MsrWrite => "wrmsr",
        ExitKind.ControlRegister => "cr-write",
        ExitKind.Halt => "hlt",
        ExitKind.Interrupt => "interrupt",
        _ => "exception",
    };

    /// <summary>There is something to do. Any thread.</summary>
    private void Wake()
    {
        _wake.Set();
        _runner?.Kick();
    }

    /// <summary>Acts on INIT and SIPI (SDM 3A 9.4.3). SIPI counts only for a processor that waits for it.</summary>
    private void TakeStartUp()
    {
        int startUp = Interlocked.Exchange(ref _startUp, 0);
        if (startUp != 0)
        {
            _runner?.Fetch();
        }
        if ((startUp & InitPending) != 0)
        {
            Processor.Init();
            _activity = VcpuActivity.WaitingForSipi;
        }
        if ((startUp & SipiPending) != 0 && _activity == VcpuActivity.WaitingForSipi)
        {
            Processor.StartUp((byte)startUp);
            _activity = VcpuActivity.Active;
        }
    }

    /// <summary>Sleeps in HLT until something ends it, or the caller of <see cref="Run"/> is to be asked. True if nothing ever will.</summary>
    private bool StayHalted()
    {
        long start = Stopwatch.GetTimestamp();
        if (Processor.InterruptsEnabled)
        {
            Sleep(_wakeAsked);
        }
        else if (StopUntil(_wakeAsked))
        {
            return true;
        }
        _halted += Stopwatch.GetTimestamp() - start;
        if (Processor.HasWakeEvent)
        {
            _activity = VcpuActivity.Active;
            Processor.NoteWoken();
        }
        return false;
    }

    /// <summary>Sleeps as a processor that only others can wake. True if there is no other left to do it.</summary>
    private bool StopUntil(Func<bool> woken)
    {
        if (woken())
        {
            return false;
        }
        if (_vm.NoteStopped())
        {
            return true;
        }
        Sleep(woken);
        _vm.NoteGoing();
        return false;
    }

    /// <summary>MWAIT: until something wakes the processor, or the line that it monitors has changed. The latter is looked for: at first often,
    /// then once a millisecond.</summary>
    private void AwaitStore()
    {
        long often = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 20_000);
        while (true)
        {
            _wake.Reset();
            if (_wakeAsked() || Processor.MonitoredLineChanged || Volatile.Read(ref _exitRequested) != 0)
            {
                return;
            }
            if (Stopwatch.GetTimestamp() < often)
            {
                Thread.SpinWait(20);
            }
            else
            {
                _wake.Wait(1);
            }
        }
    }

    private void Sleep(Func<bool> woken)
    {
        long start = Stopwatch.GetTimestamp();
        Processor.Translator?.Rest();
        SleepUntil(woken);
        Processor.NoteSlept(Stopwatch.GetElapsedTime(start));
    }

    private void SleepUntil(Func<bool> woken)
    {
        while (true)
        {
            // Reset before looking: a wake-up between the two is then not lost.
            _wake.Reset();
            if (woken() || Volatile.Read(ref _exitRequested) != 0)
            {
                return;
            }
            if (!_wake.Wait(_idle.Due()))
            {
                _idle.GiveBack();
            }
        }
    }
}
