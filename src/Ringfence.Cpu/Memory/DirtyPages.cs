using System.Diagnostics.CodeAnalysis;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// Which pages of a machine's RAM its processors and devices have written, while someone wants to know. A processor writes to a page without a word once
/// the TLB lets it; so what is noted is that it lets it, and whoever collects makes all processors forget. Until then only <see cref="IsOn"/> costs
/// anything, and that where the TLB is filled.
/// </summary>
internal sealed class DirtyPages(int pages)
{
    private ulong[]? _bits;

    [MemberNotNullWhen(true, nameof(_bits))]
    public bool IsOn => _bits is not null;

    public void Start() => _bits = new ulong[(pages + 63) / 64];

    public void Stop() => _bits = null;

    /// <summary>Any thread.</summary>
    public void Note(int page)
    {
        if (_bits is { } bits && page >= 0)
        {
            Interlocked.Or(ref bits[page >> 6], 1UL << (page & 63));
        }
    }

    /// <summary>Whether a page was written since this was asked last.</summary>
    public bool Take(int page)
    {
        ulong bit = 1UL << (page & 63);
        return _bits is { } bits && (bits[page >> 6] & bit) != 0 && (Interlocked.And(ref bits[page >> 6], ~bit) & bit) != 0;
    }
}
