using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// The signal that makes a thread come out of KVM_RUN. Its handler does nothing: that a signal arrives at all is what ends the call. It is not SIGRTMIN, with
/// which .NET stops threads, and not one that has a handler already. The handler is a function of the C library that changes nothing, so that no managed
/// code ever runs in a signal's place.
/// </summary>
internal static unsafe class KickSignal
{
    private const int First = 34 + 6;
    private const int Last = 64;
    private const int RestartCalls = 0x1000_0000;

    /// <summary>Its number; found and given its handler when it is first asked for.</summary>
    public static int Number { get; } = Install();

    private static int Install()
    {
        nint nothing = NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "labs");
        for (int signal = First; signal <= Last; signal++)
        {
            SignalAction old;
            if (sigaction(signal, null, &old) != 0 || old.Handler != 0)
            {
                continue;
            }
            SignalAction action = new() { Handler = nothing, Flags = RestartCalls };
            if (sigaction(signal, &action, null) == 0)
            {
                return signal;
            }
        }
        throw new KvmException("kvm: no real-time signal is free in this process");
    }

    /// <summary>glibc's struct sigaction.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct SignalAction
    {
        public nint Handler;
        private fixed ulong _mask[16];
        public int Flags;
        private readonly nint _restorer;
    }

    [DllImport("libc")]
    private static extern int sigaction(int signal, SignalAction* action, SignalAction* old);
}
