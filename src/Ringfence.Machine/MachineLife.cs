using Ringfence.Devices;
using Ringfence.Devices.Display;
using Ringfence.Devices.Serial;
using Ringfence.Devices.Timers;
using Ringfence.Engine;
using Ringfence.Firmware;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>
/// A machine from power-on, or a reset, to the next: clock, board, processors, and the guest loaded. A reset makes all of them anew, so
/// that nothing of the past is left in them; only the mapping of memory, emptied, and the battery-backed clock go on.
/// </summary>
internal sealed class MachineLife : IDisposable
{
    private readonly HostClock _clock = new();
    private readonly GuestMemory _memory;
    private readonly Board _board;
    private readonly IVm _vm;
    private readonly RunControl _control;
    private readonly Action? _vcpuStarting;
    private readonly TaskCompletionSource<MachineEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="memory">Empty.</param>
    /// <param name="battery">The battery-backed clock of the life before.</param>
    public MachineLife(MachineSpec spec, IEngine engine, GuestMemory memory, RunControl control, LoadRequest request, RtcState? battery = null)
    {
        _memory = memory;
        _control = control;
        _vcpuStarting = spec.VcpuStarting;
        Board? board = null;
        IVm? vm = null;
        try
        {
            BootState boot = Load(memory, request);
            Sink sink = new(memory);
            board = new Board(spec, _clock, sink, sink, battery, End);
            vm = engine.CreateVm(new VmOptions(memory, _clock, board, spec.Cpu, spec.Cpus, spec.Trace, spec.MeasureTime, spec.KvmClock, spec.HyperV, board.Chips));
            sink.Vm = vm;
            if (boot.Kind == GuestKind.Multiboot)
            {
                board.EnterBiosState();
            }
            vm.Vcpus[0].Load(Enter(vm.Vcpus[0].Save(), boot));
            Description = boot.Description;
        }
        catch
        {
            // In the order of Dispose, and for its reason.
            _clock.Dispose();
            vm?.Dispose();
            board?.Dispose();
            throw;
        }
        _board = board;
        _vm = vm;
        control.Attach(vm, _clock);
    }

    /// <summary>One line: what was loaded and how it is entered.</summary>
    public string Description { get; }

    public Uart16550 Serial => _board.Serial;

    /// <summary>Null without a display.</summary>
    public TextScreen? Screen => _board.Screen?.Read();

    public RtcState TakeBattery() => _board.TakeBattery();

    public IReadOnlyList<VcpuStatistics> Statistics => [.. _vm.Vcpus.Select(v => v.Statistics)];

    /// <summary>Runs the guest on threads of its own until it ends, resets, or <paramref name="stop"/> is cancelled. Once only.</summary>
    public MachineEnd Run(CancellationToken stop)
    {
        using CancellationTokenRegistration registration = stop.Register(Stop);
        Thread[] threads = [.. _vm.Vcpus.Select(vcpu => new Thread(() => RunVcpu(vcpu)) { Name = $"ringfence-vcpu{vcpu.Index}", IsBackground = true })];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }
        foreach (Thread thread in threads)
        {
            thread.Join();
        }
        return _end.Task.GetAwaiter().GetResult();
    }

    public void Dispose()
    {
        // The clock first: after it, no timer calls into what is being torn down.
        _clock.Dispose();
        _vm.Dispose();
        _board.Dispose();
    }

    /// <summary>Ends it from outside. Any thread.</summary>
    public void Stop() => End(new MachineEnd(MachineEndKind.Stopped));

    private static BootState Load(GuestMemory memory, LoadRequest request)
    {
        try
        {
            return GuestLoader.Load(memory, request);
        }
        finally
        {
            request.Release();
        }
    }

    /// <summary>The processor as firmware left it, at the guest's entry.</summary>
    private static VcpuState Enter(VcpuState vcpu, BootState boot)
    {
        static SegmentState Segment(BootSegment s) => new(s.Selector, s.Base, s.Limit, s.Attributes);
        return vcpu with
        {
            Registers = boot.Registers,
            Rip = boot.Rip,
            Rflags = boot.Rflags,
            Es = Segment(boot.Es),
            Cs = Segment(boot.Cs),
            Ss = Segment(boot.Ss),
            Ds = Segment(boot.Ds),
            Fs = Segment(boot.Fs),
            Gs = Segment(boot.Gs),
            Ldtr = Segment(boot.Ldtr),
            Tr = Segment(boot.Tr),
            GdtBase = boot.GdtBase,
            GdtLimit = boot.GdtLimit,
            IdtBase = boot.IdtBase,
            IdtLimit = boot.IdtLimit,
            Cr0 = boot.Cr0,
            Cr2 = 0,
            Cr3 = boot.Cr3,
            Cr4 = boot.Cr4,
            Efer = boot.Efer,
        };
    }

    /// <summary>The first reason to end counts. Any thread.</summary>
    private void End(MachineEnd end)
    {
        if (_end.TrySetResult(end))
        {
            // First, or one that is asked to come out could go in again.
            _control.Release();
            foreach (IVcpu vcpu in _vm.Vcpus)
            {
                vcpu.RequestExit();
            }
        }
    }

    private void RunVcpu(IVcpu vcpu)
    {
        try
        {
            _vcpuStarting?.Invoke();
            while (_control.Enter(vcpu.Index))
            {
                VcpuExit exit;
                try
                {
                    exit = vcpu.Run();
                }
                finally
                {
                    _control.Leave(vcpu.Index);
                }
                switch (exit.Reason)
                {
                    case VcpuExitReason.Debug:
                        _control.Stop(vcpu.Index, exit);
                        break;
                    case VcpuExitReason.Halted:
                        End(new MachineEnd(MachineEndKind.Halted));
                        break;
                    case VcpuExitReason.Shutdown:
                        // A debugger may look before the machine ends; the guest cannot go on.
                        if (_control.Stop(vcpu.Index, exit))
                        {
                            _control.Enter(vcpu.Index);
                            _control.Leave(vcpu.Index);
                        }
                        End(new MachineEnd(MachineEndKind.TripleFault, Report: CrashReport.Write(_memory, vcpu.Save(), $"triple fault on CPU {vcpu.Index}: {exit.Detail}")));
                        break;
                    case VcpuExitReason.Failed:
                        End(new MachineEnd(MachineEndKind.Failed, Report: CrashReport.Write(_memory, vcpu.Save(), exit.Detail)));
                        break;
                }
            }
        }
        catch (Exception unexpected) when (unexpected is not OutOfMemoryException)
        {
            // A fault of ours must end the machine, not the process.
            End(new MachineEnd(MachineEndKind.Failed, Report: $"internal error: {unexpected.GetType().Name}: {unexpected.Message}"));
        }
    }

    /// <summary>From the board to the processors: interrupts, and word of what devices write to memory.</summary>
    private sealed class Sink(GuestMemory memory) : IInterruptSink, IGuestMemoryBus
    {
        public IVm? Vm { get; set; }

        public void Deliver(InterruptMessage message) =>
            Vm?.DeliverInterrupt(message.Vector, message.DeliveryMode, message.Logical, message.Destination, message.LevelTriggered);

        public void SetExternalInterrupt(bool asserted) => Vm?.SetExternalInterrupt(asserted);

        public bool TryRead(ulong address, Span<byte> destination) => memory.TryRead(address, destination);

        public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
        {
            if (!memory.TryWrite(address, source))
            {
                return false;
            }
            Vm?.NoteMemoryWritten(address, (ulong)source.Length);
            return true;
        }
    }
}
