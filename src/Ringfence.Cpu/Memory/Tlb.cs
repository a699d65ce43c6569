using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// The direct-mapped table of <see cref="TlbEntry"/> for one privilege. What was filled is kept in two lists, so that a flush costs as much as
/// the fills since the last one: a change of address space leaves global entries alone.
/// </summary>
internal sealed unsafe class Tlb : IDisposable
{
    public const int Entries = GuestAccess.TlbEntries;
    private const int ListLength = 2 * Entries;

    private readonly int[] _local = new int[ListLength];
    private readonly int[] _global = new int[ListLength];
    private int _locals;
    private int _globals;

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
    public TlbEntry* Claim(ulong linear, bool global)
    {
        int index = (int)(linear >> 12) & (Entries - 1);
        if (global)
        {
            if (_globals == ListLength)
            {
                FlushAll();
            }
            _global[_globals++] = index;
        }
        else
        {
            if (_locals == ListLength)
            {
                FlushAll();
            }
            _local[_locals++] = index;
        }
        Clear(index);
        return Table + index;
    }

    public void FlushLocal()
    {
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
    }

    public void FlushPage(ulong linear) => Clear((int)(linear >> 12) & (Entries - 1));

    /// <summary>Forgets every translation inside an aligned range of linear addresses.</summary>
    public void FlushRange(ulong linear, ulong mask)
    {
        for (int i = 0; i < Entries; i++)
        {
            TlbEntry* entry = Table + i;
            if ((entry->Read & mask) == (linear & mask) || (entry->Write & mask) == (linear & mask) || (entry->Execute & mask) == (linear & mask))
            {
                Clear(i);
            }
        }
    }

    /// <summary>Takes the right to write straight to a host page from the entry of a linear address, or from every entry that has it.</summary>
    public void ProtectPage(byte* hostPage, ulong? linear)
    {
        int first = linear is { } known ? (int)(known >> 12) & (Entries - 1) : 0;
        int last = linear is null ? Entries - 1 : first;
        for (int i = first; i <= last; i++)
        {
            TlbEntry* entry = Table + i;
            if (entry->Write != NoTag(i) && entry->Write + entry->Addend == (ulong)hostPage)
            {
                entry->Write = NoTag(i);
            }
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
}
