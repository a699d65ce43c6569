using Ringfence.Host;

namespace Ringfence.Engine;

/// <summary>What a debugger wants a vCPU to stop at.</summary>
public sealed record DebugControl
{
    public static DebugControl None { get; } = new();

    /// <summary>Stop after one instruction, or one iteration of a repeated one, or at the first instruction of the handler of what it raised.
    /// Interrupts wait meanwhile, except for a processor that is halted: it takes the one that wakes it. Execution breakpoints at the
    /// instruction itself are passed over.</summary>
    public bool SingleStep { get; init; }

    public IReadOnlyList<DebugPoint> Points { get; init; } = [];
}

public enum DebugPointKind
{
    /// <summary>Before the instruction at the address. The length means nothing.</summary>
    Execute,
    /// <summary>After an instruction that wrote there.</summary>
    Write,
    /// <summary>After an instruction that read there.</summary>
    Read,
    /// <summary>After an instruction that read or wrote there.</summary>
    Access,
}

/// <param name="Address">Linear; it need not be mapped.</param>
/// <param name="Length">Bytes watched.</param>
public readonly record struct DebugPoint(DebugPointKind Kind, ulong Address, int Length = 1);

public enum DebugStopKind
{
    None,
    /// <summary>The step that was asked for is done.</summary>
    Step,
    /// <summary>An execution breakpoint is at RIP; the instruction has not run.</summary>
    Breakpoint,
    /// <summary>The instruction before RIP made an access that is watched.</summary>
    Watchpoint,
}

/// <param name="Point">What was hit, for a breakpoint or watchpoint.</param>
public readonly record struct DebugStop(DebugStopKind Kind, DebugPoint Point = default);

/// <summary>A machine's stopping and going on, for debuggers and whoever wants to look at a machine that stands still. Thread-safe.</summary>
public interface IRunControl
{
    GuestMemory Memory { get; }

    /// <summary>The processors: to be looked at and changed between <see cref="Pause"/> and <see cref="Resume"/>. Another one after a reset.</summary>
    IVm Vm { get; }

    /// <summary>Stops the machine's clock and all vCPUs, each between two instructions, and waits until they have stopped. Before the start of
    /// the machine: it will start so.</summary>
    void Pause();

    /// <summary>Lets the clock and the vCPUs go on, or some of them.</summary>
    void Resume(Func<int, bool>? chosen = null);

    /// <summary>As <see cref="IVcpu.SetDebug"/>, between <see cref="Pause"/> and <see cref="Resume"/>; it outlives a reset of the machine.</summary>
    void SetDebug(int vcpu, DebugControl control);

    /// <summary>Who is told of a stop; null when nobody is, which is when a triple fault ends the machine at once.</summary>
    IRunObserver? Observer { get; set; }

    /// <summary>Ends the machine.</summary>
    void End();
}

/// <summary>Told what happens to a machine under <see cref="IRunControl"/>. Called on its vCPU threads; must not block.</summary>
public interface IRunObserver
{
    /// <summary>A vCPU stopped for <see cref="VcpuExitReason.Debug"/> or <see cref="VcpuExitReason.Shutdown"/>, and stays so until
    /// <see cref="IRunControl.Resume"/>. The others run on until <see cref="IRunControl.Pause"/>.</summary>
    void Stopped(int vcpu, VcpuExit exit);

    /// <summary>The machine has ended.</summary>
    void Ended();
}
