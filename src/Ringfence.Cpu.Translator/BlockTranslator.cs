using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Translator.Library;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Translates blocks of one processor that run often, with what they lead to in their page (<see cref="Region"/>), to host code. Translations are
/// found through the first op of their block; when memory for them is used up, all are forgotten, and all blocks with them.
/// </summary>
public sealed unsafe partial class BlockTranslator : IBlockTranslator, ITranslationStore
{
    /// <summary>Bytes of code memory that a region may need at most.</summary>
    internal const int Reserve = 256 << 10;
    /// <summary>Sites that it may need at most.</summary>
    internal const int SitesReserve = 4096;
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
    private readonly bool _countsHits;
    private readonly StoreLog? _log;
    /// <summary>The handler of ways in.</summary>
    private readonly delegate*<CpuState*, Op*, Op*> _enter;
    private readonly OpArena _ops = new();
    private readonly PassedOnBinder _passedOnBinder = new();
    private PassedOnCode? _passedOn;
    private int _sites;
    private int _released;
    /// <summary>Places in code already there that have been written to since all was released.</summary>
    private int _amended;
    private byte* _nowhere;
    private byte* _copy;
    private readonly HostPages _filled;

    internal BlockTranslator(Processor processor, TranslatorOptions options)
    {
        _processor = processor;
        _s = processor.State;
        _memory = new CodeMemory(options.CodeBytes);
        _e = new Emitter(_memory);
        _routines = new Routines(_e, options.Verify, (processor.Model.Features & CpuFeatures.PassedOn) != default);
        _kinds = new KindChoice(processor.State, new InstructionSet(processor.Model), options.Verify);
        Exits = new NativeExits(this, processor);
        _library = options.Verify ? null : options.Library?.For(processor.Model, _e.Position, options.CountsHits);
        _countsHits = options.CountsHits;
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
        _filled = new HostPages((ulong)(options.Sites + JumpTable.Entries) * (ulong)sizeof(Site*));
        _s->Translated = new TranslatedState
        {
            Enter = (delegate* unmanaged<CpuState*, nint, Op*>)_e.Address(_routines.Enter),
            Locate = &NativeEntry.Locate,
            Filled = (Site**)_filled.Address,
        };
        NewMissed();
        for (int i = 0; i < JumpTable.Entries; i++)
        {
            Empty((Site*)JumpEntry(i));
        }
    }

    ~BlockTranslator() => Free();

    public int Threshold { get; }

    /// <summary>Checks what translated code does; null if nobody asked for that.</summary>
    internal Verifier? Verifier { get; }

    /// <summary>What becomes of exits that are taken for the first time.</summary>
    internal NativeExits Exits { get; }

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
            ["TLB misses"] = _s->Translated.TlbMisses,
            ["links made"] = _s->Translated.Links,
            ["jump table misses"] = _s->Translated.JumpMisses,
            ["flushes of sites"] = Statistics.SiteFlushes,
            ["blocks dropped"] = Statistics.Dropped,
            ["evictions"] = Statistics.Evictions,
            ["given back when idle"] = Statistics.GivenBack,
            ["regions from the library"] = Statistics.Installed,
        };
        if (_countsHits)
        {
            counts["site hits"] = _s->Translated.SiteHits;
        }
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
        if (!HasRoom)
        {
            Statistics.Evictions++;
            _processor.Blocks.Flush();
            return;
        }
        long begun = _processor.Clock.Now;
        ulong physical = hot->AddressMask & ~PageMask;
        byte* page = _processor.Mmu.HostPage(physical);
        if (page == null)
        {
            HotBlock.GiveUp(hot);
            return;
        }
        int offset = (int)(hot->AddressMask & PageMask);
        if (Find(physical, offset, (int)hot->Displacement, page) != null)
        {
            // Only if another processor has just written to it, is it no way in now.
            hot->Immediate = hot->Scale == HotBlock.Counts ? (ulong)Threshold : hot->Immediate;
            return;
        }
        // Other processors may be writing to it: what is decoded and what is written again must be the same.
        Buffer.MemoryCopy(page, _copy, Region.PageBytes, Region.PageBytes);
        page = _copy;
        Region region = new(page, (_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64, at => (nint)Known(physical + (ulong)at), _kinds.Refine,
            _log != null);
        region.Grow(offset);
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
        int start = _e.Position;
        int firstSite = _sites;
        RegionCompiler compiler = new(_e, _routines, this, page, region, _s->Mode, _regions.Count) { Log = _log, CountsHits = _countsHits };
        compiler.Compile();
        RegionCode code = new(start, physical, _s->Mode, EntriesOf(region, page, _s->Mode, start), compiler.Exits);
        if (_library is not null && !KeepsChanging(physical))
        {
            RegionImage.Header counts = new() { Sites = _sites - firstSite, Instructions = all, NativeInstructions = native };
            ReadOnlySpan<byte> written = new(_memory.Write + start, _e.Position - start);
            _library.Add(RegionImage.Make(in counts, code, page, written, OffsetOf(firstSite) - Host.StateBias, compiler, _e, ref _buffer));
        }
        for (int i = 0; i < region.Blocks.Count; i++)
        {
            code.Ops[i] = (nint)region.Blocks[i].Hot;
        }
        Statistics.Regions++;
        Statistics.Blocks += region.Blocks.Count;
        Statistics.Instructions += all;
        Statistics.NativeInstructions += native;
        Activate(code);
        Statistics.Nanoseconds += _processor.Clock.Now - begun;
    }

    public void Flush()
    {
        ForgetRegions();
        Verifier?.Forget();
        _ops.Clear();
        NewMissed();
        TranslationsChanged();
        _e.Position = _start;
        _released = 0;
        _amended = 0;
        _sites = 0;
    }

    public bool Remembers => _library is not null;

    public void GiveBack()
    {
        Statistics.GivenBack++;
        _regions.TrimExcess();
        _drops.Clear();
        _memory.GiveBack((_start + Region.PageBytes - 1) & ~(Region.PageBytes - 1));
    }

    public void TranslationsChanged()
    {
        ref TranslatedState t = ref _s->Translated;
        for (ulong i = 0; i < t.FilledCount; i++)
        {
            Empty(t.Filled[i]);
        }
        Statistics.SiteFlushes++;
        t.FilledCount = 0;
    }

    int ITranslationStore.NewSite()
    {
        int offset = OffsetOf(_sites++);
        Empty((Site*)((byte*)_s + offset));
        return offset;
    }

    internal static JumpTableEntry* JumpEntry(CpuState* s, int index) => (JumpTableEntry*)((byte*)s + JumpTable.Offset) + index;

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private JumpTableEntry* JumpEntry(int index) => JumpEntry(_s, index);

    /// <summary>A guest may use the very address that stands for none. Then a site leads to a page that nobody looks at, and an entry of the jump table,
    /// which has its mode in that place, fits no mode: the page's address ends in zeros, as no mode does that is translated.</summary>
    private void Empty(Site* site)
    {
        site->Tag = Site.Empty;
        site->Addend = (ulong)_nowhere - Site.Empty;
    }

    public void Rest()
    {
        const int Many = 128;
        const int Much = 64 << 10;
        if (_amended > Many || _e.Position - _released > Much)
        {
            ReleaseWritten();
        }
    }

    /// <summary>Exits that have been taken for the first time were written to again.</summary>
    private void ReleaseWritten()
    {
        int end = _e.Position & ~(Region.PageBytes - 1);
        _memory.ReleaseWritten(0, end);
        _released = end;
        _amended = 0;
    }

    private void NewMissed()
    {
        _s->Translated.Missed = _ops.New();
        *_s->Translated.Missed = new Op { Handler = &NativeEntry.Miss };
        _left = _ops.New();
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
            _filled.Dispose();
            Verifier?.Dispose();
            _ops.Dispose();
            _passedOn?.Dispose();
            _memory.Dispose();
        }
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
