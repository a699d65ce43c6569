using Ringfence.Engine;

namespace Ringfence.Machine;

/// <summary>What a machine is to be.</summary>
public sealed record MachineSpec
{
    /// <summary>Path of a kernel image; null for the guest that ships in the program.</summary>
    public string? Kernel { get; init; }

    /// <summary>Path of a BIOS image to start at the reset vector, in place of a kernel.</summary>
    public string? Bios { get; init; }

    /// <summary>Initial RAM disks, or multiboot modules.</summary>
    public IReadOnlyList<InitrdSpec> Initrds { get; init; } = [];

    /// <summary>The kernel command line.</summary>
    public string Append { get; init; } = "";

    /// <summary>Bytes of RAM: a multiple of 4 KiB, 1 MiB to 1 TiB.</summary>
    public ulong Memory { get; init; } = 512UL << 20;

    public int Cpus { get; init; } = 1;

    /// <summary>CPU model, and features added or taken away: MODEL[,+F|,-F]...; see <see cref="IEngine.CpuModels"/>.</summary>
    public string Cpu { get; init; } = CpuModelNames.Max;

    /// <summary>Guests find KVM's signature and clock. Linux takes that for the hypervisor even if there is Hyper-V's interface too.</summary>
    public bool KvmClock { get; init; }

    /// <summary>Guests find Hyper-V's interface.</summary>
    public bool HyperV { get; init; }

    /// <summary>A write of V to this port ends the machine with code (V &lt;&lt; 1) | 1, as QEMU's isa-debug-exit does. It and the
    /// three ports after it must be free.</summary>
    public ushort? DebugExitPort { get; init; }

    /// <summary>Has the device that test suites know as QEMU's pc-testdev.</summary>
    public bool TestDevice { get; init; }

    /// <summary>A reset ends the machine; otherwise it starts the guest again.</summary>
    public bool NoReboot { get; init; }

    /// <summary>Where the first serial line's output goes; null to drop it.</summary>
    public ISerialEndpoint? Serial { get; init; }

    /// <summary>What shows pictures or text, if anything.</summary>
    public ScreenKind Screen { get; init; }

    /// <summary>Told of every exit when not null.</summary>
    public IExitTrace? Trace { get; init; }

    /// <summary>Measure the time spent in the VMM.</summary>
    public bool MeasureTime { get; init; }

    /// <summary>Called on each vCPU's thread before it runs guest code.</summary>
    public Action? VcpuStarting { get; init; }
}

/// <summary>The board's display.</summary>
public enum ScreenKind
{
    None,
    /// <summary>A VGA in text mode, 80 by 25: <see cref="VirtualMachine.Screen"/> reads it.</summary>
    Text,
}

/// <param name="Path">The file.</param>
/// <param name="Arguments">A multiboot module's command line.</param>
public sealed record InitrdSpec(string Path, string Arguments = "");

/// <summary>Offers bytes to the guest's receiver and returns how many it had room for. Thread-safe.</summary>
public delegate int SerialReceiver(ReadOnlySpan<byte> data);

/// <summary>The host's end of a serial line.</summary>
public interface ISerialEndpoint
{
    /// <summary>The line exists: bytes for the guest go to <paramref name="receive"/>. Called once, before the guest runs.</summary>
    void Connect(SerialReceiver receive);

    /// <summary>The guest sent a byte. Called on vCPU threads; must not block for long.</summary>
    void Transmit(byte value);

    /// <summary>The guest's receiver has room again. Called on vCPU threads.</summary>
    void RoomAvailable();
}

/// <param name="Elapsed">Since <see cref="VirtualMachine.Run"/> began.</param>
/// <param name="Vcpus">In order of index.</param>
public sealed record MachineStatistics(TimeSpan Elapsed, IReadOnlyList<VcpuStatistics> Vcpus);

/// <summary>How a machine ended.</summary>
public enum MachineEndKind
{
    PoweredOff,
    /// <summary>HLT with interrupts off: nothing can wake it.</summary>
    Halted,
    /// <summary>The guest asked for a reset, and the machine was not to start again.</summary>
    Reset,
    TripleFault,
    /// <summary>Through the debug exit port; <see cref="MachineEnd.Code"/> is the exit code.</summary>
    DebugExit,
    /// <summary>The engine cannot go on.</summary>
    Failed,
    /// <summary>It was stopped from outside.</summary>
    Stopped,
}

/// <param name="Code">For <see cref="MachineEndKind.DebugExit"/>: (V &lt;&lt; 1) | 1.</param>
/// <param name="Report">For people, several lines: what led to a triple fault or failure.</param>
public sealed record MachineEnd(MachineEndKind Kind, int Code = 0, string? Report = null);
