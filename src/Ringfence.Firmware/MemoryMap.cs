using Ringfence.Host;

namespace Ringfence.Firmware;

/// <summary>Address range types of INT 15h E820 (ACPI 6.4 §15.1).</summary>
public enum E820Type
{
    Ram = 1,
    Reserved = 2,
    AcpiReclaimable = 3,
    AcpiNvs = 4,
}

/// <summary>A range of the memory map: address and length in bytes.</summary>
public readonly record struct E820Entry(ulong Address, ulong Length, E820Type Type)
{
    public ulong End => Address + Length;
}

/// <summary>The memory map that guests are given.</summary>
public static class MemoryMap
{
    /// <summary>
    /// The map of a guest's memory in ascending order: conventional memory up to the EBDA, the EBDA and the BIOS area reserved,
    /// RAM from 1 MiB, RAM from 4 GiB. 0xC0000 to 0xEFFFF is left out, as option ROMs leave it out on a PC.
    /// </summary>
    public static IReadOnlyList<E820Entry> Build(GuestMemory memory)
    {
        var map = new List<E820Entry>
        {
            new(0, BoardLayout.EbdaBase, E820Type.Ram),
            new(BoardLayout.EbdaBase, GuestMemory.VgaWindow - BoardLayout.EbdaBase, E820Type.Reserved),
            new(BoardLayout.BiosBase, BoardLayout.BiosEnd - BoardLayout.BiosBase, E820Type.Reserved),
        };
        foreach (MemoryRegion region in memory.Regions)
        {
            ulong start = Math.Max(region.Address, BoardLayout.BiosEnd);
            ulong end = region.Address + region.Length;
            if (end > start)
            {
                map.Add(new E820Entry(start, end - start, E820Type.Ram));
            }
        }
        return map;
    }
}
