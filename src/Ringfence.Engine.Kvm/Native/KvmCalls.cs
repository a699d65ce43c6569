using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm.Native;

/// <summary>The system calls that this room makes.</summary>
internal static unsafe partial class KvmCalls
{
    public const int Interrupted = 4;
    public const int TryAgain = 11;
    public const int ReadWrite = 2;
    public const int CloseOnExec = 0x80000;
    private const int ProtReadWrite = 3;
    private const int MapShared = 1;

    public static int Open(string path, int flags) => open(path, flags);

    public static int Close(int descriptor) => close(descriptor);

    public static int Control(int descriptor, KvmRequest request, nuint argument) => ioctl(descriptor, (nuint)request, argument);

    /// <summary>Null if the host refuses.</summary>
    public static void* Map(int descriptor, nuint size)
    {
        void* address = mmap(null, size, ProtReadWrite, MapShared, descriptor, 0);
        return address == (void*)-1 ? null : address;
    }

    public static void Unmap(void* address, nuint size) => _ = munmap(address, size);

    public static int ProcessId() => getpid();

    public static int ThreadId() => gettid();

    public static void Signal(int process, int thread, int signal) => _ = tgkill(process, thread, signal);

    /// <summary>CLOCK_MONOTONIC_RAW, nanoseconds: time that nobody corrects.</summary>
    public static ulong RawTime()
    {
        const int MonotonicRaw = 4;
        TimeOfClock time;
        _ = clock_gettime(MonotonicRaw, &time);
        return (ulong)((time.Seconds * 1_000_000_000) + time.Nanoseconds);
    }

    /// <summary>What the last call on this thread that failed said.</summary>
    public static int LastError() => Marshal.GetLastPInvokeError();

    [DllImport("libc", SetLastError = true, BestFitMapping = false)]
    private static extern int open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int ioctl(int descriptor, nuint request, nuint argument);

    [DllImport("libc", SetLastError = true)]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(void* address, nuint length);

    [DllImport("libc")]
    private static extern int getpid();

    [DllImport("libc")]
    private static extern int gettid();

    [DllImport("libc")]
    private static extern int tgkill(int process, int thread, int signal);

    [DllImport("libc")]
    private static extern int clock_gettime(int clock, TimeOfClock* time);

    /// <summary>struct timespec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TimeOfClock
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
