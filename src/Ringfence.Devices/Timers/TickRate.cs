namespace Ringfence.Devices.Timers;

/// <summary>A counter of fixed frequency, derived from nanoseconds without drift: tick n begins at the first nanosecond not before
/// n / frequency seconds.</summary>
internal readonly struct TickRate(long hertz)
{
    private const long Second = 1_000_000_000;

    /// <summary>Whole ticks in <paramref name="nanoseconds"/>, at least 0. Exact: whole seconds hold whole ticks.</summary>
    public long Ticks(long nanoseconds)
    {
        (long seconds, long rest) = Math.DivRem(nanoseconds, Second);
        return (seconds * hertz) + (rest * hertz / Second);
    }

    /// <summary>The first nanosecond of a tick; <see cref="long.MaxValue"/> beyond what nanoseconds can count.</summary>
    public long Nanoseconds(long ticks)
    {
        (long seconds, long rest) = Math.DivRem(ticks, hertz);
        return seconds >= long.MaxValue / Second ? long.MaxValue : (seconds * Second) + (((rest * Second) + hertz - 1) / hertz);
    }
}
