namespace Ringfence.Devices.Serial;

/// <summary>The registers of a <see cref="Uart16550"/>.</summary>
public sealed record Uart16550State
{
    public byte InterruptEnable { get; init; }
    public byte FifoControl { get; init; }
    public byte LineControl { get; init; }
    public byte ModemControl { get; init; }
    /// <summary>Bits 1 to 4 of LSR: overrun, parity, framing, break.</summary>
    public byte LineErrors { get; init; }
    public byte ModemStatus { get; init; }
    public byte Scratch { get; init; }
    public ushort Divisor { get; init; } = 12;
    public bool TransmitterPending { get; init; }
    /// <summary>What waits in the receiver, oldest first: the byte, and its LSR error bits in the high half.</summary>
    public ushort[] Received { get; init; } = [];
}

/// <summary>
/// A 16550A serial port (National PC16550D). It sends without delay: the transmitter is always empty, and its interrupt comes back as
/// soon as a byte is written. Received bytes below the FIFO's trigger count as timed out at once, for the same reason.
/// Thread-safe. It sets its line with its lock held, and calls <c>transmit</c> and <see cref="RoomAvailable"/> without.
/// </summary>
public sealed class Uart16550 : IPortDevice
{
    /// <summary>Ports it decodes, at 0x3F8 (COM1, IRQ4), 0x2F8 (COM2, IRQ3), 0x3E8 (COM3, IRQ4), 0x2E8 (COM4, IRQ3).</summary>
    public const int PortCount = 8;
    public const int FifoSize = 16;

    private const byte EnableReceived = 0x01;
    private const byte EnableTransmitter = 0x02;
    private const byte EnableLine = 0x04;
    private const byte EnableModem = 0x08;
    private const byte FifoEnabled = 0x01;
    private const byte DivisorAccess = 0x80;
    private const byte Out2 = 0x08;
    private const byte Loopback = 0x10;
    private const byte DataReady = 0x01;
    private const byte Overrun = 0x02;
    private const byte Break = 0x10;
    private const byte TransmitterEmpty = 0x60;
    private const byte FifoError = 0x80;
    private const byte ErrorBits = 0x1E;
    private const byte NoInterrupt = 0x01;
    /// <summary>Carrier, data set ready, clear to send: a cable with someone at its other end.</summary>
    private const byte Connected = 0xB0;
    private const byte Ring = 0x40;

    private static ReadOnlySpan<byte> Triggers => [1, 4, 8, 14];

    private readonly Lock _lock = new();
    private readonly IInterruptLine _line;
    private readonly Action<byte> _transmit;
    private readonly ushort[] _fifo = new ushort[FifoSize];
    private int _first;
    private int _count;
    private byte _interruptEnable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _lineErrors;
    private byte _modemStatus = Connected;
    private byte _scratch;
    private ushort _divisor = 12;
    private bool _transmitterPending;
    private bool _hostWaits;
    /// <summary>The level that the line has.</summary>
    private bool _asserted;

    /// <param name="transmit">Takes each byte sent, on the thread of the vCPU that sends it.</param>
    public Uart16550(IInterruptLine line, Action<byte> transmit)
    {
        _line = line;
        _transmit = transmit;
    }

    /// <summary>There is room again after <see cref="Receive"/> took less than it was given. Raised on a vCPU's thread.</summary>
    public event Action? RoomAvailable;

    private int Capacity => (_fifoControl & FifoEnabled) != 0 ? FifoSize : 1;

    private bool InLoopback => (_modemControl & Loopback) != 0;

    private bool DivisorSelected => (_lineControl & DivisorAccess) != 0;

    /// <summary>Puts bytes into the receiver as far as there is room.</summary>
    /// <returns>How many were taken. When less than all, <see cref="RoomAvailable"/> tells when to come again.</returns>
    public int Receive(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            // In loopback the input is disconnected: it waits outside.
            int taken = InLoopback ? 0 : Math.Min(data.Length, Capacity - _count);
            for (int i = 0; i < taken; i++)
            {
                Push(data[i]);
            }
            _hostWaits = taken < data.Length;
            UpdateLine();
            return taken;
        }
    }

    /// <summary>A break condition on the receiver (Linux's magic SysRq). False if there is no room for it.</summary>
    public bool ReceiveBreak()
    {
        lock (_lock)
        {
            if (InLoopback || _count == Capacity)
            {
                return false;
            }
            Push(Break << 8);
            UpdateLine();
            return true;
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (uint)Read(offset + i) << (i * 8);
        }
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
        {
            Write(offset + i, (byte)(value >> (i * 8)));
        }
    }

    public Uart16550State Save()
    {
        lock (_lock)
        {
            var received = new ushort[_count];
            for (int i = 0; i < _count; i++)
            {
                received[i] = _fifo[(_first + i) % FifoSize];
            }
            return new Uart16550State
            {
                InterruptEnable = _interruptEnable,
                FifoControl = _fifoControl,
                LineControl = _lineControl,
                ModemControl = _modemControl,
                LineErrors = _lineErrors,
                ModemStatus = _modemStatus,
                Scratch = _scratch,
                Divisor = _divisor,
                TransmitterPending = _transmitterPending,
                Received = received,
            };
        }
    }

    /// <exception cref="ArgumentException">More was received than the FIFO holds.</exception>
    public void Restore(Uart16550State state)
    {
        if (state.Received.Length > FifoSize)
        {
            throw new ArgumentException($"a 16550 holds {FifoSize} received bytes, not {state.Received.Length}", nameof(state));
        }
        lock (_lock)
        {
            _interruptEnable = (byte)(state.InterruptEnable & 0x0F);
            _fifoControl = state.FifoControl;
            _lineControl = state.LineControl;
            _modemControl = (byte)(state.ModemControl & 0x1F);
            _lineErrors = (byte)(state.LineErrors & ErrorBits);
            _modemStatus = state.ModemStatus;
            _scratch = state.Scratch;
            _divisor = state.Divisor;
            _transmitterPending = state.TransmitterPending;
            state.Received.CopyTo(_fifo, 0);
            _first = 0;
            _count = state.Received.Length;
            UpdateLine();
        }
    }

    private byte Read(int register)
    {
        bool room = false;
        byte value;
        lock (_lock)
        {
            switch (register)
            {
                case 0:
                    value = DivisorSelected ? (byte)_divisor : Pop();
                    room = TakeRoom();
                    break;
                case 1:
                    value = DivisorSelected ? (byte)(_divisor >> 8) : _interruptEnable;
                    break;
                case 2:
                    value = Identification();
                    if (value == 0x02)
                    {
                        // Reading it as the source ends the transmitter's interrupt.
                        _transmitterPending = false;
                    }
                    value |= (byte)((_fifoControl & FifoEnabled) != 0 ? 0xC0 : 0);
                    break;
                case 3:
                    value = _lineControl;
                    break;
                case 4:
                    value = _modemControl;
                    break;
                case 5:
                    value = (byte)(TransmitterEmpty | _lineErrors | (_count > 0 ? DataReady : 0) | (ErrorWaits() ? FifoError : 0));
                    _lineErrors = 0;
                    break;
                case 6:
                    value = _modemStatus;
                    _modemStatus &= 0xF0;
                    break;
                case 7:
                    value = _scratch;
                    break;
                default:
                    return 0xFF;
            }
            UpdateLine();
        }
        if (room)
        {
            RoomAvailable?.Invoke();
        }
        return value;
    }

    private void Write(int register, byte value)
    {
        bool room = false;
        bool transmit = false;
        lock (_lock)
        {
            switch (register)
            {
                case 0 when DivisorSelected:
                    _divisor = (ushort)((_divisor & 0xFF00) | value);
                    break;
                case 0:
                    transmit = !InLoopback;
                    Transmit(value);
                    break;
                case 1 when DivisorSelected:
                    _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                    break;
                case 1:
                    // The transmitter is empty: enabling its interrupt raises it.
                    _transmitterPending |= (~_interruptEnable & value & EnableTransmitter) != 0;
                    _interruptEnable = (byte)(value & 0x0F);
                    break;
                case 2:
                    WriteFifoControl(value);
                    room = TakeRoom();
                    break;
                case 3:
                    _lineControl = value;
                    break;
                case 4:
                    _modemControl = (byte)(value & 0x1F);
                    UpdateModem();
                    room = TakeRoom();
                    break;
                case 7:
                    _scratch = value;
                    break;
                default:
                    break;
            }
            UpdateLine();
        }
        if (transmit)
        {
            _transmit(value);
        }
        if (room)
        {
            RoomAvailable?.Invoke();
        }
    }

    private void Transmit(byte value)
    {
        // Not empty, then empty: an edge for a controller that waits for one.
        _transmitterPending = false;
        UpdateLine();
        _transmitterPending = true;
        if (!InLoopback)
        {
            return;
        }
        if (_count == Capacity)
        {
            _lineErrors |= Overrun;
        }
        else
        {
            Push(value);
        }
    }

    private void WriteFifoControl(byte value)
    {
        bool toggled = ((value ^ _fifoControl) & FifoEnabled) != 0;
        if (toggled || (value & 0x02) != 0)
        {
            _count = 0;
            _lineErrors = 0;
        }
        if (toggled || (value & 0x04) != 0)
        {
            _transmitterPending = true;
        }
        // Without the enable bit the others are not programmed.
        _fifoControl = (value & FifoEnabled) != 0 ? (byte)(value & 0xC1) : (byte)0;
    }

    private void UpdateModem()
    {
        int inputs = Connected;
        if (InLoopback)
        {
            // RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD.
            inputs = ((_modemControl & 0x02) << 3) | ((_modemControl & 0x01) << 5) | ((_modemControl & 0x0C) << 4);
        }
        int changed = (inputs ^ _modemStatus) & 0xF0;
        if ((inputs & Ring) != 0)
        {
            // Only the trailing edge of RI counts.
            changed &= ~Ring;
        }
        _modemStatus = (byte)(inputs | (_modemStatus & 0x0F) | (changed >> 4));
    }

    private void Push(int entry)
    {
        _fifo[(_first + _count++) % FifoSize] = (ushort)entry;
        if (_count == 1)
        {
            _lineErrors |= (byte)((entry >> 8) & ErrorBits);
        }
    }

    private byte Pop()
    {
        // With nothing there, the last byte is read again.
        if (_count == 0)
        {
            return (byte)_fifo[(_first + FifoSize - 1) % FifoSize];
        }
        byte value = (byte)_fifo[_first];
        _first = (_first + 1) % FifoSize;
        if (--_count > 0)
        {
            _lineErrors |= (byte)((_fifo[_first] >> 8) & ErrorBits);
        }
        return value;
    }

    private bool ErrorWaits()
    {
        for (int i = 0; i < _count && Capacity > 1; i++)
        {
            if (_fifo[(_first + i) % FifoSize] >> 8 != 0)
            {
                return true;
            }
        }
        return false;
    }

    private bool TakeRoom()
    {
        bool room = _hostWaits && !InLoopback && _count < Capacity;
        _hostWaits &= !room;
        return room;
    }

    /// <summary>IIR bits 0 to 3: the highest interrupt that is enabled and pending.</summary>
    private byte Identification()
    {
        if ((_interruptEnable & EnableLine) != 0 && _lineErrors != 0)
        {
            return 0x06;
        }
        if ((_interruptEnable & EnableReceived) != 0 && _count > 0)
        {
            return (byte)(Capacity == 1 || _count >= Triggers[_fifoControl >> 6] ? 0x04 : 0x0C);
        }
        if ((_interruptEnable & EnableTransmitter) != 0 && _transmitterPending)
        {
            return 0x02;
        }
        return (_interruptEnable & EnableModem) != 0 && (_modemStatus & 0x0F) != 0 ? (byte)0x00 : NoInterrupt;
    }

    /// <summary>On a PC, OUT2 connects the interrupt to the bus.</summary>
    private void UpdateLine()
    {
        bool asserted = (_modemControl & Out2) != 0 && Identification() != NoInterrupt;
        if (asserted != _asserted)
        {
            _asserted = asserted;
            _line.Set(asserted);
        }
    }
}
