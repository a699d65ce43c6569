using System.Buffers.Binary;
using System.Text;

namespace Ringfence.Devices.Platform;

/// <summary>The registers of a <see cref="FirmwareConfig"/>.</summary>
/// <param name="Selected">The key that the guest chose.</param>
/// <param name="Offset">How far into that item it has read.</param>
/// <param name="DmaHigh">The upper half of the next transfer's address.</param>
public sealed record FirmwareConfigState(ushort Selected, uint Offset, uint DmaHigh);

/// <summary>
/// QEMU's firmware configuration device (its specification: docs/specs/fw_cfg): items under 16-bit keys, read byte by byte through a
/// data port or by DMA; files are items that a directory names. 12 ports at 0x510: selector at 0, data at 1, DMA address at 4.
/// Items are read-only. Add them before the guest runs. Thread-safe. It calls guest memory with its lock held.
/// </summary>
public sealed class FirmwareConfig : IPortDevice
{
    /// <summary>Ports it decodes.</summary>
    public const int PortCount = 12;
    public const ushort RamSizeKey = 0x03;
    public const ushort ProcessorCountKey = 0x05;
    public const ushort MaximumProcessorsKey = 0x0F;

    private const ushort SignatureKey = 0x00;
    private const ushort FeaturesKey = 0x01;
    private const ushort DirectoryKey = 0x19;
    private const ushort FirstFileKey = 0x20;
    private const int FileNameLength = 56;
    private const int FileEntryLength = 64;
    /// <summary>Bit 0: the traditional interface; bit 1: DMA.</summary>
    private const uint Features = 3;
    /// <summary>What the DMA address register reads as: "QEMU CFG", big-endian.</summary>
    private const ulong DmaSignature = 0x5145_4D55_2043_4647;
    private const ushort DataOffset = 1;
    private const ushort DmaHighOffset = 4;
    private const ushort DmaLowOffset = 8;

    private const uint DmaError = 1;
    private const uint DmaRead = 2;
    private const uint DmaSkip = 4;
    private const uint DmaSelect = 8;
    private const uint DmaWrite = 0x10;
    private const int DmaRequestLength = 16;
    private const int ZeroLength = 4096;

    private readonly Lock _lock = new();
    private readonly IGuestMemoryBus _memory;
    private readonly Dictionary<ushort, byte[]> _items = [];
    private readonly List<string> _files = [];
    private ushort _selected;
    private uint _offset;
    private uint _dmaHigh;

    public FirmwareConfig(IGuestMemoryBus memory)
    {
        _memory = memory;
        _items[SignatureKey] = "QEMU"u8.ToArray();
        AddNumber(FeaturesKey, Features, 4);
        StoreDirectory();
    }

    /// <summary>An item that is a little-endian number of <paramref name="size"/> bytes.</summary>
    public void AddNumber(ushort key, ulong value, int size)
    {
        byte[] bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _items[key] = bytes[..size];
    }

    /// <summary>A file; the directory lists it.</summary>
    /// <exception cref="ArgumentException">The name is too long or taken.</exception>
    public void AddFile(string name, ReadOnlySpan<byte> contents)
    {
        if (Encoding.ASCII.GetByteCount(name) >= FileNameLength || _files.Contains(name))
        {
            throw new ArgumentException($"'{name}' is longer than {FileNameLength - 1} characters, or there is one already", nameof(name));
        }
        _items[(ushort)(FirstFileKey + _files.Count)] = contents.ToArray();
        _files.Add(name);
        StoreDirectory();
    }

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            uint value = 0;
            for (int i = 0; i < size; i++)
            {
                int register = offset + i;
                uint part = register == DataOffset || (offset == DataOffset && register < DmaHighOffset) ? NextByte()
                    : register is >= DmaHighOffset and < PortCount ? (byte)(DmaSignature >> (8 * (7 - (register - DmaHighOffset))))
                    : 0u;
                value |= part << (8 * i);
            }
            return value;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            if (offset == 0 && size == 2)
            {
                Select((ushort)value);
            }
            else if (offset == DmaHighOffset && size == 4)
            {
                _dmaHigh = BinaryPrimitives.ReverseEndianness(value);
            }
            else if (offset == DmaLowOffset && size == 4)
            {
                ulong address = ((ulong)_dmaHigh << 32) | BinaryPrimitives.ReverseEndianness(value);
                _dmaHigh = 0;
                Transfer(address);
            }
        }
    }

    public FirmwareConfigState Save()
    {
        lock (_lock)
        {
            return new FirmwareConfigState(_selected, _offset, _dmaHigh);
        }
    }

    public void Restore(FirmwareConfigState state)
    {
        lock (_lock)
        {
            (_selected, _offset, _dmaHigh) = (state.Selected, state.Offset, state.DmaHigh);
        }
    }

    private void Select(ushort key)
    {
        // Bit 14 asks for writing, which no item allows.
        _selected = (ushort)(key & ~0x4000);
        _offset = 0;
    }

    private ReadOnlySpan<byte> Rest()
    {
        ReadOnlySpan<byte> item = _items.GetValueOrDefault(_selected);
        return item[(int)Math.Min(_offset, (uint)item.Length)..];
    }

    /// <summary>Behind an item's end there are zeros.</summary>
    private byte NextByte()
    {
        ReadOnlySpan<byte> rest = Rest();
        if (rest.IsEmpty)
        {
            return 0;
        }
        _offset++;
        return rest[0];
    }

    /// <summary>Executes the request at an address: control, length, address, all big-endian. The control word then tells the outcome.</summary>
    private void Transfer(ulong request)
    {
        Span<byte> bytes = stackalloc byte[DmaRequestLength];
        uint outcome = DmaError;
        if (_memory.TryRead(request, bytes))
        {
            uint control = BinaryPrimitives.ReadUInt32BigEndian(bytes);
            uint length = BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]);
            ulong address = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
            if ((control & DmaSelect) != 0)
            {
                Select((ushort)(control >> 16));
            }
            bool done = (control & DmaRead) != 0 ? CopyOut(address, length) : (control & DmaWrite) == 0 && ((control & DmaSkip) == 0 || Skip(length));
            outcome = done ? 0 : DmaError;
        }
        Span<byte> word = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(word, outcome);
        _memory.TryWrite(request, word);
    }

    private bool Skip(uint length)
    {
        _offset += Math.Min(length, (uint)Rest().Length);
        return true;
    }

    private bool CopyOut(ulong address, uint length)
    {
        ReadOnlySpan<byte> rest = Rest();
        ReadOnlySpan<byte> data = rest[..(int)Math.Min(length, (uint)rest.Length)];
        if (!_memory.TryWrite(address, data))
        {
            return false;
        }
        _offset += (uint)data.Length;
        Span<byte> zeros = stackalloc byte[ZeroLength];
        zeros.Clear();
        for (uint done = (uint)data.Length; done < length;)
        {
            int part = (int)Math.Min(length - done, ZeroLength);
            if (!_memory.TryWrite(address + done, zeros[..part]))
            {
                return false;
            }
            done += (uint)part;
        }
        return true;
    }

    /// <summary>The directory: their number, then size, key, two bytes of nothing and name of each; numbers are big-endian.</summary>
    private void StoreDirectory()
    {
        byte[] directory = new byte[sizeof(uint) + (_files.Count * FileEntryLength)];
        BinaryPrimitives.WriteInt32BigEndian(directory, _files.Count);
        for (int i = 0; i < _files.Count; i++)
        {
            Span<byte> entry = directory.AsSpan(sizeof(uint) + (i * FileEntryLength), FileEntryLength);
            ushort key = (ushort)(FirstFileKey + i);
            BinaryPrimitives.WriteInt32BigEndian(entry, _items[key].Length);
            BinaryPrimitives.WriteUInt16BigEndian(entry[4..], key);
            Encoding.ASCII.GetBytes(_files[i], entry[8..]);
        }
        _items[DirectoryKey] = directory;
    }
}
