namespace Ringfence.Cpu.Memory;

/// <summary>
/// What the processor remembers of translations: a set of <see cref="Tlb"/>s for each of the process contexts used last (PCIDs, SDM 3A
/// 4.10.1). Going to a context whose translations are to be kept changes pointers and no entry. Without PCIDs there is one set. A
/// global page is filled into each set that uses it.
/// </summary>
internal sealed class TranslationCache : IDisposable
{
    private const int MaximumContexts = 8;

    private readonly List<TlbContext> _contexts = [new()];
    /// <summary>Regions of 4 MiB and 1 GiB that were filled from large pages: INVLPG there must forget the whole page.</summary>
    private readonly RegionSet _large = new(22);
    private readonly RegionSet _huge = new(30);
    private long _uses;

    public TranslationCache() => Current = _contexts[0];

    public TlbContext Current { get; private set; }

    /// <summary>MOV to CR3. True if another set is in force now.</summary>
    /// <param name="masking">What else decides on what the entries' tags are: those made under other masking are worth nothing.</param>
    /// <param name="keep">The context's translations are to be kept, if there are any.</param>
    public bool Enter(uint pcid, ulong masking, bool keep)
    {
        TlbContext old = Current;
        TlbContext context = old;
        if (context.Pcid != pcid)
        {
            context = Find(pcid) ?? Recycle(pcid);
        }
        if (context.Masking != masking)
        {
            context.Masking = masking;
            context.FlushAll();
        }
        else if (!keep)
        {
            context.FlushLocal();
        }
        context.LastUse = ++_uses;
        Current = context;
        return context != old;
    }

    public void FlushAll()
    {
        foreach (TlbContext context in _contexts)
        {
            context.FlushAll();
        }
        _large.Clear();
        _huge.Clear();
    }

    /// <summary>Everything but global pages, in all contexts.</summary>
    public void FlushLocal()
    {
        foreach (TlbContext context in _contexts)
        {
            context.FlushLocal();
        }
    }

    /// <summary>Everything but global pages in one context.</summary>
    public void FlushContext(uint pcid) => Find(pcid)?.FlushLocal();

    public void FlushKeyed()
    {
        foreach (TlbContext context in _contexts)
        {
            context.FlushKeyed();
        }
    }

    /// <summary>INVLPG: the page in the present context, and if it is global in all.</summary>
    public void FlushPage(ulong linear)
    {
        ulong region = LargePage(linear);
        foreach (TlbContext context in _contexts)
        {
            if (region != 0)
            {
                context.FlushRange(linear, region);
            }
            else if (context == Current)
            {
                context.FlushPage(linear);
            }
            else
            {
                context.FlushGlobalPage(linear);
            }
        }
    }

    /// <summary>The page in one context.</summary>
    public void FlushPage(uint pcid, ulong linear)
    {
        if (Find(pcid) is not { } context)
        {
            return;
        }
        ulong region = LargePage(linear);
        if (region != 0)
        {
            context.FlushRange(linear, region);
        }
        else
        {
            context.FlushPage(linear);
        }
    }

    public unsafe void ProtectPage(byte* hostPage, ulong? linear)
    {
        foreach (TlbContext context in _contexts)
        {
            context.ProtectPage(hostPage, linear);
        }
    }

    /// <summary>An entry is to be made, maybe for a part of a large page.</summary>
    public void NoteLarge(ulong linear, in Translation page)
    {
        if (page.Huge)
        {
            _huge.Add(linear);
        }
        else if (page.Large)
        {
            _large.Add(linear);
        }
    }

    public void Dispose()
    {
        foreach (TlbContext context in _contexts)
        {
            context.Dispose();
        }
    }

    /// <summary>The mask of the large page that may lie there, or 0 if none does.</summary>
    private ulong LargePage(ulong linear) => _huge.Contains(linear) ? ~0x3FFF_FFFFUL : _large.Contains(linear) ? ~0x3F_FFFFUL : 0;

    private TlbContext? Find(uint pcid)
    {
        foreach (TlbContext context in _contexts)
        {
            if (context.Pcid == pcid)
            {
                return context;
            }
        }
        return null;
    }

    /// <summary>A set for a context that has none: a new one, or that which was not used for longest. Its global pages are good here too.</summary>
    private TlbContext Recycle(uint pcid)
    {
        TlbContext chosen;
        if (_contexts.Count < MaximumContexts)
        {
            chosen = new TlbContext();
            _contexts.Add(chosen);
        }
        else
        {
            chosen = _contexts.MinBy(c => c.LastUse)!;
            chosen.FlushLocal();
        }
        chosen.Pcid = pcid;
        return chosen;
    }

    /// <summary>A set of aligned regions of linear addresses, as a hash: what was added is found, and now and then what was not.</summary>
    private sealed class RegionSet(int shift)
    {
        private readonly ulong[] _bits = new ulong[64];

        public void Add(ulong linear) => _bits[Hash(linear) >> 6] |= 1UL << (Hash(linear) & 63);

        public bool Contains(ulong linear) => (_bits[Hash(linear) >> 6] & (1UL << (Hash(linear) & 63))) != 0;

        public void Clear() => Array.Clear(_bits);

        /// <summary>12 bits, by Fibonacci hashing.</summary>
        private int Hash(ulong linear) => (int)(((linear >> shift) * 0x9E37_79B9_7F4A_7C15) >> 52);
    }
}

/// <summary>The translations of one process context, a table for each privilege.</summary>
internal sealed unsafe class TlbContext : IDisposable
{
    public Tlb User { get; } = new();

    /// <summary>For supervisors; with SMAP without user pages.</summary>
    public Tlb Supervisor { get; } = new();

    /// <summary>For supervisors that may touch user pages: no SMAP, or RFLAGS.AC lifts it.</summary>
    public Tlb SupervisorAc { get; } = new();

    public uint Pcid { get; set; }

    public ulong Masking { get; set; }

    public long LastUse { get; set; }

    public void FlushLocal()
    {
        User.FlushLocal();
        Supervisor.FlushLocal();
        SupervisorAc.FlushLocal();
    }

    public void FlushAll()
    {
        User.FlushAll();
        Supervisor.FlushAll();
        SupervisorAc.FlushAll();
    }

    public void FlushKeyed()
    {
        User.FlushKeyed();
        Supervisor.FlushKeyed();
        SupervisorAc.FlushKeyed();
    }

    public void FlushPage(ulong linear)
    {
        User.FlushPage(linear);
        Supervisor.FlushPage(linear);
        SupervisorAc.FlushPage(linear);
    }

    public void FlushGlobalPage(ulong linear)
    {
        User.FlushGlobalPage(linear);
        Supervisor.FlushGlobalPage(linear);
        SupervisorAc.FlushGlobalPage(linear);
    }

    public void FlushRange(ulong linear, ulong mask)
    {
        User.FlushRange(linear, mask);
        Supervisor.FlushRange(linear, mask);
        SupervisorAc.FlushRange(linear, mask);
    }

    public void ProtectPage(byte* hostPage, ulong? linear)
    {
        User.ProtectPage(hostPage, linear);
        Supervisor.ProtectPage(hostPage, linear);
        SupervisorAc.ProtectPage(hostPage, linear);
    }

    public void Dispose()
    {
        User.Dispose();
        Supervisor.Dispose();
        SupervisorAc.Dispose();
    }
}
