using Ringfence.Engine.Kvm.Native;
using Ringfence.Host;
using ITimer = Ringfence.Host.ITimer;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// A clock that counts what guests' RDTSC counts under KVM: the host's counter, scaled and moved as the kernel scales and moves it. The processors' local APICs
/// live by it, so that a deadline that a guest computes from RDTSC comes when RDTSC says so. It stands still while the machine's clock does, where guests' counters can.
/// </summary>
internal sealed unsafe class TscClock : IClock, IDisposable
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    private static readonly delegate* unmanaged<ulong> s_read = (delegate* unmanaged<ulong>)CodePages.Map([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]);

    private readonly IClock _host;
    private readonly long _hertz;
    private readonly TscScale _scale;
    private readonly TscOffsets _offsets;
    /// <summary>Replaced whole, so that readers see one or the other.</summary>
    private Epoch _epoch;
    private int _turns;

    /// <param name="host">The machine's clock, whose timers stand behind this one's.</param>
    /// <param name="hertz">What one second counts here.</param>
    /// <param name="scale">What becomes of the host's own count.</param>
    /// <param name="offsets">What becomes of <see cref="Offset"/>. Where it is forgotten this is the host's counter; otherwise the clock starts at 0.</param>
    public TscClock(IClock host, long hertz, TscScale scale, TscOffsets offsets)
    {
        (_host, _hertz, _scale, _offsets) = (host, hertz, scale, offsets);
        _epoch = new Epoch(offsets == TscOffsets.Forgotten ? 0 : Count, null);
        if (host is HostClock clock)
        {
            clock.Paused += Pause;
            clock.Resumed += Resume;
        }
    }

    public long Now
    {
        get
        {
            Epoch epoch = Volatile.Read(ref _epoch);
            return epoch.Stopped ?? (long)(Count - epoch.Start);
        }
    }

    public DateTime UtcNow => _host.UtcNow;

    /// <summary>What makes the counter of a guest that is given it now this clock's count. Where it is kept it is the same at all times, so that all processors have the same.</summary>
    public ulong Offset => _offsets == TscOffsets.Steered ? FindOffset() : 0 - Volatile.Read(ref _epoch).Start;

    /// <summary>How often the machine's clock has gone on after a pause. Each time guests' counters are to be given the offset again, or have gone ahead of the machine's timers.</summary>
    public int Turns => Volatile.Read(ref _turns);

    public ITimer CreateTimer(Action expired) => new Timer(this, _host.CreateTimer(expired));

    public void Dispose()
    {
        if (_host is HostClock clock)
        {
            clock.Paused -= Pause;
            clock.Resumed -= Resume;
        }
    }

    private static ulong HostTsc => s_read();

    /// <summary>What guests' counters count without an offset; where they are steered, what they are steered by.</summary>
    private ulong Count => _offsets == TscOffsets.Steered ? (ulong)((UInt128)KvmCalls.RawTime() * (ulong)_hertz / NanosecondsPerSecond) : _scale.Apply(HostTsc);

    /// <summary>Two clocks cannot be read at once: of some tries the shortest counts.</summary>
    private ulong FindOffset()
    {
        const int Tries = 8;
        ulong offset = 0;
        long shortest = long.MaxValue;
        for (int i = 0; i < Tries; i++)
        {
            long before = Now;
            ulong counter = _scale.Apply(HostTsc);
            long took = Now - before;
            if (took < shortest)
            {
                shortest = took;
                offset = (ulong)(before + (took / 2)) - counter;
            }
        }
        return offset;
    }

    private void Pause()
    {
        if (_offsets != TscOffsets.Forgotten)
        {
            Volatile.Write(ref _epoch, _epoch with { Stopped = Now });
        }
    }

    private void Resume()
    {
        if (_epoch.Stopped is { } stopped)
        {
            Volatile.Write(ref _epoch, new Epoch(Count - (ulong)stopped, null));
        }
        Interlocked.Increment(ref _turns);
    }

    /// <param name="Start">The count at which the clock was 0.</param>
    /// <param name="Stopped">What the clock stands still at, or null.</param>
    private sealed record Epoch(ulong Start, long? Stopped);

    private sealed class Timer(TscClock clock, ITimer timer) : ITimer
    {
        public void Arm(long deadline)
        {
            // Rounded up: early would be before the guest's own counter says so.
            Int128 wait = (((Int128)deadline - clock.Now) * NanosecondsPerSecond / clock._hertz) + 1;
            timer.Arm((long)Int128.Clamp(clock._host.Now + wait, 0, long.MaxValue));
        }

        public void Disarm() => timer.Disarm();

        public void Dispose() => timer.Dispose();
    }
}
