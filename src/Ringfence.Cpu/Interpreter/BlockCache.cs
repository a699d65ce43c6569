using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Decoded blocks by physical address and mode. Pages that hold decoded code are known; a write to bytes of a block turns
/// every op of it into <see cref="ControlFlow.Stale"/>, so that even the block that is running stops after the
/// instruction that wrote. Memory is taken back all at once, when the arena is full.
/// </summary>
internal sealed unsafe class BlockCache : IDisposable
{
    public const int MaximumInstructions = 32;
    /// <summary>Each instruction with its guards and a place to stop, the guards of the block, its end.</summary>
    private const int MaximumOps = (MaximumInstructions * (GuardBinder.OpsPerInstruction + 1)) + 5;
    private const int ArenaOps = 1 << 20;
    private const ulong HostPageMask = ~0xFFFUL;

    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly GuestMemory _memory;
    private readonly BlockBuilder _builder;
    private readonly Dictionary<ulong, BlockPlace> _blocks = [];
    private readonly SharedCode _shared;
    /// <summary>Pages acquired for the block that is being decoded.</summary>
    private readonly List<int> _acquired = [];
    /// <summary>Pages that blocks came of since the last flush; some may hold none any more.</summary>
    private readonly List<int> _held = [];
    private readonly KnownPages _pages;
    // Of a page's writable address.
    private const ulong NotWritable = 0;
    private const ulong WritableAtMany = 1;
    /// <summary>Set beside an address, which may be 0.</summary>
    private const ulong WritableAtOne = 2;
    private readonly JumpCacheEntry* _jumpCache;
    private readonly HostPages _ops = new(ArenaOps * (ulong)sizeof(Op));
    private readonly Op* _arena;
    private int _used;

    public BlockCache(Processor processor, CpuState* state, GuestMemory memory, SharedCode shared)
    {
        _processor = processor;
        _s = state;
        _memory = memory;
        _builder = new BlockBuilder(processor, state, memory);
        _shared = shared;
        _pages = new KnownPages(shared.Pages);
        _arena = (Op*)_ops.Address;
        _jumpCache = (JumpCacheEntry*)NativeMemory.AllocZeroed(ControlFlow.JumpCacheEntries, (nuint)sizeof(JumpCacheEntry));
        state->JumpCache = _jumpCache;
        ClearJumpCache();
    }

    ~BlockCache() => Free();

    /// <summary>Blocks decoded since the start.</summary>
    public long Built { get; private set; }

    /// <summary>Whether some processor has decoded code from this page.</summary>
    public bool HasCode(ulong physical) => _shared.PageIndex(physical) is >= 0 and int index && _shared.Holds(index);

    /// <summary>A TLB entry lets this page be written at <paramref name="linear"/> without notice; should it come to hold code, that entry has to be found.</summary>
    public void NoteWritable(ulong physical, ulong linear)
    {
        if (_shared.PageIndex(physical) is >= 0 and int index)
        {
            ulong at = linear | WritableAtOne;
            ref ulong writable = ref _pages[index].Writable;
            writable = writable == NotWritable || writable == at ? at : WritableAtMany;
        }
    }

    /// <summary>Bytes that decoded blocks take.</summary>
    public long Bytes => (long)_used * sizeof(Op);

    /// <summary>The block at a physical address in the present mode, if it is known.</summary>
    public Op* At(ulong physical) => _blocks.TryGetValue(Key(physical), out BlockPlace place) && place.IsValid ? _arena + place.At : null;

    /// <summary>The block at RIP, decoded now if need be. Null: fetching it faulted, as recorded.</summary>
    public Op* Find()
    {
        CpuState* s = _s;
        Op** link = s->LinkSlot;
        s->LinkSlot = null;
        ulong linear = (s->Rip + s->Cs.Base) & s->LinearMask;
        if (!_processor.CheckFetch(linear) || !_processor.Mmu.TranslateFetch(linear, out ulong physical))
        {
            return null;
        }
        ulong key = Key(physical);
        Op* ops;
        if (_blocks.TryGetValue(key, out BlockPlace place) && place.IsValid)
        {
            ops = _arena + place.At;
        }
        else
        {
            ops = Build(linear, physical, key, ref link);
            if (ops == null)
            {
                return null;
            }
        }
        byte* host = _memory.Pointer(physical);
        if (host != null)
        {
            JumpCacheEntry* entry = s->JumpCache + ControlFlow.JumpCacheIndex(linear);
            entry->Linear = linear;
            entry->HostCode = (ulong)host;
            entry->Ops = ops;
            entry->Mode = s->Mode;
        }
        if (link != null)
        {
            *link = ops;
        }
        return ops;
    }

    /// <summary>Whether <see cref="BuildApart"/> would find a place for a block.</summary>
    public bool HasRoom => _used + MaximumOps <= ArenaOps;

    /// <summary>Decodes the block at RIP for translated code, which goes back to one of its instructions. No link leads there. Null: another processor may
    /// have written to it.</summary>
    public Op* BuildApart(ulong physical)
    {
        Op* ops = _arena + _used;
        long served = _processor.CodeRequests.Served;
        BuiltBlock block = _builder.Build(ops, (_s->Rip + _s->Cs.Base) & _s->LinearMask, physical);
        if (block.Ops != 0)
        {
            _used += block.Ops;
            Register(physical, block.Bytes, Key(physical), ops, block.Ops, block.Hot, whole: true);
        }
        ReleaseUnused();
        return block.Ops != 0 && block.Cacheable && served == _processor.CodeRequests.Served ? ops : null;
    }

    /// <summary>A translation is made of these bytes of a page that is held: when they are written to it is dropped.</summary>
    public void NoteTranslated(ulong physical, int bytes) => Register(physical, bytes, 0, null, 0, -1, whole: true);

    /// <summary>The instruction at RIP alone, decoded anew, not kept. Null: fetching it faulted.</summary>
    public Op* Step()
    {
        ulong linear = (_s->Rip + _s->Cs.Base) & _s->LinearMask;
        if (!_processor.CheckFetch(linear) || !_processor.Mmu.TranslateFetch(linear, out ulong physical))
        {
            return null;
        }
        return _builder.BuildStep(linear, physical);
    }

    /// <summary>The instruction at RIP, for a closer look after it has faulted. The fault recorded stays.</summary>
    public Iced.Intel.Instruction Inspect()
    {
        (uint vector, uint error, ulong address) = (_s->FaultVector, _s->FaultError, _s->FaultAddress);
        ulong linear = (_s->Rip + _s->Cs.Base) & _s->LinearMask;
        Iced.Intel.Instruction instruction = _processor.CheckFetch(linear) && _processor.Mmu.TranslateFetch(linear, out ulong physical)
            ? _builder.Decode(linear, physical) : default;
        (_s->FaultVector, _s->FaultError, _s->FaultAddress) = (vector, error, address);
        return instruction;
    }

    /// <summary>A write to a page that <see cref="HasCode"/> was made.</summary>
    public void CodeWritten(ulong physical, int size)
    {
        int page = _shared.PageIndex(physical);
        DropWritten(page, physical, size);
        _shared.Written(_processor, page, physical, size);
    }

    /// <summary>Decodes a page anew.</summary>
    public void DropPage(ulong physical) => DropWritten(_shared.PageIndex(physical), physical & HostPageMask, (int)GuestMemory.PageSize);

    /// <summary>What another processor asks for.</summary>
    public void ServeRequest(in CodeRequest request)
    {
        if (request.Size != 0)
        {
            DropWritten(request.Page, request.Physical, request.Size);
        }
        else
        {
            Protect(request.Page, request.Physical);
        }
    }

    /// <summary>Forgets every block. Only between blocks.</summary>
    public void Flush()
    {
        _blocks.Clear();
        foreach (int index in _held)
        {
            ref CodePage? page = ref _pages[index].Code;
            if (page is { IsHeld: true })
            {
                _shared.Release(index);
            }
            page = null;
        }
        _held.Clear();
        _used = 0;
        _processor.Translator?.Flush();
        _s->LinkSlot = null;
        ClearJumpCache();
    }

    /// <summary>Forgets every block, and gives the host back the memory for them. Only between blocks.</summary>
    public void GiveBack()
    {
        Flush();
        _blocks.TrimExcess();
        _ops.Clear();
        _processor.Translator?.GiveBack();
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private ulong Key(ulong physical) => (physical << CodeMode.Width) | _s->Mode;

    /// <param name="link">Becomes null where no link may be made, because its op is gone.</param>
    private Op* Build(ulong linear, ulong physical, ulong key, ref Op** link)
    {
        if (_used + MaximumOps > ArenaOps)
        {
            Flush();
            link = null;
        }
        Op* ops = _arena + _used;
        BuiltBlock block;
        long served;
        do
        {
            // Once more if another processor wrote to code meanwhile: it may have been this.
            served = _processor.CodeRequests.Served;
            Acquire(physical);
            block = _processor.Stops is null && _processor.Translator is { } translator && translator.TryLead(ops, physical, out int bytes)
                ? new BuiltBlock(1, bytes, true, 0, 0) : _builder.Build(ops, linear, physical);
        }
        while (served != _processor.CodeRequests.Served);
        if (block.Ops == 0)
        {
            ops = null;
        }
        else if (block.Cacheable)
        {
            Keep(ref ops, block, physical, key, ref link);
        }
        else
        {
            // Code outside RAM: it is decoded again each time. Its ops stay where they are, for links lead out of them.
            _used += block.Ops;
        }
        ReleaseUnused();
        return ops;
    }

    private void Keep(ref Op* ops, in BuiltBlock block, ulong physical, ulong key, ref Op** link)
    {
        Built++;
        ref BlockPlace place = ref CollectionsMarshal.GetValueRefOrAddDefault(_blocks, key, out _);
        if (block.Ops <= place.Room)
        {
            Op* old = _arena + place.At;
            new ReadOnlySpan<Op>(ops, block.Ops).CopyTo(new Span<Op>(old, block.Ops));
            ops = old;
            link = (Op*)link >= old && (Op*)link < old + place.Room ? null : link;
            place = place with { IsValid = true };
        }
        else
        {
            if (place.Room != 0)
            {
                _arena[place.At] = new Op { Handler = &HotBlock.Moved, Taken = ops, Scale = HotBlock.Passes };
            }
            place = new BlockPlace((int)(ops - _arena), (ushort)block.Ops, true);
            _used += block.Ops;
        }
        int inFirst = (int)(GuestMemory.PageSize - (physical & 0xFFF));
        if (block.Bytes <= inFirst)
        {
            Register(physical, block.Bytes, key, ops, block.Ops, block.Hot, whole: true);
        }
        else
        {
            Register(physical, inFirst, key, ops, block.Ops, block.Hot, whole: false);
            Register(block.SecondPhysical, block.Bytes - inFirst, key, ops, block.Ops, block.Hot, whole: false);
        }
    }

    /// <summary>Drops the blocks that were decoded from what has been written. A page without blocks is let go by the write after that, not at once:
    /// code that is rewritten again and again would be held and let go each time.</summary>
    private void DropWritten(int index, ulong physical, int size)
    {
        if (_pages[index].Code is not { IsHeld: true } page)
        {
            return;
        }
        int offset = (int)(physical & 0xFFF);
        if (!page.HasBlocks)
        {
            page.IsHeld = false;
            _shared.Release(index);
        }
        else if (page.HasBlocksFrom(offset, size))
        {
            // Translations are made of several blocks, and dropped by the page.
            bool whole = _processor.Translator?.Drop(physical & HostPageMask) ?? false;
            if (whole)
            {
                page.DropAll(_blocks);
            }
            else
            {
                page.Drop(offset, size, _memory.Pointer(physical & HostPageMask), _blocks, _processor.Translator?.Threshold ?? 0);
            }
        }
    }

    /// <summary>Before bytes of a page are decoded: from here on no write to it goes unnoticed.</summary>
    public void Acquire(ulong physical)
    {
        if (_shared.PageIndex(physical) is >= 0 and int index && _pages[index].Code is not { IsHeld: true } && !_acquired.Contains(index))
        {
            _shared.Acquire(_processor, index, physical);
            Protect(index, physical);
            _acquired.Add(index);
        }
    }

    /// <summary>Lets go of pages that were looked at, but that no block came of.</summary>
    private void ReleaseUnused()
    {
        foreach (int index in _acquired)
        {
            if (_pages[index].Code is not { HasBlocks: true } page)
            {
                _shared.Release(index);
                continue;
            }
            page.IsHeld = true;
            if (!page.IsListed)
            {
                page.IsListed = true;
                _held.Add(index);
            }
        }
        _acquired.Clear();
    }

    private void Protect(int index, ulong physical)
    {
        ref ulong writable = ref _pages[index].Writable;
        ulong at = writable;
        if (at != NotWritable)
        {
            writable = NotWritable;
            _processor.Mmu.ProtectPage(_memory.Pointer(physical & HostPageMask), at == WritableAtMany ? null : at & ~WritableAtOne);
        }
    }

    private void Register(ulong physical, int bytes, ulong key, Op* ops, int count, int hot, bool whole)
    {
        // ROM never changes.
        if (_shared.PageIndex(physical) is >= 0 and int index)
        {
            (_pages[index].Code ??= new CodePage()).Add(new CodePage.Block(key, (nint)ops, (ushort)(physical & 0xFFF), (ushort)bytes, (ushort)count, (short)hot, whole));
        }
    }

    private void ClearJumpCache()
    {
        for (int i = 0; i < ControlFlow.JumpCacheEntries; i++)
        {
            // No block begins at a non-canonical address.
            _jumpCache[i] = new JumpCacheEntry { Linear = 1UL << 63 };
        }
    }

    private void Free()
    {
        _ops.Dispose();
        NativeMemory.Free(_jumpCache);
        _builder.Dispose();
    }
}

/// <param name="Ops">Ops written, 0 if the first instruction could not be fetched.</param>
/// <param name="Bytes">Bytes of code covered.</param>
/// <param name="Cacheable">False if it must be decoded anew each time.</param>
/// <param name="SecondPhysical">Where the code goes on if it crosses its page's end.</param>
/// <param name="Hot">Which op is its <see cref="HotBlock"/>; -1 if none.</param>
internal readonly record struct BuiltBlock(int Ops, int Bytes, bool Cacheable, ulong SecondPhysical, int Hot);
