using Ringfence.Cpu.Apic;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>Hyper-V's registers of one processor, by the numbers of their MSRs. With the platform's gate held.</summary>
internal sealed unsafe class HyperVProcessor : IDisposable
{
    private const ulong Enable = 1;
    private const ulong PageAddress = ~0xFFFUL;
    private const int NanosecondsPerUnit = 100;
    /// <summary>Where a PC takes a reset, and what asks for one (ACPI 4.8.3.6).</summary>
    private const ushort ResetPort = 0xCF9;
    private const uint ResetRequest = 6;

    private readonly Processor _processor;
    private readonly ParavirtualPlatform _platform;
    private readonly SyntheticInterrupts _interrupts;
    private readonly SyntheticTimer[] _timers;
    private ulong _assistPage;
    /// <summary>Reference time in which the processor did not run.</summary>
    private ulong _slept;

    public HyperVProcessor(Processor processor, ParavirtualPlatform platform)
    {
        _processor = processor;
        _platform = platform;
        _interrupts = new SyntheticInterrupts(processor, platform);
        _timers = [.. Enumerable.Range(0, SyntheticTimer.Count).Select(i => new SyntheticTimer(processor, platform, _interrupts, i))];
    }

    private HyperVPartition Partition => _platform.Partition;

    private LocalApic Apic => _processor.Apic;

    /// <summary>False for one that there is not, or that cannot be read.</summary>
    public bool TryRead(uint msr, out ulong value)
    {
        if (HyperVPartition.Has(msr))
        {
            value = Partition.Read(msr);
            return true;
        }
        if (SyntheticInterrupts.Has(msr))
        {
            value = _interrupts.Read(msr);
            return true;
        }
        if (IsTimer(msr))
        {
            SyntheticTimer timer = TimerOf(msr);
            value = IsCount(msr) ? timer.CountRegister : timer.Config;
            return true;
        }
        value = 0;
        switch (msr)
        {
            case HyperVMsrs.VpIndex: value = (ulong)_processor.ApicId; return true;
            case HyperVMsrs.Reset: return true;
            case HyperVMsrs.VpRuntime: value = Partition.ClockTime - _slept; return true;
            case HyperVMsrs.ReferenceCount: value = Partition.ReferenceTime(_processor); return true;
            case HyperVMsrs.TscFrequency or HyperVMsrs.ApicFrequency: value = (ulong)_platform.ClockHertz; return true;
            case HyperVMsrs.InterruptCommand: value = Apic.Command; return true;
            case HyperVMsrs.TaskPriority: value = Apic.TaskPriority; return true;
            case HyperVMsrs.AssistPage: value = _assistPage; return true;
            default: return false;
        }
    }

    /// <summary>False for one that there is not, that cannot be written, or that cannot hold that.</summary>
    public bool TryWrite(uint msr, ulong value)
    {
        if (HyperVPartition.Has(msr))
        {
            return Partition.Write(msr, value);
        }
        if (SyntheticInterrupts.Has(msr))
        {
            bool done = _interrupts.Write(msr, value);
            TryMessagesAgain();
            return done;
        }
        if (IsTimer(msr))
        {
            if (IsCount(msr))
            {
                TimerOf(msr).WriteCount(value);
            }
            else
            {
                TimerOf(msr).WriteConfig(value);
            }
            return true;
        }
        return msr == HyperVMsrs.AssistPage && WriteAssistPage(value);
    }

    /// <summary>What is an order to the board or the local APIC. The gate is not held.</summary>
    public static bool IsOrder(uint msr) => msr is HyperVMsrs.Reset or HyperVMsrs.EndOfInterrupt or HyperVMsrs.InterruptCommand or HyperVMsrs.TaskPriority;

    public bool TryOrder(uint msr, ulong value)
    {
        switch (msr)
        {
            case HyperVMsrs.EndOfInterrupt: Apic.EndOfInterrupt(); return true;
            case HyperVMsrs.InterruptCommand: Apic.Command = value; return true;
            case HyperVMsrs.TaskPriority when value <= byte.MaxValue: Apic.TaskPriority = (uint)value; return true;
            case HyperVMsrs.Reset:
                if ((value & 1) != 0)
                {
                    _processor.WritePort(ResetPort, 1, ResetRequest);
                }
                return true;
            default: return false;
        }
    }

    /// <summary>An interrupt of the local APIC has ended.</summary>
    public void Ended(byte vector)
    {
        if (_interrupts.Uses(vector))
        {
            TryMessagesAgain();
        }
    }

    /// <summary>The processor was asleep so long.</summary>
    public void NoteSlept(TimeSpan time) => _slept += (ulong)(time.Ticks * TimeSpan.NanosecondsPerTick / NanosecondsPerUnit);

    public void Save(IDictionary<uint, ulong> registers, Span<ulong> expiries)
    {
        foreach (uint msr in Kept)
        {
            if (TryRead(msr, out ulong value))
            {
                registers[msr] = value;
            }
        }
        for (int i = 0; i < _timers.Length; i++)
        {
            expiries[i] = _timers[i].Expiry;
        }
    }

    /// <summary>Guest memory is as it was saved too, so none is written.</summary>
    public void Restore(IReadOnlyDictionary<uint, ulong> registers, ReadOnlySpan<ulong> expiries)
    {
        foreach ((uint msr, ulong value) in registers)
        {
            if (HyperVPartition.Has(msr))
            {
                Partition.Restore(msr, value);
            }
            else if (SyntheticInterrupts.Has(msr))
            {
                _interrupts.Restore(msr, value);
            }
            else if (msr == HyperVMsrs.AssistPage)
            {
                _assistPage = value;
            }
            else if (msr == HyperVMsrs.VpRuntime)
            {
                _slept = Partition.ClockTime - value;
            }
        }
        for (int i = 0; i < _timers.Length; i++)
        {
            uint config = HyperVMsrs.FirstTimer + (2 * (uint)i);
            if (registers.TryGetValue(config, out ulong value))
            {
                _timers[i].Restore(value, registers.GetValueOrDefault(config + 1), expiries[i]);
            }
        }
    }

    public void Dispose()
    {
        foreach (SyntheticTimer timer in _timers)
        {
            timer.Dispose();
        }
    }

    /// <summary>What is saved: not what follows from something else, or is an order.</summary>
    private static IEnumerable<uint> Kept =>
    [
        HyperVMsrs.GuestOsId, HyperVMsrs.Hypercall, HyperVMsrs.ReferenceTsc, HyperVMsrs.VpRuntime, HyperVMsrs.AssistPage,
        HyperVMsrs.SynicControl, HyperVMsrs.EventPage, HyperVMsrs.MessagePage,
        .. Range(HyperVMsrs.FirstSource, HyperVMsrs.LastSource), .. Range(HyperVMsrs.FirstTimer, HyperVMsrs.LastTimer),
        .. Range(HyperVMsrs.FirstCrashParameter, HyperVMsrs.LastCrashParameter),
    ];

    private static IEnumerable<uint> Range(uint first, uint last) => Enumerable.Range((int)first, (int)(last - first) + 1).Select(msr => (uint)msr);

    private static bool IsTimer(uint msr) => msr is >= HyperVMsrs.FirstTimer and <= HyperVMsrs.LastTimer;

    private static bool IsCount(uint msr) => (msr & 1) != 0;

    private SyntheticTimer TimerOf(uint msr) => _timers[(msr - HyperVMsrs.FirstTimer) >> 1];

    private void TryMessagesAgain()
    {
        foreach (SyntheticTimer timer in _timers)
        {
            timer.TryAgain();
        }
    }

    /// <summary>The page tells when an EOI is not needed (TLFS, Virtual Interrupts): never.</summary>
    private bool WriteAssistPage(ulong value)
    {
        if ((value & Enable) != 0)
        {
            ulong address = value & PageAddress;
            byte* page = _platform.Locate(address, sizeof(uint));
            if (page == null)
            {
                return false;
            }
            *(uint*)page = 0;
            _platform.NoteWritten(address, sizeof(uint));
        }
        _assistPage = value;
        return true;
    }
}
