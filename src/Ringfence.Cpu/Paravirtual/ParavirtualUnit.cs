namespace Ringfence.Cpu.Paravirtual;

/// <summary>The paravirtual interfaces of one processor, as its model offers them. Registers belong to its thread.</summary>
internal sealed class ParavirtualUnit : IDisposable
{
    private readonly Processor _processor;
    private readonly ParavirtualPlatform _platform;
    private readonly KvmClock? _kvmClock;
    private readonly HyperVProcessor? _hyperV;

    private ParavirtualUnit(Processor processor, ParavirtualPlatform platform)
    {
        _processor = processor;
        _platform = platform;
        _kvmClock = processor.Model.OffersKvmClock ? new KvmClock(processor, platform) : null;
        _hyperV = processor.Model.OffersHyperV ? new HyperVProcessor(processor, platform) : null;
    }

    /// <summary>Null where the model offers none.</summary>
    public static ParavirtualUnit? Create(Processor processor, ParavirtualPlatform platform) =>
        processor.Model.OffersKvmClock || processor.Model.OffersHyperV ? new ParavirtualUnit(processor, platform) : null;

    /// <summary>A write to <see cref="HyperVHypercalls.Port"/> is a hypercall now.</summary>
    public bool TakesHypercalls => _hyperV is not null && _platform.Partition.TakesHypercalls;

    public bool TryRead(uint msr, out ulong value)
    {
        value = 0;
        lock (_platform.Gate)
        {
            if (_kvmClock is not null && KvmClock.Has(msr))
            {
                value = _kvmClock.Read(msr);
                return true;
            }
            return _hyperV is not null && _hyperV.TryRead(msr, out value);
        }
    }

    public bool TryWrite(uint msr, ulong value)
    {
        if (_hyperV is not null && HyperVProcessor.IsOrder(msr))
        {
            return _hyperV.TryOrder(msr, value);
        }
        lock (_platform.Gate)
        {
            if (_kvmClock is not null && KvmClock.Has(msr))
            {
                _kvmClock.Write(msr, value);
                return true;
            }
            return _hyperV is not null && _hyperV.TryWrite(msr, value);
        }
    }

    /// <summary>The guest called what it believes to be Hyper-V. All general registers are in the state.</summary>
    public void Hypercall() => HyperVHypercalls.Call(_processor);

    /// <summary>What this processor tells of its counter is told anew. With the platform's gate held.</summary>
    public void TellTime() => _kvmClock?.TellTime();

    /// <summary>The local APIC ended an interrupt.</summary>
    public void Ended(byte vector)
    {
        if (_hyperV is not null)
        {
            lock (_platform.Gate)
            {
                _hyperV.Ended(vector);
            }
        }
    }

    public void NoteSlept(TimeSpan time)
    {
        if (_hyperV is not null)
        {
            lock (_platform.Gate)
            {
                _hyperV.NoteSlept(time);
            }
        }
    }

    /// <summary>INIT: as under KVM, kvm-clock is off until it is asked for again.</summary>
    public void Init() => _kvmClock?.Restore(_kvmClock.Read(KvmClock.WallClock), 0);

    public ParavirtualState Save()
    {
        SortedDictionary<uint, ulong> registers = [];
        ulong[] expiries = new ulong[SyntheticTimer.Count];
        lock (_platform.Gate)
        {
            if (_kvmClock is not null)
            {
                registers[KvmClock.WallClock] = _kvmClock.Read(KvmClock.WallClock);
                registers[KvmClock.SystemTime] = _kvmClock.Read(KvmClock.SystemTime);
            }
            _hyperV?.Save(registers, expiries);
            return new ParavirtualState(_platform.TimeOffset, registers, expiries);
        }
    }

    /// <summary>What is absent stays as it is. The time-stamp counter's offset must be there already.</summary>
    public void Restore(ParavirtualState state)
    {
        lock (_platform.Gate)
        {
            _platform.TimeOffset = state.TimeOffset;
            if (_kvmClock is not null && state.Registers.TryGetValue(KvmClock.SystemTime, out ulong time))
            {
                _kvmClock.Restore(state.Registers.GetValueOrDefault(KvmClock.WallClock), time);
            }
            _hyperV?.Restore(state.Registers, state.TimerExpiries);
        }
        _platform.TimeStampChanged();
    }

    public void Dispose() => _hyperV?.Dispose();
}

/// <summary>What a processor's paravirtual interfaces hold.</summary>
/// <param name="TimeOffset">Time as the guest is told it is the clock's plus this, in nanoseconds. The machine's.</param>
/// <param name="Registers">MSRs by number; some are the machine's.</param>
/// <param name="TimerExpiries">When each of Hyper-V's timers is to expire, in units of 100 ns of reference time; 0 for one that does not run.</param>
public sealed record ParavirtualState(long TimeOffset, IReadOnlyDictionary<uint, ulong> Registers, ulong[] TimerExpiries);
