using System.Diagnostics;
using Ringfence.Cpu;

namespace Ringfence.Engine.Software;

/// <summary>
/// When a guest has become idle, gives the host back what the processor made of the guest's code: most of it ran when the system started, and never again.
/// What is run again is found among the translations that are kept. That costs some milliseconds, so a guest that is often idle for a while only must be
/// so for longer each time. For the processor's own thread.
/// </summary>
internal sealed unsafe class IdleMemory(Processor processor)
{
    private const long Worthwhile = 2 << 20;
    /// <summary>Instructions a second that a guest runs who does nothing but look at the clock.</summary>
    private const double Idle = 5e6;

    private static readonly TimeSpan s_first = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(5);

    private TimeSpan _quiet = s_first;
    private long _since = Stopwatch.GetTimestamp();
    private long _retired;

    /// <summary>Before the processor sleeps: for how long it may do so until <see cref="GiveBack"/> is to be called.</summary>
    public TimeSpan Due()
    {
        if (processor.SpareCodeBytes < Worthwhile)
        {
            return Timeout.InfiniteTimeSpan;
        }
        TimeSpan elapsed = Stopwatch.GetElapsedTime(_since);
        long retired = processor.State->Retired;
        if (retired - _retired > Idle * _quiet.TotalSeconds)
        {
            _retired = retired;
            _since = Stopwatch.GetTimestamp();
            elapsed = TimeSpan.Zero;
        }
        return elapsed < _quiet ? _quiet - elapsed : TimeSpan.Zero;
    }

    public void GiveBack()
    {
        processor.GiveBackCode();
        _since = Stopwatch.GetTimestamp();
        _quiet = _quiet * 2 < s_longest ? _quiet * 2 : s_longest;
    }
}
