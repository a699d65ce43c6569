namespace Ringfence.Host;

/// <summary>
/// Time that stands still until told to go on: for tests and for replaying. Timers expire inside <see cref="Advance"/>, in order of
/// deadline, each seeing its own deadline as <see cref="Now"/>. A timer armed for the past expires in the next <see cref="Advance"/>,
/// be it by 0. Thread-safe, but only one thread may advance.
/// </summary>
public sealed class ManualClock : IClock
{
    private readonly Lock _lock = new();
    private readonly TimerQueue _queue = new();
    private readonly DateTime _start;
    private long _now;

    /// <param name="utc">The wall-clock time at which <see cref="Now"/> is 0; 2024-01-01 00:00:00 when not given.</param>
    public ManualClock(DateTime? utc = null)
    {
        _start = DateTime.SpecifyKind(utc ?? new DateTime(2024, 1, 1), DateTimeKind.Utc);
    }

    public long Now => Volatile.Read(ref _now);

    public DateTime UtcNow => _start.AddTicks(Now / TimeSpan.NanosecondsPerTick);

    /// <summary>The earliest armed deadline, or null.</summary>
    public long? NextDeadline
    {
        get
        {
            lock (_lock)
            {
                return _queue.First?.Deadline;
            }
        }
    }

    public ITimer CreateTimer(Action expired) => new ManualTimer(this, expired);

    /// <summary>Moves on by <paramref name="nanoseconds"/>, at least 0, running what becomes due.</summary>
    public void Advance(long nanoseconds)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(nanoseconds);
        long end = _now + nanoseconds;
        while (TakeDue(end) is { } expired)
        {
            expired();
        }
        Volatile.Write(ref _now, end);
    }

    /// <summary>Moves on by <paramref name="nanoseconds"/> as if the host had been busy: what became due runs only at the end, late.</summary>
    public void AdvanceLate(long nanoseconds)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(nanoseconds);
        Volatile.Write(ref _now, _now + nanoseconds);
        Advance(0);
    }

    private Action? TakeDue(long end)
    {
        lock (_lock)
        {
            if (_queue.First is not { } first || first.Deadline > end)
            {
                return null;
            }
            _queue.Remove(first);
            Volatile.Write(ref _now, Math.Max(_now, first.Deadline));
            return first.Expired;
        }
    }

    private sealed class ManualTimer(ManualClock clock, Action expired) : QueuedTimer(expired), ITimer
    {
        private bool _gone;

        public void Arm(long deadline)
        {
            lock (clock._lock)
            {
                if (!_gone)
                {
                    clock._queue.Add(this, deadline);
                }
            }
        }

        public void Disarm()
        {
            lock (clock._lock)
            {
                clock._queue.Remove(this);
            }
        }

        public void Dispose()
        {
            lock (clock._lock)
            {
                _gone = true;
                clock._queue.Remove(this);
            }
        }
    }
}
