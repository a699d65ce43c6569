using Iced.Intel;
using Ringfence.Cpu;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>What KVM cannot emulate our own processor does: one instruction, and the state goes back.</summary>
internal sealed unsafe partial class KvmProcessor
{
    private const ulong BytesAreThere = 1;
    private const int LongestInstruction = 15;
    private const uint UserMode = 3;

    private readonly SortedDictionary<string, long> _fallbacks = [];
    private readonly bool _emulatesSupervisor;
    /// <summary>Our own processor runs the guest's system until it goes back to user mode.</summary>
    private bool _ownSupervisor;
    private bool _hasFailed;
    /// <summary>The kernel has user mode alone to run: no interrupt table and no SYSCALL, so that whatever leads out of it ends in a shutdown, with the state as it
    /// was before. The guest's system is our processor's.</summary>
    private bool _userMode;
    private ulong? _faulted;
    private long _supervisorRuns;
    private readonly byte[] _code = new byte[LongestInstruction];

    private RunResult? FallBack()
    {
        (string name, StateGroups groups) = Inspect();
        CountFallback(name);
        if (_emulatesSupervisor)
        {
            _ownSupervisor = true;
            return RunSupervisor();
        }
        Fetch(groups);
        RunResult result = Held ? StepWithApic() : Step();
        return result == RunResult.Stopped ? null : result;
    }

    /// <summary>Where the kernel emulates what is not user mode, our own processor is faster by far: once it has had to help, it runs until there is user mode
    /// again. Whoever asks for an exit meanwhile is answered, and the next <see cref="Run"/> goes on here.</summary>
    private RunResult RunSupervisor()
    {
        // From now on our processor needs interrupts, and there is no end to it.
        _chip?.Take(forGood: true);
        if (_owner.Activity != VcpuActivity.Active)
        {
            return RunResult.ExitRequested;
        }
        Fetch();
        if (_faulted is { } address)
        {
            _faulted = null;
            DeliverUserFault(address);
            if (_s->Cpl == UserMode)
            {
                _ownSupervisor = false;
                return RunResult.ExitRequested;
            }
        }
        _processor.LeavesForUserMode = true;
        RunResult result = _processor.Run();
        _processor.LeavesForUserMode = false;
        if (result == RunResult.ExitRequested && _s->Cpl == UserMode)
        {
            _ownSupervisor = false;
            _supervisorRuns++;
            _machine.ForgetTranslations();
        }
        return result;
    }

    /// <summary>The local APICs are ours because some processor's guest code is: the kernel may run user mode alone.</summary>
    private bool StaysOurs()
    {
        if (_here == StateGroups.None && _userMode)
        {
            return false;
        }
        Fetch();
        _hasFailed = true;
        _ownSupervisor = _s->Cpl != UserMode || _owner.Activity != VcpuActivity.Active;
        return _ownSupervisor;
    }

    /// <summary>A page fault led out of user mode. It is delivered without running the instruction, which may be one that our processor has not. Whether it
    /// was a write the kernel does not say: where a read would have faulted too it is taken for one, and faults again as a write if it was.</summary>
    private void DeliverUserFault(ulong address)
    {
        bool mayBeFetch = address - _s->Rip < LongestInstruction;
        bool faults = (mayBeFetch && !_processor.Mmu.TranslateFetch(address, out _))
            || !_processor.Mmu.ProbeData(address, AccessKind.Read) || !_processor.Mmu.ProbeData(address, AccessKind.Write);
        _s->Event = ExitEvent.None;
        // If not, what the kernel knew of the page was old, and it goes well the next time.
        if (faults)
        {
            _processor.Delivery.DeliverFault();
        }
    }

    /// <summary>KVM does not say which exceptions led to a triple fault. Where it leaves the state as it was before, our processor meets the same ones.</summary>
    private void ExplainShutdown()
    {
        Fetch();
        VcpuState there = StateConversion.Save(_processor);
        if (Step() != RunResult.Shutdown)
        {
            StateConversion.Load(there, _processor);
            _processor.StateLoaded();
            ShutdownReport = "KVM reports a shutdown, and not which exceptions led there";
        }
    }

    private void CountFallback(string name)
    {
        _hasFailed = true;
        _fallbacks[name] = _fallbacks.GetValueOrDefault(name) + 1;
    }

    private RunResult Step()
    {
        _processor.SetStops([], step: true);
        RunResult result = _processor.Run();
        _processor.SetStops([], step: false);
        return result;
    }

    /// <summary>The instruction that failed, and what of the state it may need. The kernel gives its bytes; where it does not, all is needed.</summary>
    private (string Name, StateGroups Groups) Inspect()
    {
        byte* bytes = (byte*)&_run->InternalError.Data[1];
        int size = bytes[0];
        if (_run->InternalError.Count < 3 || (_run->InternalError.Data[0] & BytesAreThere) == 0 || size is 0 or > LongestInstruction)
        {
            return ("unknown", StateGroups.All);
        }
        Fetch(StateGroups.Core);
        new ReadOnlySpan<byte>(bytes + 1, size).CopyTo(_code);
        int bits = (_s->Efer & 0x400) != 0 && _s->Cs.Is(SegmentAttributes.Long) ? 64 : _s->Cs.Is(SegmentAttributes.Big) ? 32 : 16;
        Instruction instruction = Decoder.Create(bits, new ByteArrayCodeReader(_code, 0, size)).Decode();
        if (instruction.IsInvalid)
        {
            return ("unknown", StateGroups.All);
        }
        StateGroups groups = StateGroups.Core | StateGroups.Debug;
        groups |= instruction.IsPrivileged || TouchesMsrs(instruction.Mnemonic) ? StateGroups.Msrs : 0;
        groups |= instruction.Code.CpuidFeatures().All(IsInteger) ? 0 : StateGroups.Fpu;
        return (instruction.Mnemonic.ToString().ToLowerInvariant(), groups);
    }

    private static bool TouchesMsrs(Mnemonic mnemonic) =>
        mnemonic is Mnemonic.Syscall or Mnemonic.Sysret or Mnemonic.Sysretq or Mnemonic.Sysenter or Mnemonic.Sysexit or Mnemonic.Sysexitq or Mnemonic.Swapgs
            or Mnemonic.Rdtscp or Mnemonic.Rdpid;

    private static bool IsInteger(CpuidFeature feature) =>
        feature is CpuidFeature.INTEL8086 or CpuidFeature.INTEL8086_ONLY or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CX8 or CpuidFeature.CMPXCHG16B or CpuidFeature.CMOV or CpuidFeature.MOVBE
            or CpuidFeature.POPCNT or CpuidFeature.LZCNT or CpuidFeature.BMI1 or CpuidFeature.BMI2 or CpuidFeature.ADX or CpuidFeature.RDRAND
            or CpuidFeature.RDSEED or CpuidFeature.CLFSH or CpuidFeature.CLFLUSHOPT or CpuidFeature.CLWB or CpuidFeature.CLZERO or CpuidFeature.MULTIBYTENOP;
}
