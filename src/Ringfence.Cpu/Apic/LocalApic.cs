using System.Numerics;
using Ringfence.Host;

namespace Ringfence.Cpu.Apic;

/// <summary>
/// The local APIC in xAPIC mode (SDM 3A chapter 11): interrupts in, priorities, EOI, IPIs out, and the timer in its three modes.
/// Registers belong to the processor's thread; <see cref="Accept"/>, <see cref="Matches"/> and the timer's expiry come from any.
/// </summary>
public sealed partial class LocalApic : IDisposable
{
    private const uint Masked = 1 << 16;
    private const int TimerLvt = 0;
    private const int Lint0 = 3;
    private const ulong BaseEnable = 1 << 11;
    private const ulong BaseBootstrap = 1 << 8;
    private const uint ModeExtInt = 7;
    private const uint ModeNmi = 4;
    /// <summary>Shortest period of a periodic timer, ns: a guest may not keep the host's clock thread busy all the time.</summary>
    private const long ShortestPeriod = 20_000;

    private readonly int _id;
    private readonly IClock _clock;
    private readonly Processor _processor;
    private readonly ITimer _timer;
    private readonly Lock _timerLock = new();
    private readonly uint[] _request = new uint[8];
    private readonly uint[] _service = new uint[8];
    private readonly uint[] _trigger = new uint[8];
    /// <summary>Timer, thermal, performance, LINT0, LINT1, error, in the order of their registers from 0x320.</summary>
    private readonly uint[] _lvt = new uint[6];
    private ulong _base;
    private uint _idRegister;
    private uint _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private uint _errorStatus;
    private uint _commandLow;
    private uint _commandHigh;
    private uint _divide;
    private uint _initialCount;
    private long _timerStart;
    /// <summary>The count has not come to its end.</summary>
    private bool _counting;
    private ulong _tscDeadline;

    internal LocalApic(int id, IClock clock, Processor processor, Action woken)
    {
        _id = id;
        _clock = clock;
        _processor = processor;
        Woken = woken;
        _timer = clock.CreateTimer(TimerExpired);
        Reset();
    }

    /// <summary>The level of the INTR wire from the 8259 pair, which LINT0 may pass on.</summary>
    internal bool ExternalInterrupt
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    }

    /// <summary>Called when a sleeping processor should look.</summary>
    internal Action Woken { get; }

    /// <summary>The present APIC ID.</summary>
    public uint Id => _idRegister >> 24;

    /// <summary>IA32_APIC_BASE (SDM 3A 11.4.4).</summary>
    internal ulong Base
    {
        get => _base;
        set => _base = value & (0xFF_FFFF_F000 | BaseEnable | BaseBootstrap);
    }

    /// <summary>The task priority's class, as CR8 shows it.</summary>
    internal uint Cr8
    {
        get => _taskPriority >> 4;
        set
        {
            _taskPriority = value << 4;
            _processor.NoteInterrupts();
        }
    }

    /// <summary>IA32_TSC_DEADLINE: 0 when disarmed.</summary>
    internal ulong TscDeadline
    {
        get => TimerMode == 2 ? Volatile.Read(ref _tscDeadline) : 0;
        set
        {
            if (TimerMode != 2)
            {
                return;
            }
            lock (_timerLock)
            {
                _tscDeadline = value;
                if (value == 0)
                {
                    _timer.Disarm();
                }
                else
                {
                    ArmDeadline();
                }
            }
        }
    }

    /// <summary>Something could be taken if interrupts are enabled.</summary>
    internal bool HasInterrupt => (ExternalInterrupt && AcceptsExternal) || Highest(_request) is int vector && vector > 15 && vector >> 4 > Priority >> 4;

    private bool Enabled => (_base & BaseEnable) != 0;

    private bool SoftwareEnabled => (_spurious & 0x100) != 0;

    private bool AcceptsExternal => !Enabled || ((_lvt[Lint0] & Masked) == 0 && ((_lvt[Lint0] >> 8) & 7) == ModeExtInt);

    private uint TimerMode => (_lvt[TimerLvt] >> 17) & 3;

    /// <summary>The processor priority register.</summary>
    private uint Priority
    {
        get
        {
            uint inService = (uint)Math.Max(Highest(_service), 0);
            return _taskPriority >> 4 >= inService >> 4 ? _taskPriority : inService & 0xF0;
        }
    }

    private long TimerPeriod => (long)_initialCount * DivideValue;

    private long DivideValue
    {
        get
        {
            uint code = (_divide & 3) | ((_divide >> 1) & 4);
            return code == 7 ? 1 : 2L << (int)code;
        }
    }

    /// <summary>As firmware leaves the bootstrap processor's APIC: enabled, the 8259 pair wired through LINT0, NMI on LINT1 (MP 1.4 3.6.2.2).</summary>
    internal void EnterVirtualWire()
    {
        _spurious = 0x1FF;
        _lvt[Lint0] = ModeExtInt << 8;
        _lvt[Lint0 + 1] = ModeNmi << 8;
    }

    /// <summary>Whether a message with this destination is for this APIC (SDM 3A 11.6.2). Any thread.</summary>
    public bool Matches(uint destination, bool logical)
    {
        if (!logical)
        {
            return destination == 0xFF || destination == Id;
        }
        uint mine = _logicalDestination >> 24;
        return _destinationFormat >> 28 == 0xF
            ? (mine & destination) != 0
            : destination >> 4 == 0xF || (mine >> 4 == destination >> 4 && (mine & destination & 0xF) != 0);
    }

    /// <summary>Takes a fixed or lowest-priority interrupt. Any thread.</summary>
    public void Accept(byte vector, bool levelTriggered)
    {
        if (vector < 16)
        {
            return;
        }
        uint bit = 1u << (vector & 31);
        if (levelTriggered)
        {
            Interlocked.Or(ref _trigger[vector >> 5], bit);
        }
        else
        {
            Interlocked.And(ref _trigger[vector >> 5], ~bit);
        }
        Interlocked.Or(ref _request[vector >> 5], bit);
        _processor.Raise(Attentions.Interrupt);
    }

    public void Dispose() => _timer.Dispose();

    internal void Reset()
    {
        _base = 0xFEE0_0000 | BaseEnable | (_id == 0 ? BaseBootstrap : 0);
        _idRegister = (uint)_id << 24;
        ExternalInterrupt = false;
        Init();
    }

    internal void Init()
    {
        Array.Clear(_request);
        Array.Clear(_service);
        Array.Clear(_trigger);
        Array.Fill(_lvt, Masked);
        _taskPriority = 0;
        _logicalDestination = 0;
        _destinationFormat = uint.MaxValue;
        _spurious = 0xFF;
        _errorStatus = 0;
        _commandLow = _commandHigh = 0;
        _divide = 0;
        _initialCount = 0;
        _tscDeadline = 0;
        _counting = false;
        _timer.Disarm();
    }

    internal bool Covers(ulong physical) => (physical & ~0xFFFUL) == (_base & 0xFF_FFFF_F000) && Enabled;

    /// <summary>Moves the most urgent request into service and returns its vector, or -1.</summary>
    internal int Acknowledge(IProcessorBus bus)
    {
        int vector = Highest(_request);
        if (vector > 15 && (uint)vector >> 4 > Priority >> 4)
        {
            uint bit = 1u << (vector & 31);
            Interlocked.And(ref _request[vector >> 5], ~bit);
            _service[vector >> 5] |= bit;
            return vector;
        }
        return ExternalInterrupt && AcceptsExternal ? bus.AcknowledgeExternalInterrupt() : -1;
    }

    /// <param name="offset">From the start of the page. Registers are 16 bytes apart; only aligned 32-bit accesses are defined.</param>
    internal ulong Read(uint offset, int size)
    {
        uint value = ReadRegister(offset & ~3u) >> (8 * (int)(offset & 3));
        return size switch
        {
            1 => (byte)value,
            2 => (ushort)value,
            _ => value,
        };
    }

    internal void Write(uint offset, int size, uint value)
    {
        if (size < 4 || (offset & 15) != 0)
        {
            return;
        }
        switch (offset)
        {
            case 0x20: _idRegister = value & 0xFF00_0000; break;
            case 0x80: Cr8Exact(value & 0xFF); break;
            case 0xB0: EndOfInterrupt(); break;
            case 0xD0: _logicalDestination = value & 0xFF00_0000; break;
            case 0xE0: _destinationFormat = value | 0x0FFF_FFFF; break;
            case 0xF0: WriteSpurious(value); break;
            case 0x280: _errorStatus = 0; break;
            case 0x300:
                _commandLow = value & ~(1u << 12);
                _processor.Bus.SendInterprocessorInterrupt(Id, _commandLow | ((ulong)_commandHigh << 32));
                break;
            case 0x310: _commandHigh = value & 0xFF00_0000; break;
            case >= 0x320 and <= 0x370: WriteLvt((int)(offset - 0x320) >> 4, value); break;
            case 0x380: WriteInitialCount(value); break;
            case 0x3E0: _divide = value & 0xB; break;
        }
    }

    private static int Highest(uint[] set)
    {
        for (int i = 7; i >= 0; i--)
        {
            uint word = Volatile.Read(ref set[i]);
            if (word != 0)
            {
                return (i * 32) + BitOperations.Log2(word);
            }
        }
        return -1;
    }

    private uint ReadRegister(uint offset) => offset switch
    {
        0x20 => _idRegister,
        // Version 0x14, six LVT entries, no directed EOI.
        0x30 => 0x0005_0014,
        0x80 => _taskPriority,
        0xA0 => Priority,
        0xD0 => _logicalDestination,
        0xE0 => _destinationFormat,
        0xF0 => _spurious,
        >= 0x100 and <= 0x17F when (offset & 15) == 0 => _service[(offset >> 4) & 7],
        >= 0x180 and <= 0x1FF when (offset & 15) == 0 => _trigger[(offset >> 4) & 7],
        >= 0x200 and <= 0x27F when (offset & 15) == 0 => _request[(offset >> 4) & 7],
        0x280 => _errorStatus,
        0x300 => _commandLow,
        0x310 => _commandHigh,
        >= 0x320 and <= 0x370 when (offset & 15) == 0 => _lvt[(offset - 0x320) >> 4],
        0x380 => _initialCount,
        0x390 => CurrentCount(),
        0x3E0 => _divide,
        _ => 0,
    };

    private void Cr8Exact(uint value)
    {
        _taskPriority = value;
        _processor.NoteInterrupts();
    }

    private void EndOfInterrupt()
    {
        int vector = Highest(_service);
        if (vector < 0)
        {
            return;
        }
        uint bit = 1u << (vector & 31);
        _service[vector >> 5] &= ~bit;
        if ((_trigger[vector >> 5] & bit) != 0)
        {
            _processor.Bus.EndOfInterrupt((byte)vector);
        }
        _processor.NoteInterrupts();
    }

    private void WriteSpurious(uint value)
    {
        _spurious = value & 0x3FF;
        if (!SoftwareEnabled)
        {
            // SDM 3A 11.4.7.2: software disable masks every LVT entry.
            for (int i = 0; i < _lvt.Length; i++)
            {
                _lvt[i] |= Masked;
            }
        }
    }

    private void WriteLvt(int index, uint value)
    {
        uint defined = index switch
        {
            TimerLvt => 0x700FFu,
            Lint0 or Lint0 + 1 => 0x1A7FFu,
            5 => 0x100FFu,
            _ => 0x107FFu,
        };
        uint old = _lvt[index];
        _lvt[index] = (value & defined) | (SoftwareEnabled ? 0u : Masked);
        if (index == TimerLvt && ((old ^ value) & 0x60000) != 0)
        {
            // SDM 3A 11.5.4.1: going to or from TSC-deadline mode disarms the timer.
            lock (_timerLock)
            {
                _tscDeadline = 0;
                if (((old >> 17) & 3) == 2 || TimerMode == 2)
                {
                    _initialCount = 0;
                    _counting = false;
                    _timer.Disarm();
                }
            }
        }
    }

    private void WriteInitialCount(uint value)
    {
        if (TimerMode == 2)
        {
            return;
        }
        lock (_timerLock)
        {
            _initialCount = value;
            _timerStart = _clock.Now;
            _counting = value != 0;
            if (value == 0)
            {
                _timer.Disarm();
            }
            else
            {
                _timer.Arm(_timerStart + TimerPeriod);
            }
        }
    }

    private uint CurrentCount()
    {
        lock (_timerLock)
        {
            if (_initialCount == 0 || TimerMode == 2)
            {
                return 0;
            }
            long elapsed = _clock.Now - _timerStart;
            if (TimerMode == 1)
            {
                elapsed %= TimerPeriod;
            }
            return elapsed >= TimerPeriod ? 0 : (uint)((TimerPeriod - elapsed) / DivideValue);
        }
    }

    private void TimerExpired()
    {
        lock (_timerLock)
        {
            if (TimerMode == 2)
            {
                if (_tscDeadline == 0)
                {
                    return;
                }
                _tscDeadline = 0;
            }
            else if (_initialCount == 0)
            {
                return;
            }
            else if (TimerMode == 1)
            {
                // Late expiries are not made up for; the phase is kept.
                long period = Math.Max(TimerPeriod, ShortestPeriod);
                long periods = (_clock.Now - _timerStart) / period;
                _timerStart += periods * period;
                _timer.Arm(_timerStart + period);
            }
            else
            {
                _counting = false;
            }
        }
        if ((_lvt[TimerLvt] & Masked) == 0)
        {
            Accept((byte)_lvt[TimerLvt], false);
        }
    }
}
