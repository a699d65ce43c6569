using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// Linear to physical: the page walks, the TLBs, and every access that the fast path cannot make (page crossings, MMIO, pages that hold
/// code, faults). SDM 3A chapter 4.
/// </summary>
internal sealed unsafe class Mmu : IDisposable
{
    private const ulong OffsetMask = GuestMemory.PageSize - 1;

    private readonly Processor _processor;
    private readonly CpuState* _s;
    private readonly GuestMemory _memory;
    private readonly SharedCode _shared;
    private readonly TranslationCache _cache = new();
    /// <summary>In force while alignment is checked: tags for execution only, so that all data comes by <see cref="Access"/>.</summary>
    private readonly Tlb _aligned = new();
    private readonly PageWalker _walker;
    private readonly SlowPages _slow = new();
    private bool _checksAlignment;
    private bool _checkedAlignment;

    public Mmu(Processor processor, CpuState* state, GuestMemory memory, SharedCode shared)
    {
        _processor = processor;
        _s = state;
        _memory = memory;
        _shared = shared;
        _walker = new PageWalker(state, memory, processor.Model, shared);
        UseContext();
    }

    /// <summary>The fault recorded last is that of an access to a non-canonical address. Whoever acts on it clears it.</summary>
    public bool MetNonCanonical { get; set; }

    /// <summary>Chooses the table for the present privilege. To be called when CPL, CR0.AM, CR4.SMAP or RFLAGS.AC change.</summary>
    public void SelectTlb()
    {
        _checksAlignment = _s->Cpl == 3 && (_s->SystemFlags & Flags.AlignmentCheck) != 0 && (_s->Cr0 & ControlBits.AlignmentMask) != 0;
        // Translated code keeps none of what RFLAGS.AC admits, and all of it is for one privilege.
        TlbEntry* kept = _s->Cpl == 3 ? _s->TlbUser : (_s->Cr4 & ControlBits.Smap) != 0 ? _s->TlbSupervisor : _s->TlbSupervisorAc;
        _s->SiteTlb = kept;
        _s->Tlb = _checksAlignment ? _aligned.Table : _s->Cpl == 3 || SmapInForce ? kept : _s->TlbSupervisorAc;
        if (_checksAlignment != _checkedAlignment)
        {
            _checkedAlignment = _checksAlignment;
            _processor.Translator?.TranslationsChanged();
        }
    }

    /// <summary>What data is translated by now: STAC and CLAC change it without a call.</summary>
    private Tlb Current
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _s->Cpl == 3 ? _cache.Current.User : SmapInForce ? _cache.Current.Supervisor : _cache.Current.SupervisorAc;
    }

    /// <summary>Supervisor accesses to user pages fault now.</summary>
    private bool SmapInForce
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => (_s->Cr4 & ControlBits.Smap) != 0 && (_s->SystemFlags & Flags.AlignmentCheck) == 0;
    }

    /// <summary>Where the TLB would have a page for implicit supervisor accesses, which ignore RFLAGS.AC (SDM 3A 4.6.1).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private TlbEntry* SystemEntry(ulong linear) =>
        ((_s->Cr4 & ControlBits.Smap) != 0 ? _s->TlbSupervisor : _s->TlbSupervisorAc) + ((linear >> 12) & (Tlb.Entries - 1));

    private bool LongMode
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => (_s->Efer & ControlBits.LongModeActive) != 0;
    }

    /// <summary>The process-context identifier in force.</summary>
    private uint Pcid => (_s->Cr4 & ControlBits.Pcid) != 0 ? (uint)(_s->Cr3 & ControlBits.PcidMask) : 0;

    /// <summary>An access of up to 64 bytes that may cross pages. Rights are checked as <paramref name="rights"/> says, for all pages first;
    /// then data moves as <paramref name="transfer"/> says, to or from <paramref name="data"/>.</summary>
    public bool Access(ulong linear, int size, AccessKind rights, AccessKind transfer, byte* data)
    {
        ref SlowPages.SlowPage page = ref _slow[linear];
        if (page.Permits(linear, size, rights, _s->Tlb))
        {
            if (page.Host == null && size == 4 && transfer == AccessKind.Read)
            {
                // What drivers do most.
                *(uint*)data = (uint)_processor.ReadPhysicalDevice(page.PhysicalAddress(linear), 4);
                return true;
            }
            TransferSlowly(ref page, linear, size, transfer, data);
            return true;
        }
        Tlb tlb = Current;
        TlbEntry* entry = tlb.Table + ((linear >> 12) & (Tlb.Entries - 1));
        if (_checksAlignment && IsMisaligned(linear, size))
        {
            return RefuseMisaligned(linear, size, rights);
        }
        if (((rights == AccessKind.Write ? entry->Write : entry->Read) ^ linear) <= GuestMemory.PageSize - (ulong)size
            || ((linear & OffsetMask) + (ulong)size <= GuestMemory.PageSize && tlb.TryRecall(linear, rights == AccessKind.Write)))
        {
            byte* host = (byte*)(linear + entry->Addend);
            Copy(transfer == AccessKind.Write ? host : data, transfer == AccessKind.Write ? data : host, size);
            return true;
        }
        if (!_processor.Debugging.HasData)
        {
            return AccessSlowly(linear, size, rights, transfer, data);
        }
        if (!_processor.Debugging.MayAccess(linear, size, transfer, rights) || !AccessSlowly(linear, size, rights, transfer, data))
        {
            return false;
        }
        _processor.Debugging.Accessed(linear, size, transfer, transfer);
        return true;
    }

    /// <summary>The TLB's entry for an operand in one page of RAM that may be accessed in place, filled if need be. Null if it must be accessed the long
    /// way, or faults; nothing is recorded.</summary>
    public TlbEntry* Locate(ulong linear, int size, AccessKind kind)
    {
        ulong address = LinearAddress.Unmask(_s, linear);
        if (_slow[linear].Permits(linear, size, kind, _s->Tlb) || _checksAlignment || _processor.Debugging.HasData || (linear & OffsetMask) + (ulong)size > GuestMemory.PageSize || !IsCanonical(address))
        {
            return null;
        }
        Tlb tlb = Current;
        bool write = kind == AccessKind.Write;
        TlbEntry* entry = tlb.Table + ((linear >> 12) & (Tlb.Entries - 1));
        if (!Grants(entry) && !tlb.TryRecall(linear, write))
        {
            bool user = _s->Cpl == 3;
            if (!_walker.Walk(address, kind, user, user || SmapInForce, true, out Translation page))
            {
                return null;
            }
            Fill(tlb, address & ~OffsetMask, linear & ~OffsetMask, kind, page);
        }
        return Grants(entry) ? entry : null;

        bool Grants(TlbEntry* e) => ((write ? e->Write : e->Read) ^ linear) < GuestMemory.PageSize;
    }

    /// <summary>Reads from a device, in a page that was accessed lately, where nobody wants to know which instruction did it.</summary>
    public bool TryReadDevice(ulong linear, int size, byte* data)
    {
        ref SlowPages.SlowPage page = ref _slow[linear];
        if (!page.Permits(linear, size, AccessKind.Read, _s->Tlb) || page.Host != null || _checksAlignment || _processor.Debugging.HasData
            || _processor.Trace != null)
        {
            return false;
        }
        TransferMmio(page.PhysicalAddress(linear), size, AccessKind.Read, data);
        return true;
    }

    private bool AccessSlowly(ulong linear, int size, AccessKind rights, AccessKind transfer, byte* data)
    {
        if (!TryResolve(linear, size, out int first, out ulong address, out ulong next))
        {
            return false;
        }
        if (first == size)
        {
            if (!Translate(address, rights, linear, out ulong physical))
            {
                return false;
            }
            Transfer(physical, size, transfer, data);
            return true;
        }
        // The first page does not get dirty if the second faults.
        if (!Probe(address, rights) || !Translate(next, rights, (linear + (ulong)first) & _s->LinearMask, out ulong second)
            || !Translate(address, rights, linear, out ulong start))
        {
            return false;
        }
        Transfer(start, first, transfer, data);
        Transfer(second, size - first, transfer, data + first);
        return true;
    }

    /// <summary>Whether an access might be made, without making it. If not, the fault is recorded.</summary>
    public bool Check(ulong linear, int size, AccessKind rights) => TryResolve(linear, size, out int first, out ulong address, out ulong next)
        && Probe(address, rights) && (first == size || Probe(next, rights));

    /// <summary>Translates the address of data for the present privilege, fills the TLB, or records the fault; false for a non-canonical one too, of
    /// which nothing is recorded.</summary>
    public bool TranslateData(ulong linear, AccessKind kind, out ulong physical)
    {
        ulong address = LinearAddress.Unmask(_s, linear);
        physical = 0;
        return IsCanonical(address) && Translate(address, kind, linear, out physical);
    }

    /// <summary>Whether data may be accessed; if not, the fault is recorded, as with <see cref="TranslateData"/>. No dirty flag is set.</summary>
    public bool ProbeData(ulong linear, AccessKind kind)
    {
        ulong address = LinearAddress.Unmask(_s, linear);
        return IsCanonical(address) && Probe(address, kind);
    }

    /// <summary>Whether alignment checks and breakpoints let an operand be changed in place. If not, the fault, or that the instruction is to run
    /// alone, is recorded.</summary>
    public bool AdmitsInPlace(ulong linear, int size) => _checksAlignment && IsMisaligned(linear, size)
        ? RefuseMisaligned(linear, size, AccessKind.Write)
        : !_processor.Debugging.HasData || _processor.Debugging.MayAccess(linear, size, AccessKind.Read, AccessKind.Write);

    /// <summary>Translates the address of an instruction for the present privilege, fills the TLB, or records the fault.</summary>
    public bool TranslateFetch(ulong linear, out ulong physical)
    {
        TlbEntry* entry = _s->Tlb + ((linear >> 12) & (Tlb.Entries - 1));
        return ((entry->Execute ^ linear) < GuestMemory.PageSize && _memory.TryLocate((byte*)(linear + entry->Addend), out physical))
            || Translate(linear, AccessKind.Execute, linear, out physical);
    }

    /// <summary>Reads a system structure (descriptor, TSS) with supervisor rights whatever the CPL. False: the fault is recorded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool ReadSystem<T>(ulong linear, out T value)
    {
        TlbEntry* entry = SystemEntry(linear);
        if ((entry->Read ^ linear) <= GuestMemory.PageSize - (ulong)sizeof(T) && !LinearAddress.AnyMasked(_s))
        {
            value = *(T*)(linear + entry->Addend);
            return true;
        }
        T read = default!;
        bool done = AccessSystem(linear, sizeof(T), AccessKind.Read, (byte*)&read);
        value = read;
        return done;
    }

    public bool WriteSystem<T>(ulong linear, T value)
    {
        byte* host = SystemRoom(linear, sizeof(T));
        if (host != null)
        {
            *(T*)host = value;
            return true;
        }
        return AccessSystem(linear, sizeof(T), AccessKind.Write, (byte*)&value);
    }

    /// <summary>Where operands can be read in place, as the TLB knows; null: the long way.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* Readable(ulong linear, int size)
    {
        TlbEntry* entry = _s->Tlb + ((linear >> 12) & (Tlb.Entries - 1));
        return (entry->Read ^ linear) <= GuestMemory.PageSize - (ulong)size ? (byte*)(linear + entry->Addend) : null;
    }

    /// <summary>Likewise written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* Room(ulong linear, int size)
    {
        TlbEntry* entry = _s->Tlb + ((linear >> 12) & (Tlb.Entries - 1));
        return (entry->Write ^ linear) <= GuestMemory.PageSize - (ulong)size ? (byte*)(linear + entry->Addend) : null;
    }

    /// <summary>Where a system structure can be written in place; null: the long way.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* SystemRoom(ulong linear, int size)
    {
        TlbEntry* entry = SystemEntry(linear);
        return (entry->Write ^ linear) <= GuestMemory.PageSize - (ulong)size && !LinearAddress.AnyMasked(_s) ? (byte*)(linear + entry->Addend) : null;
    }

    /// <summary>Whether a range could be written as a system structure; if not, the fault is recorded. Only outside long mode.</summary>
    public bool ProbeSystemWrite(ulong linear, int size)
    {
        bool smap = (_s->Cr4 & ControlBits.Smap) != 0;
        for (ulong at = linear; at < linear + (ulong)size; at = (at | OffsetMask) + 1)
        {
            if (!_walker.Walk((uint)at, AccessKind.Write, false, smap, false, out _))
            {
                return RecordPageFault((uint)at);
            }
        }
        return true;
    }

    /// <summary>CR3 was loaded. <paramref name="keep"/>: the new context's translations are to be kept (SDM 3A 4.10.4.1).</summary>
    public void EnterContext(bool keep)
    {
        // What masking makes of user pointers; CR4's changes forget everything.
        if (_cache.Enter(Pcid, _s->Cr3 & ControlBits.LamUser, keep))
        {
            UseContext();
        }
        ForgetOthers();
    }

    /// <summary>After CR4.PCIDE changed: the present context is another one, and empty.</summary>
    public void ReenterContext()
    {
        FlushAll();
        EnterContext(true);
    }

    /// <summary>Reads PAE's directory pointers. False: one of them has reserved bits set.</summary>
    public bool TryLoadPointers(ulong cr3) => _walker.TryLoadPointers(cr3);

    public void FlushAll()
    {
        _cache.FlushAll();
        ForgetOthers();
    }

    /// <summary>INVLPG.</summary>
    public void FlushPage(ulong linear)
    {
        _cache.FlushPage(linear);
        ForgetOthers();
    }

    /// <summary>INVPCID, whose operands are good.</summary>
    public void Invalidate(InvalidationScope scope, uint pcid, ulong linear)
    {
        switch (scope)
        {
            case InvalidationScope.Address: _cache.FlushPage(pcid, linear); break;
            case InvalidationScope.Context: _cache.FlushContext(pcid); break;
            case InvalidationScope.All: _cache.FlushAll(); break;
            default: _cache.FlushLocal(); break;
        }
        ForgetOthers();
    }

    /// <summary>Rights of protection keys changed, of key <paramref name="zero"/> too or only of others.</summary>
    public void KeysChanged(bool zero)
    {
        if (zero)
        {
            _cache.FlushAll();
        }
        else
        {
            _cache.FlushKeyed();
        }
        ForgetOthers();
    }

    /// <summary>Where a page of RAM or ROM lies in the host's memory; null if there is none.</summary>
    public byte* HostPage(ulong physical) => _memory.Pointer(physical);

    /// <summary>From now on writes to this host page take the slow path.</summary>
    /// <param name="linear">The one linear address it was writable at, or null if there were several.</param>
    public void ProtectPage(byte* hostPage, ulong? linear)
    {
        _cache.ProtectPage(hostPage, linear);
        _processor.Translator?.TranslationsChanged();
    }

    public void Dispose()
    {
        _cache.Dispose();
        _aligned.Dispose();
    }

    /// <summary>Of what is kept beside the cache: to be called when any translation is forgotten.</summary>
    private void ForgetOthers()
    {
        _slow.Forget();
        _aligned.FlushAll();
        _walker.Forget();
        _processor.Translator?.TranslationsChanged();
    }

    private void UseContext()
    {
        TlbContext context = _cache.Current;
        _s->TlbSupervisor = context.Supervisor.Table;
        _s->TlbUser = context.User.Table;
        _s->TlbSupervisorAc = context.SupervisorAc.Table;
        SelectTlb();
    }

    /// <summary>Where an access goes: to <paramref name="address"/>, and if it has more bytes than <paramref name="first"/>, in the next
    /// page to <paramref name="next"/>. False: not canonical, as recorded.</summary>
    private bool TryResolve(ulong linear, int size, out int first, out ulong address, out ulong next)
    {
        first = (int)Math.Min((ulong)size, GuestMemory.PageSize - (linear & OffsetMask));
        address = LinearAddress.Unmask(_s, linear);
        next = LinearAddress.Unmask(_s, (linear + (ulong)first) & _s->LinearMask);
        if (IsCanonical(address) && (first == size || IsCanonical(next)))
        {
            return true;
        }
        // SDM 1 3.3.7.1: #SS for stack accesses. Which those are is not known here; the outer loop finds out.
        MetNonCanonical = true;
        Exits.Record(_s, Vectors.GeneralProtection);
        return false;
    }

    private bool IsCanonical(ulong linear) => LinearAddress.IsCanonical(_s, linear) || _s->LinearMask != ulong.MaxValue;

    /// <summary>Translates for the present privilege, fills the TLB, or records the fault.</summary>
    /// <param name="address">Where the access goes.</param>
    /// <param name="linear">The same as software gave it, maybe with bits that are masked. The TLB's tag is made of this, so that masking
    /// costs the fast path nothing.</param>
    private bool Translate(ulong address, AccessKind kind, ulong linear, out ulong physical)
    {
        bool user = _s->Cpl == 3;
        if (!_walker.Walk(address, kind, user, user || SmapInForce, true, out Translation page))
        {
            physical = 0;
            return RecordPageFault(address);
        }
        physical = page.Physical | (address & OffsetMask);
        Fill(Current, address & ~OffsetMask, linear & ~OffsetMask, kind, page);
        return true;
    }

    /// <summary>Whether an access is allowed; if not, the fault is recorded. No dirty flag is set.</summary>
    private bool Probe(ulong address, AccessKind kind)
    {
        bool user = _s->Cpl == 3;
        return _walker.Walk(address, kind, user, user || SmapInForce, false, out _) || RecordPageFault(address);
    }

    /// <summary>SDM 3A table 6-7: as its size says, but 8 for the x87's 10 bytes.</summary>
    private static bool IsMisaligned(ulong linear, int size) => (linear & (ulong)((size == 10 ? 8 : size) - 1)) != 0;

    /// <summary>Records #AC, or the fault that comes before it.</summary>
    private bool RefuseMisaligned(ulong linear, int size, AccessKind rights)
    {
        ulong last = linear + (ulong)size - 1;
        ulong address = LinearAddress.Unmask(_s, linear);
        ulong end = LinearAddress.Unmask(_s, last & _s->LinearMask);
        bool crosses = ((linear ^ last) & ~OffsetMask) != 0;
        if (!IsCanonical(address) || !IsCanonical(end))
        {
            MetNonCanonical = true;
            Exits.Record(_s, Vectors.GeneralProtection);
        }
        else if (Probe(address, rights) && (!crosses || Probe(end & ~OffsetMask, rights)))
        {
            Exits.Record(_s, Vectors.AlignmentCheck);
        }
        return false;
    }

    private bool RecordPageFault(ulong address)
    {
        _s->FaultAddress = address;
        Exits.Record(_s, Vectors.PageFault, _walker.FaultCode);
        return false;
    }

    private bool AccessSystem(ulong linear, int size, AccessKind kind, byte* data)
    {
        // Implicit supervisor accesses ignore RFLAGS.AC (SDM 3A 4.6.1).
        bool smap = (_s->Cr4 & ControlBits.Smap) != 0;
        Tlb tlb = smap ? _cache.Current.Supervisor : _cache.Current.SupervisorAc;
        // Descriptor tables and what interrupts push have 64-bit addresses in compatibility mode too (SDM 3A 3.5.2, 6.14.1).
        ulong wrap = LongMode ? ulong.MaxValue : uint.MaxValue;
        for (int done = 0; done < size;)
        {
            ulong address = (linear + (ulong)done) & wrap;
            int part = (int)Math.Min((ulong)(size - done), GuestMemory.PageSize - (address & OffsetMask));
            TlbEntry* entry = tlb.Table + ((address >> 12) & (Tlb.Entries - 1));
            bool masked = LinearAddress.Unmask(_s, address) != address;
            if (((kind == AccessKind.Write ? entry->Write : entry->Read) ^ address) < GuestMemory.PageSize && !masked)
            {
                byte* host = (byte*)(address + entry->Addend);
                Copy(kind == AccessKind.Write ? host : data + done, kind == AccessKind.Write ? data + done : host, part);
                done += part;
                continue;
            }
            if (LongMode && !LinearAddress.IsCanonical(_s, address))
            {
                Exits.Record(_s, Vectors.GeneralProtection);
                return false;
            }
            _processor.Stops?.Note(address, part, kind == AccessKind.Read, kind == AccessKind.Write);
            if (!_walker.Walk(address, kind, false, smap, true, out Translation page))
            {
                return RecordPageFault(address);
            }
            if (!masked)
            {
                Fill(tlb, address & ~OffsetMask, address & ~OffsetMask, kind, page);
            }
            Transfer(page.Physical | (address & OffsetMask), part, kind, data + done);
            done += part;
        }
        return true;
    }

    /// <param name="address">The page's linear address.</param>
    /// <param name="tag">The same with bits that are masked in it: what accesses are compared with.</param>
    private void Fill(Tlb tlb, ulong address, ulong tag, AccessKind kind, in Translation page)
    {
        // Fetches are not masked: where masking changes the address, it means one page to them and another to data.
        bool fetch = kind == AccessKind.Execute;
        bool forData = !fetch || LinearAddress.Unmask(_s, tag) == tag;
        bool forCode = fetch || tag == address;
        byte* host = _memory.Pointer(page.Physical, GuestMemory.PageSize);
        if (host == null || _processor.IsApicPage(page.Physical))
        {
            if (forData && !_processor.Debugging.HasData)
            {
                _slow.Keep(tag, tlb.Table, page.Physical, null, page.Readable, page.Writable && page.Dirty);
            }
            return;
        }
        _cache.NoteLarge(address, page);
        TlbEntry* entry = tlb.Claim(tag, page.Global, page.Keyed);
        entry->Addend = (ulong)host - tag;
        (bool readsWatched, bool writesWatched) = _processor.Debugging.HasData ? _processor.Debugging.WatchedOn(address) : default;
        if (page.Readable && forData && !readsWatched)
        {
            entry->Read = tag;
        }
        // While writes are logged, only a write opens a page to more of them.
        if (page.Writable && page.Dirty && forData && !writesWatched && !_memory.IsRom(page.Physical) && (kind == AccessKind.Write || !_shared.Dirty.IsOn))
        {
            _shared.NoteDirty(page.Physical);
            if (!_processor.Blocks.HasCode(page.Physical))
            {
                entry->Write = tag;
                _processor.Blocks.NoteWritable(page.Physical, tag);
            }
            else if (!_processor.Debugging.HasData)
            {
                _slow.Keep(tag, tlb.Table, page.Physical, host, false, true);
            }
        }
        if (page.Executable && forCode)
        {
            entry->Execute = tag;
            if (_checksAlignment)
            {
                TlbEntry* code = _aligned.Claim(tag, false, false);
                code->Addend = entry->Addend;
                code->Execute = tag;
            }
        }
    }

    /// <summary>Moves bytes within one page of physical memory: RAM, or else MMIO in pieces of up to 8 bytes.</summary>
    private void Transfer(ulong physical, int size, AccessKind kind, byte* data)
    {
        byte* host = _processor.IsApicPage(physical) ? null : _memory.Pointer(physical, (ulong)size);
        if (host == null)
        {
            TransferMmio(physical, size, kind, data);
        }
        else if (kind == AccessKind.Write)
        {
            if (_memory.IsRom(physical))
            {
                return;
            }
            Copy(host, data, size);
            _shared.NoteDirty(physical);
            if (_processor.Blocks.HasCode(physical))
            {
                _processor.Blocks.CodeWritten(physical, size);
            }
        }
        else
        {
            Copy(data, host, size);
        }
    }

    /// <summary>As <see cref="Transfer"/>, for a page that is known to need it.</summary>
    private void TransferSlowly(ref SlowPages.SlowPage page, ulong linear, int size, AccessKind kind, byte* data)
    {
        ulong physical = page.PhysicalAddress(linear);
        if (page.Host == null)
        {
            TransferMmio(physical, size, kind, data);
            return;
        }
        byte* host = page.Host + (linear & OffsetMask);
        if (kind != AccessKind.Write)
        {
            Copy(data, host, size);
            return;
        }
        Copy(host, data, size);
        _shared.NoteDirty(physical);
        if (_processor.Blocks.HasCode(physical))
        {
            _processor.Blocks.CodeWritten(physical, size);
        }
        else
        {
            // The next write makes it writable without notice again.
            page = default;
        }
    }

    /// <summary>Naturally sized copies are single accesses: other vCPUs must not see half of one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(byte* destination, byte* source, int size)
    {
        switch (size)
        {
            case 1: *destination = *source; break;
            case 2: *(ushort*)destination = *(ushort*)source; break;
            case 4: *(uint*)destination = *(uint*)source; break;
            case 8: *(ulong*)destination = *(ulong*)source; break;
            default: Buffer.MemoryCopy(source, destination, size, size); break;
        }
    }

    private void TransferMmio(ulong physical, int size, AccessKind kind, byte* data)
    {
        while (size > 0)
        {
            int part = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
            if (kind == AccessKind.Write)
            {
                ulong value = 0;
                Copy((byte*)&value, data, part);
                _processor.WritePhysicalDevice(physical, part, value);
            }
            else
            {
                ulong value = _processor.ReadPhysicalDevice(physical, part);
                Copy(data, (byte*)&value, part);
            }
            physical += (ulong)part;
            data += part;
            size -= part;
        }
    }
}

/// <summary>What INVPCID forgets, by the value of its register operand (SDM 2 INVPCID).</summary>
internal enum InvalidationScope
{
    /// <summary>One address in one context, unless it is global.</summary>
    Address,
    /// <summary>One context without global pages.</summary>
    Context,
    All,
    AllButGlobal,
}
