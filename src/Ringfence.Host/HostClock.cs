using System.Diagnostics;

namespace Ringfence.Host;

/// <summary>
/// The host's time. Timers expire on one background thread, which sleeps on a kernel timer of nanosecond resolution; how late an
/// expiry is depends on the host's scheduler alone. Arming costs a system call only where the earliest deadline moves forward.
/// Thread-safe.
/// </summary>
public sealed class HostClock : IClock, IDisposable
{
    private readonly Lock _lock = new();
    private readonly TimerQueue _queue = new();
    private readonly Thread _thread;
    private readonly int _descriptor;
    /// <summary>Replaced whole, so that readers see one or the other.</summary>
    private Epoch _epoch;
    // What the kernel timer is set to, as a deadline. While the thread is awake it will look at the queue itself, so nothing is
    // earlier; asleep with nothing to wait for, everything is.
    private long _programmed = long.MinValue;
    private bool _disposed;

    /// <param name="start">What <see cref="Now"/> begins with, nanoseconds: a restored machine continues from where it was saved.</param>
    /// <exception cref="InvalidOperationException">The host has no descriptor to spare.</exception>
    public HostClock(long start = 0)
    {
        _descriptor = LibC.CreateTimer();
        _epoch = new Epoch(Monotonic() - start, null);
        _thread = new Thread(Run) { IsBackground = true, Name = "ringfence-clock" };
        try
        {
            _thread.Start();
        }
        catch
        {
            LibC.Close(_descriptor);
            throw;
        }
    }

    /// <summary>It has begun to stand still, or goes on. From within, the clock is not to be used.</summary>
    public event Action? Paused;

    /// <inheritdoc cref="Paused"/>
    public event Action? Resumed;

    public long Now
    {
        get
        {
            Epoch epoch = Volatile.Read(ref _epoch);
            return epoch.Stopped ?? Monotonic() - epoch.Origin;
        }
    }

    public DateTime UtcNow => DateTime.UtcNow;

    public ITimer CreateTimer(Action expired) => new HostTimer(this, expired);

    /// <summary>Time stands still, and no timer expires, until <see cref="Resume"/>. <see cref="UtcNow"/> goes on. Thread-safe; does nothing twice.</summary>
    public void Pause()
    {
        lock (_lock)
        {
            if (_epoch.Stopped is null)
            {
                Volatile.Write(ref _epoch, _epoch with { Stopped = Now });
                Paused?.Invoke();
            }
        }
    }

    /// <summary>Time goes on from where it stood.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            if (_epoch.Stopped is { } stopped)
            {
                Volatile.Write(ref _epoch, new Epoch(Monotonic() - stopped, null));
                Resumed?.Invoke();
                // What is due has to be found out anew.
                if (!_disposed)
                {
                    Program(Now);
                }
            }
        }
    }

    /// <summary>Ends the clock's thread and waits for it, so that no timer expires afterwards. From a timer's own expiry it returns
    /// at once and the thread ends by itself. Arming a timer of a disposed clock does nothing.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (!_disposed)
            {
                _disposed = true;
                LibC.ArmTimer(_descriptor, 1);
            }
        }
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    // On Linux, Stopwatch counts the nanoseconds of CLOCK_MONOTONIC: the very clock that the descriptor is armed with.
    private static long Monotonic() => Stopwatch.GetTimestamp();

    private void Arm(HostTimer timer, long deadline)
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }
            _queue.Add(timer, deadline);
            if (deadline < _programmed)
            {
                Program(deadline);
            }
        }
    }

    private void Disarm(HostTimer timer)
    {
        lock (_lock)
        {
            _queue.Remove(timer);
        }
    }

    private void Program(long deadline)
    {
        _programmed = deadline;
        long at = deadline + _epoch.Origin;
        // Both have the sign that the sum has not: it is too far away.
        bool overflows = ((deadline ^ at) & (_epoch.Origin ^ at)) < 0;
        LibC.ArmTimer(_descriptor, overflows ? (at < 0 ? long.MaxValue : 1) : Math.Max(at, 1));
    }

    private void Run()
    {
        while (Next(out Action? expired))
        {
            if (expired != null)
            {
                expired();
            }
            else
            {
                LibC.WaitForTimer(_descriptor);
            }
        }
    }

    /// <summary>What is due now, or null after programming the kernel timer for what is due next. False when the clock is disposed of.</summary>
    private bool Next(out Action? expired)
    {
        lock (_lock)
        {
            expired = null;
            if (_disposed)
            {
                LibC.Close(_descriptor);
                return false;
            }
            QueuedTimer? first = _epoch.Stopped is null ? _queue.First : null;
            if (first == null)
            {
                _programmed = long.MaxValue;
            }
            else if (first.Deadline > Now)
            {
                Program(first.Deadline);
            }
            else
            {
                _programmed = long.MinValue;
                _queue.Remove(first);
                expired = first.Expired;
            }
            return true;
        }
    }

    /// <param name="Origin">The host's time at which the clock's was 0.</param>
    /// <param name="Stopped">What the clock stands still at, or null.</param>
    private sealed record Epoch(long Origin, long? Stopped);

    private sealed class HostTimer(HostClock clock, Action expired) : QueuedTimer(expired), ITimer
    {
        private bool _gone;

        public void Arm(long deadline)
        {
            if (!Volatile.Read(ref _gone))
            {
                clock.Arm(this, deadline);
            }
        }

        public void Disarm() => clock.Disarm(this);

        public void Dispose()
        {
            Volatile.Write(ref _gone, true);
            clock.Disarm(this);
        }
    }
}
