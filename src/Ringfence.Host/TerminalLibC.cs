using System.Runtime.InteropServices;

namespace Ringfence.Host;

/// <summary>The calls on terminals and descriptors that .NET has no door to. The layout and the constants are those of Linux's
/// generic ABI, which x86-64 and AArch64 share.</summary>
internal static unsafe partial class TerminalLibC
{
    public const short PollIn = 1;
    public const short PollOut = 4;
    public const int Interrupted = 4;
    public const int TryAgain = 11;
    private const int CloseOnExec = 0x80000;

    /// <summary>struct termios (termios(3)).</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Modes
    {
        public uint Input;
        public uint Output;
        public uint Control;
        public uint Local;
        public byte Line;
        public fixed byte Characters[32];
        public uint InputSpeed;
        public uint OutputSpeed;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }

    public static bool IsTerminal(int descriptor) => isatty(descriptor) == 1;

    public static bool TryGetModes(int descriptor, out Modes modes)
    {
        fixed (Modes* pointer = &modes)
        {
            *pointer = default;
            return tcgetattr(descriptor, pointer) == 0;
        }
    }

    public static bool TrySetModes(int descriptor, in Modes modes)
    {
        fixed (Modes* pointer = &modes)
        {
            int result;
            do
            {
                result = tcsetattr(descriptor, 0, pointer);
            }
            while (result != 0 && Marshal.GetLastPInvokeError() == Interrupted);
            return result == 0;
        }
    }

    /// <summary>A descriptor that another thread can make readable, to end a poll. -1 if there is none to be had.</summary>
    public static int CreateEvent() => eventfd(0, CloseOnExec);

    public static void Signal(int eventDescriptor)
    {
        ulong one = 1;
        _ = write(eventDescriptor, &one, sizeof(ulong));
    }

    public static void Close(int descriptor) => _ = close(descriptor);

    /// <summary>Waits for readiness, without limit. Restarted when a signal interrupts it.</summary>
    public static bool Poll(Span<PollDescriptor> descriptors)
    {
        fixed (PollDescriptor* pointer = descriptors)
        {
            int result;
            do
            {
                result = poll(pointer, (nuint)descriptors.Length, -1);
            }
            while (result < 0 && Marshal.GetLastPInvokeError() == Interrupted);
            return result > 0;
        }
    }

    /// <summary>Bytes read, 0 at the end of the file, -1 for an error (the last P/Invoke error).</summary>
    public static int Read(int descriptor, Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            nint result;
            do
            {
                result = read(descriptor, pointer, (nuint)buffer.Length);
            }
            while (result < 0 && Marshal.GetLastPInvokeError() == Interrupted);
            return (int)result;
        }
    }

    /// <summary>Writes everything, waiting as long as the other side takes. False when nobody reads any more.</summary>
    public static bool WriteAll(int descriptor, ReadOnlySpan<byte> data)
    {
        fixed (byte* start = data)
        {
            int done = 0;
            while (done < data.Length)
            {
                nint result = write(descriptor, start + done, (nuint)(data.Length - done));
                if (result >= 0)
                {
                    done += (int)result;
                    continue;
                }
                int error = Marshal.GetLastPInvokeError();
                if (error == TryAgain)
                {
                    // Someone made the descriptor non-blocking (it is shared with whoever started us).
                    var wait = new PollDescriptor { Descriptor = descriptor, Events = PollOut };
                    _ = Poll(new Span<PollDescriptor>(ref wait));
                }
                else if (error != Interrupted)
                {
                    return false;
                }
            }
            return true;
        }
    }

    [DllImport("libc")]
    private static extern int isatty(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int tcgetattr(int descriptor, Modes* modes);

    [DllImport("libc", SetLastError = true)]
    private static extern int tcsetattr(int descriptor, int when, Modes* modes);

    [DllImport("libc", SetLastError = true)]
    private static extern int eventfd(uint value, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int poll(PollDescriptor* descriptors, nuint count, int milliseconds);

    [DllImport("libc", SetLastError = true)]
    private static extern nint read(int descriptor, void* buffer, nuint count);

    [DllImport("libc", SetLastError = true)]
    private static extern nint write(int descriptor, void* buffer, nuint count);
}
