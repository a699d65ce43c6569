using System.Buffers.Binary;
using System.Text;
using Ringfence.Devices.Platform;

namespace Ringfence.Devices.Tests;

/// <summary>The firmware configuration device, as QEMU's docs/specs/fw_cfg describes it.</summary>
public sealed class FirmwareConfigTests
{
    private const ushort DataPort = 1;
    private readonly FakeMemory _memory = new();
    private readonly FirmwareConfig _config;

    public FirmwareConfigTests() => _config = new FirmwareConfig(_memory);

    [Fact]
    public void SignatureAndFeatures()
    {
        Assert.Equal("QEMU", Encoding.ASCII.GetString(Read(0, 4)));
        // The traditional interface and DMA.
        Assert.Equal([3, 0, 0, 0], Read(1, 4));
    }

    [Fact]
    public void NumbersAreLittleEndianAndZerosFollow()
    {
        _config.AddNumber(FirmwareConfig.ProcessorCountKey, 0x1234, 2);
        Assert.Equal([0x34, 0x12, 0, 0], Read(FirmwareConfig.ProcessorCountKey, 4));
        Assert.Equal([0, 0], Read(0x77, 2));
        // Selecting anew begins anew, and a wide read takes consecutive bytes.
        _config.WritePort(0, 2, FirmwareConfig.ProcessorCountKey);
        Assert.Equal(0x1234u, _config.ReadPort(DataPort, 2));
        // Bit 14 asks to write, which nothing allows; the item is the same.
        _config.WritePort(0, 2, 0x4000 | FirmwareConfig.ProcessorCountKey);
        _config.WritePort(DataPort, 1, 0xFF);
        Assert.Equal(0x34, _config.In(DataPort));
    }

    [Fact]
    public void TheDirectoryNamesFiles()
    {
        _config.AddFile("etc/first", [1, 2, 3]);
        _config.AddFile("etc/second", [9]);
        byte[] directory = Read(0x19, 4 + (2 * 64));
        Assert.Equal(2, BinaryPrimitives.ReadInt32BigEndian(directory));
        Assert.Equal(3, BinaryPrimitives.ReadInt32BigEndian(directory.AsSpan(4)));
        ushort key = BinaryPrimitives.ReadUInt16BigEndian(directory.AsSpan(8));
        Assert.Equal("etc/first", Encoding.ASCII.GetString(directory, 12, 56).TrimEnd('\0'));
        Assert.Equal("etc/second", Encoding.ASCII.GetString(directory, 76, 56).TrimEnd('\0'));
        Assert.Equal([1, 2, 3, 0], Read(key, 4));
        Assert.Throws<ArgumentException>(() => _config.AddFile("etc/first", []));
        Assert.Throws<ArgumentException>(() => _config.AddFile(new string('x', 56), []));
    }

    [Fact]
    public void DmaReadsSkipsAndSelects()
    {
        _config.AddFile("file", [1, 2, 3, 4, 5]);
        Assert.Equal("QEMU CFG", Encoding.ASCII.GetString([.. Enumerable.Range(4, 8).Select(i => _config.In((ushort)i))]));
        // Select 0x20 and read 2 bytes; skip 1; read 4, of which 2 are there; behind the end.
        Assert.Equal(0u, Transfer((0x20u << 16) | 8 | 2, 2, 0x100));
        Assert.Equal(0u, Transfer(4, 1, 0));
        Assert.Equal(0u, Transfer(2, 4, 0x102));
        Assert.Equal([1, 2, 4, 5, 0, 0], _memory.Bytes[0x100..0x106]);
        Assert.Equal(0u, Transfer(2, 3, 0x100));
        Assert.Equal([0, 0, 0, 5], _memory.Bytes[0x100..0x104]);
    }

    [Fact]
    public void DmaRefusesWritesAndWhatIsNotMemory()
    {
        Assert.Equal(1u, Transfer(8 | 0x10, 1, 0x100));
        Assert.Equal(1u, Transfer(8 | 2, 4, FakeMemory.Length - 2));
        // A request that is not in memory goes nowhere.
        _config.WritePort(4, 4, 0xFFFF_FFFF);
        _config.WritePort(8, 4, 0);
    }

    [Fact]
    public void StateRoundTrip()
    {
        _config.WritePort(0, 2, 0);
        _ = _config.In(DataPort);
        _config.WritePort(4, 4, 0x0100_0000);
        FirmwareConfigState state = Check.Copy(_config.Save());
        var other = new FirmwareConfig(_memory);
        other.Restore(state);
        Assert.Equal(state, other.Save());
        Assert.Equal((byte)'E', other.In(DataPort));
    }

    [Fact]
    public void Fuzz() => Check.Fuzz(_config, FirmwareConfig.PortCount, 7);

    private byte[] Read(ushort key, int count)
    {
        _config.WritePort(0, 2, key);
        return [.. Enumerable.Range(0, count).Select(_ => _config.In(DataPort))];
    }

    /// <summary>Makes a request at 0x40, sends it, and returns its control word.</summary>
    private uint Transfer(uint control, uint length, ulong address)
    {
        const int Request = 0x40;
        BinaryPrimitives.WriteUInt32BigEndian(_memory.Bytes.AsSpan(Request), control);
        BinaryPrimitives.WriteUInt32BigEndian(_memory.Bytes.AsSpan(Request + 4), length);
        BinaryPrimitives.WriteUInt64BigEndian(_memory.Bytes.AsSpan(Request + 8), address);
        _config.WritePort(8, 4, BinaryPrimitives.ReverseEndianness((uint)Request));
        return BinaryPrimitives.ReadUInt32BigEndian(_memory.Bytes.AsSpan(Request));
    }

    private sealed class FakeMemory : IGuestMemoryBus
    {
        public const int Length = 0x1000;

        public byte[] Bytes { get; } = new byte[Length];

        public bool TryRead(ulong address, Span<byte> destination)
        {
            if (address > Length || (ulong)destination.Length > Length - address)
            {
                return false;
            }
            Bytes.AsSpan((int)address, destination.Length).CopyTo(destination);
            return true;
        }

        public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
        {
            if (address > Length || (ulong)source.Length > Length - address)
            {
                return false;
            }
            source.CopyTo(Bytes.AsSpan((int)address));
            return true;
        }
    }
}
