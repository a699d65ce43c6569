using System.Buffers.Binary;
using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>Linux's boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst and boot.rst). Offsets are those of the structure.</summary>
internal sealed class ZeroPage
{
    public const int HeaderStart = 0x1F1;
    /// <summary>The setup header may grow up to here.</summary>
    public const int HeaderLimit = 0x290;
    private const int MaximumE820Entries = 128;
    private readonly byte[] _bytes = new byte[4096];

    public void CopyHeader(ReadOnlySpan<byte> header) => header.CopyTo(_bytes.AsSpan(HeaderStart));

    /// <summary>A header for kernels that are entered without one of their own: an ELF vmlinux.</summary>
    public void MakeHeader()
    {
        Put16(0x1FE, 0xAA55);
        Put32(0x202, BzImageLoader.HeaderMagic);
        Put16(0x206, 0x20F);
        Put32(0x230, 0x100_0000);
        _bytes[0x211] = 1;
    }

    /// <summary>Says who loaded the kernel: no assigned loader, with a heap.</summary>
    public void SetLoader()
    {
        const byte CanUseHeap = 0x80;
        const byte QuietFlag = 0x20;
        _bytes[0x210] = 0xFF;
        _bytes[0x211] = (byte)((_bytes[0x211] | CanUseHeap) & ~QuietFlag);
        Put16(0x224, 0xFE00);
    }

    public void SetCode32Start(ulong address) => Put32(0x214, (uint)address);

    public void SetCommandLine(ulong address)
    {
        Put32(0x228, (uint)address);
        Put32(0x0C8, (uint)(address >> 32));
    }

    public void SetRamdisk(ulong address, ulong size)
    {
        Put32(0x218, (uint)address);
        Put32(0x21C, (uint)size);
        Put32(0x0C0, (uint)(address >> 32));
        Put32(0x0C4, (uint)(size >> 32));
    }

    public void SetRsdp(ulong address) => BinaryPrimitives.WriteUInt64LittleEndian(_bytes.AsSpan(0x70), address);

    /// <summary>screen_info: a VGA in text mode, its cursor at the top left.</summary>
    public void SetTextScreen()
    {
        const byte IsVga = 1;
        const ushort ColourEga = 3;
        _bytes[0x06] = BoardLayout.TextMode;
        _bytes[0x07] = BoardLayout.TextColumns;
        Put16(0x0A, ColourEga);
        _bytes[0x0E] = BoardLayout.TextRows;
        _bytes[0x0F] = IsVga;
        Put16(0x10, BoardLayout.CharacterHeight);
    }

    public void SetMemoryMap(GuestFile kernel, IReadOnlyList<E820Entry> map)
    {
        if (map.Count > MaximumE820Entries)
        {
            throw kernel.Error($"the memory map has {map.Count} entries, the boot protocol takes {MaximumE820Entries}");
        }
        _bytes[0x1E8] = (byte)map.Count;
        for (int i = 0; i < map.Count; i++)
        {
            Span<byte> entry = _bytes.AsSpan(0x2D0 + i * 20, 20);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[i].Address);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)map[i].Type);
        }
        // The count that INT 15h AH=88h gives: KiB above 1 MiB.
        long above = map.Where(e => e.Type == E820Type.Ram && e.Address == BoardLayout.BiosEnd).Sum(e => (long)e.Length);
        Put32(0x1E0, (uint)(above >> 10));
    }

    public ulong Store(LoadMap map) => map.PlaceData("the zero page", _bytes, GuestMemory.PageSize);

    private void Put16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(offset), value);

    private void Put32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(offset), value);
}
