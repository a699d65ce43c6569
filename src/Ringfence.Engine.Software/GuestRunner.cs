using Ringfence.Cpu;

namespace Ringfence.Engine.Software;

/// <summary>
/// Runs a processor's guest code elsewhere than in our own code: on the host's processor. The processor object stays what others see of it: its local APIC, its
/// MSRs, and between <see cref="Fetch"/> and the next <see cref="Run"/> all of its state.
/// </summary>
internal interface IGuestRunner : IDisposable
{
    /// <summary>Before each <see cref="Run"/>, and before anyone looks at what the vCPU is doing: interrupt chips go where they are needed.</summary>
    void Enter();

    /// <summary>As <see cref="Processor.Run"/>; where <see cref="SleepsInside"/>, a halt is for good.</summary>
    /// <exception cref="GuestRunnerException">It cannot go on.</exception>
    RunResult Run();

    /// <summary>The local APIC is elsewhere, and with it sleeping in HLT and waiting for SIPI.</summary>
    bool SleepsInside { get; }

    /// <summary>Makes the processor's local APIC and the vCPU's activity what they are elsewhere, for someone to look at; <see cref="HideApic"/> ends that. Nothing
    /// where they are ours.</summary>
    void ShowApic();

    void HideApic();

    /// <summary>All of the state was set from outside, the local APIC's and the vCPU's activity too.</summary>
    void Loaded();

    /// <summary>Takes an interrupt of any delivery mode. False where the local APIC is ours. Any thread.</summary>
    bool TryAccept(DeliveryMode mode, byte vector, bool levelTriggered);

    /// <summary>Brings the state into the processor, from where it may be changed. Only while it does not run.</summary>
    void Fetch();

    /// <summary>Makes <see cref="Run"/> look at what the processor was asked. Any thread.</summary>
    void Kick();

    /// <summary>After <see cref="RunResult.Shutdown"/>, when it happened there.</summary>
    string? ShutdownReport { get; }

    /// <summary>A debugger wants stops, or none any more.</summary>
    void NoteStops(bool wanted);

    /// <summary>What was counted besides the processor's own exits.</summary>
    IEnumerable<KeyValuePair<string, long>> Counts { get; }

    /// <summary>To the terms of <see cref="VcpuState"/>, whose time is the machine's clock, and from them.</summary>
    VcpuState ToMachineTime(VcpuState state);

    VcpuState FromMachineTime(VcpuState state);
}

/// <summary>Makes what runs a processor's guest code.</summary>
internal interface IGuestRunnerFactory
{
    /// <summary>The clock that the processors' time-stamp counters and local APICs count.</summary>
    Host.IClock Clock { get; }

    /// <summary>Guests' time-stamp counters count it exactly, and not only in the long run.</summary>
    bool CountersAreSteady { get; }

    /// <summary>What that clock counts in a second.</summary>
    long ClockHertz { get; }

    /// <summary>The clock that the local APICs' timers count, but in TSC-deadline mode.</summary>
    Host.IClock ApicClock { get; }

    IGuestRunner Create(Processor processor, IRunnerVcpu vcpu);
}

/// <summary>The vCPU around a runner.</summary>
internal interface IRunnerVcpu
{
    /// <summary>What it is doing, as far as we see to that.</summary>
    VcpuActivity Activity { get; set; }

    /// <summary>Acts on INIT and SIPI that have come.</summary>
    void TakeStartUp();
}

/// <summary>Guest code cannot be run on. The message is for people.</summary>
internal sealed class GuestRunnerException(string message) : Exception(message);
