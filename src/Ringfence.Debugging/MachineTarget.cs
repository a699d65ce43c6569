using System.Collections.Concurrent;
using Ringfence.Engine;
using Ringfence.Host;

namespace Ringfence.Debugging;

/// <summary>A machine as a session's target.</summary>
/// <param name="stopped">Told on any thread that there may be a stop to take.</param>
/// <param name="ended">Told on any thread that the machine has ended.</param>
internal sealed class MachineTarget(IRunControl control, Action stopped, Action ended) : IDebugTarget, IRunObserver
{
    private readonly ConcurrentQueue<TargetStop> _stops = new();
    private readonly List<DebugPoint> _points = [];

    public int Vcpus => control.Vm.Vcpus.Count;

    public int VectorBytes => control.Vm.Vcpus[0].VectorBytes;

    /// <summary>From here on stops come here. The machine stands still on return.</summary>
    public void Attach()
    {
        control.Observer = this;
        control.Pause();
    }

    public VcpuState Read(int vcpu) => control.Vm.Vcpus[vcpu].Save();

    public bool Write(int vcpu, VcpuState state)
    {
        try
        {
            control.Vm.Vcpus[vcpu].Load(state);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    public bool TryTranslate(int vcpu, ulong linear, out ulong physical) => GuestPages.TryTranslate(control.Memory, Read(vcpu), linear, out physical);

    public int ReadMemory(int vcpu, ulong linear, Span<byte> destination)
    {
        VcpuState state = Read(vcpu);
        // Before the guest's first instruction hardly anything is mapped, and gdb reads what is at a function to find the end of its prologue.
        bool unmappedIsZero = control.Vm.Vcpus[0].Statistics.Instructions == 0;
        int done = 0;
        while (done < destination.Length)
        {
            ulong at = linear + (ulong)done;
            Span<byte> part = destination.Slice(done, Part(at, destination.Length - done));
            if (!GuestPages.TryTranslate(control.Memory, state, at, out ulong physical))
            {
                if (!unmappedIsZero)
                {
                    break;
                }
                part.Clear();
            }
            else if (!control.Memory.TryRead(physical, part))
            {
                break;
            }
            done += part.Length;
        }
        return done;
    }

    public bool WriteMemory(int vcpu, ulong linear, ReadOnlySpan<byte> source)
    {
        VcpuState state = Read(vcpu);
        List<(ulong Physical, int Offset, int Length)> parts = [];
        for (int done = 0; done < source.Length; done += parts[^1].Length)
        {
            ulong at = linear + (ulong)done;
            int length = Part(at, source.Length - done);
            if (!GuestPages.TryTranslate(control.Memory, state, at, out ulong physical) || !control.Memory.TryRead(physical, new byte[length]))
            {
                return false;
            }
            parts.Add((physical, done, length));
        }
        foreach ((ulong physical, int offset, int length) in parts)
        {
            control.Memory.TryWrite(physical, source.Slice(offset, length));
            control.Vm.NoteMemoryWritten(physical, (ulong)length);
        }
        return true;
    }

    public void AddPoint(DebugPoint point)
    {
        if (!_points.Contains(point))
        {
            _points.Add(point);
        }
    }

    public void RemovePoint(DebugPoint point) => _points.Remove(point);

    public void Resume(IReadOnlyList<ResumeAction> actions)
    {
        if (KeepStops())
        {
            // Another vCPU stopped at the same time as the one that was told of.
            stopped();
            return;
        }
        DebugPoint[] points = [.. _points];
        for (int i = 0; i < actions.Count; i++)
        {
            if (actions[i] != ResumeAction.Stay)
            {
                control.SetDebug(i, new DebugControl { SingleStep = actions[i] == ResumeAction.Step, Points = points });
            }
        }
        control.Resume(i => actions[i] != ResumeAction.Stay);
    }

    public void Pause() => control.Pause();

    public TargetStop? TakeStop() => _stops.TryDequeue(out TargetStop stop) ? stop : null;

    public void Detach()
    {
        control.Observer = null;
        // Whatever stops until then is let go with the others.
        control.Pause();
        _stops.Clear();
        for (int i = 0; i < Vcpus; i++)
        {
            control.SetDebug(i, DebugControl.None);
        }
        control.Resume();
    }

    public void Kill()
    {
        control.Observer = null;
        control.End();
    }

    void IRunObserver.Stopped(int vcpu, VcpuExit exit)
    {
        _stops.Enqueue(new TargetStop(vcpu, exit));
        stopped();
    }

    void IRunObserver.Ended() => ended();

    /// <summary>Keeps of the stops not told yet those that would not come again by themselves. True if there are any.</summary>
    private bool KeepStops()
    {
        for (int count = _stops.Count; count > 0 && _stops.TryDequeue(out TargetStop stop); count--)
        {
            if (stop.Exit.Reason == VcpuExitReason.Shutdown
                || (stop.Exit.Debug.Kind == DebugStopKind.Watchpoint && _points.Contains(stop.Exit.Debug.Point)))
            {
                _stops.Enqueue(stop);
            }
        }
        return !_stops.IsEmpty;
    }

    private static int Part(ulong address, int length) => (int)Math.Min((ulong)length, GuestMemory.PageSize - (address % GuestMemory.PageSize));
}
