using Ringfence.Devices.Buses;
using Ringfence.Host;

namespace Ringfence.Devices.Timers;

/// <summary>The registers of a <see cref="Pit8254"/>. Its ticks count from the clock's zero: restore it on a clock that goes on from
/// where the saved one was.</summary>
public sealed record Pit8254State
{
    /// <summary>The three counters.</summary>
    public PitChannelState[] Channels { get; init; } = [];
    /// <summary>Port 0x61, its writable bits 0 to 3.</summary>
    public byte SystemControl { get; init; }
}

/// <summary>
/// The PC's 8254 interval timer: counter 0 is IRQ0, counter 1 the refresh, counter 2 the speaker, whose gate and output are at port
/// 0x61. Counts are exact functions of the clock. A host that is late merges the interrupts it missed into one; the phase is kept.
/// Thread-safe. It sets its line with its lock held.
/// </summary>
public sealed class Pit8254 : IPortDevice, IDisposable
{
    /// <summary>Hz.</summary>
    public const long Frequency = 1_193_182;

    private const int ControlOffset = 3;
    private const byte Gate2 = 0x01;
    private const byte RefreshToggle = 0x10;
    private const byte Out2 = 0x20;
    private const byte WritableControl = 0x0F;
    /// <summary>Ticks from one toggle of the refresh bit to the next: some 15 us.</summary>
    private const int RefreshTicks = 18;
    /// <summary>A guest may ask for 600,000 interrupts a second; it gets no more than one in this time, ns.</summary>
    private const long ShortestPeriod = 20_000;

    private readonly Lock _lock = new();
    private readonly IClock _clock;
    private readonly IInterruptLine _irq0;
    private readonly ITimer _timer;
    private readonly TickRate _rate = new(Frequency);
    private readonly PitChannel[] _channels = [new(gate: true), new(gate: true), new(gate: false)];
    private byte _systemControl;

    public Pit8254(IClock clock, IInterruptLine irq0)
    {
        _clock = clock;
        _irq0 = irq0;
        _timer = clock.CreateTimer(Expired);
        SystemControl = new ByteRegisters(ReadSystemControl, WriteSystemControl);
    }

    /// <summary>NMI status and control, one port, at 0x61: gate 2 (bit 0), speaker (1), refresh toggle (4), OUT2 (5).</summary>
    public IPortDevice SystemControl { get; }

    /// <summary>The counters at 0x40 to 0x42, the control word at 0x43.</summary>
    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        lock (_lock)
        {
            Advance();
            for (int i = 0; i < size; i++)
            {
                int register = offset + i;
                value |= (register < ControlOffset ? _channels[register].Read() : 0xFFu) << (i * 8);
            }
        }
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            Advance();
            for (int i = 0; i < size; i++)
            {
                byte part = (byte)(value >> (i * 8));
                int register = offset + i;
                if (register < ControlOffset)
                {
                    _channels[register].Write(part);
                }
                else if (register == ControlOffset)
                {
                    WriteControl(part);
                }
            }
            UpdateIrq();
        }
    }

    public Pit8254State Save()
    {
        lock (_lock)
        {
            Advance();
            return new Pit8254State { Channels = [.. _channels.Select(channel => channel.Save())], SystemControl = _systemControl };
        }
    }

    /// <exception cref="ArgumentException">The state is not that of three counters.</exception>
    public void Restore(Pit8254State state)
    {
        if (state.Channels.Length != _channels.Length)
        {
            throw new ArgumentException("an 8254 state has three counters", nameof(state));
        }
        lock (_lock)
        {
            for (int i = 0; i < _channels.Length; i++)
            {
                _channels[i].Restore(state.Channels[i]);
            }
            _systemControl = (byte)(state.SystemControl & WritableControl);
            Advance();
            UpdateIrq();
        }
    }

    public void Dispose() => _timer.Dispose();

    private void WriteControl(byte value)
    {
        int select = value >> 6;
        if (select < 3)
        {
            if ((value & 0x30) == 0)
            {
                _channels[select].LatchCount();
            }
            else
            {
                _channels[select].WriteControl(value);
            }
            return;
        }
        for (int i = 0; i < _channels.Length; i++)
        {
            if ((value & (2 << i)) == 0)
            {
                continue;
            }
            if ((value & 0x20) == 0)
            {
                _channels[i].LatchCount();
            }
            if ((value & 0x10) == 0)
            {
                _channels[i].LatchStatus();
            }
        }
    }

    private byte ReadSystemControl(ushort offset)
    {
        if (offset != 0)
        {
            return 0xFF;
        }
        lock (_lock)
        {
            long tick = Advance();
            return (byte)(_systemControl
                | ((tick / RefreshTicks) % 2 != 0 ? RefreshToggle : 0)
                | (_channels[2].Out() ? Out2 : 0));
        }
    }

    private void WriteSystemControl(ushort offset, byte value)
    {
        if (offset != 0)
        {
            return;
        }
        lock (_lock)
        {
            Advance();
            _systemControl = (byte)(value & WritableControl);
            _channels[2].SetGate((value & Gate2) != 0);
        }
    }

    private void Expired()
    {
        lock (_lock)
        {
            Advance();
            Arm();
        }
    }

    /// <summary>Brings the counters up to now. Rising edges of OUT0 on the way are one pulse of the line: in modes 2 and 3 the low
    /// part before an edge is of no interest to anyone.</summary>
    private long Advance()
    {
        long tick = _rate.Ticks(_clock.Now);
        if (_channels[0].Advance(tick))
        {
            _irq0.Set(false);
            _irq0.Set(true);
        }
        _ = _channels[1].Advance(tick);
        _ = _channels[2].Advance(tick);
        return tick;
    }

    private void UpdateIrq()
    {
        _irq0.Set(_channels[0].Out());
        Arm();
    }

    private void Arm()
    {
        long rise = _channels[0].NextRise();
        if (rise == long.MaxValue)
        {
            _timer.Disarm();
            return;
        }
        _timer.Arm(Math.Max(_rate.Nanoseconds(rise), _clock.Now + ShortestPeriod));
    }
}
