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
    private readonly Tlb _supervisor = new();
    private readonly Tlb _user = new();
    private readonly Tlb _supervisorAc = new();
    /// <summary>In force while alignment is checked: tags for execution only, so that all data comes by <see cref="Access"/>.</summary>
    private readonly Tlb _aligned = new();
    private readonly PageWalker _walker;
    /// <summary>Regions of 2 MiB and 1 GiB that were filled from large pages: INVLPG there must forget the whole page.</summary>
    private readonly RegionSet _large = new(21);
    private readonly RegionSet _huge = new(30);
    /// <summary>The last page found to be no RAM, for devices that are touched again and again. Odd when there is none.</summary>
    private ulong _devicePage = 1;
    private ulong _devicePhysical;
    private TlbEntry* _deviceTlb;
    /// <summary>What data is translated by; as <see cref="CpuState.Tlb"/> unless alignment is checked.</summary>
    private TlbEntry* _data;
    private bool _checksAlignment;

    public Mmu(Processor processor, CpuState* state, GuestMemory memory)
    {
        _processor = processor;
        _s = state;
        _memory = memory;
        _walker = new PageWalker(state, memory);
        state->TlbSupervisor = _supervisor.Table;
        state->TlbUser = _user.Table;
        state->TlbSupervisorAc = _supervisorAc.Table;
        SelectTlb();
    }

    /// <summary>The fault recorded last is that of an access to a non-canonical address. Whoever acts on it clears it.</summary>
    public bool MetNonCanonical { get; set; }

    /// <summary>Chooses the table for the present privilege. To be called when CPL, CR0.AM, CR4.SMAP or RFLAGS.AC change.</summary>
    public void SelectTlb()
    {
        _checksAlignment = _s->Cpl == 3 && (_s->SystemFlags & Flags.AlignmentCheck) != 0 && (_s->Cr0 & ControlBits.AlignmentMask) != 0;
        _data = Current.Table;
        _s->Tlb = _checksAlignment ? _aligned.Table : _data;
    }

    private Tlb Current => _s->Cpl == 3 ? _user : SmapInForce ? _supervisor : _supervisorAc;

    /// <summary>Supervisor accesses to user pages fault now.</summary>
    private bool SmapInForce => (_s->Cr4 & ControlBits.Smap) != 0 && (_s->SystemFlags & Flags.AlignmentCheck) == 0;

    /// <summary>An access of up to 64 bytes that may cross pages. Rights are checked as <paramref name="rights"/> says, for all pages first;
    /// then data moves as <paramref name="transfer"/> says, to or from <paramref name="data"/>.</summary>
    public bool Access(ulong linear, int size, AccessKind rights, AccessKind transfer, byte* data)
    {
        TlbEntry* entry = _data + ((linear >> 12) & (Tlb.Entries - 1));
        if (_checksAlignment && IsMisaligned(linear, size))
        {
            return RefuseMisaligned(linear, size, rights);
        }
        if (((rights == AccessKind.Write ? entry->Write : entry->Read) ^ linear) <= GuestMemory.PageSize - (ulong)size)
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

    private bool AccessSlowly(ulong linear, int size, AccessKind rights, AccessKind transfer, byte* data)
    {
        if (!Canonical(linear) || !Canonical(linear + (ulong)size - 1))
        {
            // SDM 1 3.3.7.1: #SS for stack accesses. Which those are is not known here; the outer loop finds out.
            MetNonCanonical = true;
            Exits.Record(_s, Vectors.GeneralProtection);
            return false;
        }
        int first = (int)Math.Min((ulong)size, GuestMemory.PageSize - (linear & OffsetMask));
        if (first == size && (linear & ~OffsetMask) == _devicePage && _data == _deviceTlb)
        {
            Transfer(_devicePhysical | (linear & OffsetMask), size, transfer, data);
            return true;
        }
        if (!Translate(linear, rights, out ulong physical))
        {
            return false;
        }
        if (first == size)
        {
            Transfer(physical, size, transfer, data);
            return true;
        }
        if (!Translate((linear + (ulong)first) & _s->LinearMask, rights, out ulong second))
        {
            return false;
        }
        Transfer(physical, first, transfer, data);
        Transfer(second, size - first, transfer, data + first);
        return true;
    }

    /// <summary>The host address of an operand in RAM that is to be changed atomically. Null: a fault, which is recorded, or not wholly in one page of RAM.
    /// If the page holds decoded code, <see cref="CpuState.CodeTouched"/> says where.</summary>
    public byte* Locate(ulong linear, int size)
    {
        if (_checksAlignment && IsMisaligned(linear, size))
        {
            RefuseMisaligned(linear, size, AccessKind.Write);
            return null;
        }
        if ((linear & OffsetMask) + (ulong)size > GuestMemory.PageSize || !Canonical(linear) || !Translate(linear, AccessKind.Write, out ulong physical)
            || _processor.IsApicPage(physical) || (_processor.Debugging.HasData && !_processor.Debugging.MayAccess(linear, size, AccessKind.Read, AccessKind.Write)))
        {
            return null;
        }
        if (_processor.Debugging.HasData)
        {
            _processor.Debugging.Accessed(linear, size, AccessKind.Read, AccessKind.Write);
        }
        byte* host = _memory.Pointer(physical, (ulong)size);
        _s->CodeTouched = host != null && _processor.Blocks.HasCode(physical) ? physical : 0;
        return host;
    }

    /// <summary>SDM 3A table 6-7: as its size says, but 8 for the x87's 10 bytes.</summary>
    private static bool IsMisaligned(ulong linear, int size) => (linear & (ulong)((size == 10 ? 8 : size) - 1)) != 0;

    /// <summary>Records #AC, or the fault that comes before it.</summary>
    private bool RefuseMisaligned(ulong linear, int size, AccessKind rights)
    {
        ulong last = linear + (ulong)size - 1;
        if (!Canonical(linear) || !Canonical(last))
        {
            MetNonCanonical = true;
            Exits.Record(_s, Vectors.GeneralProtection);
        }
        else if (Translate(linear, rights, out _) && Translate(last & _s->LinearMask, rights, out _))
        {
            Exits.Record(_s, Vectors.AlignmentCheck);
        }
        return false;
    }

    /// <summary>Translates for the present privilege, fills the TLB, or records the fault.</summary>
    public bool Translate(ulong linear, AccessKind kind, out ulong physical)
    {
        bool user = _s->Cpl == 3;
        if (!_walker.Walk(linear, kind, user, user || SmapInForce, out Translation page))
        {
            physical = 0;
            _s->FaultAddress = linear;
            Exits.Record(_s, Vectors.PageFault, _walker.FaultCode);
            return false;
        }
        physical = page.Physical | (linear & OffsetMask);
        Fill(Current, linear & ~OffsetMask, page);
        return true;
    }

    /// <summary>Reads a system structure (descriptor, TSS) with supervisor rights whatever the CPL. False: the fault is recorded.</summary>
    public bool ReadSystem<T>(ulong linear, out T value)
        where T : unmanaged
    {
        T read = default;
        bool done = AccessSystem(linear, sizeof(T), AccessKind.Read, (byte*)&read);
        value = read;
        return done;
    }

    public bool WriteSystem<T>(ulong linear, T value)
        where T : unmanaged => AccessSystem(linear, sizeof(T), AccessKind.Write, (byte*)&value);

    /// <summary>Whether a range could be written with supervisor rights; if not, the fault is recorded.</summary>
    public bool ProbeSystemWrite(ulong linear, int size, bool user)
    {
        for (ulong at = linear; at < linear + (ulong)size;)
        {
            ulong address = at & _s->LinearMask;
            if (!Canonical(address))
            {
                Exits.Record(_s, Vectors.StackFault);
                return false;
            }
            if (!_walker.Walk(address, AccessKind.Write, user, user || SmapInForce, out _))
            {
                _s->FaultAddress = address;
                Exits.Record(_s, Vectors.PageFault, _walker.FaultCode);
                return false;
            }
            at = (at | OffsetMask) + 1;
        }
        return true;
    }

    public void FlushLocal()
    {
        _supervisor.FlushLocal();
        _user.FlushLocal();
        _supervisorAc.FlushLocal();
        _aligned.FlushLocal();
        _devicePage = 1;
    }

    public void FlushAll()
    {
        _supervisor.FlushAll();
        _user.FlushAll();
        _supervisorAc.FlushAll();
        _aligned.FlushAll();
        _large.Clear();
        _huge.Clear();
        _devicePage = 1;
    }

    /// <summary>INVLPG.</summary>
    public void FlushPage(ulong linear)
    {
        _devicePage = 1;
        bool huge = _huge.Contains(linear);
        if (huge || _large.Contains(linear))
        {
            ulong mask = huge ? ~0x3FFF_FFFFUL : ~0x1F_FFFFUL;
            _supervisor.FlushRange(linear, mask);
            _user.FlushRange(linear, mask);
            _supervisorAc.FlushRange(linear, mask);
            _aligned.FlushRange(linear, mask);
        }
        else
        {
            _supervisor.FlushPage(linear);
            _user.FlushPage(linear);
            _supervisorAc.FlushPage(linear);
            _aligned.FlushPage(linear);
        }
    }

    /// <summary>From now on writes to this host page take the slow path.</summary>
    /// <param name="linear">The one linear address it was writable at, or null if there were several.</param>
    public void ProtectPage(byte* hostPage, ulong? linear)
    {
        _supervisor.ProtectPage(hostPage, linear);
        _user.ProtectPage(hostPage, linear);
        _supervisorAc.ProtectPage(hostPage, linear);
    }

    public void Dispose()
    {
        _supervisor.Dispose();
        _user.Dispose();
        _supervisorAc.Dispose();
        _aligned.Dispose();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool Canonical(ulong linear) => (long)(linear << 16) >> 16 == (long)linear || _s->LinearMask != ulong.MaxValue;

    private bool AccessSystem(ulong linear, int size, AccessKind kind, byte* data)
    {
        // Implicit supervisor accesses ignore RFLAGS.AC (SDM 3A 4.6.1).
        bool smap = (_s->Cr4 & ControlBits.Smap) != 0;
        Tlb tlb = smap ? _supervisor : _supervisorAc;
        for (int done = 0; done < size;)
        {
            ulong address = (linear + (ulong)done) & _s->LinearMask;
            int part = (int)Math.Min((ulong)(size - done), GuestMemory.PageSize - (address & OffsetMask));
            TlbEntry* entry = tlb.Table + ((address >> 12) & (Tlb.Entries - 1));
            if (((kind == AccessKind.Write ? entry->Write : entry->Read) ^ address) < GuestMemory.PageSize)
            {
                byte* host = (byte*)(address + entry->Addend);
                Copy(kind == AccessKind.Write ? host : data + done, kind == AccessKind.Write ? data + done : host, part);
                done += part;
                continue;
            }
            if (!Canonical(address))
            {
                Exits.Record(_s, Vectors.GeneralProtection);
                return false;
            }
            _processor.Stops?.Note(address, part, kind == AccessKind.Read, kind == AccessKind.Write);
            if (!_walker.Walk(address, kind, false, smap, out Translation page))
            {
                _s->FaultAddress = address;
                Exits.Record(_s, Vectors.PageFault, _walker.FaultCode);
                return false;
            }
            Fill(tlb, address & ~OffsetMask, page);
            Transfer(page.Physical | (address & OffsetMask), part, kind, data + done);
            done += part;
        }
        return true;
    }

    private void Fill(Tlb tlb, ulong linear, in Translation page)
    {
        byte* host = _memory.Pointer(page.Physical, GuestMemory.PageSize);
        if (host == null || _processor.IsApicPage(page.Physical))
        {
            if (tlb == Current && page.Readable && page.Writable && page.Dirty)
            {
                _devicePage = linear;
                _devicePhysical = page.Physical;
                _deviceTlb = tlb.Table;
            }
            return;
        }
        if (page.Huge)
        {
            _huge.Add(linear);
        }
        else if (page.Large)
        {
            _large.Add(linear);
        }
        TlbEntry* entry = tlb.Claim(linear, page.Global);
        entry->Addend = (ulong)host - linear;
        (bool readsWatched, bool writesWatched) = _processor.Debugging.HasData ? _processor.Debugging.WatchedOn(linear) : default;
        if (page.Readable && !readsWatched)
        {
            entry->Read = linear;
        }
        if (page.Writable && page.Dirty && !writesWatched && !_processor.Blocks.HasCode(page.Physical))
        {
            entry->Write = linear;
            _processor.Blocks.NoteWritable(page.Physical, linear);
        }
        if (page.Executable)
        {
            entry->Execute = linear;
            if (_checksAlignment)
            {
                TlbEntry* code = _aligned.Claim(linear, page.Global);
                code->Addend = entry->Addend;
                code->Execute = linear;
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
            Copy(host, data, size);
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

    /// <summary>Naturally sized copies are single accesses: other vCPUs must not see half of one.</summary>
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
