using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Stops;

public enum StopPointKind
{
    /// <summary>Before the instruction at the address.</summary>
    Execute,
    /// <summary>After an instruction that wrote.</summary>
    Write,
    /// <summary>After an instruction that read.</summary>
    Read,
    /// <summary>After an instruction that did either.</summary>
    Access,
}

/// <summary>Where someone outside the guest wants a processor to stop.</summary>
public readonly record struct StopPoint(StopPointKind Kind, ulong Linear, int Length);

public enum StopReason
{
    Step,
    Execute,
    Data,
}

/// <summary>Why <see cref="RunResult.Stopped"/>.</summary>
public readonly record struct StopReport(StopReason Reason, StopPoint Point = default);

/// <summary>
/// The stops of one processor. Places in code are checked by an op of their own before the instruction, put there at decoding wherever the
/// offset in the page is that of some place: one page may be mapped at several addresses, but the offset is the same in all. Watched pages have
/// no tags in the TLB, and an instruction that is about to touch one is left and run alone: as with the guest's own breakpoints, which
/// <see cref="SystemLevel.DebugUnit"/> keeps. So code that is not looked at runs as fast as ever.
/// </summary>
internal sealed unsafe class StopPoints(Processor processor)
{
    private readonly CpuState* _s = processor.State;
    private readonly HashSet<ulong> _execute = [];
    /// <summary>Offsets in a page before which decoded code has a check.</summary>
    private readonly bool[] _guarded = new bool[GuestAccess.PageBytes];
    private StopPoint[] _watched = [];
    private StopPoint? _hit;
    private bool _stepAsked;
    private bool _stepDone;
    private bool _woken;

    /// <summary>A step was asked for.</summary>
    public bool Stepping => _stepAsked;

    /// <summary>The instruction that runs is the step: it is not stopped before.</summary>
    public bool Single { get; private set; }

    public bool WatchesData => _watched.Length != 0;

    /// <summary>The step asked for has been made.</summary>
    public bool StepDone => _stepAsked && _stepDone;

    public void Set(IReadOnlyList<StopPoint> points, bool step)
    {
        _execute.Clear();
        bool decodeAnew = false;
        foreach (StopPoint point in points)
        {
            if (point.Kind == StopPointKind.Execute)
            {
                _execute.Add(point.Linear);
                ref bool guarded = ref _guarded[point.Linear % GuestAccess.PageBytes];
                decodeAnew |= !guarded;
                guarded = true;
            }
        }
        // Checks that are no longer needed stay, for debuggers take their places out and put them back at every stop.
        if (_execute.Count == 0 && !step && _guarded.AsSpan().Contains(true))
        {
            Array.Clear(_guarded);
            decodeAnew = true;
        }
        if (decodeAnew)
        {
            processor.Blocks.Flush();
        }
        StopPoint[] watched = [.. points.Where(p => p.Kind != StopPointKind.Execute && p.Length > 0)];
        if (!watched.AsSpan().SequenceEqual(_watched))
        {
            _watched = watched;
            processor.Debugging.Update();
        }
        _hit = null;
        _stepAsked = step;
        _stepDone = false;
        _woken = false;
        if (step)
        {
            processor.RaiseQuietly(Attentions.Stop);
        }
        else
        {
            Interlocked.And(ref _s->Attention, ~Attentions.Stop);
        }
    }

    /// <summary>Whether an instruction at this linear address gets a check before it.</summary>
    public bool Guards(ulong linear) => _guarded[linear % GuestAccess.PageBytes];

    /// <summary>Whether to stop before the instruction at this linear address.</summary>
    public bool StopsAt(ulong linear) => !Single && _execute.Contains(linear);

    public StopReport Executed(ulong linear) => new(StopReason.Execute, new StopPoint(StopPointKind.Execute, linear, 1));

    /// <summary>What the TLB must not let pass unnoticed on a page.</summary>
    public void WatchedOn(ulong page, ref bool reads, ref bool writes)
    {
        foreach (ref readonly StopPoint point in _watched.AsSpan())
        {
            if (point.Linear - page < GuestAccess.PageBytes || page - point.Linear < (ulong)point.Length)
            {
                writes = true;
                reads |= point.Kind != StopPointKind.Write;
            }
        }
    }

    public bool Watches(ulong linear, int size, bool reads, bool writes) => Find(linear, size, reads, writes) is not null;

    /// <summary>An access is made, be it by an instruction or in delivering an event.</summary>
    public void Note(ulong linear, int size, bool reads, bool writes)
    {
        if (_hit is null && Find(linear, size, reads, writes) is { } point)
        {
            _hit = point;
            processor.RaiseQuietly(Attentions.Stop);
        }
    }

    /// <summary>The instruction faulted: it will be run again, if at all.</summary>
    public void ForgetHit()
    {
        if (_hit is not null)
        {
            _hit = null;
            if (!_stepAsked)
            {
                Interlocked.And(ref _s->Attention, ~Attentions.Stop);
            }
        }
    }

    public void BeginSingle() => Single = true;

    public void EndSingle() => Single = false;

    /// <summary>A halted processor has been woken: a step of it takes the interrupt first.</summary>
    public void Wake() => _woken = true;

    /// <summary>Between two instructions: whether to stop here, and why.</summary>
    public bool Finished(out StopReport report)
    {
        if (_hit is { } hit)
        {
            _hit = null;
            report = new StopReport(StopReason.Data, hit);
        }
        else if (StepDone)
        {
            report = new StopReport(StopReason.Step);
        }
        else
        {
            report = default;
            return false;
        }
        Interlocked.And(ref _s->Attention, ~Attentions.Stop);
        _stepAsked = false;
        return true;
    }

    /// <summary>A turn of a step begins. True: it is to take the interrupt that woke the processor, and nothing else.</summary>
    public bool BeginStep()
    {
        _stepDone = true;
        bool woken = _woken;
        _woken = false;
        return woken;
    }

    private StopPoint? Find(ulong linear, int size, bool reads, bool writes)
    {
        foreach (ref readonly StopPoint point in _watched.AsSpan())
        {
            bool kind = (reads && point.Kind != StopPointKind.Write) || (writes && point.Kind != StopPointKind.Read);
            if (kind && (linear - point.Linear < (ulong)point.Length || point.Linear - linear < (ulong)size))
            {
                return point;
            }
        }
        return null;
    }
}
