using System.Text;
using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>Guest memory during loading: who occupies what, so that nothing overwrites anything and everything stays inside RAM.</summary>
internal sealed class LoadMap
{
    /// <summary>The IVT and the BIOS data area end here.</summary>
    public const ulong BiosDataEnd = 0x500;
    private const ulong ConventionalStart = 0x1000;

    private readonly record struct Range(ulong Start, ulong End, string What);

    private readonly List<Range> _taken = [];
    private readonly GuestFile _kernel;

    public LoadMap(GuestMemory memory, GuestFile kernel)
    {
        Memory = memory;
        _kernel = kernel;
        _taken.Add(new Range(0, BiosDataEnd, "the BIOS data area"));
        _taken.Add(new Range(BoardLayout.EbdaBase, GuestMemory.VgaWindow, "the extended BIOS data area"));
        _taken.Add(new Range(BoardLayout.BiosBase, BoardLayout.BiosEnd, "the BIOS area"));
    }

    public GuestMemory Memory { get; }

    /// <summary>Where RAM below 4 GiB ends.</summary>
    public ulong LowEnd => Memory.Regions[1].Address + Memory.Regions[1].Length;

    /// <summary>Takes a range that the image dictates.</summary>
    public void Claim(GuestFile file, string what, ulong address, ulong length)
    {
        if (!IsRam(address, length))
        {
            throw file.Error($"{what} (0x{address:x}, {length} bytes) lies outside guest memory ({Memory.Size >> 20} MiB)");
        }
        foreach (Range range in _taken)
        {
            if (address < range.End && range.Start < address + length)
            {
                throw file.Error($"{what} (0x{address:x}, {length} bytes) overlaps {range.What}");
            }
        }
        _taken.Add(new Range(address, address + length, what));
    }

    /// <summary>Takes the highest (or lowest) free place in [<paramref name="low"/>, <paramref name="high"/>). Null if there is none.</summary>
    public ulong? TryPlace(string what, ulong length, ulong alignment, ulong low, ulong high, bool fromTop)
    {
        ulong? best = null;
        void Consider(ulong candidate)
        {
            if (candidate < low || candidate > high || length > high - candidate || !IsRam(candidate, length) || !IsFree(candidate, length))
            {
                return;
            }
            if (best is null || (fromTop ? candidate > best : candidate < best))
            {
                best = candidate;
            }
        }

        // The best place always touches the edge of the window, of a region, or of something placed before.
        var edges = new List<ulong> { low, high };
        foreach (MemoryRegion region in Memory.Regions)
        {
            edges.Add(region.Address);
            edges.Add(region.Address + region.Length);
        }
        foreach (Range range in _taken)
        {
            edges.Add(range.Start);
            edges.Add(range.End);
        }
        foreach (ulong edge in edges)
        {
            Consider((edge + alignment - 1) & ~(alignment - 1));
            if (edge >= length)
            {
                Consider((edge - length) & ~(alignment - 1));
            }
        }
        if (best is { } place)
        {
            _taken.Add(new Range(place, place + length, what));
        }
        return best;
    }

    /// <summary>A place for boot data: in conventional memory, or else high below 4 GiB.</summary>
    public ulong PlaceData(string what, ulong length, ulong alignment = 16) =>
        TryPlace(what, length, alignment, ConventionalStart, BoardLayout.EbdaBase, fromTop: false)
        ?? TryPlace(what, length, alignment, BoardLayout.BiosEnd, LowEnd, fromTop: true)
        ?? throw _kernel.Error($"guest memory is too small: no room for {what} ({length} bytes)");

    public ulong PlaceData(string what, ReadOnlySpan<byte> content, ulong alignment = 16)
    {
        ulong address = PlaceData(what, (ulong)content.Length, alignment);
        Memory.Write(address, content);
        return address;
    }

    /// <summary>A NUL-terminated string.</summary>
    public ulong PlaceString(string what, string text) => PlaceData(what, EncodeString(_kernel, what, text), 1);

    public static byte[] EncodeString(GuestFile file, string what, string text)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw file.Error($"{what} contains a NUL character");
        }
        return Encoding.UTF8.GetBytes(text + '\0');
    }

    /// <summary>A page-aligned place for a module above the kernel, or else wherever it fits below 4 GiB.</summary>
    public ulong PlaceModule(GuestFile file, ulong above)
    {
        CheckModule(file);
        const string What = "a module";
        return TryPlace(What, file.Length, GuestMemory.PageSize, Math.Max(above, BoardLayout.BiosEnd), LowEnd, fromTop: false)
            ?? TryPlace(What, file.Length, GuestMemory.PageSize, ConventionalStart, LowEnd, fromTop: true)
            ?? throw file.Error($"{file.Length} bytes do not fit in guest memory ({Memory.Size >> 20} MiB) beside the kernel");
    }

    public void CheckModule(GuestFile file)
    {
        if (file.Length == 0)
        {
            throw file.Error("empty");
        }
        if (file.Length > Memory.Size)
        {
            throw file.Error($"larger ({file.Length} bytes) than guest memory ({Memory.Size} bytes)");
        }
    }

    /// <summary>Clears a claimed range, leaving pages that are zero already untouched by writes: fresh memory stays unpopulated.</summary>
    public unsafe void Clear(ulong address, ulong length)
    {
        while (length != 0)
        {
            ulong step = Math.Min(length, GuestMemory.PageSize - address % GuestMemory.PageSize);
            var span = new Span<byte>(Memory.Pointer(address, step), (int)step);
            if (span.ContainsAnyExcept((byte)0))
            {
                span.Clear();
            }
            address += step;
            length -= step;
        }
    }

    private unsafe bool IsRam(ulong address, ulong length) => Memory.Pointer(address, length) != null;

    private bool IsFree(ulong address, ulong length)
    {
        foreach (Range range in _taken)
        {
            if (address < range.End && range.Start < address + length)
            {
                return false;
            }
        }
        return true;
    }
}
