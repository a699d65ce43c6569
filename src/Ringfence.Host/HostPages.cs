namespace Ringfence.Host;

/// <summary>
/// Large memory straight from the host: zeros, taken as it is touched, and given back when it is disposed of. An allocator for all sizes would keep some
/// 30 MiB of it for later.
/// </summary>
public sealed unsafe class HostPages : IDisposable
{
    private readonly ulong _size;

    /// <param name="size">Bytes, more than 0.</param>
    /// <exception cref="InsufficientMemoryException">The host refuses.</exception>
    public HostPages(ulong size)
    {
        _size = size;
        Address = LibC.MapPages(size);
    }

    ~HostPages() => Free();

    /// <summary>The start, a multiple of the page size.</summary>
    public byte* Address { get; private set; }

    /// <summary>Gives all pages back: they read as zeros again.</summary>
    public void Clear() => LibC.Discard(Address, _size);

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (Address != null)
        {
            LibC.Unmap(Address, _size);
            Address = null;
        }
    }
}
