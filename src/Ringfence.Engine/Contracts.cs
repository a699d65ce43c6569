using Ringfence.Host;

namespace Ringfence.Engine;

/// <summary>An execution engine: it makes virtual machines whose processors it runs. Ask it for capabilities, never for its name.</summary>
public interface IEngine
{
    EngineCapabilities Capabilities { get; }

    /// <summary>The processor models that it knows, without features added or taken away.</summary>
    IReadOnlyList<CpuDescription> CpuModels { get; }

    /// <summary>What a processor is that is asked for as <see cref="VmOptions.CpuModel"/>.</summary>
    /// <exception cref="CpuModelException">There is none such.</exception>
    CpuDescription DescribeCpu(string model);

    /// <summary>Makes a machine over guest memory that the caller owns and keeps until the machine is disposed of.</summary>
    /// <exception cref="ArgumentException">There are more vCPUs than the engine can run.</exception>
    /// <exception cref="CpuModelException">There is no such processor.</exception>
    IVm CreateVm(VmOptions options);
}

/// <param name="Name">For people: "interpreter", "kvm".</param>
/// <param name="MaximumVcpus">How many vCPUs one machine may have.</param>
/// <param name="CountsInstructions">Whether <see cref="VcpuStatistics.Instructions"/> is exact.</param>
/// <param name="Debugs">Whether <see cref="IVcpu.SetDebug"/> does what it is asked.</param>
public sealed record EngineCapabilities(string Name, int MaximumVcpus, bool CountsInstructions, bool Debugs);

/// <param name="Memory">Guest RAM.</param>
/// <param name="Clock">The machine's time; the TSC and local APIC timers are derived from it.</param>
/// <param name="Bus">Where port I/O and MMIO go.</param>
/// <param name="CpuModel">MODEL[,+F|,-F]...: a model's name, and features added or taken away; see <see cref="CpuModelNames"/>.</param>
/// <param name="Vcpus">How many vCPUs there will be; APIC IDs are 0 to Vcpus - 1.</param>
/// <param name="Trace">Told of every exit when not null.</param>
/// <param name="MeasureTime">Measure <see cref="VcpuStatistics.VmmTime"/>: two looks at the clock for each exit.</param>
/// <param name="KvmClock">Guests find KVM's signature and clock.</param>
/// <param name="HyperV">Guests find Hyper-V's interface.</param>
/// <param name="Chips">The board's interrupt chips, for an engine that can hold them; null for a board that keeps its own, or has none.</param>
public sealed record VmOptions(
    GuestMemory Memory, IClock Clock, IVcpuBus Bus, string CpuModel, int Vcpus, IExitTrace? Trace = null, bool MeasureTime = false,
    bool KvmClock = false, bool HyperV = false, IBoardChips? Chips = null);

/// <summary>A virtual machine of one engine: processors and their local APICs over guest memory.</summary>
public interface IVm : IDisposable
{
    /// <summary>vCPUs in order of APIC ID. 0 is the bootstrap processor; the others wait for SIPI.</summary>
    IReadOnlyList<IVcpu> Vcpus { get; }

    /// <summary>Delivers an interrupt message to the local APICs. Thread-safe.</summary>
    void DeliverInterrupt(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered);

    /// <summary>The level of the 8259 pair's INTR output. Thread-safe.</summary>
    void SetExternalInterrupt(bool asserted);

    /// <summary>Someone who is no vCPU has written to RAM: no vCPU may go on with code that was there before. Thread-safe.</summary>
    void NoteMemoryWritten(ulong address, ulong length);
}

/// <summary>A machine whose guest code more than one engine can run: it can be moved between them while the guest is under way.</summary>
public interface IMovableVm : IVm
{
    /// <summary>The names of the engines.</summary>
    IReadOnlyList<string> Engines { get; }

    /// <summary>The one that runs guest code. Set only while no vCPU runs; the guest does not notice.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    string Engine { get; set; }
}

/// <summary>One virtual processor. Everything but <see cref="RequestExit"/> belongs to the thread that runs it, or to another while it is
/// known not to run.</summary>
public interface IVcpu
{
    int Index { get; }

    /// <summary>Runs guest code until something other than I/O wants the caller. HLT with nothing pending sleeps inside.</summary>
    VcpuExit Run();

    /// <summary>Makes <see cref="Run"/> return <see cref="VcpuExitReason.Interrupted"/> soon, or its next call at once. Any thread may call it.</summary>
    void RequestExit();

    /// <summary>All that makes the processor go on as it would have. Between two instructions.</summary>
    VcpuState Save();

    /// <exception cref="ArgumentException">No such processor could be in that state.</exception>
    void Load(VcpuState state);

    /// <summary>What <see cref="Run"/> is to stop at from now on, for a debugger. The guest does not notice: neither its memory nor its
    /// debug registers change.</summary>
    void SetDebug(DebugControl control);

    /// <summary>How wide the vector registers are that CPUID offers: 16, 32 or 64 bytes.</summary>
    int VectorBytes { get; }

    VcpuStatistics Statistics { get; }
}

public enum VcpuExitReason
{
    /// <summary><see cref="IVcpu.RequestExit"/> was called.</summary>
    Interrupted,
    /// <summary>HLT with interrupts off and no way to be woken but NMI or INIT: halted for good.</summary>
    Halted,
    /// <summary>Triple fault: <see cref="VcpuExit.Detail"/> tells the vectors that led there.</summary>
    Shutdown,
    /// <summary>The engine cannot go on; <see cref="VcpuExit.Detail"/> says why.</summary>
    Failed,
    /// <summary>What <see cref="IVcpu.SetDebug"/> asked for happened: <see cref="VcpuExit.Debug"/> tells what.</summary>
    Debug,
}

public readonly record struct VcpuExit(VcpuExitReason Reason, string? Detail = null, DebugStop Debug = default);

/// <summary>What guests reach outside RAM and processor. Called on vCPU threads, so implementations are thread-safe.</summary>
public interface IVcpuBus
{
    /// <param name="size">1, 2 or 4 bytes.</param>
    uint ReadPort(ushort port, int size);

    /// <param name="size">1, 2 or 4 bytes.</param>
    void WritePort(ushort port, int size, uint value);

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    ulong ReadMemory(ulong address, int size);

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    void WriteMemory(ulong address, int size, ulong value);

    /// <summary>The INTA cycle: the vector of the 8259 pair's highest request, which becomes in service. -1 if the request is gone.</summary>
    int AcknowledgeExternalInterrupt();

    /// <summary>A local APIC saw EOI for a level-triggered vector: IOAPICs clear their remote IRR (SDM 3A 11.8.5).</summary>
    void EndOfInterrupt(byte vector);
}

/// <summary>Told of each exit to the VMM, for --trace. Called on vCPU threads.</summary>
public interface IExitTrace
{
    /// <param name="kind">For example "out", "mmio-read", "cpuid", "hlt".</param>
    void Exit(int vcpu, ulong rip, string kind, ulong address, ulong value);
}

/// <summary>Counts since the vCPU was made.</summary>
/// <param name="Instructions">Guest instructions retired.</param>
/// <param name="GuestTime">Time in guest code.</param>
/// <param name="VmmTime">Time in the bus and devices on behalf of this vCPU.</param>
/// <param name="HaltTime">Time asleep in HLT.</param>
/// <param name="Exits">Exits by kind.</param>
/// <param name="Translation">What the translator did, by name; null where there is none.</param>
public sealed record VcpuStatistics(
    long Instructions, TimeSpan GuestTime, TimeSpan VmmTime, TimeSpan HaltTime, IReadOnlyDictionary<string, long> Exits,
    IReadOnlyDictionary<string, long>? Translation = null)
{
    public static VcpuStatistics operator +(VcpuStatistics a, VcpuStatistics b) => new(
        a.Instructions + b.Instructions, a.GuestTime + b.GuestTime, a.VmmTime + b.VmmTime, a.HaltTime + b.HaltTime,
        Add(a.Exits, b.Exits), a.Translation is null || b.Translation is null ? a.Translation ?? b.Translation : Add(a.Translation, b.Translation));

    private static Dictionary<string, long> Add(IReadOnlyDictionary<string, long> a, IReadOnlyDictionary<string, long> b) =>
        a.Concat(b).GroupBy(count => count.Key).ToDictionary(group => group.Key, group => group.Sum(count => count.Value));
}
