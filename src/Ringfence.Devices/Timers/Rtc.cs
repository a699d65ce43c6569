using Ringfence.Host;

namespace Ringfence.Devices.Timers;

/// <summary>The registers of an <see cref="Rtc"/>.</summary>
public sealed record RtcState
{
    /// <summary>All 128 bytes; the time in them counts only while the clock is stopped.</summary>
    public byte[] Memory { get; init; } = [];
    public byte Index { get; init; }
    /// <summary>The guest's time less UTC, in units of 100 ns.</summary>
    public long Offset { get; init; }
    /// <summary>The last second and the last 32.768 kHz cycle for which flags were raised.</summary>
    public long SeenSecond { get; init; }
    public long SeenCycle { get; init; }
}

/// <summary>
/// The PC's clock and its 128 bytes of memory (Motorola MC146818A with the PC's century byte at 0x32), ports 0x70 (index; its NMI
/// mask bit is ignored) and 0x71 (data); IRQ8. Time is the host's UTC until the guest sets it, and from then on as far off as it set
/// it. Flags are found when asked for: a timer runs only for interrupts that are enabled.
/// Thread-safe. It sets its line with its lock held.
/// </summary>
public sealed class Rtc : IPortDevice, IDisposable
{
    public const int Size = 128;

    internal const int Century = 0x32;

    private const int RegisterA = 10;
    private const int RegisterB = 11;
    private const int RegisterC = 12;
    private const int RegisterD = 13;
    private const byte UpdateInProgress = 0x80;
    private const byte DividerReset = 0x60;
    private const byte SetTime = 0x80;
    private const byte UpdateEnded = 0x10;
    private const byte Alarm = 0x20;
    private const byte Periodic = 0x40;
    private const byte InterruptRequest = 0x80;
    private const byte ValidRam = 0x80;
    private const byte DoNotCare = 0xC0;

    private const int SecondsPerDay = 86_400;
    /// <summary>An update is announced this long before, 244 us.</summary>
    private const long UpdateNotice = 2_440;

    private readonly Lock _lock = new();
    private readonly IClock _clock;
    private readonly IInterruptLine _irq8;
    private readonly ITimer _secondTimer;
    private readonly ITimer _periodicTimer;
    private readonly TickRate _oscillator = new(32_768);
    private readonly byte[] _memory = new byte[Size];
    private byte _index;
    private long _offset;
    private long _seenSecond;
    private long _seenCycle;

    public Rtc(IClock clock, IInterruptLine irq8)
    {
        _clock = clock;
        _irq8 = irq8;
        _secondTimer = clock.CreateTimer(Expired);
        _periodicTimer = clock.CreateTimer(Expired);
        // 32.768 kHz, 1024 Hz; 24 hours, decimal.
        _memory[RegisterA] = 0x26;
        _memory[RegisterB] = 0x02;
        _memory[RegisterD] = ValidRam;
        MarkSeen();
    }

    private bool Stopped => IsStopped(_memory[RegisterA], _memory[RegisterB]);

    private RtcFormat Format => new(_memory[RegisterB]);

    /// <summary>The guest's time in units of 100 ns, kept within what a date can say.</summary>
    private long GuestTime => Math.Clamp(_clock.UtcNow.Ticks + _offset, 0, DateTime.MaxValue.Ticks);

    /// <summary>Writes a byte of memory as firmware does, 14 to 127.</summary>
    public void SetByte(int index, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(index, RegisterD);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Size);
        lock (_lock)
        {
            _memory[index] = value;
        }
    }

    /// <summary>Tells firmware how much RAM there is: <paramref name="low"/> bytes from 0 (0x15 to 0x18, 0x30, 0x31, 0x34, 0x35) and
    /// <paramref name="high"/> bytes from 4 GiB (0x5B to 0x5D).</summary>
    public void SetMemorySize(ulong low, ulong high = 0)
    {
        const ulong Kib = 1024, Mib = 1024 * Kib;
        ulong extended = Math.Min(low > Mib ? (low - Mib) / Kib : 0, 0xFFFF);
        ulong above16 = Math.Min(low > 16 * Mib ? (low - (16 * Mib)) / (64 * Kib) : 0, 0xFFFF);
        ulong above4Gib = Math.Min(high / (64 * Kib), 0xFF_FFFF);
        lock (_lock)
        {
            Put(0x15, 640, 2);
            Put(0x17, extended, 2);
            Put(0x30, extended, 2);
            Put(0x34, above16, 2);
            Put(0x5B, above4Gib, 3);
        }
    }

    /// <summary>The RESET pin (MC146818A): interrupts are off and forgotten; time, alarm and memory stay.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _memory[RegisterB] &= unchecked((byte)~(Periodic | Alarm | UpdateEnded));
            _memory[RegisterC] = 0;
            _index = 0;
            Update();
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        lock (_lock)
        {
            for (int i = 0; i < size; i++)
            {
                value |= (offset + i == 1 ? Read(_index) : 0xFFu) << (i * 8);
            }
        }
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            for (int i = 0; i < size; i++)
            {
                byte part = (byte)(value >> (i * 8));
                if (offset + i == 0)
                {
                    _index = (byte)(part & (Size - 1));
                }
                else if (offset + i == 1)
                {
                    Write(_index, part);
                }
            }
        }
    }

    public RtcState Save()
    {
        lock (_lock)
        {
            return new RtcState
            {
                Memory = [.. _memory],
                Index = _index,
                Offset = _offset,
                SeenSecond = _seenSecond,
                SeenCycle = _seenCycle,
            };
        }
    }

    /// <exception cref="ArgumentException">The state's memory is not 128 bytes.</exception>
    public void Restore(RtcState state)
    {
        if (state.Memory.Length != Size)
        {
            throw new ArgumentException($"an RTC state has {Size} bytes of memory, not {state.Memory.Length}", nameof(state));
        }
        lock (_lock)
        {
            state.Memory.CopyTo(_memory, 0);
            _index = (byte)(state.Index & (Size - 1));
            _offset = state.Offset;
            _seenSecond = state.SeenSecond;
            _seenCycle = state.SeenCycle;
            Update();
        }
    }

    public void Dispose()
    {
        _secondTimer.Dispose();
        _periodicTimer.Dispose();
    }

    private static bool IsStopped(byte a, byte b) => (b & SetTime) != 0 || IsDividerReset(a);

    private static bool IsDividerReset(byte a) => (a & DividerReset) == DividerReset;

    private static bool IsTime(int index) => index is 0 or 2 or 4 or 6 or 7 or 8 or 9 or Century;

    private void Put(int index, ulong value, int bytes)
    {
        for (int i = 0; i < bytes; i++)
        {
            _memory[index + i] = (byte)(value >> (i * 8));
        }
    }

    private byte Read(int index)
    {
        if (IsTime(index) && !Stopped)
        {
            StoreTime();
        }
        else if (index == RegisterA)
        {
            bool soon = !Stopped && GuestTime % TimeSpan.TicksPerSecond >= TimeSpan.TicksPerSecond - UpdateNotice;
            return (byte)(_memory[RegisterA] | (soon ? UpdateInProgress : 0));
        }
        else if (index == RegisterC)
        {
            FindFlags();
            byte flags = _memory[RegisterC];
            bool requests = (flags & _memory[RegisterB] & (Periodic | Alarm | UpdateEnded)) != 0;
            _memory[RegisterC] = 0;
            _irq8.Set(false);
            return (byte)(flags | (requests ? InterruptRequest : 0));
        }
        return _memory[index];
    }

    private void Write(int index, byte value)
    {
        if (IsTime(index))
        {
            WriteTime(index, value);
        }
        else if (index == RegisterA)
        {
            FindFlags();
            WriteControl((byte)(value & ~UpdateInProgress), _memory[RegisterB]);
        }
        else if (index == RegisterB)
        {
            FindFlags();
            // Setting the time disables the update-ended interrupt.
            WriteControl(_memory[RegisterA], (value & SetTime) != 0 ? (byte)(value & ~UpdateEnded) : value);
        }
        else if (index is not RegisterC and not RegisterD)
        {
            FindFlags();
            _memory[index] = value;
        }
        Update();
    }

    private void WriteTime(int index, byte value)
    {
        if (Stopped)
        {
            _memory[index] = value;
            return;
        }
        FindFlags();
        StoreTime();
        _memory[index] = value;
        LoadTime(GuestTime % TimeSpan.TicksPerSecond);
    }

    private void WriteControl(byte a, byte b)
    {
        bool wasStopped = Stopped;
        bool wasReset = IsDividerReset(_memory[RegisterA]);
        bool stops = IsStopped(a, b);
        if (!wasStopped && stops)
        {
            StoreTime();
        }
        _memory[RegisterA] = a;
        _memory[RegisterB] = b;
        if (wasStopped && !stops)
        {
            // The first update follows a reset of the divider by half a second.
            LoadTime(wasReset ? TimeSpan.TicksPerSecond / 2 : GuestTime % TimeSpan.TicksPerSecond);
        }
    }

    private void StoreTime() => Format.Store(new DateTime(GuestTime, DateTimeKind.Utc), _memory);

    private void LoadTime(long fraction)
    {
        _offset = Format.Load(_memory).Ticks + fraction - _clock.UtcNow.Ticks;
        MarkSeen();
    }

    private void MarkSeen()
    {
        _seenSecond = GuestTime / TimeSpan.TicksPerSecond;
        _seenCycle = _oscillator.Ticks(_clock.Now);
    }

    /// <summary>Cycles of the oscillator from one periodic interrupt to the next; 0 for none.</summary>
    private int PeriodicCycles()
    {
        int rate = _memory[RegisterA] & 0x0F;
        return rate == 0 || IsDividerReset(_memory[RegisterA]) ? 0 : rate <= 2 ? 1 << (rate + 6) : 1 << (rate - 1);
    }

    /// <summary>Raises the flags of register C for what has happened since the last look, and moves the line.</summary>
    private void FindFlags()
    {
        byte flags = _memory[RegisterC];
        int period = PeriodicCycles();
        long cycle = _oscillator.Ticks(_clock.Now);
        if (period != 0 && cycle / period != _seenCycle / period)
        {
            flags |= Periodic;
        }
        _seenCycle = cycle;
        long second = GuestTime / TimeSpan.TicksPerSecond;
        if (!Stopped && second > _seenSecond)
        {
            flags |= UpdateEnded;
            flags |= AlarmBetween(_seenSecond + 1, second) ? Alarm : (byte)0;
        }
        _seenSecond = second;
        _memory[RegisterC] = flags;
        _irq8.Set((flags & _memory[RegisterB] & (Periodic | Alarm | UpdateEnded)) != 0);
    }

    private bool AlarmBetween(long first, long last)
    {
        byte second = _memory[1], minute = _memory[3], hour = _memory[5];
        RtcFormat format = Format;
        int wantedSecond = second >= DoNotCare ? -1 : format.Decode(second);
        int wantedMinute = minute >= DoNotCare ? -1 : format.Decode(minute);
        int wantedHour = hour >= DoNotCare ? -1 : format.DecodeHour(hour);
        for (long time = Math.Max(first, last - SecondsPerDay + 1); time <= last; time++)
        {
            int day = (int)(time % SecondsPerDay);
            if ((wantedSecond < 0 || wantedSecond == day % 60)
                && (wantedMinute < 0 || wantedMinute == day / 60 % 60)
                && (wantedHour < 0 || wantedHour == day / 3600))
            {
                return true;
            }
        }
        return false;
    }

    private void Expired()
    {
        lock (_lock)
        {
            Update();
        }
    }

    private void Update()
    {
        FindFlags();
        byte enabled = _memory[RegisterB];
        if ((enabled & (Alarm | UpdateEnded)) != 0 && !Stopped)
        {
            long left = TimeSpan.TicksPerSecond - (GuestTime % TimeSpan.TicksPerSecond);
            _secondTimer.Arm(_clock.Now + (left * TimeSpan.NanosecondsPerTick));
        }
        else
        {
            _secondTimer.Disarm();
        }
        int period = PeriodicCycles();
        if ((enabled & Periodic) != 0 && period != 0)
        {
            _periodicTimer.Arm(_oscillator.Nanoseconds(((_seenCycle / period) + 1) * period));
        }
        else
        {
            _periodicTimer.Disarm();
        }
    }
}
