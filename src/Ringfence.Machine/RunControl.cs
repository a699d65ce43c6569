using Ringfence.Engine;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>
/// Who may run, and who does. Each vCPU's thread passes <see cref="Enter"/> before it runs guest code and <see cref="Leave"/> after; both
/// happen once for each return from <see cref="IVcpu.Run"/>, so a machine that nobody stops pays nothing.
/// </summary>
internal sealed class RunControl(GuestMemory memory, int vcpus, Action end) : IRunControl
{
    private readonly object _lock = new();
    private readonly bool[] _may = [.. Enumerable.Repeat(true, vcpus)];
    private readonly bool[] _runs = new bool[vcpus];
    private readonly DebugControl[] _debug = [.. Enumerable.Repeat(DebugControl.None, vcpus)];
    private IVm? _vm;
    private HostClock? _clock;
    private IRunObserver? _observer;
    private bool _paused;
    private bool _ended;
    /// <summary>Processors and clock are being replaced.</summary>
    private bool _changing;
    private bool _killed;

    public GuestMemory Memory => memory;

    public IVm Vm => Volatile.Read(ref _vm)!;

    public IRunObserver? Observer
    {
        get => Volatile.Read(ref _observer);
        set => Volatile.Write(ref _observer, value);
    }

    /// <summary>From here on these are the machine's processors and its time.</summary>
    public void Attach(IVm vm, HostClock clock)
    {
        lock (_lock)
        {
            Volatile.Write(ref _vm, vm);
            _clock = clock;
            _ended = false;
            _changing = false;
            Monitor.PulseAll(_lock);
            for (int i = 0; i < vcpus; i++)
            {
                if (_debug[i] != DebugControl.None)
                {
                    vm.Vcpus[i].SetDebug(_debug[i]);
                }
            }
            if (_paused)
            {
                clock.Pause();
            }
        }
    }

    /// <summary>Before processors and clock are replaced at a reset: not while someone looks at them. False if there is to be no such thing, because
    /// the machine has been ended meanwhile.</summary>
    public bool BeginChange(CancellationToken stop)
    {
        const int Patience = 100;
        lock (_lock)
        {
            while (_paused && !_killed && !stop.IsCancellationRequested)
            {
                Monitor.Wait(_lock, Patience);
            }
            _changing = !_killed && !stop.IsCancellationRequested;
            return _changing;
        }
    }

    public void Pause()
    {
        lock (_lock)
        {
            while (_changing)
            {
                Monitor.Wait(_lock);
            }
            _paused = true;
            Array.Clear(_may);
            for (int i = 0; i < vcpus; i++)
            {
                if (_runs[i])
                {
                    Vm.Vcpus[i].RequestExit();
                }
            }
            while (_runs.AsSpan().Contains(true))
            {
                Monitor.Wait(_lock);
            }
            _clock!.Pause();
        }
    }

    public void Resume(Func<int, bool>? chosen = null)
    {
        lock (_lock)
        {
            _paused = false;
            _clock!.Resume();
            for (int i = 0; i < vcpus; i++)
            {
                _may[i] = chosen?.Invoke(i) ?? true;
            }
            Monitor.PulseAll(_lock);
        }
    }

    public void SetDebug(int vcpu, DebugControl control)
    {
        lock (_lock)
        {
            // A step is for once.
            _debug[vcpu] = control with { SingleStep = false };
            Vm.Vcpus[vcpu].SetDebug(control);
        }
    }

    public void End()
    {
        lock (_lock)
        {
            _killed = true;
            Monitor.PulseAll(_lock);
        }
        end();
    }

    /// <summary>Before guest code runs. Waits as long as the vCPU is stopped. False if the machine has ended.</summary>
    public bool Enter(int vcpu)
    {
        lock (_lock)
        {
            while (!_may[vcpu] && !_ended)
            {
                Monitor.Wait(_lock);
            }
            _runs[vcpu] = !_ended;
            return !_ended;
        }
    }

    public void Leave(int vcpu)
    {
        lock (_lock)
        {
            _runs[vcpu] = false;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>A vCPU stops by itself; its thread waits in <see cref="Enter"/>. False if nobody is there to be told.</summary>
    public bool Stop(int vcpu, VcpuExit exit)
    {
        if (Observer is not { } observer)
        {
            return false;
        }
        lock (_lock)
        {
            _may[vcpu] = false;
        }
        observer.Stopped(vcpu, exit);
        return true;
    }

    /// <summary>Nothing runs any more, whoever is stopped, until the next <see cref="Attach"/>.</summary>
    public void Release()
    {
        lock (_lock)
        {
            _ended = true;
            Monitor.PulseAll(_lock);
        }
    }
}
