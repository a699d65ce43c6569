using System.Diagnostics;
using Ringfence.Cpu;

namespace Ringfence.Engine.Software;

/// <summary>One interpreted processor as an engine's vCPU: it sleeps in HLT, and passes port and memory accesses on to the bus.</summary>
internal sealed unsafe class SoftwareVcpu : IVcpu, IProcessorBus, IProcessorTrace, IDisposable
{
    private readonly SoftwareVm _vm;
    private readonly IVcpuBus _bus;
    private readonly IExitTrace? _trace;
    private readonly ManualResetEventSlim _wake = new(false, 0);
    private long _running;
    private long _halted;

    public SoftwareVcpu(SoftwareVm vm, VmOptions options, CpuModel model, int index)
    {
        _vm = vm;
        _bus = options.Bus;
        _trace = options.Trace;
        Index = index;
        Processor = new Processor(options.Memory, this, options.Clock, model, index, _wake.Set);
        Processor.Trace = _trace is null ? null : this;
        Processor.MeasureBus = options.MeasureTime;
        if (index == 0)
        {
            Processor.PrepareAsFirmware();
        }
    }

    public int Index { get; }

    public Processor Processor { get; }

    public VcpuStatistics Statistics
    {
        get
        {
            TimeSpan bus = TimeSpan.FromMicroseconds(Processor.BusNanoseconds / 1000.0);
            return new VcpuStatistics(
                Processor.State->Retired, Stopwatch.GetElapsedTime(0, _running) - bus, bus, Stopwatch.GetElapsedTime(0, _halted),
                Enum.GetValues<ExitKind>().Where(k => Processor.ExitCounts[(int)k] != 0).ToDictionary(NameOf, k => Processor.ExitCounts[(int)k]));
        }
    }

    public VcpuExit Run()
    {
        while (true)
        {
            long start = Stopwatch.GetTimestamp();
            RunResult result = Processor.Run();
            long end = Stopwatch.GetTimestamp();
            _running += end - start;
            switch (result)
            {
                case RunResult.ExitRequested:
                    return new VcpuExit(VcpuExitReason.Interrupted);
                case RunResult.Shutdown:
                    return new VcpuExit(VcpuExitReason.Shutdown, Processor.ShutdownReport);
                default:
                    if (!Processor.InterruptsEnabled && !Processor.HasWakeEvent)
                    {
                        return new VcpuExit(VcpuExitReason.Halted);
                    }
                    Sleep();
                    _halted += Stopwatch.GetTimestamp() - end;
                    break;
            }
        }
    }

    public void RequestExit() => Processor.RequestExit();

    public VcpuState Save() => StateConversion.Save(Processor.State);

    public void Load(VcpuState state)
    {
        StateConversion.Load(state, Processor.State);
        Processor.StateLoaded();
    }

    /// <summary>Takes an interrupt of any delivery mode. False if it has no meaning here. Any thread.</summary>
    public bool Accept(byte mode, byte vector, bool levelTriggered)
    {
        switch (mode)
        {
            case 0 or 1:
                Processor.Apic.Accept(vector, levelTriggered);
                return true;
            case 4:
                Processor.RequestNmi();
                return true;
            default:
                return false;
        }
    }

    public void Dispose()
    {
        Processor.Dispose();
        _wake.Dispose();
    }

    uint IProcessorBus.ReadPort(ushort port, int size) => _bus.ReadPort(port, size);

    void IProcessorBus.WritePort(ushort port, int size, uint value) => _bus.WritePort(port, size, value);

    ulong IProcessorBus.ReadMemory(ulong address, int size) => _bus.ReadMemory(address, size);

    void IProcessorBus.WriteMemory(ulong address, int size, ulong value) => _bus.WriteMemory(address, size, value);

    int IProcessorBus.AcknowledgeExternalInterrupt() => _bus.AcknowledgeExternalInterrupt();

    void IProcessorBus.EndOfInterrupt(byte vector) => _bus.EndOfInterrupt(vector);

    void IProcessorBus.SendInterprocessorInterrupt(uint source, ulong command) => _vm.SendInterprocessorInterrupt(source, command);

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

    private void Sleep()
    {
        while (true)
        {
            // Reset before looking: a wake-up between the two is then not lost.
            _wake.Reset();
            if (Processor.HasWakeEvent)
            {
                return;
            }
            _wake.Wait();
        }
    }
}
