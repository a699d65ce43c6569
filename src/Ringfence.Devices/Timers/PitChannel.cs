namespace Ringfence.Devices.Timers;

/// <summary>One counter of an 8254. Times are ticks of its 1.193182 MHz input since the clock's zero.</summary>
public sealed record PitChannelState
{
    /// <summary>0 to 5.</summary>
    public byte Mode { get; init; }
    /// <summary>1 low byte, 2 high byte, 3 low then high.</summary>
    public byte Access { get; init; } = 3;
    public bool Bcd { get; init; }
    public bool Gate { get; init; }
    /// <summary>The count it runs with, 1 to 65536.</summary>
    public int Count { get; init; } = 0x10000;
    /// <summary>The count it runs with next; 0 if none.</summary>
    public int NextCount { get; init; }
    /// <summary>When <see cref="NextCount"/> is taken up.</summary>
    public long SwitchTick { get; init; }
    /// <summary>When <see cref="Count"/> was loaded.</summary>
    public long StartTick { get; init; }
    /// <summary>Up to when OUT has been looked at for rising edges.</summary>
    public long SeenTick { get; init; }
    /// <summary>Ticks counted when the gate stopped it; -1 while it counts.</summary>
    public long HeldTicks { get; init; } = -1;
    /// <summary>A count was written since the mode was.</summary>
    public bool Loaded { get; init; }
    /// <summary>Modes 1 and 5: the gate has risen.</summary>
    public bool Triggered { get; init; }
    public int LatchedCount { get; init; } = -1;
    public int LatchedStatus { get; init; } = -1;
    public byte WrittenLow { get; init; }
    public bool WritesHighNext { get; init; }
    public bool ReadsHighNext { get; init; }
}

/// <summary>
/// One counter of an 8254 (Intel 231164-005), as a function of the tick it is asked at: nothing happens in between. A count is
/// loaded one tick after it is written. Every call but <see cref="Advance"/> is for the tick last advanced to.
/// </summary>
internal sealed class PitChannel
{
    private const int None = -1;

    private byte _mode;
    private byte _access = 3;
    private bool _bcd;
    private bool _gate;
    private int _count = 0x10000;
    private int _next;
    private long _switch;
    private long _start;
    private long _tick;
    private long _held = None;
    private bool _loaded;
    private bool _triggered;
    private int _latchedCount = None;
    private int _latchedStatus = None;
    private byte _low;
    private bool _writesHigh;
    private bool _readsHigh;

    public PitChannel(bool gate) => _gate = gate;

    public bool Gate => _gate;

    private bool Periodic => _mode is 2 or 3;

    private bool Triggerable => _mode is 1 or 5;

    private int Modulus => _bcd ? 10_000 : 0x10000;

    private int HighHalf => (_count + 1) / 2;

    private long Elapsed => _held >= 0 ? _held : _tick - _start;

    /// <summary>Moves on to <paramref name="tick"/>; true if OUT rose by counting since the last call (however often).</summary>
    public bool Advance(long tick)
    {
        bool rose = NextRise() <= tick;
        _tick = Math.Max(_tick, tick);
        if (_next != 0 && Periodic && _held < 0 && _tick >= _switch)
        {
            _start = StartAfterSwitch();
            _count = _next;
            _next = 0;
        }
        return rose;
    }

    /// <summary>The tick at which counting next raises OUT, or <see cref="long.MaxValue"/>.</summary>
    public long NextRise()
    {
        if (!_loaded || _held >= 0 || (Triggerable && !_triggered))
        {
            return long.MaxValue;
        }
        long elapsed = Elapsed;
        switch (_mode)
        {
            case 2 or 3 when _next != 0:
                long start = StartAfterSwitch();
                return start == _switch ? start : start + _next;
            case 2 or 3:
                return elapsed < 0 ? _start + _count : _start + (((elapsed / _count) + 1) * _count);
            case 4 or 5:
                return elapsed <= _count ? _start + _count + 1 : long.MaxValue;
            default:
                return elapsed < _count ? _start + _count : long.MaxValue;
        }
    }

    /// <summary>The OUT pin.</summary>
    public bool Out()
    {
        if (!_loaded || (Triggerable && !_triggered))
        {
            return _mode != 0;
        }
        long elapsed = Elapsed;
        return _mode switch
        {
            0 => elapsed >= _count,
            1 => elapsed < 0 || elapsed >= _count,
            2 => !_gate || elapsed < 0 || elapsed % _count != _count - 1,
            3 => !_gate || elapsed < 0 || elapsed % _count < HighHalf,
            _ => elapsed != _count,
        };
    }

    public void SetGate(bool gate)
    {
        if (gate == _gate)
        {
            return;
        }
        _gate = gate;
        if (!_loaded)
        {
            return;
        }
        if (Triggerable)
        {
            if (gate)
            {
                TakeNext();
                _triggered = true;
                _start = _tick + 1;
            }
        }
        else if (!gate)
        {
            _held = Math.Max(Elapsed, 0);
        }
        else if (Periodic)
        {
            // A rising gate starts the period anew.
            TakeNext();
            _held = None;
            _start = _tick + 1;
        }
        else
        {
            _start = _tick - _held;
            _held = None;
        }
    }

    public void WriteControl(byte value)
    {
        _access = (byte)((value >> 4) & 3);
        int mode = (value >> 1) & 7;
        // Bit 2 of the mode is ignored for 2 and 3.
        _mode = (byte)(mode >= 6 ? mode - 4 : mode);
        _bcd = (value & 1) != 0;
        _loaded = false;
        _triggered = false;
        _next = 0;
        _held = None;
        _latchedCount = None;
        _latchedStatus = None;
        _writesHigh = false;
        _readsHigh = false;
    }

    public void LatchCount()
    {
        if (_latchedCount == None)
        {
            _latchedCount = CountNow();
        }
    }

    public void LatchStatus()
    {
        if (_latchedStatus == None)
        {
            _latchedStatus = (Out() ? 0x80 : 0) | (IsNull() ? 0x40 : 0) | (_access << 4) | (_mode << 1) | (_bcd ? 1 : 0);
        }
    }

    public byte Read()
    {
        if (_latchedStatus != None)
        {
            byte status = (byte)_latchedStatus;
            _latchedStatus = None;
            return status;
        }
        int count = _latchedCount != None ? _latchedCount : CountNow();
        bool high = _access == 2 || (_access == 3 && _readsHigh);
        if (_access == 3)
        {
            _readsHigh = !_readsHigh;
        }
        if (_access != 3 || high)
        {
            _latchedCount = None;
        }
        return (byte)(high ? count >> 8 : count);
    }

    public void Write(byte value)
    {
        switch (_access)
        {
            case 1:
                Load(value);
                break;
            case 2:
                Load(value << 8);
                break;
            case 3 when _writesHigh:
                _writesHigh = false;
                Load(_low | (value << 8));
                break;
            case 3:
                _low = value;
                _writesHigh = true;
                if (_mode == 0)
                {
                    // The first byte of two stops mode 0 and lowers OUT.
                    _loaded = false;
                }
                break;
            default:
                break;
        }
    }

    public PitChannelState Save() => new()
    {
        Mode = _mode,
        Access = _access,
        Bcd = _bcd,
        Gate = _gate,
        Count = _count,
        NextCount = _next,
        SwitchTick = _switch,
        StartTick = _start,
        SeenTick = _tick,
        HeldTicks = _held,
        Loaded = _loaded,
        Triggered = _triggered,
        LatchedCount = _latchedCount,
        LatchedStatus = _latchedStatus,
        WrittenLow = _low,
        WritesHighNext = _writesHigh,
        ReadsHighNext = _readsHigh,
    };

    public void Restore(PitChannelState state)
    {
        _mode = state.Mode <= 5 ? state.Mode : (byte)0;
        _access = (byte)(state.Access & 3);
        _bcd = state.Bcd;
        _gate = state.Gate;
        _count = Math.Clamp(state.Count, 1, 0x10000);
        _next = Math.Clamp(state.NextCount, 0, 0x10000);
        _switch = state.SwitchTick;
        _start = state.StartTick;
        _tick = state.SeenTick;
        _held = state.HeldTicks;
        _loaded = state.Loaded;
        _triggered = state.Triggered;
        _latchedCount = state.LatchedCount;
        _latchedStatus = state.LatchedStatus;
        _low = state.WrittenLow;
        _writesHigh = state.WritesHighNext;
        _readsHigh = state.ReadsHighNext;
    }

    private void Load(int raw)
    {
        int count = _bcd
            ? (((raw >> 12) * 1000) + (((raw >> 8) & 0xF) * 100) + (((raw >> 4) & 0xF) * 10) + (raw & 0xF)) % 10_000
            : raw;
        if (count == 0)
        {
            count = Modulus;
        }
        if (Periodic)
        {
            // 1 is not a legal period.
            count = Math.Max(count, 2);
        }
        if (_loaded && Triggerable)
        {
            _next = count;
            return;
        }
        if (_loaded && Periodic && _held < 0 && Elapsed >= 0)
        {
            // The running period (mode 3: half of one) is finished first.
            long phase = Elapsed % _count;
            _next = count;
            _switch = _tick - phase + (_mode == 3 && phase < HighHalf ? HighHalf : _count);
            return;
        }
        _count = count;
        _next = 0;
        _start = _tick + 1;
        _loaded = true;
        _held = _gate || Triggerable ? None : 0;
    }

    private void TakeNext()
    {
        if (_next != 0)
        {
            _count = _next;
            _next = 0;
        }
    }

    /// <summary>Where the period of the next count begins. In mode 3 it may be taken up halfway, when OUT falls.</summary>
    private long StartAfterSwitch()
    {
        bool halfway = _mode == 3 && (_switch - _start) % _count != 0;
        return halfway ? _switch - ((_next + 1) / 2) : _switch;
    }

    /// <summary>The null count flag: what was written has not reached the counter.</summary>
    private bool IsNull() => !_loaded || _next != 0 || (Triggerable ? !_triggered : _held < 0 && _tick < _start);

    private int CountNow()
    {
        long elapsed = Math.Max(Elapsed, 0);
        long count;
        if (!_loaded || (Triggerable && !_triggered))
        {
            count = _count;
        }
        else if (_mode == 2)
        {
            count = _count - (elapsed % _count);
        }
        else if (_mode == 3)
        {
            // Each half counts the even part of the period down by two.
            long phase = elapsed % _count;
            count = (_count & ~1) - (2 * (phase < HighHalf ? phase : phase - HighHalf));
        }
        else
        {
            count = (_count - elapsed) % Modulus;
            count += count < 0 ? Modulus : 0;
        }
        int value = (int)(count % Modulus);
        return _bcd ? ((value / 1000) << 12) | ((value / 100 % 10) << 8) | ((value / 10 % 10) << 4) | (value % 10) : value;
    }
}
