namespace Ringfence.Devices.Interrupts;

/// <summary>The registers of an <see cref="IoApic"/>.</summary>
public sealed record IoApicState
{
    public byte Id { get; init; }
    public byte Select { get; init; }
    /// <summary>The redirection table.</summary>
    public ulong[] Entries { get; init; } = [];
    /// <summary>The level of the pins, one bit each.</summary>
    public uint Pins { get; init; }
}

/// <summary>
/// An I/O APIC (Intel 82093AA, 290566-001) of 24 pins; of version 0x20 it also has the EOI register of the ICH family. Pins carry
/// "asserted", not volts, so the polarity bit is kept but has no effect. An edge at a masked pin is lost.
/// Thread-safe. It calls the sink with its lock held: the order is device, router, controller, sink, and a sink never calls back.
/// </summary>
public sealed class IoApic : IMemoryDevice
{
    public const int PinCount = 24;
    /// <summary>Bytes of guest-physical memory it decodes, at 0xFEC00000.</summary>
    public const ulong Length = 0x1000;

    private const ulong Masked = 1 << 16;
    private const ulong LevelTriggered = 1 << 15;
    private const ulong RemoteIrr = 1 << 14;
    private const ulong DeliveryStatus = 1 << 12;
    private const ulong Logical = 1 << 11;
    private const ulong Writable = 0xFF00_0000_0001_FFFF & ~RemoteIrr & ~DeliveryStatus;
    private const byte LowestPriority = 1;

    private const ulong SelectOffset = 0x00;
    private const ulong WindowOffset = 0x10;
    private const ulong EndOfInterruptOffset = 0x40;
    private const byte EntryBase = 0x10;

    private readonly Lock _lock = new();
    private readonly IInterruptSink _sink;
    private readonly byte _version;
    private readonly ulong[] _entries = new ulong[PinCount];
    private uint _pins;
    private byte _id;
    private byte _select;
    /// <summary>Does the work in our place while it is not null: told of the pins.</summary>
    private Action<int, bool>? _elsewhere;

    /// <param name="id">The APIC ID to begin with, 0 to 15; only software looks at it.</param>
    /// <param name="version">0x11 (82093AA) or 0x20 (with an EOI register).</param>
    public IoApic(IInterruptSink sink, byte id = 0, byte version = 0x20)
    {
        _sink = sink;
        _id = (byte)(id & 0xF);
        _version = version;
        Array.Fill(_entries, Masked);
    }

    /// <summary>The level of a pin, 0 to 23.</summary>
    public void SetPin(int pin, bool asserted)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(pin);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(pin, PinCount);
        uint bit = 1u << pin;
        lock (_lock)
        {
            bool was = (_pins & bit) != 0;
            _pins = asserted ? _pins | bit : _pins & ~bit;
            if (_elsewhere is not null)
            {
                _elsewhere(pin, asserted);
            }
            else if (asserted && !was)
            {
                Send(pin);
            }
        }
    }

    /// <summary>A processor ended a level-triggered interrupt: pins with this vector are served again if still asserted.</summary>
    public void EndOfInterrupt(byte vector)
    {
        lock (_lock)
        {
            for (int pin = 0; pin < PinCount; pin++)
            {
                ulong entry = _entries[pin];
                if ((byte)entry == vector && (entry & RemoteIrr) != 0)
                {
                    _entries[pin] = entry & ~RemoteIrr;
                    SendIfLevel(pin);
                }
            }
        }
    }

    public ulong ReadMemory(ulong offset, int size)
    {
        // Registers are 32 bits wide and 16 bytes apart; a narrower or displaced read sees its part of one.
        int shift = (int)(offset & 0xF) * 8;
        if (shift >= 32)
        {
            return 0;
        }
        lock (_lock)
        {
            uint value = (offset & ~0xFUL) switch
            {
                SelectOffset => _select,
                WindowOffset => ReadRegister(_select),
                _ => 0,
            };
            return value >> shift;
        }
    }

    public void WriteMemory(ulong offset, int size, ulong value)
    {
        lock (_lock)
        {
            switch (offset)
            {
                case SelectOffset:
                    _select = (byte)value;
                    break;
                case WindowOffset when size >= 4:
                    WriteRegister(_select, (uint)value);
                    break;
                case EndOfInterruptOffset when _version >= 0x20:
                    EndOfInterrupt((byte)value);
                    break;
                default:
                    break;
            }
        }
    }

    public IoApicState Save()
    {
        lock (_lock)
        {
            return new IoApicState { Id = _id, Select = _select, Entries = [.. _entries], Pins = _pins };
        }
    }

    /// <exception cref="ArgumentException">The state is not that of 24 pins.</exception>
    public void Restore(IoApicState state)
    {
        if (state.Entries.Length != PinCount)
        {
            throw new ArgumentException($"an IOAPIC state has {PinCount} entries, not {state.Entries.Length}", nameof(state));
        }
        lock (_lock)
        {
            _id = (byte)(state.Id & 0xF);
            _select = state.Select;
            state.Entries.CopyTo(_entries, 0);
            _pins = state.Pins & ((1u << PinCount) - 1);
        }
    }

    /// <summary>From now on someone else is the IOAPIC, who takes it as it is and is told of its pins. It is not accessed meanwhile.</summary>
    /// <param name="take">Called, as <paramref name="pin"/>, with our lock held.</param>
    public void HandOver(Action<IoApicState> take, Action<int, bool> pin)
    {
        lock (_lock)
        {
            take(new IoApicState { Id = _id, Select = _select, Entries = [.. _entries], Pins = _pins });
            _elsewhere = pin;
        }
    }

    /// <summary>The IOAPIC is here again, as <paramref name="give"/> says that it is; its pins we know.</summary>
    public void TakeBack(Func<IoApicState> give)
    {
        lock (_lock)
        {
            IoApicState now = give();
            _elsewhere = null;
            _id = (byte)(now.Id & 0xF);
            _select = now.Select;
            now.Entries.CopyTo(_entries, 0);
        }
    }

    private uint ReadRegister(byte register)
    {
        int half = register - EntryBase;
        if (half is >= 0 and < PinCount * 2)
        {
            ulong entry = _entries[half / 2];
            return (uint)(half % 2 == 0 ? entry : entry >> 32);
        }
        return register switch
        {
            0 or 2 => (uint)_id << 24,
            1 => _version | ((PinCount - 1u) << 16),
            _ => 0,
        };
    }

    private void WriteRegister(byte register, uint value)
    {
        int half = register - EntryBase;
        if (half is >= 0 and < PinCount * 2)
        {
            int pin = half / 2;
            int shift = half % 2 * 32;
            ulong writable = Writable & (0xFFFF_FFFFUL << shift);
            ulong entry = (_entries[pin] & ~writable) | (((ulong)value << shift) & writable);
            if ((entry & LevelTriggered) == 0)
            {
                // Software without an EOI register clears remote IRR by passing through edge mode.
                entry &= ~RemoteIrr;
            }
            _entries[pin] = entry;
            SendIfLevel(pin);
        }
        else if (register == 0)
        {
            _id = (byte)((value >> 24) & 0xF);
        }
    }

    private void SendIfLevel(int pin)
    {
        if ((_entries[pin] & LevelTriggered) != 0 && (_pins & (1u << pin)) != 0)
        {
            Send(pin);
        }
    }

    private void Send(int pin)
    {
        ulong entry = _entries[pin];
        if ((entry & (Masked | RemoteIrr)) != 0)
        {
            return;
        }
        byte mode = (byte)((entry >> 8) & 7);
        bool level = (entry & LevelTriggered) != 0;
        // Only fixed and lowest-priority interrupts are ended by an EOI.
        if (level && mode <= LowestPriority)
        {
            _entries[pin] = entry | RemoteIrr;
        }
        _sink.Deliver(new InterruptMessage((byte)entry, mode, (entry & Logical) != 0, (byte)(entry >> 56), level));
    }
}
