using System.Runtime.CompilerServices;
using Ringfence.Host;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// Pages met lately that accesses must take the long way to: those of devices, and RAM with decoded code, writes to which are to be noticed.
/// They are remembered beside the TLB and forgotten with it, so that there is no page walk on that way.
/// </summary>
internal sealed class SlowPages
{
    private const int Count = 8;
    private const ulong OffsetMask = GuestMemory.PageSize - 1;

    private readonly SlowPage[] _pages = new SlowPage[Count];
    private bool _any;

    /// <summary>The place for a page. What lies there is of it if <see cref="SlowPage.Permits"/> says so.</summary>
    public ref SlowPage this[ulong linear]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => ref _pages[((linear >> 12) ^ (linear >> 20)) & (Count - 1)];
    }

    /// <param name="tag">The page's linear address as software gives it.</param>
    /// <param name="table">The TLB's table that it was translated for.</param>
    /// <param name="host">Null for a device.</param>
    public unsafe void Keep(ulong tag, TlbEntry* table, ulong physical, byte* host, bool readable, bool writable)
    {
        // The next page and the one before have other places: no address that is looked for here is of them.
        ulong none = tag ^ GuestMemory.PageSize;
        this[tag] = new SlowPage { Read = readable ? tag : none, Write = writable ? tag : none, Table = table, Physical = physical, Host = host };
        _any = true;
    }

    public void Forget()
    {
        if (_any)
        {
            Array.Clear(_pages);
            _any = false;
        }
    }

    public struct SlowPage
    {
        /// <summary>The page's linear address if it may be read so.</summary>
        public ulong Read;
        /// <summary>Likewise written.</summary>
        public ulong Write;
        /// <summary>The table of the TLB that it is beside; null if there is no page here.</summary>
        public unsafe TlbEntry* Table;
        public ulong Physical;
        public unsafe byte* Host;

        /// <summary>Whether the whole of an access goes to this page and is allowed.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly unsafe bool Permits(ulong linear, int size, AccessKind rights, TlbEntry* table) =>
            ((rights == AccessKind.Write ? Write : Read) ^ linear) <= GuestMemory.PageSize - (ulong)size && Table == table;

        public readonly ulong PhysicalAddress(ulong linear) => Physical | (linear & OffsetMask);
    }
}
