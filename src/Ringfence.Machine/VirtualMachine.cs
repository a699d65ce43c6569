using System.Diagnostics;
using Ringfence.Devices.Display;
using Ringfence.Devices.Timers;
using Ringfence.Engine;
using Ringfence.Firmware;
using Ringfence.Firmware.Monitor;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>
/// A virtual machine: memory, board, processors, a loaded guest. <see cref="Create"/> makes it, <see cref="Run"/> runs it to its end,
/// through any number of resets, <see cref="Dispose"/> gives back all it held. Several live in one process and know nothing of each other.
/// </summary>
public sealed class VirtualMachine : IDisposable
{
    private readonly MachineSpec _spec;
    private readonly IEngine _engine;
    private readonly GuestMemory _memory;
    private readonly RunControl _control;
    private readonly Stopwatch _elapsed = new();
    /// <summary>Held while a life gives way to the next, and by whoever comes from outside to use one.</summary>
    private readonly Lock _gate = new();
    /// <summary>What to load at a reset.</summary>
    private readonly LoadRequest? _request;
    private MachineLife? _life;
    /// <summary>Of lives that are over.</summary>
    private IReadOnlyList<VcpuStatistics> _past = [];

    private VirtualMachine(MachineSpec spec, IEngine engine)
    {
        _spec = spec;
        _engine = engine;
        _memory = new GuestMemory(spec.Memory);
        _control = new RunControl(_memory, spec.Cpus, Kill);
        try
        {
            LoadRequest request = Request(spec);
            _life = new MachineLife(spec, engine, _memory, _control, request);
            // Files may be large: they are kept only for a reset.
            _request = spec.NoReboot ? null : request;
            Description = _life.Description;
            if (spec.Serial is { } endpoint)
            {
                _life.Serial.RoomAvailable += endpoint.RoomAvailable;
                endpoint.Connect(Receive);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>One line: what was loaded and how it is entered.</summary>
    public string Description { get; }

    /// <summary>What the text screen shows now; null without one. Any thread, until <see cref="Dispose"/>.</summary>
    public TextScreen? Screen
    {
        get
        {
            lock (_gate)
            {
                return _life?.Screen;
            }
        }
    }

    /// <summary>What was counted. Exact once <see cref="Run"/> has returned.</summary>
    public MachineStatistics Statistics
    {
        get
        {
            lock (_gate)
            {
                return new MachineStatistics(_elapsed.Elapsed, Sum(_past, _life?.Statistics ?? []));
            }
        }
    }

    /// <summary>Stops the machine and lets it go on, before or while it runs.</summary>
    public IRunControl Control => _control;

    /// <summary>Loads the guest and makes the machine, ready to run.</summary>
    /// <exception cref="GuestLoadException">The guest cannot be loaded: one line that names the file and the reason.</exception>
    /// <exception cref="MachineSpecException">The board cannot be as it is asked for.</exception>
    /// <exception cref="CpuModelException">The engine has no such processor.</exception>
    /// <exception cref="ArgumentException">The engine cannot make such a machine.</exception>
    /// <exception cref="InsufficientMemoryException">The host has not so much memory.</exception>
    public static VirtualMachine Create(MachineSpec spec, IEngine engine) => new(spec, engine);

    /// <summary>Runs the guest on threads of its own until it ends, or <paramref name="stop"/> is cancelled. Once only.</summary>
    public MachineEnd Run(CancellationToken stop = default)
    {
        _elapsed.Start();
        MachineEnd end = _life!.Run(stop);
        while (end.Kind == MachineEndKind.Reset && _request is not null)
        {
            if (!_control.BeginChange(stop))
            {
                end = new MachineEnd(MachineEndKind.Stopped);
                break;
            }
            Restart(_request);
            end = _life.Run(stop);
        }
        _elapsed.Stop();
        _control.Observer?.Ended();
        return end;
    }

    /// <summary>The engines that can run this machine's guest code; one alone cannot be left.</summary>
    public IReadOnlyList<string> Engines => _control.Vm is IMovableVm movable ? movable.Engines : [_engine.Capabilities.Name];

    /// <summary>The one of <see cref="Engines"/> that runs its guest code now.</summary>
    public string Engine => _control.Vm is IMovableVm movable ? movable.Engine : _engine.Capabilities.Name;

    /// <summary>Moves the guest, as it is, to another of <see cref="Engines"/>, before or while it runs. After a reset it begins on its first engine again.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public void MoveTo(string engine)
    {
        _control.Pause();
        try
        {
            if (_control.Vm is IMovableVm movable)
            {
                movable.Engine = engine;
            }
            else if (engine != _engine.Capabilities.Name)
            {
                throw new ArgumentException($"'{engine}' is no engine of this machine (known: {_engine.Capabilities.Name})", nameof(engine));
            }
        }
        finally
        {
            _control.Resume();
        }
    }

    /// <summary>Frees processors, devices and memory. Not while <see cref="Run"/> is under way.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _life?.Dispose();
            _life = null;
            _memory.Dispose();
        }
    }

    private static LoadRequest Request(MachineSpec spec) => new()
    {
        Kernel = (spec.Bios ?? spec.Kernel) is { } path ? GuestFile.Open(path) : EmbeddedGuest.CreateFile(),
        IsBios = spec.Bios is not null,
        Modules = [.. spec.Initrds.Select(i => new GuestModule(GuestFile.Open(i.Path), i.Arguments))],
        CommandLine = spec.Append,
        Vcpus = spec.Cpus,
        TextScreen = spec.Screen == ScreenKind.Text,
    };

    private static IReadOnlyList<VcpuStatistics> Sum(IReadOnlyList<VcpuStatistics> a, IReadOnlyList<VcpuStatistics> b) =>
        a.Count == 0 ? b : b.Count == 0 ? a : [.. a.Zip(b, (x, y) => x + y)];

    private void Restart(LoadRequest request)
    {
        lock (_gate)
        {
            RtcState battery = _life!.TakeBattery();
            _past = Sum(_past, _life.Statistics);
            _life.Dispose();
            _life = null;
            _memory.Clear();
            _life = new MachineLife(_spec, _engine, _memory, _control, request, battery);
            if (_spec.Serial is { } endpoint)
            {
                _life.Serial.RoomAvailable += endpoint.RoomAvailable;
            }
        }
        // The new receiver is empty, and the endpoint may wait for room in the old one.
        _spec.Serial?.RoomAvailable();
    }

    private void Kill()
    {
        lock (_gate)
        {
            _life?.Stop();
        }
    }

    private int Receive(ReadOnlySpan<byte> data)
    {
        lock (_gate)
        {
            return _life?.Serial.Receive(data) ?? 0;
        }
    }
}
