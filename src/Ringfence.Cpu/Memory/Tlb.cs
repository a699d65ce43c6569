using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// The direct-mapped table of <see cref="TlbEntry"/> for one privilege. What was filled is kept in two lists, so that a flush costs as much as
/// the fills since the last one: a change of address space leaves global entries alone. A third list has the entries whose rights
/// come from a protection key other than 0. What a fill displaces is kept among a few victims, so that two pages with the same index that
/// are used in turn cost no page walks.
/// </summary>
internal sealed unsafe class Tlb : IDisposable
{
    public const int Entries = GuestAccess.TlbEntries;
    private const int ListLength = 2 * Entries;
    private const int Victims = 16;

    /// <summary>An address's bits that tell pages apart, without those that masking gives to software.</summary>
    private const ulong PageBits = 0x7FFF_FFFF_F000;

    private readonly ushort[] _local = new ushort[ListLength];
    private readonly ushort[] _global = new ushort[ListLength];
    private readonly ushort[] _keyed = new ushort[ListLength];
    private readonly ulong[] _isGlobal = new ulong[Entries / 64];
    // Of FlushRange alone.
    private readonly ulong[] _seen = new ulong[Entries / 64];
    private readonly ushort[] _kept = new ushort[Entries];
    private readonly Victim[] _victims = new Victim[Victims];
    private int _locals;
    private int _globals;
    private int _keys;
    private bool _hasVictims;

    public Tlb()
    {
        Table = (TlbEntry*)NativeMemory.AlignedAlloc(Entries * (nuint)sizeof(TlbEntry), 64);
        for (int i = 0; i < Entries; i++)
        {
            Clear(i);
        }
    }

    ~Tlb() => Free();

    public TlbEntry* Table { get; private set; }

    /// <summary>A tag that no linear address with this index matches.</summary>
    public static ulong NoTag(int index) => ~((ulong)index << 12);

    /// <summary>The entry for a page, recorded for the next flush. The caller sets its tags.</summary>
    /// <param name="keyed">Its rights depend on a protection key that is not 0.</param>
    public TlbEntry* Claim(ulong linear, bool global, bool keyed)
    {
        int index = IndexOf(linear);
        if (_locals == ListLength || _globals == ListLength || _keys == ListLength)
        {
            FlushAll();
        }
        KeepVictim(index, linear);
        List(index, global);
        if (keyed)
        {
            _keyed[_keys++] = (ushort)index;
        }
        Clear(index);
        return Table + index;
    }

    /// <summary>Brings a page back that was displaced, if it is still known with that right. False: the page tables are to be asked.</summary>
    public bool TryRecall(ulong linear, bool write)
    {
        ulong page = linear & ~(GuestAccess.PageBytes - 1UL);
        ref Victim victim = ref _victims[VictimOf(page)];
        if ((write ? victim.Entry.Write : victim.Entry.Read) != page || !victim.IsKnown)
        {
            return false;
        }
        Victim found = victim;
        victim = default;
        *Claim(page, found.Global, found.Keyed) = found.Entry;
        return true;
    }

    public void FlushLocal()
    {
        ForgetVictims();
        for (int i = 0; i < _locals; i++)
        {
            Clear(_local[i]);
        }
        _locals = 0;
    }

    public void FlushAll()
    {
        FlushLocal();
        for (int i = 0; i < _globals; i++)
        {
            Clear(_global[i]);
        }
        _globals = 0;
        _keys = 0;
    }

    /// <summary>Forgets what a change of the rights of protection keys 1 to 15 may concern.</summary>
    public void FlushKeyed()
    {
        ForgetVictims();
        for (int i = 0; i < _keys; i++)
        {
            Clear(_keyed[i]);
        }
        _keys = 0;
    }

    public void FlushPage(ulong linear)
    {
        ForgetVictims();
        Clear(IndexOf(linear));
    }

    public void FlushGlobalPage(ulong linear)
    {
        ForgetVictims();
        int index = IndexOf(linear);
        if (IsGlobal(index))
        {
            Clear(index);
        }
    }

    /// <summary>Forgets every translation inside an aligned range of linear addresses. The lists are looked through for that, and only what is
    /// in use stays in them, once: so the next time costs what was filled since.</summary>
    public void FlushRange(ulong linear, ulong mask)
    {
        ForgetVictims();
        mask &= PageBits;
        int used = Used;
        int kept = 0;
        Array.Clear(_seen);
        for (int i = 0; i < used; i++)
        {
            int index = UsedIndex(i);
            ulong bit = 1UL << (index & 63);
            if ((_seen[index >> 6] & bit) != 0)
            {
                continue;
            }
            _seen[index >> 6] |= bit;
            TlbEntry* entry = Table + index;
            if (((entry->Read ^ linear) & mask) == 0 || ((entry->Write ^ linear) & mask) == 0 || ((entry->Execute ^ linear) & mask) == 0)
            {
                Clear(index);
            }
            else if (!IsEmpty(index))
            {
                _kept[kept++] = (ushort)index;
            }
        }
        _locals = _globals = 0;
        for (int i = 0; i < kept; i++)
        {
            List(_kept[i], IsGlobal(_kept[i]));
        }
    }

    /// <summary>Takes the right to write straight to a host page from the entry of a linear address, or from every entry that has it.</summary>
    public void ProtectPage(byte* hostPage, ulong? linear)
    {
        ForgetVictims();
        if (linear is { } known)
        {
            Protect(IndexOf(known), hostPage);
            return;
        }
        for (int i = 0; i < Used; i++)
        {
            Protect(UsedIndex(i), hostPage);
        }
    }

    /// <summary>How many entries there are to look through for those in use: what was filled, or all if that is less.</summary>
    private int Used => Math.Min(_locals + _globals, Entries);

    private int UsedIndex(int i) => _locals + _globals >= Entries ? i : i < _locals ? _local[i] : _global[i - _locals];

    private bool IsGlobal(int index) => (_isGlobal[index >> 6] & (1UL << (index & 63))) != 0;

    private bool IsEmpty(int index)
    {
        TlbEntry* entry = Table + index;
        return entry->Read == NoTag(index) && entry->Write == NoTag(index) && entry->Execute == NoTag(index);
    }

    private void List(int index, bool global)
    {
        if (global)
        {
            _global[_globals++] = (ushort)index;
            _isGlobal[index >> 6] |= 1UL << (index & 63);
        }
        else
        {
            _local[_locals++] = (ushort)index;
            _isGlobal[index >> 6] &= ~(1UL << (index & 63));
        }
    }

    private static int IndexOf(ulong linear) => (int)(linear >> 12) & (Entries - 1);

    private static int VictimOf(ulong page) => (int)((page >> 12) ^ (page >> 24)) & (Victims - 1);

    /// <summary>Keeps the entry that is about to be displaced, unless it is empty or its page is the one that comes.</summary>
    private void KeepVictim(int index, ulong linear)
    {
        TlbEntry* entry = Table + index;
        ulong page = entry->Read != NoTag(index) ? entry->Read : entry->Write;
        if (page != NoTag(index) && page != linear)
        {
            // Without a list of keyed entries there are none; with one, this may be of it.
            _victims[VictimOf(page)] = new Victim
            {
                Entry = *entry, IsKnown = true, Global = IsGlobal(index), Keyed = _keys != 0,
            };
            _hasVictims = true;
        }
    }

    private void ForgetVictims()
    {
        if (_hasVictims)
        {
            Array.Clear(_victims);
            _hasVictims = false;
        }
    }

    private void Protect(int index, byte* hostPage)
    {
        TlbEntry* entry = Table + index;
        if (entry->Write != NoTag(index) && entry->Write + entry->Addend == (ulong)hostPage)
        {
            entry->Write = NoTag(index);
        }
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Clear(int index)
    {
        TlbEntry* entry = Table + index;
        entry->Read = entry->Write = entry->Execute = NoTag(index);
        entry->Addend = 0;
    }

    private void Free()
    {
        NativeMemory.AlignedFree(Table);
        Table = null;
    }

    /// <summary>An entry that another page displaced.</summary>
    private struct Victim
    {
        public TlbEntry Entry;
        public bool IsKnown;
        public bool Global;
        public bool Keyed;
    }
}
