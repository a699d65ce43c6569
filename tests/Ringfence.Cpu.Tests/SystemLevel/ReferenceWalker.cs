namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Kinds of paging (SDM 3A table 4-1).</summary>
internal enum Paging
{
    Bits32,
    Pae,
    FourLevel,
    FiveLevel,
}

/// <summary>All that a translation depends on besides the tables.</summary>
internal sealed record PagingSettings(
    Paging Paging, bool Pse, bool WriteProtect, bool Nxe, bool Smep, bool Smap, bool Pke, bool Pks, bool Pages1G, uint Pkru, uint Pkrs);

/// <summary>What an access should find.</summary>
/// <param name="Error">The page-fault error code, or null if the access is allowed.</param>
/// <param name="Physical">Where the byte is.</param>
/// <param name="Marks">Entries, and the accessed and dirty flags that they should have afterwards beside those that they have.</param>
internal sealed record Verdict(uint? Error, ulong Physical, IReadOnlyList<(ulong Entry, ulong Flags)> Marks);

/// <summary>
/// Translation as the manual's tables tell it (SDM 3A 4.3 to 4.8), level by level with each level's own list of bits, and with no
/// regard to speed. Made to be compared with the processor's; it shares no code with it.
/// </summary>
internal static class ReferenceWalker
{
    private const int MaxPhysicalAddress = 40;

    /// <param name="read">The entry at a physical address.</param>
    /// <param name="pointers">PAE's directory pointers as they were loaded.</param>
    /// <param name="supervisor">A supervisor-mode access; <paramref name="ac"/> counts only for those, and only for data.</param>
    public static Verdict Walk(
        PagingSettings x, Func<ulong, ulong> read, ulong cr3, ulong[] pointers, ulong linear, char kind, bool supervisor, bool ac)
    {
        bool write = kind == 'w';
        bool fetch = kind == 'x';
        bool longMode = x.Paging is Paging.FourLevel or Paging.FiveLevel;
        uint access = (write ? 2u : 0) | (supervisor ? 0 : 4u) | (fetch && ((x.Nxe && x.Paging != Paging.Bits32) || x.Smep) ? 16u : 0);
        List<(ulong, ulong)> marks = [];
        List<ulong> used = [];
        ulong table;
        string[] levels = x.Paging switch
        {
            Paging.FiveLevel => ["PML5E", "PML4E", "PDPTE", "PDE", "PTE"],
            Paging.FourLevel => ["PML4E", "PDPTE", "PDE", "PTE"],
            Paging.Pae => ["PDE", "PTE"],
            _ => ["PDE32", "PTE32"],
        };
        if (x.Paging == Paging.Pae)
        {
            ulong pointer = pointers[linear >> 30];
            if (!Bit(pointer, 0))
            {
                return new Verdict(access, 0, marks);
            }
            table = Bits(pointer, 12, MaxPhysicalAddress - 1);
        }
        else
        {
            table = longMode ? Bits(cr3, 12, MaxPhysicalAddress - 1) : Bits(cr3, 12, 31);
        }
        foreach (string level in levels)
        {
            (int low, int high) = level switch
            {
                "PML5E" => (48, 56),
                "PML4E" => (39, 47),
                "PDPTE" => (30, 38),
                "PDE" => (21, 29),
                "PTE" => (12, 20),
                "PDE32" => (22, 31),
                _ => (12, 21),
            };
            ulong index = Bits(linear, low, high) >> low;
            ulong at = table + (index * (x.Paging == Paging.Bits32 ? 4u : 8u));
            ulong entry = read(at);
            if (!Bit(entry, 0))
            {
                return new Verdict(access, 0, marks);
            }
            bool maps = level switch
            {
                "PTE" or "PTE32" => true,
                "PDE" => Bit(entry, 7),
                "PDPTE" => Bit(entry, 7) && x.Pages1G,
                "PDE32" => Bit(entry, 7) && x.Pse,
                _ => false,
            };
            if (HasReservedBits(x, level, entry, maps))
            {
                return new Verdict(access | 1 | 8, 0, marks);
            }
            used.Add(entry);
            if (!maps)
            {
                marks.Add((at, 0x20));
                table = x.Paging == Paging.Bits32 ? Bits(entry, 12, 31) : Bits(entry, 12, MaxPhysicalAddress - 1);
                continue;
            }
            bool userAddress = used.TrueForAll(e => Bit(e, 2));
            bool writable = used.TrueForAll(e => Bit(e, 1));
            bool noExecute = x.Nxe && x.Paging != Paging.Bits32 && used.Exists(e => Bit(e, 63));
            bool keyForbids = false;
            if (longMode && !fetch && (userAddress ? x.Pke : x.Pks))
            {
                int key = (int)(Bits(entry, 59, 62) >> 59);
                uint register = userAddress ? x.Pkru : x.Pkrs;
                bool accessDisable = Bit(register, 2 * key);
                bool writeDisable = Bit(register, (2 * key) + 1);
                keyForbids = accessDisable || (write && writeDisable && (!supervisor || x.WriteProtect));
            }
            bool allowed;
            if (supervisor)
            {
                bool smapAllows = !userAddress || !x.Smap || ac;
                allowed = kind switch
                {
                    'r' => smapAllows,
                    'w' => smapAllows && (writable || !x.WriteProtect),
                    _ => !noExecute && !(userAddress && x.Smep),
                };
            }
            else
            {
                allowed = userAddress && kind switch
                {
                    'r' => true,
                    'w' => writable,
                    _ => !noExecute,
                };
            }
            if (!allowed || keyForbids)
            {
                return new Verdict(access | 1 | (keyForbids ? 32u : 0), 0, marks);
            }
            marks.Add((at, write ? 0x60u : 0x20));
            ulong frame = level switch
            {
                "PDE32" => Bits(entry, 22, 31) | (Bits(entry, 13, 20) << 19),
                "PTE32" => Bits(entry, 12, 31),
                _ => Bits(entry, low, MaxPhysicalAddress - 1),
            };
            return new Verdict(null, frame | Bits(linear, 0, low - 1), marks);
        }
        throw new InvalidOperationException("the last level maps");
    }

    private static bool HasReservedBits(PagingSettings x, string level, ulong entry, bool maps)
    {
        if (x.Paging == Paging.Bits32)
        {
            return level == "PDE32" && maps && Bit(entry, 21);
        }
        bool reserved = Bits(entry, MaxPhysicalAddress, 51) != 0 || (!x.Nxe && Bit(entry, 63));
        if (x.Paging == Paging.Pae)
        {
            reserved |= Bits(entry, 52, 62) != 0;
        }
        return reserved || level switch
        {
            "PML5E" or "PML4E" => Bit(entry, 7),
            "PDPTE" => Bit(entry, 7) && (!x.Pages1G || Bits(entry, 13, 29) != 0),
            "PDE" => maps && Bits(entry, 13, 20) != 0,
            _ => false,
        };
    }

    private static bool Bit(ulong value, int number) => ((value >> number) & 1) != 0;

    /// <summary>Bits <paramref name="low"/> to <paramref name="high"/>, where they are.</summary>
    private static ulong Bits(ulong value, int low, int high) => (value >> low << low) & (ulong.MaxValue >> (63 - high));
}
