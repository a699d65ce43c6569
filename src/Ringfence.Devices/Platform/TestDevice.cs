namespace Ringfence.Devices.Platform;

/// <summary>What a <see cref="TestDevice"/> remembers.</summary>
public sealed record TestDeviceState
{
    /// <summary>The register behind the ports.</summary>
    public uint Echo { get; init; }
    /// <summary>The interrupt lines' levels, one bit each.</summary>
    public uint Lines { get; init; }
    public byte[] Memory { get; init; } = [];
}

/// <summary>
/// QEMU's pc-testdev, which test suites expect: 12 ports (at 0xE0) of which the first and last four are one register that keeps what
/// is written, and the four between would make the host drop a page's mapping, which a guest cannot see; <see cref="Interrupts"/>,
/// a port for each interrupt line; and 64 KiB of device memory. Thread-safe. It sets its lines with its lock held.
/// </summary>
public sealed class TestDevice : IPortDevice, IMemoryDevice
{
    /// <summary>Ports it decodes.</summary>
    public const int PortCount = 12;
    /// <summary>Bytes of guest-physical memory it decodes.</summary>
    public const int MemoryLength = 0x1_0000;

    private const int FlushOffset = 4;
    private const int FlushEnd = 8;

    private readonly Lock _lock = new();
    private readonly byte[] _memory = new byte[MemoryLength];
    private readonly IInterruptLine[] _lines;
    private uint _echo;
    private uint _levels;

    /// <param name="lines">What <see cref="Interrupts"/> drives, at most 32.</param>
    public TestDevice(IReadOnlyList<IInterruptLine> lines)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lines.Count, 32, nameof(lines));
        _lines = [.. lines];
        Interrupts = new Buses.ByteRegisters((offset) => ReadLine(offset), (offset, value) => SetLine(offset, value != 0));
    }

    /// <summary>A port for each line: a value other than 0 asserts it.</summary>
    public IPortDevice Interrupts { get; }

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            return offset is >= FlushOffset and < FlushEnd ? 0 : _echo >> Shift(offset);
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        if (offset is >= FlushOffset and < FlushEnd)
        {
            return;
        }
        uint mask = (uint.MaxValue >> (32 - (size * 8))) << Shift(offset);
        lock (_lock)
        {
            _echo = (_echo & ~mask) | ((value << Shift(offset)) & mask);
        }
    }

    public ulong ReadMemory(ulong offset, int size)
    {
        lock (_lock)
        {
            ulong value = 0;
            for (int i = 0; i < size; i++)
            {
                value |= (ulong)_memory[(offset + (ulong)i) % MemoryLength] << (8 * i);
            }
            return value;
        }
    }

    public void WriteMemory(ulong offset, int size, ulong value)
    {
        lock (_lock)
        {
            for (int i = 0; i < size; i++)
            {
                _memory[(offset + (ulong)i) % MemoryLength] = (byte)(value >> (8 * i));
            }
        }
    }

    public TestDeviceState Save()
    {
        lock (_lock)
        {
            return new TestDeviceState { Echo = _echo, Lines = _levels, Memory = [.. _memory] };
        }
    }

    /// <exception cref="ArgumentException">The state has another length of memory.</exception>
    public void Restore(TestDeviceState state)
    {
        if (state.Memory.Length != MemoryLength)
        {
            throw new ArgumentException($"a test device's state has {MemoryLength} bytes of memory, not {state.Memory.Length}", nameof(state));
        }
        lock (_lock)
        {
            _echo = state.Echo;
            state.Memory.CopyTo(_memory, 0);
            for (int i = 0; i < _lines.Length; i++)
            {
                SetLine(i, (state.Lines & (1u << i)) != 0);
            }
        }
    }

    private static int Shift(ushort offset) => (offset & 3) * 8;

    private byte ReadLine(int line)
    {
        lock (_lock)
        {
            return (byte)(line < _lines.Length ? (_levels >> line) & 1 : 0xFF);
        }
    }

    private void SetLine(int line, bool asserted)
    {
        lock (_lock)
        {
            if (line < _lines.Length)
            {
                _levels = asserted ? _levels | (1u << line) : _levels & ~(1u << line);
                _lines[line].Set(asserted);
            }
        }
    }
}
