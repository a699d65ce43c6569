using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Cpu.Translator;

/// <summary>The regions that this processor has: their ways in, how they are linked, what is taken from the library, and how they become stale.</summary>
public sealed unsafe partial class BlockTranslator
{
    internal const int SiteBytes = 16;
    private const int ManyDrops = 4;
    /// <summary>A block of any length.</summary>
    internal const int AnyBytes = 0;

    private readonly SharedTranslations? _library;
    private readonly List<RegionCode> _regions = [];
    private readonly Dictionary<ulong, PageTranslations> _pages = [];
    /// <summary>How often a page's translations were dropped since the guest was last idle.</summary>
    private readonly Dictionary<ulong, int> _drops = [];
    /// <summary>For images that are made, or read from a file.</summary>
    private byte[] _buffer = [];
    /// <summary>Stands for an instruction whose ops are not what they were.</summary>
    private Op* _left;

    /// <summary>Whether the greatest region would find a place.</summary>
    private bool HasRoom => _e.Position + Reserve <= _memory.Size && _sites + SitesReserve <= _siteLimit;

    public bool TryLead(Op* op, ulong physical, out int bytes)
    {
        bytes = 0;
        ulong page = physical & ~PageMask;
        int offset = (int)(physical & PageMask);
        if (_library is null || !Accepts(_s->Mode))
        {
            return false;
        }
        Way? way = WayTo(page, offset, _s->Mode);
        if (way is null)
        {
            byte* host = _processor.Mmu.HostPage(page);
            if (host == null || !HasRoom || KeepsChanging(page) || Find(page, offset, AnyBytes, host) is not { } found)
            {
                return false;
            }
            way = found;
        }
        bytes = way.Entry.Bytes;
        *op = new Op { AddressMask = physical, Displacement = bytes, Source = HotBlock.WayOnly };
        HotBlock.Sign(op, way.Sum);
        MakeWay(op, way);
        return true;
    }

    /// <summary>Translations stay where they are until memory is needed; their ways in lead out again, to decode anew.</summary>
    public bool Drop(ulong physicalPage)
    {
        if (!_pages.Remove(physicalPage, out PageTranslations? translations))
        {
            return false;
        }
        Verifier?.Outdate();
        foreach (RegionCode region in translations.Regions)
        {
            region.IsStale = true;
            foreach (ref readonly RegionEntry entry in region.Entries.AsSpan())
            {
                if (entry.IsWitness)
                {
                    continue;
                }
                const byte Jump = 0xE9;
                byte* at = At<byte>(region.Start + entry.Way);
                *at = Jump;
                *(int*)(at + 1) = entry.Stale - entry.Way - 1 - sizeof(int);
            }
            Statistics.Dropped += region.Entries.Length;
        }
        foreach ((nint ops, int count) in translations.Copies)
        {
            for (int i = 0; i < count; i++)
            {
                ((Op*)ops)[i].Handler = &ControlFlow.Stale;
            }
        }
        CollectionsMarshal.GetValueRefOrAddDefault(_drops, physicalPage, out _)++;
        return true;
    }

    /// <summary>A page whose code keeps changing is not worth looking for in the library each time, nor its code worth keeping: there would be ever more of it.</summary>
    private bool KeepsChanging(ulong page) => _drops.GetValueOrDefault(page) >= ManyDrops;

    internal RegionCode RegionAt(int number) => _regions[number];

    /// <summary>Where a position of the code memory is written.</summary>
    private T* At<T>(int position)
        where T : unmanaged => (T*)(_memory.Write + position);

    /// <summary>Leads an edge's jump to its target, if that is translated.</summary>
    internal void Link(RegionCode region, in RegionExit edge)
    {
        int exit = region.Start + edge.Position;
        int target = *At<int>(exit + sizeof(long));
        if (WayTo(region.Page, target, region.Mode) is { } way)
        {
            _s->Translated.Links++;
            int jump = exit - RegionExit.EdgeJump;
            *At<int>(jump) = way.Region.Start + way.Entry.Way - jump - sizeof(int);
            _amended++;
        }
    }

    /// <summary>An exit that has been taken once leads to an op.</summary>
    internal void Lead(RegionCode region, in RegionExit exit, Op* op)
    {
        *At<long>(region.Start + exit.Position) = (long)op;
        _amended++;
    }

    /// <summary>Copies an instruction's ops, to be followed by one that goes back to translated code.</summary>
    internal Op* CopyOps(RegionCode region, Op* ops, in RegionExit exit)
    {
        int count = exit.Ops;
        Op* copy = _ops.New(count + 1);
        new ReadOnlySpan<Op>(ops, count).CopyTo(new Span<Op>(copy, count));
        copy[count] = new Op
        {
            Handler = _enter,
            Immediate = (ulong)_e.Address(region.Start + exit.Resume),
            IpOffset = (ushort)(ops->IpOffset + ops->Length),
            Ordinal = (byte)(ops->Ordinal + 1),
        };
        _pages[region.Page].Copies.Add(((nint)copy, count + 1));
        return copy;
    }

    /// <summary>Leaves before an instruction whose ops cannot be had any more.</summary>
    internal Op* Redecode(in RegionExit exit)
    {
        *_left = new Op { IpOffset = exit.IpOffset, Ordinal = exit.Ordinal };
        return ControlFlow.Stale(_s, _left);
    }

    private static int OffsetOf(int site) => JumpTable.Offset + JumpTable.Bytes + (site * SiteBytes);

    private Way? WayTo(ulong page, int offset, uint mode) => _pages.TryGetValue(page, out PageTranslations? translations) ? translations.WayTo(offset, mode) : null;

    /// <summary>Looks for a block of the present mode in the library, and installs what it is part of.</summary>
    /// <param name="bytes">How long the block is, which depends on what follows it, or <see cref="AnyBytes"/>.</param>
    private Way? Find(ulong physical, int offset, int bytes, byte* page)
    {
        if (_library is null || !_library.MayHave(_s->Mode, offset, new ReadOnlySpan<byte>(page, Region.PageBytes)))
        {
            return null;
        }
        // Other processors may be writing to it.
        Buffer.MemoryCopy(page, _copy, Region.PageBytes, Region.PageBytes);
        ReadOnlySpan<byte> copy = new(_copy, Region.PageBytes);
        Span<int> moves = stackalloc int[RegionImage.MaximumFields];
        if (_library.Find(_s->Mode, offset, bytes, copy, ref _buffer, moves) is not { } image)
        {
            return null;
        }
        long begun = _processor.Clock.Now;
        RegionCode region = Install(image, physical, copy, moves);
        Statistics.Nanoseconds += _processor.Clock.Now - begun;
        int block = 0;
        while (region.Entries[block].Offset != offset || region.Entries[block].IsWitness)
        {
            block++;
        }
        return new Way(region, block, null);
    }

    private RegionCode Install(RegionImage image, ulong physical, ReadOnlySpan<byte> page, ReadOnlySpan<int> moves)
    {
        ref readonly RegionImage.Header head = ref image.Head;
        int start = _e.Position;
        int firstSite = _sites;
        for (int i = 0; i < head.Sites; i++)
        {
            _ = ((ITranslationStore)this).NewSite();
        }
        image.Place(new Span<byte>(_memory.Write + start, head.CodeBytes), start, OffsetOf(firstSite) - Host.StateBias, _regions.Count, moves);
        _e.Position = start + head.CodeBytes;
        RegionEntry[] entries = image.Entries.ToArray();
        uint[] sums = new uint[entries.Length];
        RegionCode region = new(start, physical, head.Mode, entries, image.Exits.ToArray()) { Sums = sums };
        for (int i = 0; i < entries.Length; i++)
        {
            sums[i] = HotBlock.Sum(page.Slice(entries[i].Offset, entries[i].Bytes));
            Op* known = entries[i].IsWitness ? null : Known(physical + entries[i].Offset);
            if (known != null && known->Scale == HotBlock.Counts && known->Displacement == entries[i].Bytes && HotBlock.IsOf(known, sums[i]))
            {
                region.Ops[i] = (nint)known;
            }
            // From here on it is noticed when it changes.
            _processor.Blocks.NoteTranslated(physical + entries[i].Offset, entries[i].Bytes);
        }
        Statistics.Installed++;
        Activate(region);
        return region;
    }

    /// <summary>Makes a region's blocks known: those of which there are ops begin with ways in, the others will.</summary>
    private void Activate(RegionCode region)
    {
        _regions.Add(region);
        if (!_pages.TryGetValue(region.Page, out PageTranslations? translations))
        {
            _pages[region.Page] = translations = new PageTranslations();
        }
        translations.Regions.Add(region);
        for (int i = 0; i < region.Entries.Length; i++)
        {
            if (!region.Entries[i].IsWitness && translations.TryAdd(region, i) is { } way && region.Ops[i] != 0)
            {
                MakeWay((Op*)region.Ops[i], way);
            }
        }
        foreach (ref readonly RegionExit exit in region.Exits.AsSpan())
        {
            if (exit.Kind == ExitKind.Edge)
            {
                Link(region, in exit);
            }
        }
        Statistics.CodeBytes += _e.Position - region.Start;
        const int Piece = 1 << 20;
        // Less often than that: what it costs is felt.
        if (_e.Position - _released > Piece)
        {
            ReleaseWritten();
        }
        _perfMap?.Add(_e, region, _s->Rip & ~PageMask, _e.Position);
    }

    private void MakeWay(Op* op, Way way)
    {
        ref readonly RegionEntry entry = ref way.Entry;
        op->Extra = (byte)entry.LiveIn;
        op->Scale = HotBlock.Translated;
        op->Handler = _enter;
        op->Immediate = (ulong)_e.Address(way.Region.Start + entry.Way);
    }

    private static RegionEntry Describe(RegionBlock block, Region region, byte* page, uint mode, int start) => new()
    {
        Key = TranslationLibrary.KeyOf(mode, block.Offset, new ReadOnlySpan<byte>(page, Region.PageBytes), TranslationLibrary.KeyLength(FixedBytes(block, region))),
        Offset = (ushort)block.Offset,
        Bytes = (ushort)(block.End - block.Offset),
        LiveIn = (int)block.LiveIn,
        Way = block.Entry.At - start,
        Stale = block.Stale.At - start,
        CodeStart = block.CodeStart - start,
        CodeEnd = block.CodeEnd - start,
    };

    private static RegionEntry[] EntriesOf(Region region, byte* page, uint mode, int start)
    {
        RegionEntry[] entries = new RegionEntry[region.Blocks.Count + region.Witnesses.Count];
        for (int i = 0; i < entries.Length; i++)
        {
            int witness = i - region.Blocks.Count;
            entries[i] = witness < 0 ? Describe(region.Blocks[i], region, page, mode, start)
                : new RegionEntry { Offset = (ushort)region.Witnesses[witness].Offset, Bytes = (ushort)region.Witnesses[witness].Bytes, LiveIn = -1 };
        }
        return entries;
    }

    /// <summary>Bytes of a block before the first that may be others.</summary>
    private static int FixedBytes(RegionBlock block, Region region)
    {
        MovableField? first = region.Fields.Find(field => field.Block == block.Number && !field.IsFixed);
        return first?.Position ?? block.End - block.Offset;
    }

    private void ForgetRegions()
    {
        _regions.Clear();
        _pages.Clear();
    }

    /// <summary>What was made of one page.</summary>
    private sealed class PageTranslations
    {
        private const int Chains = 16;

        private readonly Way?[] _ways = new Way?[Chains];

        public List<RegionCode> Regions { get; } = [];

        public List<(nint Ops, int Count)> Copies { get; } = [];

        public Way? WayTo(int offset, uint mode)
        {
            Way? way = (uint)offset < Region.PageBytes ? _ways[offset & (Chains - 1)] : null;
            while (way is not null && (way.Entry.Offset != offset || way.Region.Mode != mode))
            {
                way = way.Next;
            }
            return way;
        }

        /// <summary>Null if the block has a way in already. A way into one that ends elsewhere is of no use to who knows where this one ends.</summary>
        public Way? TryAdd(RegionCode region, int block)
        {
            int offset = region.Entries[block].Offset;
            return WayTo(offset, region.Mode)?.Entry.Bytes != region.Entries[block].Bytes ? _ways[offset & (Chains - 1)] = new Way(region, block, _ways[offset & (Chains - 1)]) : null;
        }
    }

    /// <summary>Where a block is entered.</summary>
    /// <param name="next">Of those that are kept in one chain.</param>
    private sealed class Way(RegionCode region, int block, Way? next)
    {
        public RegionCode Region => region;

        public ref readonly RegionEntry Entry => ref region.Entries[block];

        /// <summary>As of <see cref="RegionCode.Sums"/>.</summary>
        public uint Sum => region.Sums.Length == 0 ? 0 : region.Sums[block];

        public Way? Next => next;
    }
}
