using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>What a vCPU is to do when the machine goes on.</summary>
internal enum ResumeAction
{
    Stay,
    Continue,
    Step,
}

/// <param name="Vcpu">Which stopped.</param>
internal readonly record struct TargetStop(int Vcpu, VcpuExit Exit);

/// <summary>What a session debugs: a machine, or a test's idea of one. Used by the session's thread alone; all but <see cref="Pause"/>,
/// <see cref="Detach"/> and <see cref="Kill"/> only while the machine stands still.</summary>
internal interface IDebugTarget
{
    int Vcpus { get; }

    /// <summary>As <see cref="IVcpu.VectorBytes"/>.</summary>
    int VectorBytes { get; }

    VcpuState Read(int vcpu);

    /// <summary>False if the vCPU cannot be in that state.</summary>
    bool Write(int vcpu, VcpuState state);

    bool TryTranslate(int vcpu, ulong linear, out ulong physical);

    /// <summary>Reads memory by the vCPU's addresses, up to the first byte that is not there. Returns how many bytes that is.</summary>
    int ReadMemory(int vcpu, ulong linear, Span<byte> destination);

    /// <summary>All or nothing.</summary>
    bool WriteMemory(int vcpu, ulong linear, ReadOnlySpan<byte> source);

    void AddPoint(DebugPoint point);

    void RemovePoint(DebugPoint point);

    /// <summary>One action for each vCPU.</summary>
    void Resume(IReadOnlyList<ResumeAction> actions);

    /// <summary>Stops all vCPUs and waits until they have.</summary>
    void Pause();

    /// <summary>The first stop that has not been told yet, once the machine stands still; null if there is none.</summary>
    TargetStop? TakeStop();

    /// <summary>Forgets all points and lets the machine go on.</summary>
    void Detach();

    void Kill();
}
