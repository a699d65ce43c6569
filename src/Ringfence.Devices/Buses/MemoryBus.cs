namespace Ringfence.Devices.Buses;

/// <summary>
/// Guest-physical addresses that are devices (MMIO). What nothing answers to reads as all ones and swallows writes. An access that
/// does not lie in one device's range is made byte by byte. Ranges may come and go while processors run; a lookup takes no lock.
/// </summary>
public sealed class MemoryBus
{
    private readonly Lock _lock = new();
    // Sorted by start, never overlapping, replaced whole.
    private Entry[] _entries = [];

    /// <summary>Lets <paramref name="device"/> answer from <paramref name="address"/> for <paramref name="length"/> bytes.</summary>
    /// <exception cref="ArgumentException">Some of the range is taken.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty or passes the end of the address space.</exception>
    public void Add(ulong address, ulong length, IMemoryDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfZero(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length - 1, ulong.MaxValue - address, nameof(length));
        lock (_lock)
        {
            var added = new Entry(address, address + (length - 1), device);
            int place = 0;
            foreach (Entry entry in _entries)
            {
                if (entry.First <= added.Last && added.First <= entry.Last)
                {
                    throw new ArgumentException(
                        $"0x{address:x} to 0x{added.Last:x} overlaps {entry.Device.GetType().Name} at 0x{entry.First:x}", nameof(address));
                }
                place += entry.First < address ? 1 : 0;
            }
            Volatile.Write(ref _entries, [.. _entries[..place], added, .. _entries[place..]]);
        }
    }

    /// <summary>Takes away every range of <paramref name="device"/>.</summary>
    public void Remove(IMemoryDevice device)
    {
        lock (_lock)
        {
            Volatile.Write(ref _entries, [.. _entries.Where(entry => entry.Device != device)]);
        }
    }

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    public ulong Read(ulong address, int size)
    {
        if (Find(address) is { } entry && (ulong)(size - 1) <= entry.Last - address)
        {
            return entry.Read(address - entry.First, size) & Mask(size);
        }
        if (size == 1)
        {
            return 0xFF;
        }
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= Read(unchecked(address + (ulong)i), 1) << (i * 8);
        }
        return value;
    }

    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    public void Write(ulong address, int size, ulong value)
    {
        if (Find(address) is { } entry && (ulong)(size - 1) <= entry.Last - address)
        {
            entry.Write(address - entry.First, size, value & Mask(size));
            return;
        }
        for (int i = 0; size > 1 && i < size; i++)
        {
            Write(unchecked(address + (ulong)i), 1, (value >> (i * 8)) & 0xFF);
        }
    }

    private static ulong Mask(int size) => ulong.MaxValue >> (64 - (size * 8));

    private Entry? Find(ulong address)
    {
        Entry[] entries = Volatile.Read(ref _entries);
        int low = 0;
        int high = entries.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (entries[middle].Last < address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }
        return low < entries.Length && entries[low].First <= address ? entries[low] : null;
    }

    private sealed class Entry(ulong first, ulong last, IMemoryDevice device)
    {
        public readonly ulong First = first;
        public readonly ulong Last = last;
        public readonly IMemoryDevice Device = device;
        // As in PortBus.
        public readonly Func<ulong, int, ulong> Read = device.ReadMemory;
        public readonly Action<ulong, int, ulong> Write = device.WriteMemory;
    }
}
