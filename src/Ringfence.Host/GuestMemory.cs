using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ringfence.Host;

/// <summary>A run of guest RAM: guest-physical <paramref name="Address"/>, <paramref name="Length"/> in bytes, and where the host maps it.</summary>
public readonly unsafe record struct MemoryRegion(ulong Address, ulong Length, nint HostAddress)
{
    /// <summary>The first byte of the region on the host.</summary>
    public byte* Pointer => (byte*)HostAddress;

    // What the compiler would make of a pointer cannot be compiled ahead of time.
    public override string ToString() => $"{Address:x} + {Length:x}";
}

/// <summary>
/// Guest-physical RAM, in at most three regions as a PC has them: conventional memory below the VGA window, memory from
/// 0xC0000 up to 3 GiB, and the rest from 4 GiB. The VGA window (0xA0000 to 0xBFFFF) is not RAM.
/// The mapping is anonymous and zero; pages cost nothing until touched. Thread-safe except for <see cref="Dispose"/>.
/// </summary>
public sealed unsafe class GuestMemory : IDisposable
{
    public const ulong PageSize = 4096;
    public const ulong VgaWindow = 0xA0000;
    public const ulong VgaWindowEnd = 0xC0000;
    /// <summary>RAM stops here below 4 GiB: what lies above is the PCI hole.</summary>
    public const ulong LowLimit = 0xC000_0000;
    public const ulong HighBase = 0x1_0000_0000;
    public const ulong MinimumSize = 1UL << 20;
    public const ulong MaximumSize = 1UL << 40;

    private readonly MemoryRegion[] _regions;
    /// <summary>The length of the region between the VGA window and the PCI hole.</summary>
    private readonly ulong _main;
    private byte* _mapping;
    private byte* _rom;
    private ulong _romLength;

    /// <param name="size">Bytes of RAM: a multiple of 4096, from 1 MiB to 1 TiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is outside those bounds.</exception>
    /// <exception cref="InsufficientMemoryException">The host refuses the mapping.</exception>
    public GuestMemory(ulong size)
    {
        if (size < MinimumSize || size > MaximumSize || size % PageSize != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(size), size, "guest memory must be a multiple of 4 KiB from 1 MiB to 1 TiB");
        }
        Size = size;
        _mapping = LibC.MapAnonymous(size);
        ulong low = Math.Min(size, LowLimit);
        var regions = new List<MemoryRegion>
        {
            new(0, VgaWindow, (nint)_mapping),
            new(VgaWindowEnd, low - VgaWindowEnd, (nint)(_mapping + VgaWindowEnd)),
        };
        _main = low - VgaWindowEnd;
        if (size > low)
        {
            regions.Add(new MemoryRegion(HighBase, size - low, (nint)(_mapping + low)));
        }
        _regions = [.. regions];
    }

    ~GuestMemory() => Unmap();

    /// <summary>Bytes of RAM asked for (the VGA window's 128 KiB are inside this figure but not usable).</summary>
    public ulong Size { get; }

    /// <summary>The regions in ascending order of guest-physical address.</summary>
    public IReadOnlyList<MemoryRegion> Regions => _regions;

    /// <summary>Maps an image that ends at 4 GiB, in place of one mapped before. It is in no region; the guest can read it, not write.</summary>
    /// <param name="image">Whole pages, less than what lies above <see cref="LowLimit"/>.</param>
    /// <exception cref="InsufficientMemoryException">The host refuses the mapping.</exception>
    public void MapRom(ReadOnlySpan<byte> image)
    {
        UnmapRom();
        ulong length = (ulong)image.Length;
        if (length == 0 || length % PageSize != 0 || length > HighBase - LowLimit)
        {
            throw new ArgumentOutOfRangeException(nameof(image), length, "a ROM must be a multiple of 4 KiB and fit between RAM and 4 GiB");
        }
        _rom = LibC.MapAnonymous(length);
        _romLength = length;
        image.CopyTo(new Span<byte>(_rom, image.Length));
    }

    /// <summary>Where the ROM is; of length 0 without one.</summary>
    public MemoryRegion Rom => new(HighBase - _romLength, _romLength, (nint)_rom);

    /// <summary>Whether an address is that of the ROM, which holds what it holds whatever the guest writes.</summary>
    public bool IsRom(ulong address) => address < HighBase && HighBase - address <= _romLength;

    /// <summary>The host address of a guest-physical range, or null unless the whole range lies in one region or the ROM.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public byte* Pointer(ulong address, ulong length = 1)
    {
        // Nearly all that is asked for lies above the VGA window.
        ulong offset = address - VgaWindowEnd;
        return offset < _main && length <= _main - offset ? _mapping + address : PointerElsewhere(address, length);
    }

    /// <summary>The guest-physical address of a byte of RAM. False if the host address is of none.</summary>
    public bool TryLocate(byte* host, out ulong address)
    {
        foreach (ref readonly MemoryRegion region in _regions.AsSpan())
        {
            ulong offset = (ulong)(host - (byte*)region.HostAddress);
            if (offset < region.Length)
            {
                address = region.Address + offset;
                return true;
            }
        }
        address = 0;
        return false;
    }

    /// <summary>Copies guest memory out. False, with nothing copied, unless the whole range is RAM in one region.</summary>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        byte* source = Pointer(address, (ulong)destination.Length);
        if (source == null)
        {
            return false;
        }
        new ReadOnlySpan<byte>(source, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Copies into guest memory. False, with nothing copied, unless the whole range is RAM in one region.</summary>
    /// <remarks>For loading before a vCPU runs: it does not tell a running processor that code may have changed.</remarks>
    public bool TryWrite(ulong address, ReadOnlySpan<byte> source)
    {
        byte* destination = Pointer(address, (ulong)source.Length);
        if (destination == null)
        {
            return false;
        }
        source.CopyTo(new Span<byte>(destination, source.Length));
        return true;
    }

    /// <summary><see cref="TryWrite"/> for ranges that the caller has already checked.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not RAM.</exception>
    public void Write(ulong address, ReadOnlySpan<byte> source)
    {
        if (!TryWrite(address, source))
        {
            throw new ArgumentOutOfRangeException(nameof(address), $"0x{address:x} and {source.Length} bytes on are not guest memory");
        }
    }

    /// <summary>Writes one unmanaged value, little-endian as the host is.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not RAM.</exception>
    public void Write<T>(ulong address, T value)
        where T : unmanaged => Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Makes all of it zero again, and gives its pages back to the host. No vCPU runs.</summary>
    public void Clear() => LibC.Discard(_mapping, Size);

    /// <summary>Unmaps the memory. No vCPU and no device may use it any more.</summary>
    public void Dispose()
    {
        Unmap();
        GC.SuppressFinalize(this);
    }

    private byte* PointerElsewhere(ulong address, ulong length)
    {
        foreach (ref readonly MemoryRegion region in _regions.AsSpan())
        {
            ulong offset = address - region.Address;
            if (offset < region.Length && length <= region.Length - offset)
            {
                return (byte*)region.HostAddress + offset;
            }
        }
        return IsRom(address) && length <= HighBase - address ? _rom + (_romLength - (HighBase - address)) : null;
    }

    private void UnmapRom()
    {
        if (_rom != null)
        {
            LibC.Unmap(_rom, _romLength);
            _rom = null;
            _romLength = 0;
        }
    }

    private void Unmap()
    {
        UnmapRom();
        if (_mapping != null)
        {
            LibC.Unmap(_mapping, Size);
            _mapping = null;
        }
    }
}
