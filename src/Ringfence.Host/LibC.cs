using System.Runtime.InteropServices;

namespace Ringfence.Host;

/// <summary>The Linux system calls that .NET has no door to. x86-64 and AArch64 share the constants used here.</summary>
internal static unsafe class LibC
{
    private const int ProtRead = 1;
    private const int ProtWrite = 2;
    private const int MapPrivate = 2;
    private const int MapAnonymousFlag = 0x20;
    private const int MapNoReserve = 0x4000;
    private const int AdviseHugePage = 14;

    public static byte* MapAnonymous(ulong size)
    {
        void* address = mmap(null, (nuint)size, ProtRead | ProtWrite, MapPrivate | MapAnonymousFlag | MapNoReserve, -1, 0);
        if (address == (void*)-1)
        {
            throw new InsufficientMemoryException($"the host refuses to map {size >> 20} MiB: {Marshal.GetLastPInvokeErrorMessage()}");
        }
        // Guest accesses are random over the whole of RAM: large pages spare host TLB misses. Advice only.
        _ = madvise(address, (nuint)size, AdviseHugePage);
        return (byte*)address;
    }

    public static void Unmap(byte* address, ulong size) => _ = munmap(address, (nuint)size);

    [DllImport("libc", SetLastError = true)]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(void* address, nuint length);

    [DllImport("libc", SetLastError = true)]
    private static extern int madvise(void* address, nuint length, int advice);
}
