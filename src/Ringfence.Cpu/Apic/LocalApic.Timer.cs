namespace Ringfence.Cpu.Apic;

/// <summary>The timer (SDM 3A 11.5.4): one-shot and periodic, modes (0 and 1), which count down at 1 GHz before the divider, and TSC-deadline.</summary>
public sealed partial class LocalApic
{
    private const uint Periodic = 1;
    private const uint Deadline = 2;
    /// <summary>Shortest period of a periodic timer, ns: a guest may not keep the host's clock thread busy all the time.</summary>
    private const long ShortestPeriod = 20_000;

    private readonly ITimer _timer;
    private readonly ITimer _deadlineTimer;
    private readonly Lock _timerLock = new();
    private uint _divide;
    private uint _initialCount;
    private long _timerStart;
    /// <summary>The count has not come to its end.</summary>
    private bool _counting;
    private ulong _tscDeadline;

    /// <summary>IA32_TSC_DEADLINE: 0 when disarmed. Writing does nothing in other modes; a time that has passed is due at once.</summary>
    internal ulong TscDeadline
    {
        get
        {
            FireIfDue();
            return TimerMode == Deadline ? Volatile.Read(ref _tscDeadline) : 0;
        }
        set
        {
            if (TimerMode != Deadline)
            {
                return;
            }
            lock (_timerLock)
            {
                _tscDeadline = value;
                ArmDeadline();
            }
            FireIfDue();
        }
    }

    private uint TimerMode => (_lvt[TimerLvt] >> 17) & 3;

    private long TimerPeriod => _initialCount * DivideValue;

    /// <summary>From one expiry of a running count to the next.</summary>
    private long ExpiryPeriod => TimerMode == Periodic ? Math.Max(TimerPeriod, ShortestPeriod) : TimerPeriod;

    private long DivideValue
    {
        get
        {
            uint code = (_divide & 3) | ((_divide >> 1) & 4);
            return code == 7 ? 1 : 2L << (int)code;
        }
    }

    /// <summary>To be called when the time-stamp counter was set: the deadline is a value of it.</summary>
    internal void TimeStampChanged()
    {
        lock (_timerLock)
        {
            ArmDeadline();
        }
        FireIfDue();
    }

    private void StopTimer()
    {
        lock (_timerLock)
        {
            _divide = 0;
            _initialCount = 0;
            _tscDeadline = 0;
            _counting = false;
            Disarm();
        }
    }

    private void Disarm()
    {
        _timer.Disarm();
        if (_deadlineTimer != _timer)
        {
            _deadlineTimer.Disarm();
        }
    }

    /// <summary>With the lock held.</summary>
    private void ArmDeadline()
    {
        if (TimerMode != Deadline || _tscDeadline == 0)
        {
            if (TimerMode == Deadline)
            {
                _deadlineTimer.Disarm();
            }
            return;
        }
        ulong left = _tscDeadline - Math.Min(_tscDeadline, _processor.TimeStamp);
        long now = _clock.Now;
        _deadlineTimer.Arm(now + (long)Math.Min(left, (ulong)(long.MaxValue - now)));
    }

    private void WriteTimerLvt(uint old, uint entry)
    {
        FireIfDue();
        lock (_timerLock)
        {
            uint oldMode = (old >> 17) & 3;
            uint mode = (entry >> 17) & 3;
            if (mode != oldMode && (mode == Deadline || oldMode == Deadline))
            {
                // SDM 3A 11.5.4.1: going to or from TSC-deadline mode disarms the timer.
                _tscDeadline = 0;
                _initialCount = 0;
                _counting = false;
                Disarm();
            }
            Volatile.Write(ref _lvt[TimerLvt], entry);
            if (mode != oldMode && _counting)
            {
                // The count goes on from where it is.
                _timer.Arm(_timerStart + ExpiryPeriod);
            }
        }
    }

    private void WriteInitialCount(uint value)
    {
        if (TimerMode == Deadline)
        {
            return;
        }
        lock (_timerLock)
        {
            _initialCount = value;
            _timerStart = _counted.Now;
            _counting = value != 0;
            if (_counting)
            {
                _timer.Arm(_timerStart + ExpiryPeriod);
            }
            else
            {
                _timer.Disarm();
            }
        }
    }

    /// <summary>A count that is under way goes on from where it is, at the new rate.</summary>
    private void WriteDivide(uint value)
    {
        FireIfDue();
        lock (_timerLock)
        {
            long past = _initialCount - Remaining();
            _divide = value;
            if (_counting)
            {
                _timerStart = _counted.Now - (past * DivideValue);
                _timer.Arm(_timerStart + ExpiryPeriod);
            }
        }
    }

    private uint CurrentCount()
    {
        lock (_timerLock)
        {
            return (uint)Remaining();
        }
    }

    /// <summary>What is left of the count. With the lock held.</summary>
    private long Remaining()
    {
        if (!_counting || TimerMode == Deadline)
        {
            return 0;
        }
        long elapsed = _counted.Now - _timerStart;
        if (TimerMode == Periodic)
        {
            elapsed %= TimerPeriod;
        }
        return elapsed >= TimerPeriod ? 0 : (TimerPeriod - elapsed + DivideValue - 1) / DivideValue;
    }

    private void TimerExpired() => FireIfDue();

    /// <summary>Raises the interrupt of a count or deadline that has come to its end. Any thread.</summary>
    private void FireIfDue()
    {
        uint entry;
        lock (_timerLock)
        {
            if (!Advance())
            {
                return;
            }
            entry = _lvt[TimerLvt];
        }
        if ((entry & Masked) == 0)
        {
            Accept((byte)entry, false);
        }
    }

    /// <summary>Brings the timer up to date. True if it has come to an end. With the lock held.</summary>
    private bool Advance()
    {
        if (TimerMode == Deadline)
        {
            if (_tscDeadline == 0)
            {
                return false;
            }
            if (_processor.TimeStamp < _tscDeadline)
            {
                // An expiry that was overtaken by a new deadline.
                ArmDeadline();
                return false;
            }
            _tscDeadline = 0;
            _deadlineTimer.Disarm();
            return true;
        }
        long elapsed = _counted.Now - _timerStart;
        long period = ExpiryPeriod;
        if (!_counting || elapsed < period)
        {
            return false;
        }
        if (TimerMode == Periodic)
        {
            // Late expiries are not made up for; the phase is kept.
            _timerStart += elapsed / period * period;
            _timer.Arm(_timerStart + period);
        }
        else
        {
            _counting = false;
        }
        return true;
    }
}
