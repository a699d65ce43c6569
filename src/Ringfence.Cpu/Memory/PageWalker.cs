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
}

/// <summary>Walks the guest's page tables: 32-bit, PAE, 4-level. Sets accessed and dirty flags. SDM 3A 4.3 to 4.7.</summary>
internal sealed unsafe class PageWalker(CpuState* s, GuestMemory memory)
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

    private readonly CpuState* _s = s;

    /// <summary>The page-fault error code of the last walk that failed (SDM 3A 4.7).</summary>
    public uint FaultCode { get; private set; }

    /// <param name="user">The access is made with user rights.</param>
    /// <param name="userPagesBarred">For supervisor accesses: SMAP forbids user pages.</param>
    public bool Walk(ulong linear, AccessKind kind, bool user, bool userPagesBarred, out Translation page)
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
        bool longMode = (_s->Efer & ControlBits.LongModeActive) != 0;
        int level = longMode ? 3 : wide ? 2 : 1;
        ulong table = longMode ? _s->Cr3 & AddressMask : wide ? _s->Cr3 & 0xFFFF_FFE0 : _s->Cr3 & 0xFFFF_F000;
        while (true)
        {
            int shift = wide ? 12 + (9 * level) : 12 + (10 * level);
            ulong address = wide
                ? table + (((linear >> shift) & (level == 2 && !longMode ? 3u : 511u)) * 8)
                : table + (((linear >> shift) & 1023) * 4);
            byte* slot = memory.Pointer(address, wide ? 8u : 4u);
            ulong entry = slot == null ? 0 : wide ? *(ulong*)slot : *(uint*)slot;
            if ((entry & Present) == 0)
            {
                return Fail(kind, user, 0);
            }
            bool pdpte = wide && !longMode && level == 2;
            bool leaf = level == 0 || (!pdpte && (entry & PageSizeBit) != 0 && (wide ? level <= 2 : level == 1 && (_s->Cr4 & ControlBits.PageSizeExtensions) != 0));
            // Bit 21 is the one that a 4 MiB page of 32-bit paging leaves unused.
            if (wide ? !pdpte && Reserved(entry, level, leaf, nxe, longMode) : leaf && level == 1 && (entry & (1 << 21)) != 0)
            {
                return Fail(kind, user, 1 | 8);
            }
            if (!pdpte)
            {
                rights &= entry;
                noExecute |= nxe && (entry & NoExecute) != 0;
            }
            if (!leaf)
            {
                if (!pdpte && (entry & Accessed) == 0)
                {
                    SetBits(slot, Accessed);
                }
                table = wide ? entry & AddressMask : entry & 0xFFFF_F000;
                level--;
                continue;
            }
            if (!Permit(kind, user, userPagesBarred, rights, noExecute, ref page))
            {
                return Fail(kind, user, 1);
            }
            ulong wanted = Accessed | (kind == AccessKind.Write ? DirtyBit : 0);
            if ((entry & wanted) != wanted)
            {
                SetBits(slot, wanted);
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

    private static bool Reserved(ulong entry, int level, bool leaf, bool nxe, bool longMode)
    {
        ulong reserved = ReservedAddress | (nxe ? 0UL : NoExecute) | (longMode ? 0UL : 0x7FF0_0000_0000_0000UL);
        if (leaf && level > 0)
        {
            // Between the PAT bit (12) and the page frame.
            reserved |= ((1UL << (12 + (9 * level))) - 1) & ~0x1FFFUL;
        }
        else if (level == 3)
        {
            reserved |= PageSizeBit;
        }
        return (entry & reserved) != 0;
    }

    private bool Permit(AccessKind kind, bool user, bool userPagesBarred, ulong rights, bool noExecute, ref Translation page)
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
        FaultCode = code | (kind == AccessKind.Write ? 2u : 0) | (user ? 4u : 0) | (kind == AccessKind.Execute && fetchKnown ? 16u : 0);
        return false;
    }

    /// <summary>All flags that a walk sets are in the entry's low four bytes.</summary>
    private static void SetBits(byte* slot, ulong bits) => Interlocked.Or(ref *(uint*)slot, (uint)bits);
}
