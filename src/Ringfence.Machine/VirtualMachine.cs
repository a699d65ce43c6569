using System.Diagnostics;
using Ringfence.Devices;
using Ringfence.Engine;
using Ringfence.Firmware;
using Ringfence.Firmware.Monitor;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>
/// A virtual machine: memory, board, processors, a loaded guest. <see cref="Create"/> makes it, <see cref="Run"/> runs it to its end,
/// <see cref="Dispose"/> gives back all it held. Several live in one process and know nothing of each other.
/// </summary>
public sealed class VirtualMachine : IDisposable
{
    private readonly HostClock _clock = new();
    private readonly GuestMemory _memory;
    private readonly Board _board;
    private readonly IVm _vm;
    private readonly RunControl _control;
    private readonly TaskCompletionSource<MachineEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Stopwatch _elapsed = new();
    private bool _disposed;

    private VirtualMachine(MachineSpec spec, IEngine engine)
    {
        GuestMemory? memory = null;
        Board? board = null;
        IVm? vm = null;
        try
        {
            memory = new GuestMemory(spec.Memory);
            BootState boot = GuestLoader.Load(memory, Request(spec));
            Sink sink = new();
            board = new Board(spec, _clock, sink, End);
            vm = engine.CreateVm(new VmOptions(memory, _clock, board, spec.Cpu, spec.Cpus, spec.Trace, spec.MeasureTime));
            sink.Vm = vm;
            vm.Vcpus[0].Load(Enter(vm.Vcpus[0].Save(), boot));
            if (spec.Serial is { } endpoint)
            {
                board.Serial.RoomAvailable += endpoint.RoomAvailable;
                endpoint.Connect(board.Serial.Receive);
            }
            Description = boot.Description;
        }
        catch
        {
            // In the order of Dispose, and for its reason.
            _clock.Dispose();
            vm?.Dispose();
            board?.Dispose();
            memory?.Dispose();
            throw;
        }
        _memory = memory;
        _board = board;
        _vm = vm;
        _control = new RunControl(memory, spec.Cpus, () => End(new MachineEnd(MachineEndKind.Stopped)));
        _control.Attach(vm, _clock);
    }

    /// <summary>One line: what was loaded and how it is entered.</summary>
    public string Description { get; }

    /// <summary>What was counted. Exact once <see cref="Run"/> has returned.</summary>
    public MachineStatistics Statistics => new(_elapsed.Elapsed, [.. _vm.Vcpus.Select(v => v.Statistics)]);

    /// <summary>Stops the machine and lets it go on, before or while it runs.</summary>
    public IRunControl Control => _control;

    /// <summary>Loads the guest and makes the machine, ready to run.</summary>
    /// <exception cref="GuestLoadException">The guest cannot be loaded: one line that names the file and the reason.</exception>
    /// <exception cref="MachineSpecException">The board cannot be as it is asked for.</exception>
    /// <exception cref="ArgumentException">The engine cannot make such a machine.</exception>
    /// <exception cref="InsufficientMemoryException">The host has not so much memory.</exception>
    public static VirtualMachine Create(MachineSpec spec, IEngine engine) => new(spec, engine);

    /// <summary>Runs the guest on threads of its own until it ends, or <paramref name="stop"/> is cancelled. Once only.</summary>
    public MachineEnd Run(CancellationToken stop = default)
    {
        using CancellationTokenRegistration registration = stop.Register(() => End(new MachineEnd(MachineEndKind.Stopped)));
        Thread[] threads = [.. _vm.Vcpus.Select(vcpu => new Thread(() => RunVcpu(vcpu)) { Name = $"ringfence-vcpu{vcpu.Index}", IsBackground = true })];
        _elapsed.Start();
        foreach (Thread thread in threads)
        {
            thread.Start();
        }
        foreach (Thread thread in threads)
        {
            thread.Join();
        }
        _elapsed.Stop();
        return _end.Task.GetAwaiter().GetResult();
    }

    /// <summary>Frees processors, devices and memory. Not while <see cref="Run"/> is under way.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }
        _disposed = true;
        // The clock first: after it, no timer calls into what is being torn down.
        _clock.Dispose();
        _vm.Dispose();
        _board.Dispose();
        _memory.Dispose();
    }

    private static LoadRequest Request(MachineSpec spec) => new()
    {
        Kernel = spec.Kernel is null ? EmbeddedGuest.CreateFile() : GuestFile.Open(spec.Kernel),
        Modules = [.. spec.Initrds.Select(i => new GuestModule(GuestFile.Open(i.Path), i.Arguments))],
        CommandLine = spec.Append,
        Vcpus = spec.Cpus,
    };

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
            foreach (IVcpu vcpu in _vm.Vcpus)
            {
                vcpu.RequestExit();
            }
            _control.Release();
        }
    }

    private void RunVcpu(IVcpu vcpu)
    {
        try
        {
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

    /// <summary>Interrupts from the board to the processors.</summary>
    private sealed class Sink : IInterruptSink
    {
        public IVm? Vm { get; set; }

        public void Deliver(InterruptMessage message) =>
            Vm?.DeliverInterrupt(message.Vector, message.DeliveryMode, message.Logical, message.Destination, message.LevelTriggered);

        public void SetExternalInterrupt(bool asserted) => Vm?.SetExternalInterrupt(asserted);
    }
}
