using System.Numerics;
using Ringfence.Host;

namespace Ringfence.Cpu.Apic;

/// <summary>
/// The local APIC in xAPIC and x2APIC mode (SDM 3A chapter 11): interrupts in, priorities, EOI, IPIs out, errors, and the timer in its
/// three modes. Registers belong to the processor's thread; <see cref="Accept"/>, <see cref="Matches"/>, the INTR wire and the timer's
/// expiry come from any.
/// </summary>
public sealed partial class LocalApic : IDisposable
{
    private const uint Masked = 1 << 16;
    private const uint LevelTriggered = 1 << 15;
    private const uint RemoteIrr = 1 << 14;
    private const uint DeliveryStatus = 1 << 12;
    private const int TimerLvt = 0;
    private const int Lint0 = 3;
    private const int ErrorLvt = 5;
    private const uint ModeFixed = 0;
    private const uint ModeLowestPriority = 1;
    private const uint ModeNmi = 4;
    private const uint ModeExtInt = 7;
    private const uint FirstLegalVector = 16;
    /// <summary>Version 0x14, six LVT entries, EOI broadcasts can be suppressed.</summary>
    private const uint Version = 0x0105_0014;
    private const uint SuppressBroadcast = 1 << 12;
    private const uint SpuriousDefined = 0x3FF | SuppressBroadcast;

    // The error status register (SDM 3A 11.5.3).
    private const uint SentIllegalVector = 1 << 5;
    private const uint ReceivedIllegalVector = 1 << 6;
    private const uint IllegalRegister = 1 << 7;

    private readonly int _id;
    /// <summary>What the time-stamp counter counts.</summary>
    private readonly IClock _clock;
    /// <summary>What the timer counts but in TSC-deadline mode.</summary>
    private readonly IClock _counted;
    private readonly Processor _processor;
    private readonly uint[] _request = new uint[8];
    private readonly uint[] _service = new uint[8];
    private readonly uint[] _trigger = new uint[8];
    /// <summary>Timer, thermal, performance, LINT0, LINT1, error, in the order of their registers from 0x320.</summary>
    private readonly uint[] _lvt = new uint[6];
    private uint _idRegister;
    private uint _taskPriority;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _spurious;
    private uint _errorStatus;
    /// <summary>Errors since the status register was written last.</summary>
    private uint _errors;
    private uint _commandLow;
    private uint _commandHigh;
    /// <summary>A message asks for the 8259 pair's vector: 1, or 0.</summary>
    private int _externalMessage;
    /// <summary>Vectors whose interrupts end as they are delivered.</summary>
    private readonly uint[] _selfEnding = new uint[8];

    internal LocalApic(int id, IClock clock, IClock counted, Processor processor, Action woken)
    {
        _id = id;
        _clock = clock;
        _counted = counted;
        _processor = processor;
        Woken = woken;
        _timer = counted.CreateTimer(TimerExpired);
        _deadlineTimer = clock == counted ? _timer : clock.CreateTimer(TimerExpired);
        Reset();
    }

    /// <summary>The level of the INTR wire from the 8259 pair, which LINT0 may pass on.</summary>
    internal bool ExternalInterrupt
    {
        get => Volatile.Read(ref field);
        private set => Volatile.Write(ref field, value);
    }

    /// <summary>Called when a sleeping processor should look.</summary>
    internal Action Woken { get; }

    /// <summary>The present APIC ID: xAPIC mode lets software change it.</summary>
    public uint Id => IsX2 ? (uint)_id : _idRegister >> 24;

    /// <summary>The task priority's class, as CR8 shows it.</summary>
    internal uint Cr8
    {
        get => _taskPriority >> 4;
        set => SetTaskPriority(value << 4);
    }

    /// <summary>Something could be taken if interrupts are enabled.</summary>
    internal bool HasInterrupt => HasExternal || (Highest(_request) is int vector && vector >= FirstLegalVector && (uint)vector >> 4 > Priority >> 4);

    /// <summary>Fixed interrupts are taken. Any thread.</summary>
    public bool IsReceiving => Enabled && SoftwareEnabled;

    /// <summary>The processor priority register (SDM 3A 11.8.3.1). From other threads it is a moment old.</summary>
    public uint Priority
    {
        get
        {
            uint inService = (uint)Math.Max(Highest(_service), 0);
            return _taskPriority >> 4 >= inService >> 4 ? _taskPriority : inService & 0xF0;
        }
    }

    private bool SoftwareEnabled => (_spurious & 0x100) != 0;

    private bool AcceptsExternal => !Enabled || ((_lvt[Lint0] & Masked) == 0 && Mode(_lvt[Lint0]) == ModeExtInt);

    private bool HasExternal => (ExternalInterrupt && AcceptsExternal) || Volatile.Read(ref _externalMessage) != 0;

    /// <summary>As firmware leaves the bootstrap processor's APIC: enabled, the 8259 pair wired through LINT0, NMI on LINT1 (MP 1.4 3.6.2.2).</summary>
    internal void EnterVirtualWire()
    {
        _spurious = 0x1FF;
        _lvt[Lint0] = ModeExtInt << 8;
        _lvt[Lint0 + 1] = ModeNmi << 8;
    }

    /// <summary>Whether a message with this destination is for this APIC (SDM 3A 11.6.2, 11.12.9). Any thread.</summary>
    /// <param name="destination">All ones for every APIC.</param>
    public bool Matches(uint destination, bool logical)
    {
        if (!Enabled)
        {
            return false;
        }
        if (destination == uint.MaxValue)
        {
            return true;
        }
        if (!logical)
        {
            return destination == Id;
        }
        uint mine = LogicalId;
        if (IsX2)
        {
            return destination >> 16 == mine >> 16 && (destination & mine & 0xFFFF) != 0;
        }
        return _destinationFormat >> 28 == 0xF
            ? (mine & destination) != 0
            : mine >> 4 == destination >> 4 && (mine & destination & 0xF) != 0;
    }

    /// <summary>Takes a fixed or lowest-priority interrupt. Any thread.</summary>
    public void Accept(byte vector, bool levelTriggered)
    {
        if (!IsReceiving)
        {
            return;
        }
        if (vector < FirstLegalVector)
        {
            NoteError(ReceivedIllegalVector);
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

    /// <summary>Takes a message of delivery mode ExtINT: the 8259 pair has the vector. Any thread.</summary>
    public void AcceptExternal()
    {
        Volatile.Write(ref _externalMessage, 1);
        _processor.Raise(Attentions.Interrupt);
    }

    /// <summary>The level of the INTR wire. Any thread.</summary>
    internal void SetExternalInterrupt(bool asserted)
    {
        bool rises = asserted && !ExternalInterrupt;
        ExternalInterrupt = asserted;
        if (asserted && AcceptsExternal)
        {
            _processor.Raise(Attentions.Interrupt);
        }
        else if (rises)
        {
            SignalLint0();
        }
    }

    /// <summary>The interrupt command register. Writing sends, in either mode in the format of the mode.</summary>
    internal ulong Command
    {
        get => _commandLow | ((ulong)_commandHigh << 32);
        set
        {
            _commandHigh = IsX2 ? (uint)(value >> 32) : (uint)(value >> 32) & 0xFF00_0000;
            _commandLow = (uint)value & ~DeliveryStatus;
            uint destination = IsX2 ? _commandHigh : _commandHigh >> 24;
            SendCommand(!IsX2 && destination == byte.MaxValue ? uint.MaxValue : destination);
        }
    }

    /// <summary>The task priority register.</summary>
    internal uint TaskPriority
    {
        get => _taskPriority;
        set => SetTaskPriority(value);
    }

    /// <summary>From now on interrupts of these vectors need no EOI. Eight words of 32.</summary>
    internal void SetSelfEnding(ReadOnlySpan<uint> vectors) => vectors.CopyTo(_selfEnding);

    public void Dispose()
    {
        _timer.Dispose();
        _deadlineTimer.Dispose();
    }

    internal void Reset()
    {
        Base = 0xFEE0_0000 | BaseEnable | (_id == 0 ? BaseBootstrap : 0);
        _idRegister = (uint)_id << 24;
        ExternalInterrupt = false;
        Init();
    }

    /// <summary>INIT: as reset, but mode, base and ID stay (SDM 3A 11.4.7.3, 11.12.5.1).</summary>
    internal void Init()
    {
        _taskPriority = 0;
        Forget();
    }

    /// <summary>Moves the most urgent request into service and returns its vector, or -1.</summary>
    internal int Acknowledge(IProcessorBus bus)
    {
        int vector = Highest(_request);
        if (vector >= FirstLegalVector && (uint)vector >> 4 > Priority >> 4)
        {
            uint bit = 1u << (vector & 31);
            Interlocked.And(ref _request[vector >> 5], ~bit);
            _service[vector >> 5] |= bit & ~_selfEnding[vector >> 5];
            return vector;
        }
        return Interlocked.Exchange(ref _externalMessage, 0) != 0 || HasExternal ? bus.AcknowledgeExternalInterrupt() : -1;
    }

    private static uint Mode(uint entry) => (entry >> 8) & 7;

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

    /// <summary>All registers but base, ID and task priority as after power-on.</summary>
    private void Forget()
    {
        Array.Clear(_request);
        Array.Clear(_service);
        Array.Clear(_trigger);
        Array.Fill(_lvt, Masked);
        _logicalDestination = 0;
        _destinationFormat = uint.MaxValue;
        _spurious = 0xFF;
        _errorStatus = _errors = 0;
        _commandLow = _commandHigh = 0;
        _externalMessage = 0;
        StopTimer();
    }

    private void SetTaskPriority(uint value)
    {
        _taskPriority = value;
        _processor.NoteInterrupts();
    }

    internal void EndOfInterrupt()
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
            if ((_spurious & SuppressBroadcast) == 0)
            {
                _processor.Bus.EndOfInterrupt((byte)vector);
            }
            EndLint0((byte)vector);
        }
        _processor.Paravirtual?.Ended((byte)vector);
        _processor.NoteInterrupts();
    }

    /// <summary>INTR has risen and LINT0 is not ExtINT (SDM 3A 11.5.1).</summary>
    private void SignalLint0()
    {
        uint entry = _lvt[Lint0];
        if ((entry & Masked) != 0)
        {
            return;
        }
        if (Mode(entry) == ModeNmi)
        {
            _processor.RequestNmi();
        }
        else if (Mode(entry) == ModeFixed && (entry & RemoteIrr) == 0)
        {
            bool level = (entry & LevelTriggered) != 0;
            Interlocked.Or(ref _lvt[Lint0], level ? RemoteIrr : 0);
            Accept((byte)entry, level);
        }
    }

    private void EndLint0(byte vector)
    {
        uint entry = _lvt[Lint0];
        if ((entry & RemoteIrr) != 0 && (byte)entry == vector)
        {
            Interlocked.And(ref _lvt[Lint0], ~RemoteIrr);
            if (ExternalInterrupt)
            {
                SignalLint0();
            }
        }
    }

    /// <summary>Latches an error and raises its interrupt. Any thread.</summary>
    private void NoteError(uint error)
    {
        Interlocked.Or(ref _errors, error);
        uint entry = _lvt[ErrorLvt];
        // One whose own vector is illegal must not raise another.
        if ((entry & Masked) == 0 && (byte)entry >= FirstLegalVector)
        {
            Accept((byte)entry, false);
        }
    }

    /// <summary>Sends what the interrupt command register says (SDM 3A 11.6.1).</summary>
    private void SendCommand(uint destination)
    {
        uint mode = Mode(_commandLow);
        if (mode is ModeFixed or ModeLowestPriority && (byte)_commandLow < FirstLegalVector)
        {
            NoteError(SentIllegalVector);
            return;
        }
        _processor.Bus.SendInterprocessorInterrupt(_commandLow, destination);
    }
}
