using Ringfence.Devices.Buses;

namespace Ringfence.Devices.Input;

/// <summary>The registers of an <see cref="I8042"/> and what waits in it.</summary>
public sealed record I8042State
{
    public byte CommandByte { get; init; }
    public byte OutputPort { get; init; }
    public byte Status { get; init; }
    public byte Output { get; init; }
    /// <summary>The controller command whose data byte is awaited; 0 if none.</summary>
    public byte Command { get; init; }
    /// <summary>The keyboard or mouse command whose data byte is awaited; 0 if none.</summary>
    public byte KeyboardCommand { get; init; }
    public byte MouseCommand { get; init; }
    public byte[] Controller { get; init; } = [];
    public byte[] Keyboard { get; init; } = [];
    public byte[] Mouse { get; init; } = [];
    public byte[] Memory { get; init; } = [];
}

/// <summary>
/// The PC's keyboard controller with a keyboard and a PS/2 mouse that answer their commands, so that a guest's probing ends without
/// waiting; and port 0x92, which shares its A20 gate and reset. A20 is remembered but memory is never wrapped.
/// Thread-safe. It sets its lines with its lock held and raises <see cref="ResetRequested"/> without.
/// </summary>
public sealed class I8042 : IPortDevice
{
    private const int QueueLimit = 64;
    private const byte Acknowledge = 0xFA;
    private const byte Resend = 0xFE;

    // Status.
    private const byte OutputFull = 0x01;
    private const byte SystemFlag = 0x04;
    private const byte LastWasCommand = 0x08;
    private const byte NotLocked = 0x10;
    private const byte FromMouse = 0x20;

    // Command byte.
    private const byte KeyboardInterrupt = 0x01;
    private const byte MouseInterrupt = 0x02;
    private const byte KeyboardDisabled = 0x10;
    private const byte MouseDisabled = 0x20;

    private const byte A20Bit = 0x02;
    private const byte NotReset = 0x01;

    private readonly Lock _lock = new();
    private readonly IInterruptLine _irq1;
    private readonly IInterruptLine _irq12;
    private readonly Queue<byte> _controller = new();
    private readonly Queue<byte> _keyboard = new();
    private readonly Queue<byte> _mouse = new();
    private readonly byte[] _memory = new byte[32];
    private byte _commandByte = 0x41 | SystemFlag;
    private byte _outputPort = 0xCC | A20Bit | NotReset;
    private byte _status = NotLocked;
    private byte _output;
    private byte _command;
    private byte _keyboardCommand;
    private byte _mouseCommand;
    private bool _reset;

    public I8042(IInterruptLine irq1, IInterruptLine irq12)
    {
        _irq1 = irq1;
        _irq12 = irq12;
        Port92 = new ByteRegisters(ReadPort92, WritePort92);
    }

    /// <summary>The guest pulsed the processor's reset line, here or at port 0x92. Raised on its vCPU's thread.</summary>
    public event Action? ResetRequested;

    /// <summary>System control port A, one port, at 0x92: reset (bit 0), A20 (bit 1).</summary>
    public IPortDevice Port92 { get; }

    /// <summary>Whether the guest has the A20 gate open.</summary>
    public bool A20 => (Volatile.Read(ref _outputPort) & A20Bit) != 0;

    /// <summary>Key presses, as scan codes of set 1. Returns how many bytes were taken: the keyboard holds but a few.</summary>
    public int Press(ReadOnlySpan<byte> scanCodes)
    {
        lock (_lock)
        {
            int taken = Math.Min(scanCodes.Length, QueueLimit - _keyboard.Count);
            foreach (byte code in scanCodes[..taken])
            {
                _keyboard.Enqueue(code);
            }
            Update();
            return taken;
        }
    }

    /// <summary>Offset 0 is data (port 0x60), offset 4 status and command (port 0x64).</summary>
    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            if (offset == 0)
            {
                byte value = _output;
                _status &= unchecked((byte)~(OutputFull | FromMouse));
                Update();
                return value;
            }
            return offset == 4 ? _status : uint.MaxValue >> (32 - (size * 8));
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        bool reset;
        lock (_lock)
        {
            if (offset == 0)
            {
                _status &= unchecked((byte)~LastWasCommand);
                WriteData((byte)value);
            }
            else if (offset == 4)
            {
                _status |= LastWasCommand;
                WriteCommand((byte)value);
            }
            Update();
            reset = TakeReset();
        }
        if (reset)
        {
            ResetRequested?.Invoke();
        }
    }

    public I8042State Save()
    {
        lock (_lock)
        {
            return new I8042State
            {
                CommandByte = _commandByte,
                OutputPort = _outputPort,
                Status = _status,
                Output = _output,
                Command = _command,
                KeyboardCommand = _keyboardCommand,
                MouseCommand = _mouseCommand,
                Controller = [.. _controller],
                Keyboard = [.. _keyboard],
                Mouse = [.. _mouse],
                Memory = [.. _memory],
            };
        }
    }

    /// <exception cref="ArgumentException">The state's memory is not 32 bytes.</exception>
    public void Restore(I8042State state)
    {
        if (state.Memory.Length != _memory.Length)
        {
            throw new ArgumentException("an 8042 state has 32 bytes of memory", nameof(state));
        }
        lock (_lock)
        {
            _commandByte = state.CommandByte;
            _outputPort = state.OutputPort;
            _status = state.Status;
            _output = state.Output;
            _command = state.Command;
            _keyboardCommand = state.KeyboardCommand;
            _mouseCommand = state.MouseCommand;
            Refill(_controller, state.Controller);
            Refill(_keyboard, state.Keyboard);
            Refill(_mouse, state.Mouse);
            state.Memory.CopyTo(_memory, 0);
            Update();
        }
    }

    private static void Refill(Queue<byte> queue, byte[] bytes)
    {
        queue.Clear();
        Answer(queue, bytes);
    }

    private static void Answer(Queue<byte> queue, params ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (queue.Count < QueueLimit)
            {
                queue.Enqueue(value);
            }
        }
    }

    private void WriteCommand(byte command)
    {
        _command = 0;
        switch (command)
        {
            case 0x20:
                Answer(_controller, _commandByte);
                break;
            case > 0x20 and < 0x40:
                Answer(_controller, _memory[command & 0x1F]);
                break;
            case >= 0x60 and < 0x80 or 0xD1 or 0xD2 or 0xD3 or 0xD4:
                _command = command;
                break;
            case 0xA7:
                _commandByte |= MouseDisabled;
                break;
            case 0xA8:
                _commandByte &= unchecked((byte)~MouseDisabled);
                break;
            case 0xA9 or 0xAB:
                Answer(_controller, 0x00);
                break;
            case 0xAA:
                _status |= SystemFlag;
                Answer(_controller, 0x55);
                break;
            case 0xAD:
                _commandByte |= KeyboardDisabled;
                break;
            case 0xAE:
                _commandByte &= unchecked((byte)~KeyboardDisabled);
                break;
            case 0xC0:
                Answer(_controller, 0x80);
                break;
            case 0xD0:
                Answer(_controller, _outputPort);
                break;
            case >= 0xF0:
                // Pulses the output port's low bits that are 0 here; bit 0 is the processor's reset.
                _reset |= (command & NotReset) == 0;
                break;
            default:
                break;
        }
    }

    private void WriteData(byte value)
    {
        byte command = _command;
        _command = 0;
        switch (command)
        {
            case 0:
                // Talking to the keyboard enables it.
                _commandByte &= unchecked((byte)~KeyboardDisabled);
                WriteKeyboard(value);
                break;
            case 0x60:
                _commandByte = value;
                _status = (byte)((_status & ~SystemFlag) | (value & SystemFlag));
                break;
            case < 0x80:
                _memory[command & 0x1F] = value;
                break;
            case 0xD1:
                _outputPort = value;
                _reset |= (value & NotReset) == 0;
                break;
            case 0xD2:
                Answer(_controller, value);
                break;
            case 0xD3:
                // Comes back as if the mouse had sent it, ahead of the mouse's own.
                Load(value, mouse: true);
                break;
            default:
                _commandByte &= unchecked((byte)~MouseDisabled);
                WriteMouse(value);
                break;
        }
    }

    private void WriteKeyboard(byte value)
    {
        byte command = _keyboardCommand;
        _keyboardCommand = 0;
        if (command != 0 && value < 0xED)
        {
            Answer(_keyboard, Acknowledge);
            if (command == 0xF0 && value == 0)
            {
                Answer(_keyboard, 0x02);
            }
            return;
        }
        switch (value)
        {
            case 0xFF:
                _keyboard.Clear();
                Answer(_keyboard, Acknowledge, 0xAA);
                break;
            case 0xF2:
                Answer(_keyboard, Acknowledge, 0xAB, 0x83);
                break;
            case 0xEE:
                Answer(_keyboard, 0xEE);
                break;
            case 0xED or 0xF0 or 0xF3:
                _keyboardCommand = value;
                Answer(_keyboard, Acknowledge);
                break;
            case >= 0xF4 and <= 0xFD:
                Answer(_keyboard, Acknowledge);
                break;
            default:
                Answer(_keyboard, Resend);
                break;
        }
    }

    private void WriteMouse(byte value)
    {
        byte command = _mouseCommand;
        _mouseCommand = 0;
        if (command != 0)
        {
            Answer(_mouse, Acknowledge);
            return;
        }
        switch (value)
        {
            case 0xFF:
                _mouse.Clear();
                Answer(_mouse, Acknowledge, 0xAA, 0x00);
                break;
            case 0xF2:
                Answer(_mouse, Acknowledge, 0x00);
                break;
            case 0xE9:
                Answer(_mouse, Acknowledge, 0x00, 0x02, 0x64);
                break;
            case 0xEB:
                Answer(_mouse, Acknowledge, 0x00, 0x00, 0x00);
                break;
            case 0xE8 or 0xF3:
                _mouseCommand = value;
                Answer(_mouse, Acknowledge);
                break;
            case 0xE6 or 0xE7 or 0xEA or 0xEC or 0xEE or 0xF0 or 0xF4 or 0xF5 or 0xF6:
                Answer(_mouse, Acknowledge);
                break;
            default:
                Answer(_mouse, Resend);
                break;
        }
    }

    /// <summary>Moves the next byte into the free output buffer, and the lines to where that puts them.</summary>
    private void Update()
    {
        if ((_status & OutputFull) == 0)
        {
            // A line falls between two bytes: each is an edge.
            _irq1.Set(false);
            _irq12.Set(false);
            if (_controller.TryDequeue(out byte value))
            {
                Load(value, mouse: false);
            }
            else if ((_commandByte & KeyboardDisabled) == 0 && _keyboard.TryDequeue(out value))
            {
                Load(value, mouse: false);
            }
            else if ((_commandByte & MouseDisabled) == 0 && _mouse.TryDequeue(out value))
            {
                Load(value, mouse: true);
            }
        }
        bool full = (_status & OutputFull) != 0;
        bool mouse = (_status & FromMouse) != 0;
        _irq1.Set(full && !mouse && (_commandByte & KeyboardInterrupt) != 0);
        _irq12.Set(full && mouse && (_commandByte & MouseInterrupt) != 0);
    }

    private void Load(byte value, bool mouse)
    {
        _output = value;
        _status |= OutputFull;
        _status = (byte)(mouse ? _status | FromMouse : _status & ~FromMouse);
    }

    private bool TakeReset()
    {
        bool reset = _reset;
        _reset = false;
        _outputPort |= NotReset;
        return reset;
    }

    private byte ReadPort92(ushort offset) => offset == 0 ? (byte)(A20 ? A20Bit : 0) : (byte)0xFF;

    private void WritePort92(ushort offset, byte value)
    {
        if (offset != 0)
        {
            return;
        }
        lock (_lock)
        {
            _outputPort = (byte)((_outputPort & ~A20Bit) | (value & A20Bit));
        }
        if ((value & 1) != 0)
        {
            ResetRequested?.Invoke();
        }
    }
}
