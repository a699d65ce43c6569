using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Memory;

/// <summary>A page as a walk found it, with the rights of the access that asked.</summary>
internal struct Translation
{
    /// <summary>Physical address of the 4 KiB page.</summary>
    public ulong Physical;
    public bool Readable;
    public bool Writable;
    public bool Executable;
    public bool Global;
    /// <summary>The dirty flag is set: writes need no walk.</summary>
    public bool Dirty;
    /// <summary>Part of a page of 2 MiB, 4 MiB or 1 GiB.</summary>
    public bool Large;
    public bool Huge;
    /// <summary>A protection key other than 0 had a say.</summary>
    public bool Keyed;
}

/// <summary>Walks the guest's page tables: 32-bit, PAE, 4-level and 5-level. Sets accessed and dirty flags. SDM 3A 4.3 to 4.8.</summary>
internal sealed unsafe class PageWalker(CpuState* s, GuestMemory memory, CpuModel model, SharedCode shared)
{
    public const int PhysicalBits = 40;

    private const ulong Present = 1;
    private const ulong Write = 2;
    private const ulong User = 4;
    private const ulong Accessed = 0x20;
    private const ulong DirtyBit = 0x40;
    private const ulong PageSizeBit = 0x80;
    private const ulong GlobalBit = 0x100;
    private const ulong NoExecute = 1UL << 63;
    private const ulong AddressMask = ((1UL << PhysicalBits) - 1) & ~0xFFFUL;
    private const ulong ReservedAddress = ((1UL << 52) - 1) & ~((1UL << PhysicalBits) - 1);
    /// <summary>In the pointers to PAE's four directories: bits 1, 2, 5 to 8, and those beyond physical addresses.</summary>
    private const ulong ReservedInPointer = 0x1E6 | ~((1UL << PhysicalBits) - 1);

    /// <summary>Bits of the page-fault error code (SDM 3A 4.7). The lowest three are those of entries.</summary>
    private const uint ReservedFault = 8;
    private const uint FetchFault = 16;
    private const uint KeyFault = 32;

    private readonly CpuState* _s = s;
    private readonly bool _pages1G = model.Has(CpuFeature.Pages1G);
    /// <summary>In a page of 4 MiB: bit 21, and without PSE-36 also those that would be its address bits 32 to 39.</summary>
    private readonly ulong _reserved4M = model.Has(CpuFeature.Pse36) ? 1UL << 21 : 0x3F_E000;

    /// <summary>Where the last level's tables were found, by region of 2 MiB: a paging-structure cache (SDM 3A 4.10.3).</summary>
    private readonly Directory[] _directories = new Directory[Directories];
    private const int Directories = 64;
    private const int DirectoryShift = 21;
    /// <summary>Counts up when all are forgotten.</summary>
    private ulong _generation = 1;

    /// <summary>The page-fault error code of the last walk that failed.</summary>
    public uint FaultCode { get; private set; }

    private bool LongMode
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => (_s->Efer & ControlBits.LongModeActive) != 0;
    }

    /// <summary>To be called when any translation is forgotten.</summary>
    public void Forget() => _generation++;

    /// <param name="user">The access is made with user rights.</param>
    /// <param name="userPagesBarred">For supervisor accesses: SMAP forbids user pages.</param>
    /// <param name="mark">Sets the leaf's accessed and dirty flags; false only asks.</param>
    public bool Walk(ulong linear, AccessKind kind, bool user, bool userPagesBarred, bool mark, out Translation page)
    {
        page = default;
        if ((_s->Cr0 & ControlBits.Paging) == 0)
        {
            page.Physical = linear & 0xFFFF_F000;
            page.Readable = page.Writable = page.Executable = page.Dirty = true;
            return true;
        }
        ulong rights = Write | User;
        bool noExecute = false;
        bool nxe = (_s->Efer & ControlBits.NxEnable) != 0;
        bool wide = (_s->Cr4 & ControlBits.Pae) != 0;
        int level;
        ulong table;
        ref Directory known = ref _directories[(linear >> DirectoryShift) & (Directories - 1)];
        if (known.Generation == _generation && known.Region == linear >> DirectoryShift && wide)
        {
            (level, table, rights, noExecute) = (0, known.Table, known.Rights, known.NoExecute);
        }
        else if (!TryStart(linear, out level, out table))
        {
            return Fail(kind, user, 0);
        }
        ulong reserved = ReservedAddress | (nxe ? 0UL : NoExecute) | (LongMode ? 0UL : 0x7FF0_0000_0000_0000UL);
        while (true)
        {
            int shift = wide ? 12 + (9 * level) : 12 + (10 * level);
            ulong address = wide ? table + (((linear >> shift) & 511) * 8) : table + (((linear >> shift) & 1023) * 4);
            byte* slot = memory.Pointer(address, wide ? 8u : 4u);
            ulong entry = slot == null ? 0 : wide ? *(ulong*)slot : *(uint*)slot;
            if ((entry & Present) == 0)
            {
                return Fail(kind, user, 0);
            }
            bool leaf = level == 0
                || ((entry & PageSizeBit) != 0 && (wide ? level <= 2 : (_s->Cr4 & ControlBits.PageSizeExtensions) != 0));
            if (wide ? (entry & (reserved | ReservedAt(level, leaf))) != 0 : leaf && level == 1 && (entry & _reserved4M) != 0)
            {
                return Fail(kind, user, (uint)Present | ReservedFault);
            }
            rights &= entry;
            noExecute |= nxe && (entry & NoExecute) != 0;
            if (!leaf)
            {
                if ((entry & Accessed) == 0 && !TrySet(slot, address, wide, entry, Accessed))
                {
                    return Walk(linear, kind, user, userPagesBarred, mark, out page);
                }
                table = wide ? entry & AddressMask : entry & 0xFFFF_F000;
                level--;
                if (level == 0 && wide)
                {
                    known = new Directory { Generation = _generation, Region = linear >> DirectoryShift, Table = table, Rights = rights, NoExecute = noExecute };
                }
                continue;
            }
            uint keyRights = KeyRights(entry, (rights & User) != 0, out page.Keyed);
            if (!Permit(kind, user, userPagesBarred, rights, noExecute, keyRights, ref page))
            {
                return Fail(kind, user, (uint)Present | (DeniedByKey(kind, user, keyRights) ? KeyFault : 0));
            }
            ulong wanted = !mark ? 0 : Accessed | (kind == AccessKind.Write ? DirtyBit : 0);
            if ((entry & wanted) != wanted && !TrySet(slot, address, wide, entry, wanted))
            {
                return Walk(linear, kind, user, userPagesBarred, mark, out page);
            }
            page.Dirty = ((entry | wanted) & DirtyBit) != 0;
            page.Global = (entry & GlobalBit) != 0 && (_s->Cr4 & ControlBits.PageGlobal) != 0;
            page.Large = level > 0;
            page.Huge = level > 1;
            ulong size = 1UL << shift;
            // A 4 MiB page of 32-bit paging keeps address bits 32 to 39 in bits 13 to 20 (PSE-36).
            ulong frame = wide ? entry & AddressMask : level == 1 ? (entry & 0xFFC0_0000) | ((entry & 0x1F_E000) << 19) : entry & 0xFFFF_F000;
            page.Physical = (frame & ~(size - 1)) | (linear & (size - 1) & ~0xFFFUL);
            return true;
        }
    }

    /// <summary>Reads the pointers to PAE's four page directories, which the processor keeps until CR3 is loaded again (SDM 3A 4.4.1).
    /// False: one has reserved bits set; what was kept stays.</summary>
    public bool TryLoadPointers(ulong cr3)
    {
        ulong* pointers = (ulong*)memory.Pointer(cr3 & 0xFFFF_FFE0, 32);
        for (int i = 0; i < 4 && pointers != null; i++)
        {
            if ((pointers[i] & Present) != 0 && (pointers[i] & ReservedInPointer) != 0)
            {
                return false;
            }
        }
        for (int i = 0; i < 4; i++)
        {
            _s->Pdpte[i] = pointers == null ? 0 : pointers[i];
        }
        return true;
    }

    /// <summary>Where the walk begins. False: PAE's pointer for the address is not present.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryStart(ulong linear, out int level, out ulong table)
    {
        level = 1;
        if ((_s->Cr4 & ControlBits.Pae) == 0)
        {
            table = _s->Cr3 & 0xFFFF_F000;
            return true;
        }
        if (LongMode)
        {
            level = (_s->Cr4 & ControlBits.La57) != 0 ? 4 : 3;
            table = _s->Cr3 & AddressMask;
            return true;
        }
        ulong pointer = _s->Pdpte[(linear >> 30) & 3];
        table = pointer & AddressMask;
        return (pointer & Present) != 0;
    }

    /// <summary>What is reserved in an entry of one level, whatever the mode: the page-size bit where no page can be, and between the PAT bit (12)
    /// and the frame of a large page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ulong ReservedAt(int level, bool leaf) => (level > 2 || (level == 2 && !_pages1G) ? PageSizeBit : 0)
        | (leaf && level > 0 ? ((1UL << (12 + (9 * level))) - 1) & ~0x1FFFUL : 0);

    /// <summary>What the page's protection key denies: bit 0 access, bit 1 writing (SDM 3A 4.6.2).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private uint KeyRights(ulong leaf, bool userPage, out bool keyed)
    {
        int key = (int)(leaf >> 59) & 15;
        bool inForce = LongMode && (_s->Cr4 & (userPage ? ControlBits.ProtectionKeys : ControlBits.SupervisorKeys)) != 0;
        keyed = inForce && key != 0;
        return inForce ? ((userPage ? _s->Pkru : _s->Pkrs) >> (2 * key)) & 3 : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool DeniedByKey(AccessKind kind, bool user, uint keyRights) => kind switch
    {
        AccessKind.Read => (keyRights & 1) != 0,
        AccessKind.Write => (keyRights & 1) != 0 || ((keyRights & 2) != 0 && (user || (_s->Cr0 & ControlBits.WriteProtect) != 0)),
        _ => false,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool Permit(AccessKind kind, bool user, bool userPagesBarred, ulong rights, bool noExecute, uint keyRights, ref Translation page)
    {
        bool userPage = (rights & User) != 0;
        bool writable = (rights & Write) != 0;
        if (user)
        {
            page.Readable = userPage;
            page.Writable = userPage && writable;
            page.Executable = userPage && !noExecute;
        }
        else
        {
            bool barred = userPage && userPagesBarred;
            page.Readable = !barred;
            page.Writable = !barred && (writable || (_s->Cr0 & ControlBits.WriteProtect) == 0);
            page.Executable = !noExecute && !(userPage && (_s->Cr4 & ControlBits.Smep) != 0);
        }
        page.Readable &= !DeniedByKey(AccessKind.Read, user, keyRights);
        page.Writable &= !DeniedByKey(AccessKind.Write, user, keyRights);
        return kind switch
        {
            AccessKind.Read => page.Readable,
            AccessKind.Write => page.Writable,
            _ => page.Executable,
        };
    }

    private bool Fail(AccessKind kind, bool user, uint code)
    {
        bool fetchKnown = (_s->Efer & ControlBits.NxEnable) != 0 && (_s->Cr4 & ControlBits.Pae) != 0 || (_s->Cr4 & ControlBits.Smep) != 0;
        FaultCode = code | (kind == AccessKind.Write ? (uint)Write : 0) | (user ? (uint)User : 0)
            | (kind == AccessKind.Execute && fetchKnown ? FetchFault : 0);
        return false;
    }

    /// <summary>Sets flags in an entry if it is still what was read: another processor may be taking it away.</summary>
    private bool TrySet(byte* slot, ulong address, bool wide, ulong entry, ulong bits)
    {
        shared.NoteDirty(address);
        return wide
            ? Interlocked.CompareExchange(ref *(ulong*)slot, entry | bits, entry) == entry
            : Interlocked.CompareExchange(ref *(uint*)slot, (uint)(entry | bits), (uint)entry) == (uint)entry;
    }

    /// <summary>What all entries above the last level come to.</summary>
    private struct Directory
    {
        public ulong Generation;
        public ulong Region;
        public ulong Table;
        public ulong Rights;
        public bool NoExecute;
    }
}
