using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Translates blocks of one processor that run often, with what they lead to in their page (<see cref="Region"/>), to host code. Translations are
/// found through the first op of their block; when memory for them is used up, all are forgotten, and all blocks with them.
/// </summary>
public sealed unsafe class BlockTranslator : IBlockTranslator, ITranslationStore
{
    /// <summary>Bytes of code memory that a region may need at most.</summary>
    private const int Reserve = 256 << 10;
    private const ulong PageMask = Region.PageBytes - 1;

    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly CodeMemory _memory;
    private readonly Emitter _e;
    private readonly Routines _routines;
    private readonly KindChoice _kinds;
    private readonly int _start;
    private readonly int _siteLimit;
    private readonly PerfMap? _perfMap;
    private readonly StoreLog? _log;
    /// <summary>The handler of ways in.</summary>
    private readonly delegate*<CpuState*, Op*, Op*> _enter;
    private readonly OpArena _ops = new();
    private readonly Dictionary<ulong, PageTranslations> _pages = [];
    private readonly PassedOnBinder _passedOnBinder = new();
    private PassedOnCode? _passedOn;
    private int _sites;
    private int _released;
    private byte* _nowhere;
    private byte* _copy;
    private readonly Site** _filled;
    private List<(nint Ops, int Count)> _copies = [];

    internal BlockTranslator(Processor processor, TranslatorOptions options)
    {
        _processor = processor;
        _s = processor.State;
        _memory = new CodeMemory(options.CodeBytes);
        _e = new Emitter(_memory);
        _routines = new Routines(_e, options.Verify, (processor.Model.Features & CpuFeatures.PassedOn) != default);
        _kinds = new KindChoice(processor.State, new InstructionSet(processor.Model), options.Verify);
        _perfMap = options.PerfMap ? new PerfMap() : null;
        _perfMap?.Add(_e, _routines, _e.Position);
        _enter = &NativeEntry.Enter;
        if (options.Verify)
        {
            _log = new StoreLog(_e, processor.State);
            Verifier = new Verifier(processor, _log);
            _enter = &Verifier.Enter;
        }
        _start = _e.Position;
        _siteLimit = options.Sites;
        Threshold = options.Threshold;
        _nowhere = (byte*)NativeMemory.AlignedAlloc(2 * Region.PageBytes, Region.PageBytes);
        _copy = _nowhere + Region.PageBytes;
        NativeMemory.Clear(_nowhere, Region.PageBytes);
        _s->Translated = new TranslatedState
        {
            Enter = (delegate* unmanaged<CpuState*, nint, Op*>)_e.Address(_routines.Enter),
            Locate = &NativeEntry.Locate,
            Filled = _filled = (Site**)NativeMemory.Alloc((nuint)(options.Sites + JumpTable.Entries), (nuint)sizeof(Site*)),
        };
        NewMissed();
        for (int i = 0; i < JumpTable.Entries; i++)
        {
            JumpEntry(i)->Linear = Site.Empty;
        }
    }

    ~BlockTranslator() => Free();

    public int Threshold { get; }

    /// <summary>Checks what translated code does; null if nobody asked for that.</summary>
    internal Verifier? Verifier { get; }

    /// <summary>Host code of single instructions that have no other handler.</summary>
    internal PassedOnCode PassedOn => _passedOn ??= new PassedOnCode();

    /// <summary>Where host code lies.</summary>
    internal CodeMemory Memory => _memory;

    public TranslatorStatistics Statistics { get; } = new();

    /// <summary>The statistics by name, for reports.</summary>
    public IReadOnlyDictionary<string, long> Describe()
    {
        Dictionary<string, long> counts = new()
        {
            ["microseconds"] = Statistics.Nanoseconds / 1000,
            ["regions"] = Statistics.Regions,
            ["blocks"] = Statistics.Blocks,
            ["instructions"] = Statistics.Instructions,
            ["left to the interpreter"] = Statistics.Instructions - Statistics.NativeInstructions,
            ["code bytes"] = Statistics.CodeBytes,
            ["memory operands"] = _sites,
            ["entries"] = _s->Translated.Entries,
            ["site misses"] = _s->Translated.SiteMisses,
            ["links made"] = _s->Translated.Links,
            ["jump table misses"] = _s->Translated.JumpMisses,
            ["flushes of sites"] = Statistics.SiteFlushes,
            ["blocks dropped"] = Statistics.Dropped,
            ["evictions"] = Statistics.Evictions,
        };
        if (Verifier is { } verifier)
        {
            counts["instructions checked"] = verifier.Instructions;
        }
        return counts;
    }

    public bool Accepts(uint mode) => (mode & CodeMode.Breakpoints) == 0 && (mode & CodeMode.BitsMask) switch
    {
        CodeMode.Bits64 => true,
        CodeMode.Bits32 => (mode & (CodeMode.Flat | CodeMode.Stack32 | CodeMode.Protected)) == (CodeMode.Flat | CodeMode.Stack32 | CodeMode.Protected),
        _ => false,
    };

    public void PassOn(in Instruction instruction, Op* op, Op* rest) => _passedOnBinder.Bind(in instruction, op, (PassedOnInstruction*)rest);

    public void Translate(Op* hot)
    {
        if (_e.Position + Reserve > _memory.Size || _sites + 4096 > _siteLimit)
        {
            Statistics.Evictions++;
            _processor.Blocks.Flush();
            return;
        }
        long start = _processor.Clock.Now;
        ulong physical = hot->AddressMask & ~PageMask;
        byte* page = _processor.Mmu.HostPage(physical);
        if (page == null)
        {
            HotBlock.GiveUp(hot);
            return;
        }
        // Other processors may be writing to it: what is decoded and what is written again must be the same.
        Buffer.MemoryCopy(page, _copy, Region.PageBytes, Region.PageBytes);
        page = _copy;
        Region region = new(page, (_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64, offset => (nint)Known(physical + (ulong)offset), _kinds.Refine,
            _log != null);
        region.Grow((int)(hot->AddressMask & PageMask));
        if (region.Blocks.Count == 0)
        {
            // It has just changed, and whoever did it is about to say so; or it is no block any more.
            hot->Immediate = (ulong)Threshold;
            return;
        }
        int native = region.Blocks.Sum(b => b.Instructions.Count(i => i.Kind != NativeKind.None));
        int all = region.Blocks.Sum(b => b.Instructions.Count);
        if (!IsWorthIt(region, native, all))
        {
            foreach (RegionBlock block in region.Blocks)
            {
                HotBlock.GiveUp(block.Hot);
            }
            return;
        }
        int before = _e.Position;
        _copies = [];
        new RegionCompiler(_e, _routines, this, page, region, _s->Mode) { Log = _log }.Compile();
        if (!_pages.TryGetValue(physical, out PageTranslations? translations))
        {
            _pages[physical] = translations = new PageTranslations();
        }
        translations.Copies.AddRange(_copies);
        foreach (RegionBlock block in region.Blocks)
        {
            translations.Blocks.Add(((nint)block.Hot, block.Entry.At, block.Stale.At));
            block.Hot->Extra = (byte)block.LiveIn;
            block.Hot->Scale = HotBlock.Translated;
            block.Hot->Handler = _enter;
            block.Hot->Immediate = (ulong)_e.Address(block.Entry.At);
        }
        _perfMap?.Add(_e, region, _s->Rip & ~PageMask, _s->Mode, _e.Position);
        ReleaseWritten();
        Statistics.Regions++;
        Statistics.Blocks += region.Blocks.Count;
        Statistics.Instructions += all;
        Statistics.NativeInstructions += native;
        Statistics.CodeBytes += _e.Position - before;
        Statistics.Nanoseconds += _processor.Clock.Now - start;
    }

    /// <summary>Translations stay where they are until memory is needed; their ways in lead out again, to decode anew.</summary>
    public bool Drop(ulong physicalPage)
    {
        if (!_pages.Remove(physicalPage, out PageTranslations? translations))
        {
            return false;
        }
        Verifier?.Outdate();
        int position = _e.Position;
        foreach ((nint hot, int entry, int stale) in translations.Blocks)
        {
            ((Op*)hot)->Scale = HotBlock.Passes;
            _e.Position = entry;
            _e.Transfer(0xE9, stale);
        }
        _e.Position = position;
        foreach ((nint ops, int count) in translations.Copies)
        {
            for (int i = 0; i < count; i++)
            {
                ((Op*)ops)[i].Handler = &ControlFlow.Stale;
            }
        }
        Statistics.Dropped += translations.Blocks.Count;
        return true;
    }

    public void Flush()
    {
        _pages.Clear();
        Verifier?.Forget();
        _ops.Clear();
        NewMissed();
        TranslationsChanged();
        _e.Position = _start;
        _released = 0;
        _sites = 0;
    }

    public void TranslationsChanged()
    {
        ref TranslatedState t = ref _s->Translated;
        ulong nowhere = (ulong)_nowhere - Site.Empty;
        for (ulong i = 0; i < t.FilledCount; i++)
        {
            t.Filled[i]->Tag = Site.Empty;
            t.Filled[i]->Addend = nowhere;
        }
        Statistics.SiteFlushes++;
        t.FilledCount = 0;
    }

    int ITranslationStore.NewSite()
    {
        int offset = JumpTable.Offset + JumpTable.Bytes + (_sites++ * sizeof(Site));
        Site* site = (Site*)((byte*)_s + offset);
        site->Tag = Site.Empty;
        site->Addend = (ulong)_nowhere - Site.Empty;
        return offset;
    }

    Op* ITranslationStore.CopyOps(Op* ops, int count, out Op* copy)
    {
        copy = _ops.New(count + 1);
        for (int i = 0; i < count; i++)
        {
            copy[i] = ops[i];
        }
        _copies.Add(((nint)copy, count + 1));
        Op* resume = copy + count;
        *resume = new Op { Handler = _enter, IpOffset = (ushort)(ops->IpOffset + ops->Length), Ordinal = (byte)(ops->Ordinal + 1) };
        return resume;
    }

    Op* ITranslationStore.NewEdge(int position)
    {
        Op* edge = _ops.New();
        *edge = new Op { Handler = &NativeEntry.Follow, Immediate = (ulong)(_memory.Write + position), AddressMask = (ulong)_e.Address(position) };
        return edge;
    }

    internal static JumpTableEntry* JumpEntry(CpuState* s, int index) => (JumpTableEntry*)((byte*)s + JumpTable.Offset) + index;

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private JumpTableEntry* JumpEntry(int index) => JumpEntry(_s, index);

    /// <summary>Once a mebibyte: what it costs is felt otherwise.</summary>
    private void ReleaseWritten()
    {
        const int Piece = 1 << 20;
        if (_e.Position - _released > Piece)
        {
            int end = _e.Position & ~(Region.PageBytes - 1);
            _memory.ReleaseWritten(_released, end);
            _released = end;
        }
    }

    private void NewMissed()
    {
        _s->Translated.Missed = _ops.New();
        *_s->Translated.Missed = new Op { Handler = &NativeEntry.Miss };
    }

    private Op* Known(ulong physical)
    {
        Op* op = _processor.Blocks.At(physical);
        return op != null && op->Source != 0 && op->Scale is HotBlock.Counts or HotBlock.Translated ? op : null;
    }

    /// <summary>Going out and in again costs as much as interpreting a dozen instructions: a small loop that does so each turn is left to the
    /// interpreter.</summary>
    private static bool IsWorthIt(Region region, int native, int all)
    {
        const int CostOfLeaving = 12;
        const int SmallLoop = 3;
        bool small = region.Blocks.Count <= SmallLoop && region.Blocks.Exists(b => b.IsLoop);
        return native * 2 >= all && !(small && (all - native) * CostOfLeaving > all);
    }

    private void Free()
    {
        if (_nowhere != null)
        {
            NativeMemory.AlignedFree(_nowhere);
            _nowhere = null;
            NativeMemory.Free(_filled);
            Verifier?.Dispose();
            _ops.Dispose();
            _passedOn?.Dispose();
            _memory.Dispose();
        }
    }

    /// <summary>What was made of one page.</summary>
    private sealed class PageTranslations
    {
        /// <summary>Where blocks are entered, and where their code goes when it is worth nothing any more.</summary>
        public List<(nint Hot, int Entry, int Stale)> Blocks { get; } = [];

        public List<(nint Ops, int Count)> Copies { get; } = [];
    }
}

/// <summary>Where an indirect jump in a mode leads.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct JumpTableEntry
{
    public ulong Linear;
    public ulong Mode;
    public ulong HostCode;
    public ulong Reserved;
}
