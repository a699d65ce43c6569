using Ringfence.Cpu.Interpreter;
using Ringfence.Host;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>What the processors of one machine have in common of their paravirtual interfaces: time, and what is written to guest memory.</summary>
public sealed unsafe class ParavirtualPlatform
{
    private readonly GuestMemory _memory;
    private readonly SharedCode _shared;
    private readonly IClock _clock;
    private readonly bool _countersAreSteady;

    /// <param name="clock">The one that the processors' time-stamp counters count.</param>
    /// <param name="clockHertz">What it counts in a second.</param>
    /// <param name="machine">The machine's, whose time guests are told.</param>
    /// <param name="countersAreSteady">The time-stamp counters that guests read count the clock exactly, and not only in the long run.</param>
    public ParavirtualPlatform(GuestMemory memory, SharedCode shared, IClock clock, long clockHertz, IClock machine, bool countersAreSteady = true)
    {
        _countersAreSteady = countersAreSteady;
        _memory = memory;
        _shared = shared;
        _clock = clock;
        ClockHertz = clockHertz;
        TimeOffset = machine == clock ? 0 : machine.Now - ClockNanoseconds;
        Partition = new HyperVPartition(this);
    }

    /// <summary>What the time-stamp counters and local APIC timers count in a second.</summary>
    public long ClockHertz { get; }

    /// <summary>Time as guests are told it is the clock's plus this, in nanoseconds.</summary>
    public long TimeOffset { get; internal set; }

    /// <summary>The clock's time in nanoseconds.</summary>
    public long ClockNanoseconds => (long)TimeScale.ToNanoseconds((ulong)_clock.Now);

    /// <summary>Held while any register or timer of a paravirtual interface is used. Under it only timers and local APICs are called.</summary>
    internal Lock Gate { get; } = new();

    // Made when they are needed first, which on a machine without these interfaces is never.
    internal TimeScale TimeScale => field ??= TimeScale.Of(ClockHertz);

    internal ReferenceScale ReferenceScale => field ??= ReferenceScale.Of(ClockHertz);

    internal HyperVPartition Partition { get; }

    internal IClock Clock => _clock;

    internal ReadOnlySpan<Processor> Processors => _shared.Processors;

    /// <summary>The wall-clock time at which the time that guests are told was 0.</summary>
    internal DateTime StartOfTime => _clock.UtcNow.AddTicks(-(ClockNanoseconds + TimeOffset) / TimeSpan.NanosecondsPerTick);

    /// <summary>All processors' time-stamp counters are the same, and can be relied upon.</summary>
    internal bool TimeStampsAgree
    {
        get
        {
            foreach (Processor processor in Processors)
            {
                if (processor.State->TscOffset != Processors[0].State->TscOffset)
                {
                    return false;
                }
            }
            return _countersAreSteady;
        }
    }

    /// <summary>Where a range of guest memory is that may be written; null if it is not all RAM.</summary>
    internal byte* Locate(ulong address, int length) => _memory.IsRom(address) ? null : _memory.Pointer(address, (ulong)length);

    /// <summary>Something has been written there: code that was decoded from it is to be decoded anew.</summary>
    internal void NoteWritten(ulong address, int length) => _shared.WrittenByDevice(address, (ulong)length);

    /// <summary>A processor's counter was set: what others tell of all counters is told anew.</summary>
    internal void TimeStampChanged()
    {
        lock (Gate)
        {
            foreach (Processor processor in Processors)
            {
                processor.Paravirtual?.TellTime();
            }
            Partition.TellReferenceTime();
        }
    }
}
