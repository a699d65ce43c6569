namespace Ringfence.Host;

/// <summary>Time as devices see it: nanoseconds since the machine was made, monotonic.</summary>
public interface IClock
{
    /// <summary>Nanoseconds since the machine was made. Thread-safe.</summary>
    long Now { get; }

    /// <summary>Wall-clock time, UTC, for a real-time clock. Thread-safe.</summary>
    DateTime UtcNow { get; }

    /// <summary>Makes a disarmed one-shot timer. <paramref name="expired"/> runs on the clock's thread, never twice for one arming;
    /// it may arm the timer again. It must not block.</summary>
    ITimer CreateTimer(Action expired);
}

/// <summary>A one-shot timer of an <see cref="IClock"/>. Thread-safe.</summary>
public interface ITimer : IDisposable
{
    /// <summary>Expires once at <paramref name="deadline"/> (the clock's nanoseconds; one in the past expires at once). Replaces an earlier arming.</summary>
    void Arm(long deadline);

    /// <summary>Forgets the arming. An expiry already under way may still be seen.</summary>
    void Disarm();
}
