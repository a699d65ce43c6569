using System.Runtime.CompilerServices;

namespace Ringfence.Devices.Buses;

/// <summary>
/// The 64 KiB of x86 port I/O space. What nothing answers to reads as all ones and swallows writes. An access that does not lie in
/// one device's range is made byte by byte. Ranges may come and go while processors run; a lookup takes no lock.
/// </summary>
public sealed class PortBus
{
    private const int PortCount = 0x10000;
    private const int PageSize = 256;

    private readonly Lock _lock = new();
    // Two levels, as most of the space is empty. Byte accesses have a map of their own: see AddByteOverlay.
    private readonly Entry?[]?[] _pages = new Entry?[]?[PortCount / PageSize];
    private readonly Entry?[]?[] _bytePages = new Entry?[]?[PortCount / PageSize];

    /// <summary>Lets <paramref name="device"/> answer at <paramref name="port"/> and the <paramref name="length"/> - 1 ports after it.</summary>
    /// <param name="deviceOffset">The offset that the device sees for the first port, where it has its registers apart (0x60 and 0x64).</param>
    /// <exception cref="ArgumentException">Some of the ports are taken.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty or passes the end of the space.</exception>
    public void Add(ushort port, int length, IPortDevice device, ushort deviceOffset = 0)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, PortCount - port);
        lock (_lock)
        {
            for (int i = port; i < port + length; i++)
            {
                if (Find(_pages, i) is { } taken)
                {
                    throw new ArgumentException($"port 0x{i:x} already belongs to {taken.Device.GetType().Name}", nameof(port));
                }
            }
            var entry = new Entry(port, port + length, device, deviceOffset);
            for (int i = port; i < port + length; i++)
            {
                Put(_pages, i, entry);
                if (Find(_bytePages, i) == null)
                {
                    Put(_bytePages, i, entry);
                }
            }
        }
    }

    /// <summary>Lets <paramref name="device"/> answer (at offset 0) to single-byte accesses at <paramref name="port"/>, even inside
    /// another's range: the reset register at 0xCF9 lies in PCI's 32-bit address register at 0xCF8.</summary>
    /// <exception cref="ArgumentException">The port has an overlay.</exception>
    public void AddByteOverlay(ushort port, IPortDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        lock (_lock)
        {
            Entry? under = Find(_bytePages, port);
            if (under != null && under != Find(_pages, port))
            {
                throw new ArgumentException($"port 0x{port:x} already has an overlay", nameof(port));
            }
            Put(_bytePages, port, new Entry(port, port + 1, device, 0));
        }
    }

    /// <summary>Takes away every range of <paramref name="device"/> (not its overlays).</summary>
    public void Remove(IPortDevice device)
    {
        lock (_lock)
        {
            for (int i = 0; i < PortCount; i++)
            {
                if (Find(_pages, i) is { } entry && entry.Device == device)
                {
                    Put(_pages, i, null);
                    if (Find(_bytePages, i) == entry)
                    {
                        Put(_bytePages, i, null);
                    }
                }
            }
        }
    }

    /// <param name="size">1, 2 or 4 bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint Read(ushort port, int size) =>
        size != 1 ? ReadWide(port, size) : Find(_bytePages, port) is { } entry ? (byte)entry.Read(entry.Offset(port), 1) : 0xFFU;

    /// <param name="size">1, 2 or 4 bytes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Write(ushort port, int size, uint value)
    {
        if (size != 1)
        {
            WriteWide(port, size, value);
        }
        else if (Find(_bytePages, port) is { } entry)
        {
            entry.Write(entry.Offset(port), 1, (byte)value);
        }
    }

    /// <summary>Byte by byte, if no one device has it all.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private uint ReadWide(ushort port, int size)
    {
        if (Find(_pages, port) is { } entry && port + size <= entry.End)
        {
            return entry.Read(entry.Offset(port), size) & Mask(size);
        }
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (port + i < PortCount ? Read((ushort)(port + i), 1) : 0xFF) << (i * 8);
        }
        return value;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void WriteWide(ushort port, int size, uint value)
    {
        if (Find(_pages, port) is { } entry && port + size <= entry.End)
        {
            entry.Write(entry.Offset(port), size, value & Mask(size));
            return;
        }
        for (int i = 0; i < size && port + i < PortCount; i++)
        {
            Write((ushort)(port + i), 1, (value >> (i * 8)) & 0xFF);
        }
    }

    private static uint Mask(int size) => uint.MaxValue >> (32 - (size * 8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Entry? Find(Entry?[]?[] pages, int port) => Volatile.Read(ref pages[port / PageSize])?[port % PageSize];

    private static void Put(Entry?[]?[] pages, int port, Entry? entry)
    {
        ref Entry?[]? page = ref pages[port / PageSize];
        if (page == null)
        {
            if (entry == null)
            {
                return;
            }
            Volatile.Write(ref page, new Entry?[PageSize]);
        }
        Volatile.Write(ref page[port % PageSize], entry);
    }

    private sealed class Entry(int start, int end, IPortDevice device, ushort deviceOffset)
    {
        public readonly int End = end;
        public readonly IPortDevice Device = device;
        // A call of an interface that a dozen classes implement is a search; a delegate's is not.
        public readonly Func<ushort, int, uint> Read = device.ReadPort;
        public readonly Action<ushort, int, uint> Write = device.WritePort;

        /// <summary>From a port to the device's offset.</summary>
        private readonly int _offset = deviceOffset - start;

        public ushort Offset(ushort port) => (ushort)(port + _offset);
    }
}
