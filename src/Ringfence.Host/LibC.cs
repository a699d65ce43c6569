using System.Runtime.InteropServices;

namespace Ringfence.Host;

/// <summary>The Linux system calls that .NET has no door to. x86-64 and AArch64 share the constants used here.</summary>
internal static unsafe class LibC
{
    private const int ProtRead = 1;
    private const int ProtWrite = 2;
    private const int ProtExecute = 4;
    private const int MapShared = 1;
    private const int MapPrivate = 2;
    private const int MapAnonymousFlag = 0x20;
    private const int MapNoReserve = 0x4000;
    private const int RemapMayMove = 1;
    private const int AdviseDoNotNeed = 4;
    private const int AdviseRemove = 9;
    private const int AdviseHugePage = 14;
    private const int ClockMonotonic = 1;
    private const int TimerCloseOnExec = 0x80000;
    private const int TimerAbsolute = 1;
    private const int Interrupted = 4;
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <exception cref="InsufficientMemoryException">The host refuses.</exception>
    public static byte* MapPages(ulong size)
    {
        void* address = mmap(null, (nuint)size, ProtRead | ProtWrite, MapPrivate | MapAnonymousFlag | MapNoReserve, -1, 0);
        return address != (void*)-1 ? (byte*)address
            : throw new InsufficientMemoryException($"the host refuses to map {size >> 20} MiB: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    /// <exception cref="InsufficientMemoryException">The host refuses.</exception>
    public static byte* MapAnonymous(ulong size)
    {
        byte* address = MapPages(size);
        // Guest accesses are random over the whole of RAM: large pages spare host TLB misses. Advice only.
        _ = madvise(address, (nuint)size, AdviseHugePage);
        return address;
    }

    /// <summary>Code that can be called, for the life of the process; null if the host does not allow that.</summary>
    public static byte* MapCode(ReadOnlySpan<byte> code)
    {
        nuint size = (nuint)((code.Length | 0xFFF) + 1);
        void* address = mmap(null, size, ProtRead | ProtWrite, MapPrivate | MapAnonymousFlag, -1, 0);
        if (address == (void*)-1)
        {
            return null;
        }
        code.CopyTo(new Span<byte>(address, code.Length));
        if (mprotect(address, size, ProtRead | ProtExecute) == 0)
        {
            return (byte*)address;
        }
        _ = munmap(address, size);
        return null;
    }

    /// <summary>One piece of memory at two addresses: to write, and to run. It has no file, not even a nameless one: only such code does perf look
    /// up in the map of its process.</summary>
    /// <exception cref="InsufficientMemoryException">The host refuses.</exception>
    public static byte* MapTwice(ulong size, out byte* execute)
    {
        void* write = mmap(null, (nuint)size, ProtRead | ProtWrite, MapShared | MapAnonymousFlag | MapNoReserve, -1, 0);
        if (write == (void*)-1)
        {
            throw new InsufficientMemoryException($"the host refuses memory for code: {Marshal.GetLastPInvokeErrorMessage()}");
        }
        // Of a shared mapping an old size of 0 makes a second one (mremap(2)).
        void* run = mremap(write, 0, (nuint)size, RemapMayMove);
        if (run == (void*)-1 || mprotect(run, (nuint)size, ProtRead | ProtExecute) != 0)
        {
            string reason = Marshal.GetLastPInvokeErrorMessage();
            _ = munmap(write, (nuint)size);
            if (run != (void*)-1)
            {
                _ = munmap(run, (nuint)size);
            }
            throw new InsufficientMemoryException($"the host refuses to map code: {reason}");
        }
        execute = (byte*)run;
        return (byte*)write;
    }

    /// <summary>Gives the pages of a private anonymous mapping back: they read as zeros again. A shared one only loses sight of them, until it looks again.</summary>
    public static void Discard(byte* address, ulong size) => Advise(address, size, AdviseDoNotNeed);

    /// <summary>Gives the pages of a shared anonymous mapping back: they read as zeros again wherever they are mapped.</summary>
    public static void Remove(byte* address, ulong size) => Advise(address, size, AdviseRemove);

    private static void Advise(byte* address, ulong size, int advice)
    {
        if (madvise(address, (nuint)size, advice) != 0)
        {
            throw new InvalidOperationException($"the host refuses to take memory back: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    public static void Unmap(byte* address, ulong size) => _ = munmap(address, (nuint)size);

    /// <summary>Up to 256 bytes at once are given without interruption (getrandom(2)).</summary>
    public static bool TryFillRandom(Span<byte> bytes)
    {
        fixed (byte* first = bytes)
        {
            return getrandom(first, (nuint)bytes.Length, 0) == bytes.Length;
        }
    }

    /// <summary>A disarmed timer descriptor over CLOCK_MONOTONIC.</summary>
    public static int CreateTimer()
    {
        int descriptor = timerfd_create(ClockMonotonic, TimerCloseOnExec);
        return descriptor >= 0
            ? descriptor
            : throw new InvalidOperationException($"the host refuses a timer descriptor: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    /// <summary>Programs one expiry at CLOCK_MONOTONIC <paramref name="nanoseconds"/>, at least 1; one in the past expires at once.</summary>
    public static void ArmTimer(int descriptor, long nanoseconds)
    {
        TimerSetting setting = new() { Seconds = nanoseconds / NanosecondsPerSecond, Nanoseconds = nanoseconds % NanosecondsPerSecond };
        _ = timerfd_settime(descriptor, TimerAbsolute, &setting, null);
    }

    /// <summary>Sleeps until the timer expires.</summary>
    public static void WaitForTimer(int descriptor)
    {
        ulong expirations;
        while (read(descriptor, &expirations, sizeof(ulong)) < 0 && Marshal.GetLastPInvokeError() == Interrupted)
        {
        }
    }

    public static void Close(int descriptor) => _ = close(descriptor);

    /// <summary>struct itimerspec.</summary>
    private struct TimerSetting
    {
        public long IntervalSeconds;
        public long IntervalNanoseconds;
        public long Seconds;
        public long Nanoseconds;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern nint getrandom(byte* buffer, nuint length, uint flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int timerfd_create(int clock, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int timerfd_settime(int descriptor, int flags, TimerSetting* setting, TimerSetting* old);

    [DllImport("libc", SetLastError = true)]
    private static extern nint read(int descriptor, void* buffer, nuint count);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern void* mremap(void* address, nuint oldLength, nuint length, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(void* address, nuint length);

    [DllImport("libc", SetLastError = true)]
    private static extern int mprotect(void* address, nuint length, int protection);

    [DllImport("libc", SetLastError = true)]
    private static extern int madvise(void* address, nuint length, int advice);
}
