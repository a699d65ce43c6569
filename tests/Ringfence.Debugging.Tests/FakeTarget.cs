using Ringfence.Engine;

namespace Ringfence.Debugging.Tests;

/// <summary>A target that remembers what it was asked for. Its memory is 64 KiB at address 0x1000.</summary>
internal sealed class FakeTarget(int vcpus = 2) : IDebugTarget
{
    public const ulong Base = 0x1000;

    public byte[] Memory { get; } = new byte[0x1_0000];

    public VcpuState[] States { get; } = [.. Enumerable.Range(0, vcpus).Select(i => new VcpuState { Rip = 0x1000UL * (ulong)i })];

    public List<DebugPoint> Points { get; } = [];

    public Queue<TargetStop> Stops { get; } = [];

    public IReadOnlyList<ResumeAction>? Resumed { get; private set; }

    public int Pauses { get; private set; }

    public bool Detached { get; private set; }

    public bool Killed { get; private set; }

    public bool RefusesState { get; set; }

    public int Vcpus => vcpus;

    public int VectorBytes { get; init; } = 16;

    public VcpuState Read(int vcpu) => States[vcpu];

    public bool Write(int vcpu, VcpuState state)
    {
        States[vcpu] = RefusesState ? States[vcpu] : state;
        return !RefusesState;
    }

    public bool TryTranslate(int vcpu, ulong linear, out ulong physical)
    {
        physical = linear - Base;
        return physical < (ulong)Memory.Length;
    }

    public int ReadMemory(int vcpu, ulong linear, Span<byte> destination)
    {
        ulong at = linear - Base;
        if (at >= (ulong)Memory.Length)
        {
            return 0;
        }
        int count = (int)Math.Min((ulong)destination.Length, (ulong)Memory.Length - at);
        Memory.AsSpan((int)at, count).CopyTo(destination);
        return count;
    }

    public bool WriteMemory(int vcpu, ulong linear, ReadOnlySpan<byte> source)
    {
        ulong at = linear - Base;
        if (at >= (ulong)Memory.Length || (ulong)source.Length > (ulong)Memory.Length - at)
        {
            return false;
        }
        source.CopyTo(Memory.AsSpan((int)at));
        return true;
    }

    public void AddPoint(DebugPoint point) => Points.Add(point);

    public void RemovePoint(DebugPoint point) => Points.Remove(point);

    public void Resume(IReadOnlyList<ResumeAction> actions) => Resumed = actions;

    public void Pause() => Pauses++;

    public TargetStop? TakeStop() => Stops.TryDequeue(out TargetStop stop) ? stop : null;

    public void Detach() => Detached = true;

    public void Kill() => Killed = true;
}
