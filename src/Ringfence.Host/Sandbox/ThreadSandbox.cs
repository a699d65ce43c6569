using System.Runtime.InteropServices;

namespace Ringfence.Host.Sandbox;

/// <summary>
/// Takes from threads of this process, for good, all system calls that running a guest does not need (seccomp(2)). Who breaks out of a guest into the process that runs it
/// finds no programs to start, no network, no process to look into and, on a vCPU's thread, no file to write. Needs no privilege. Linux on x86-64 only.
/// </summary>
public static unsafe class ThreadSandbox
{
    private const int SetNoNewPrivileges = 38;
    private const uint SetModeFilter = 1;
    private const uint GetActionAvailable = 2;
    private const uint AllThreads = 1;

    /// <summary>Whether this host's kernel can.</summary>
    public static bool IsAvailable
    {
        get
        {
            if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            {
                return false;
            }
            uint action = FilterProgram.Error;
            return syscall((nint)SystemCall.Seccomp, GetActionAvailable, 0, &action) == 0;
        }
    }

    /// <summary>For all threads there are, and those they will make. What is open stays open.</summary>
    /// <exception cref="InvalidOperationException">The kernel refuses.</exception>
    public static void EnterProcess() => Enter(SandboxPolicy.Process(Environment.ProcessId), AllThreads);

    /// <summary>For the calling thread, which runs guest code, and those it will make.</summary>
    /// <exception cref="InvalidOperationException">The kernel refuses.</exception>
    public static void EnterVcpu() => Enter(SandboxPolicy.Vcpu(Environment.ProcessId), 0);

    private static void Enter(SandboxPolicy policy, uint flags)
    {
        FilterInstruction[] program = FilterProgram.Write(policy);
        fixed (FilterInstruction* first = program)
        {
            Filter filter = new() { Length = (ushort)program.Length, Program = first };
            if (prctl(SetNoNewPrivileges, 1, 0, 0, 0) != 0 || syscall((nint)SystemCall.Seccomp, SetModeFilter, flags, &filter) != 0)
            {
                throw new InvalidOperationException($"the kernel takes no filter of system calls: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
    }

    /// <summary>struct sock_fprog.</summary>
    private struct Filter
    {
        public ushort Length;
        public FilterInstruction* Program;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int prctl(int option, nuint first, nuint second, nuint third, nuint fourth);

    [DllImport("libc", SetLastError = true)]
    private static extern nint syscall(nint number, uint operation, uint flags, void* arguments);
}
