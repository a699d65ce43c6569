using Ringfence.Cpu.State;
using Ringfence.Cpu.Stops;

namespace Ringfence.Cpu;

/// <summary>Stopping for someone outside the guest, in which the guest's debug registers, TF and memory have no part; and what is pending, for
/// whoever keeps a processor's state.</summary>
public sealed unsafe partial class Processor
{
    /// <summary>Null until someone asked for stops: then nothing looks at them.</summary>
    internal StopPoints? Stops { get; private set; }

    /// <summary>After <see cref="RunResult.Stopped"/>.</summary>
    public StopReport Stop { get; private set; }

    /// <summary>A step was asked for and has been made, though <see cref="Run"/> came back for another reason.</summary>
    public bool StepDone => Stops is { StepDone: true };

    /// <summary><see cref="Run"/> is to come back when the privilege level becomes 3: someone else runs what is there.</summary>
    internal bool LeavesForUserMode { get; set; }

    /// <summary>How many NMIs wait to be taken, 0 to 2. Set only while the processor does not run.</summary>
    public int PendingNmis
    {
        get => (State->Attention & Attentions.AnyNmi) switch { 0 => 0, Attentions.AnyNmi => 2, _ => 1 };
        set
        {
            Interlocked.And(ref State->Attention, ~Attentions.AnyNmi);
            Interlocked.Or(ref State->Attention, value switch { 0 => 0, 1 => Attentions.Nmi, _ => Attentions.AnyNmi });
        }
    }

    /// <summary>An NMI is being handled. Set only while the processor does not run.</summary>
    public bool NmiBlocked
    {
        get => Delivery.NmiBlocked;
        set => Delivery.NmiBlocked = value;
    }

    /// <summary>DR6 bits of the guest's debug traps that are due. Set only while the processor does not run.</summary>
    public ulong DebugTraps
    {
        get => Debugging.Pending;
        set => Debugging.Pending = value;
    }

    /// <summary>Where to stop from now on. Only while the processor does not run.</summary>
    /// <param name="step">Stop after one instruction, or iteration of a repeated one. Interrupts wait meanwhile.</param>
    public void SetStops(IReadOnlyList<StopPoint> points, bool step)
    {
        if (Stops is null && points.Count == 0 && !step)
        {
            return;
        }
        Stops ??= new StopPoints(this);
        Stops.Set(points, step);
    }

    /// <summary>A halted processor is about to go on because of an interrupt: a step of it takes that.</summary>
    public void NoteWoken() => Stops?.Wake();

    /// <summary>Between two instructions with <see cref="Attentions.Stop"/> set. True: <see cref="Run"/> is to come back, as <see cref="Stop"/> says.</summary>
    /// <param name="single">The next instruction is to be run as a step.</param>
    private bool AttendStop(out bool single)
    {
        single = false;
        StopPoints stops = Stops!;
        if (stops.Finished(out StopReport report))
        {
            Stop = report;
            return true;
        }
        if (!stops.Stepping)
        {
            return false;
        }
        if (stops.BeginStep() && TakeInterrupt())
        {
            // At the handler's first instruction, or on the way to a shutdown.
            return State->Event == ExitEvent.None && stops.Finished(out report) && Report(report);
        }
        single = true;
        return false;

        bool Report(StopReport taken)
        {
            Stop = taken;
            return true;
        }
    }

    /// <summary>A step.</summary>
    private void ExecuteSingle(bool passes)
    {
        Stops!.BeginSingle();
        ExecuteAlone(passes);
        Stops.EndSingle();
    }
}
