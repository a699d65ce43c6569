using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>
/// A translated region as it can be kept: the guest's bytes that it was made of, and host code with all that depends on where it lies taken out. One array of
/// bytes, the same in memory and on disk: header, entries, exits, fields, references to these, to sites and to routines, the guest's bytes, the host's.
/// </summary>
internal sealed class RegionImage
{
    /// <summary>Of a region, at most: two for each instruction.</summary>
    public const int MaximumFields = 1024;

    private readonly int _exits;
    private readonly int _fields;
    private readonly int _fieldReferences;
    private readonly int _sites;
    private readonly int _routines;
    private readonly int _guest;
    private readonly int _code;

    private RegionImage(byte[] bytes, int length)
    {
        Bytes = bytes;
        Length = length;
        ref readonly Header h = ref Head;
        _exits = Unsafe.SizeOf<Header>() + (h.Entries * Unsafe.SizeOf<RegionEntry>());
        _fields = _exits + (h.Exits * Unsafe.SizeOf<RegionExit>());
        _fieldReferences = _fields + (h.Fields * Unsafe.SizeOf<ImageField>());
        _sites = _fieldReferences + (h.FieldReferences * Unsafe.SizeOf<FieldReference>());
        _routines = _sites + (h.SiteReferences * sizeof(int));
        _guest = _routines + (h.RoutineReferences * sizeof(int));
        _code = _guest + h.GuestBytes;
    }

    /// <summary>How many bytes it has.</summary>
    public int Length { get; }

    public ReadOnlySpan<byte> All => Bytes.AsSpan(0, Length);

    private byte[] Bytes { get; }

    public ref readonly Header Head => ref MemoryMarshal.AsRef<Header>(Bytes);

    public ReadOnlySpan<RegionEntry> Entries => MemoryMarshal.Cast<byte, RegionEntry>(Bytes.AsSpan(Unsafe.SizeOf<Header>().._exits));

    public ReadOnlySpan<RegionExit> Exits => MemoryMarshal.Cast<byte, RegionExit>(Bytes.AsSpan(_exits.._fields));

    /// <summary>In the order in which they lie.</summary>
    public ReadOnlySpan<ImageField> Fields => MemoryMarshal.Cast<byte, ImageField>(Bytes.AsSpan(_fields.._fieldReferences));

    public ReadOnlySpan<FieldReference> FieldReferences => MemoryMarshal.Cast<byte, FieldReference>(Bytes.AsSpan(_fieldReferences.._sites));

    /// <summary>Positions of displacements in the code that hold a place among the region's own sites.</summary>
    public ReadOnlySpan<int> SiteReferences => MemoryMarshal.Cast<byte, int>(Bytes.AsSpan(_sites.._routines));

    /// <summary>Positions of displacements in the code that hold a routine's position.</summary>
    public ReadOnlySpan<int> RoutineReferences => MemoryMarshal.Cast<byte, int>(Bytes.AsSpan(_routines.._guest));

    /// <summary>The bytes of all blocks, one after the other.</summary>
    public ReadOnlySpan<byte> Guest => Bytes.AsSpan(_guest.._code);

    public ReadOnlySpan<byte> Code => Bytes.AsSpan(_code..Length);

    /// <summary>Whether a page has the blocks that this was made of.</summary>
    /// <param name="moves">For <see cref="MaximumFields"/>: by what each field differs.</param>
    public bool IsOf(ReadOnlySpan<byte> page, Span<int> moves)
    {
        ReadOnlySpan<byte> guest = Guest;
        ReadOnlySpan<ImageField> fields = Fields;
        int field = 0;
        int at = 0;
        foreach (ref readonly RegionEntry entry in Entries)
        {
            int end = at + entry.Bytes;
            int toPage = entry.Offset - at;
            for (; field < fields.Length && fields[field].Guest < end; field++)
            {
                int next = fields[field].Guest;
                if (!guest[at..next].SequenceEqual(page[(at + toPage)..(next + toPage)]))
                {
                    return false;
                }
                int value = MemoryMarshal.Read<int>(page[(next + toPage)..]);
                moves[field] = value - MemoryMarshal.Read<int>(guest[next..]);
                if (moves[field] != 0 && !MovableField.MayBe(value, fields[field].Displacement != 0))
                {
                    return false;
                }
                at = next + MovableField.Bytes;
            }
            if (!guest[at..end].SequenceEqual(page[(at + toPage)..(end + toPage)]))
            {
                return false;
            }
            at = end;
        }
        return MoveTogether(fields, moves);
    }

    /// <summary>Null if the bytes cannot be those of an image: nothing in one leads out of it.</summary>
    /// <param name="routines">Positions from here on are no routines.</param>
    public static RegionImage? Read(byte[] bytes, int length, int routines)
    {
        if (length < Unsafe.SizeOf<Header>())
        {
            return null;
        }
        Header h = MemoryMarshal.Read<Header>(bytes);
        long size = Unsafe.SizeOf<Header>() + ((long)h.Entries * Unsafe.SizeOf<RegionEntry>()) + ((long)h.Exits * Unsafe.SizeOf<RegionExit>())
            + ((long)h.Fields * Unsafe.SizeOf<ImageField>()) + ((long)h.FieldReferences * Unsafe.SizeOf<FieldReference>())
            + (((long)h.SiteReferences + h.RoutineReferences) * sizeof(int)) + h.GuestBytes + (long)h.CodeBytes;
        bool possible = h.Entries is > 0 and <= byte.MaxValue && h.Exits is >= 0 and < NativeExits.MaximumExits && h.SiteReferences >= 0 && h.RoutineReferences >= 0
            && h.Fields is >= 0 and <= MaximumFields && h.FieldReferences >= 0 && h.GuestBytes > 0 && h.CodeBytes is > 0 and <= BlockTranslator.Reserve && h.Sites is >= 0 and <= BlockTranslator.SitesReserve && size == length;
        if (!possible)
        {
            return null;
        }
        RegionImage image = new(bytes, length);
        return image.HasGoodEntries() && image.HasGoodExits() && image.HasGoodFields() && image.HasGoodReferences(routines) ? image : null;
    }

    private bool HasGoodEntries()
    {
        int guest = 0;
        int code = Head.CodeBytes;
        foreach (ref readonly RegionEntry entry in Entries)
        {
            const int JumpBytes = 5;
            if (entry.Bytes == 0 || entry.Offset + entry.Bytes > Region.PageBytes || !IsWithin(entry.Way, JumpBytes, code) || !IsWithin(entry.Stale, JumpBytes, code))
            {
                return false;
            }
            guest += entry.Bytes;
        }
        return guest == Head.GuestBytes;
    }

    private bool HasGoodExits()
    {
        foreach (ref readonly RegionExit exit in Exits)
        {
            bool good = exit.Kind <= ExitKind.Edge && exit.Block < Head.Entries && IsWithin(exit.Position, sizeof(long), Head.CodeBytes)
                && IsWithin(exit.Resume, 0, Head.CodeBytes) && (exit.Kind != ExitKind.Edge || exit.Position >= RegionExit.EdgeJump);
            if (!good)
            {
                return false;
            }
        }
        return true;
    }

    private bool HasGoodFields()
    {
        int entry = 0;
        int end = 0;
        int from = 0;
        ReadOnlySpan<RegionEntry> entries = Entries;
        foreach (ref readonly ImageField field in Fields)
        {
            for (; entry < entries.Length && field.Guest >= end; entry++)
            {
                from = Math.Max(from, end);
                end += entries[entry].Bytes;
            }
            // In a block, behind the one before.
            if (!IsWithin(field.Guest - from, MovableField.Bytes, end - from) || field.Class < -1 || field.Class >= MaximumFields)
            {
                return false;
            }
            from = field.Guest + MovableField.Bytes;
        }
        foreach (ref readonly FieldReference reference in FieldReferences)
        {
            if (!IsWithin(reference.At, MovableField.Bytes, Head.CodeBytes) || !IsWithin(reference.Field, 1, Head.Fields))
            {
                return false;
            }
        }
        return true;
    }

    private static bool MoveTogether(ReadOnlySpan<ImageField> fields, ReadOnlySpan<int> moves)
    {
        for (int i = 0; i < fields.Length; i++)
        {
            for (int other = i + 1; fields[i].Class >= 0 && other < fields.Length; other++)
            {
                if (fields[other].Class == fields[i].Class)
                {
                    if (moves[other] != moves[i])
                    {
                        return false;
                    }
                    // The rest of the class is compared with that one.
                    break;
                }
            }
        }
        return true;
    }

    private bool HasGoodReferences(int routines)
    {
        ReadOnlySpan<byte> code = Code;
        int sites = Head.Sites * BlockTranslator.SiteBytes;
        foreach (int at in SiteReferences)
        {
            if (!IsWithin(at, sizeof(int), code.Length) || !IsWithin(MemoryMarshal.Read<int>(code[at..]), sizeof(long), sites))
            {
                return false;
            }
        }
        foreach (int at in RoutineReferences)
        {
            if (!IsWithin(at, sizeof(int), code.Length) || !IsWithin(MemoryMarshal.Read<int>(code[at..]), 1, routines))
            {
                return false;
            }
        }
        return true;
    }

    private static bool IsWithin(int at, int bytes, int limit) => at >= 0 && at <= limit - bytes;

    /// <summary>Counts come first, so that it is known where each part begins.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Header
    {
        public uint Mode;
        public int Entries;
        public int Exits;
        public int Fields;
        public int FieldReferences;
        public int SiteReferences;
        public int RoutineReferences;
        public int GuestBytes;
        public int CodeBytes;
        /// <summary>How many sites it has.</summary>
        public int Sites;
        /// <summary>Guest instructions, and of these those that became host code.</summary>
        public int Instructions;
        public int NativeInstructions;
    }

    /// <summary>Makes an image of code that has just been written.</summary>
    /// <param name="counts">What of the header others do not tell.</param>
    /// <param name="bytes">To make it in. Becomes larger if it must.</param>
    /// <param name="code">The code where it lies, from the region's start on.</param>
    /// <param name="firstSite">What displacements of the region's first site are.</param>
    public static unsafe RegionImage Make(in Header counts, RegionCode region, byte* page, ReadOnlySpan<byte> code, int firstSite,
        RegionCompiler compiler, Emitter emitter, ref byte[] bytes)
    {
        (List<int> siteReferences, List<int> routineReferences) = (emitter.SiteReferences, emitter.RoutineReferences);
        (ImageField[] fields, FieldReference[] fieldReferences) = FieldsOf(region, compiler);
        Header head = counts with
        {
            Mode = region.Mode,
            Entries = region.Entries.Length,
            Exits = region.Exits.Length,
            Fields = fields.Length,
            FieldReferences = fieldReferences.Length,
            SiteReferences = siteReferences.Count,
            RoutineReferences = routineReferences.Count,
            GuestBytes = region.Entries.Sum(entry => entry.Bytes),
            CodeBytes = code.Length,
        };
        int size = Unsafe.SizeOf<Header>() + (head.Entries * Unsafe.SizeOf<RegionEntry>()) + (head.Exits * Unsafe.SizeOf<RegionExit>())
            + (head.Fields * Unsafe.SizeOf<ImageField>()) + (head.FieldReferences * Unsafe.SizeOf<FieldReference>())
            + ((head.SiteReferences + head.RoutineReferences) * sizeof(int)) + head.GuestBytes + head.CodeBytes;
        if (bytes.Length < size)
        {
            bytes = new byte[size * 2];
        }
        MemoryMarshal.Write(bytes, in head);
        RegionImage image = new(bytes, size);
        region.Entries.CopyTo(MemoryMarshal.Cast<byte, RegionEntry>(bytes.AsSpan(Unsafe.SizeOf<Header>()))[..head.Entries]);
        region.Exits.CopyTo(MemoryMarshal.Cast<byte, RegionExit>(bytes.AsSpan(image._exits))[..head.Exits]);
        fields.CopyTo(MemoryMarshal.Cast<byte, ImageField>(bytes.AsSpan(image._fields))[..head.Fields]);
        fieldReferences.CopyTo(MemoryMarshal.Cast<byte, FieldReference>(bytes.AsSpan(image._fieldReferences))[..head.FieldReferences]);
        Span<byte> guest = bytes.AsSpan(image._guest);
        foreach (RegionEntry entry in region.Entries)
        {
            new ReadOnlySpan<byte>(page + entry.Offset, entry.Bytes).CopyTo(guest);
            guest = guest[entry.Bytes..];
        }
        Span<byte> host = bytes.AsSpan(image._code);
        code.CopyTo(host);
        foreach (RegionExit exit in region.Exits)
        {
            // Where the op is, or the exit's mark.
            host.Slice(exit.Position, sizeof(long)).Clear();
        }
        Span<int> references = MemoryMarshal.Cast<byte, int>(bytes.AsSpan(image._sites, (head.SiteReferences + head.RoutineReferences) * sizeof(int)));
        for (int i = 0; i < head.SiteReferences; i++)
        {
            int at = references[i] = siteReferences[i] - region.Start;
            Shift(host, at, -firstSite);
        }
        for (int i = 0; i < head.RoutineReferences; i++)
        {
            int at = references[head.SiteReferences + i] = routineReferences[i] - region.Start;
            Shift(host, at, region.Start + at + sizeof(int));
        }
        return image;
    }

    /// <summary>Writes the code where it is to lie.</summary>
    /// <param name="firstSite">What displacements of the region's first site are there.</param>
    /// <param name="number">The region's.</param>
    /// <param name="moves">By what the guest's fields differ.</param>
    public void Place(Span<byte> to, int start, int firstSite, int number, ReadOnlySpan<int> moves)
    {
        Code.CopyTo(to);
        foreach (int at in SiteReferences)
        {
            Shift(to, at, firstSite);
        }
        foreach (int at in RoutineReferences)
        {
            Shift(to, at, -(start + at + sizeof(int)));
        }
        foreach (ref readonly FieldReference reference in FieldReferences)
        {
            Shift(to, reference.At, moves[reference.Field]);
        }
        ReadOnlySpan<RegionExit> exits = Exits;
        for (int i = 0; i < exits.Length; i++)
        {
            long mark = NativeExits.Mark(number, i);
            MemoryMarshal.Write(to[exits[i].Position..], in mark);
        }
    }

    private static (ImageField[] Fields, FieldReference[] References) FieldsOf(RegionCode region, RegionCompiler compiler)
    {
        int[] starts = new int[region.Entries.Length + 1];
        for (int i = 0; i < region.Entries.Length; i++)
        {
            starts[i + 1] = starts[i] + region.Entries[i].Bytes;
        }
        // They were found block after block, as the bytes lie.
        List<ImageField> fields = [];
        foreach (MovableField field in compiler.Fields)
        {
            if (!field.IsFixed)
            {
                field.Number = fields.Count;
                fields.Add(new ImageField(starts[field.Block] + field.Position, (short)field.Class, field.IsDisplacement ? (short)1 : (short)0));
            }
        }
        List<FieldReference> references = [];
        foreach ((int at, MovableField field) in compiler.FieldReferences)
        {
            if (!field.IsFixed)
            {
                references.Add(new FieldReference(at - region.Start, field.Number));
            }
        }
        return ([.. fields], [.. references]);
    }

    private static void Shift(Span<byte> code, int at, int by)
    {
        int value = MemoryMarshal.Read<int>(code[at..]) + by;
        MemoryMarshal.Write(code[at..], in value);
    }
}
