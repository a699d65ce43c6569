namespace Ringfence.Firmware.Loading;

/// <summary>A loadable segment: where in the file, where in guest-physical memory.</summary>
internal readonly record struct ElfSegment(ulong Offset, ulong Virtual, ulong Physical, ulong FileSize, ulong MemorySize);

/// <summary>An ELF32 or ELF64 executable for x86 (System V gABI chapters 4 and 5), checked against its file.</summary>
internal sealed class ElfImage
{
    private const string HeaderName = "the ELF header";
    private const string ProgramHeaderName = "a program header";
    private const int MaximumProgramHeaders = 512;
    private const uint PhysicalEntryNote = 18;

    private ElfImage(bool is64, ulong entry, ulong? pvhEntry, IReadOnlyList<ElfSegment> segments)
    {
        Is64 = is64;
        Entry = entry;
        PvhEntry = pvhEntry;
        Segments = segments;
    }

    public bool Is64 { get; }

    /// <summary>e_entry as it stands in the file, virtual or physical.</summary>
    public ulong Entry { get; }

    /// <summary>The physical entry point of XEN_ELFNOTE_PHYS32_ENTRY, if there is that note.</summary>
    public ulong? PvhEntry { get; }

    public IReadOnlyList<ElfSegment> Segments { get; }

    /// <summary>The end of the highest segment.</summary>
    public ulong End => Segments.Max(s => s.Physical + s.MemorySize);

    public static bool Recognises(ReadOnlySpan<byte> image) => image.StartsWith("\u007fELF"u8);

    public static ElfImage Parse(GuestFile file)
    {
        var reader = new ImageReader(file);
        bool is64 = reader.U8(4, HeaderName) switch
        {
            1 => false,
            2 => true,
            byte other => throw file.Error($"ELF class {other} is neither 32-bit nor 64-bit"),
        };
        if (reader.U8(5, HeaderName) != 1)
        {
            throw file.Error("not a little-endian ELF file");
        }
        const ushort X86 = 3;
        const ushort X8664 = 62;
        const ushort Executable = 2;
        const ushort Shared = 3;
        ushort type = reader.U16(16, HeaderName);
        ushort machine = reader.U16(18, HeaderName);
        if (machine != (is64 ? X8664 : X86) && !(machine == X8664 && !is64))
        {
            throw file.Error($"ELF machine {machine} is not x86");
        }
        if (type is not (Executable or Shared))
        {
            throw file.Error($"ELF type {type} is not an executable");
        }
        ulong entry = is64 ? reader.U64(24, HeaderName) : reader.U32(24, HeaderName);
        ulong table = is64 ? reader.U64(32, HeaderName) : reader.U32(28, HeaderName);
        ushort entrySize = reader.U16(is64 ? 54UL : 42, HeaderName);
        ushort count = reader.U16(is64 ? 56UL : 44, HeaderName);
        if (count == 0)
        {
            throw file.Error("the ELF file has no program headers: nothing to load");
        }
        if (entrySize < (is64 ? 56 : 32) || count > MaximumProgramHeaders)
        {
            throw file.Error($"{count} ELF program headers of {entrySize} bytes make no sense");
        }

        var segments = new List<ElfSegment>();
        ulong? pvh = null;
        for (ulong i = 0; i < count; i++)
        {
            const uint Loadable = 1;
            const uint Note = 4;
            ulong relative = i * entrySize;
            ulong at = table + relative;
            if (at < table)
            {
                throw file.Error("truncated: the ELF program headers lie outside the file");
            }
            _ = reader.Slice(at, is64 ? 56UL : 32, ProgramHeaderName);
            uint kind = reader.U32(at, ProgramHeaderName);
            ElfSegment segment = is64
                ? new ElfSegment(reader.U64(at + 8, ProgramHeaderName), reader.U64(at + 16, ProgramHeaderName),
                    reader.U64(at + 24, ProgramHeaderName), reader.U64(at + 32, ProgramHeaderName), reader.U64(at + 40, ProgramHeaderName))
                : new ElfSegment(reader.U32(at + 4, ProgramHeaderName), reader.U32(at + 8, ProgramHeaderName),
                    reader.U32(at + 12, ProgramHeaderName), reader.U32(at + 16, ProgramHeaderName), reader.U32(at + 20, ProgramHeaderName));
            if (kind == Loadable && segment.MemorySize != 0)
            {
                _ = reader.Slice(segment.Offset, segment.FileSize, "a segment");
                if (segment.FileSize > segment.MemorySize)
                {
                    throw file.Error("an ELF segment is larger in the file than in memory");
                }
                segments.Add(segment);
            }
            else if (kind == Note)
            {
                ulong alignment = (is64 ? reader.U64(at + 48, ProgramHeaderName) : reader.U32(at + 28, ProgramHeaderName)) == 8 ? 8UL : 4;
                pvh ??= FindPvhEntry(reader.Slice(segment.Offset, segment.FileSize, "a note segment"), alignment);
            }
        }
        if (segments.Count == 0)
        {
            throw file.Error("the ELF file has no loadable segment");
        }
        return new ElfImage(is64, entry, pvh, segments);
    }

    /// <summary>Claims and fills the memory of every segment.</summary>
    public void Store(LoadMap map, GuestFile file)
    {
        var reader = new ImageReader(file);
        foreach (ElfSegment segment in Segments)
        {
            map.Claim(file, "a kernel segment", segment.Physical, segment.MemorySize);
        }
        foreach (ElfSegment segment in Segments)
        {
            map.Memory.Write(segment.Physical, reader.Slice(segment.Offset, segment.FileSize, "a segment"));
            map.Clear(segment.Physical + segment.FileSize, segment.MemorySize - segment.FileSize);
        }
    }

    /// <summary>The physical entry: e_entry itself if it lies in a segment's physical range, else translated from its virtual range.</summary>
    public ulong PhysicalEntry(GuestFile file)
    {
        foreach (ElfSegment segment in Segments)
        {
            if (Entry - segment.Physical < segment.MemorySize)
            {
                return Entry;
            }
        }
        foreach (ElfSegment segment in Segments)
        {
            if (Entry - segment.Virtual < segment.MemorySize)
            {
                return Entry - segment.Virtual + segment.Physical;
            }
        }
        throw file.Error($"the entry point 0x{Entry:x} lies in no segment");
    }

    public bool Contains(ulong physical) => Segments.Any(s => physical - s.Physical < s.MemorySize);

    private static ulong? FindPvhEntry(ReadOnlySpan<byte> notes, ulong alignment)
    {
        ulong length = (ulong)notes.Length;
        ulong at = 0;
        while (at <= length && length - at >= 12)
        {
            uint nameSize = BitConverter.ToUInt32(notes[(int)at..]);
            uint valueSize = BitConverter.ToUInt32(notes[(int)(at + 4)..]);
            uint type = BitConverter.ToUInt32(notes[(int)(at + 8)..]);
            ulong name = at + 12;
            ulong value = Align(name + nameSize, alignment);
            if (value + valueSize > length)
            {
                return null;
            }
            if (type == PhysicalEntryNote && nameSize == 4 && notes.Slice((int)name, 4).SequenceEqual("Xen\0"u8) && valueSize >= 4)
            {
                return valueSize >= 8 ? BitConverter.ToUInt64(notes[(int)value..]) : BitConverter.ToUInt32(notes[(int)value..]);
            }
            at = Align(value + valueSize, alignment);
        }
        return null;
    }

    private static ulong Align(ulong value, ulong alignment) => (value + alignment - 1) & ~(alignment - 1);
}
