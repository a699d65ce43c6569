using System.Runtime.InteropServices;
using System.Text;
using Ringfence.Host.Sandbox;

namespace Ringfence.Host.Tests;

/// <summary>Tries what a vCPU's thread must not do, on such a thread. Straight to the kernel: what the library does on the way may start threads, which would be confined for good.</summary>
public sealed unsafe class SandboxTests
{
    private const int NotPermitted = 1;
    private const int Works = 0;

    private static readonly (string What, nint[] Call, int Result)[] s_calls =
    [
        ("read a file", [257, -100, Text("/proc/self/status"), 0, 0], Works),
        ("write a file", [257, -100, Text("/tmp/ringfence-sandbox"), 0x41, 0x180], NotPermitted),
        ("write a file, the old way", [2, Text("/tmp/ringfence-sandbox"), 0x41, 0x180], NotPermitted),
        ("empty a file", [2, Text("/tmp/ringfence-sandbox"), 0x200, 0], NotPermitted),
        ("open by structure", [437, -100, Text("/proc/self/status"), 0, 0], 38),
        ("remove a file", [87, Text("/tmp/ringfence-sandbox")], NotPermitted),
        ("rename a file", [82, Text("/tmp/ringfence-sandbox"), Text("/tmp/ringfence-sandbox2")], NotPermitted),
        ("change a file's mode", [90, Text("/tmp/ringfence-sandbox"), 0x1FF], NotPermitted),
        ("start a program", [59, Text("/bin/true"), 0, 0], NotPermitted),
        ("start a program by descriptor", [322, -100, Text("/bin/true"), 0, 0, 0], NotPermitted),
        ("fork", [57], NotPermitted),
        ("vfork", [58], NotPermitted),
        ("clone a process", [56, 17, 0, 0, 0, 0], NotPermitted),
        ("clone by structure", [435, 0, 0], 38),
        ("open a socket", [41, 2, 1, 0], NotPermitted),
        ("open a local socket", [41, 1, 1, 0], NotPermitted),
        ("connect", [42, 0, 0, 0], NotPermitted),
        ("look into a process", [101, 16, 1, 0, 0], NotPermitted),
        ("write into a process", [311, 1, 0, 0, 0, 0, 0], NotPermitted),
        ("signal a process", [62, 1, 0], NotPermitted),
        ("signal another process's thread", [234, 1, 1, 0], NotPermitted),
        ("mount", [165, 0, 0, 0, 0, 0], NotPermitted),
        ("become another user", [105, 0], NotPermitted),
        ("load a program into the kernel", [321, 0, 0, 0], NotPermitted),
        ("submit work by a ring", [425, 1, 0], NotPermitted),
        ("type at the terminal", [16, 0, 0x5412, 0], NotPermitted),
        ("change another process's limits", [302, 1, 0, 0, 0], NotPermitted),
        ("give up the filter", [317, 0, 0, 0], NotPermitted),
        ("use x32's numbers", [0x4000_0000 | 39], NotPermitted),
    ];

    [Fact]
    public void AVcpusThreadCanDoNothingElse()
    {
        Assert.SkipUnless(ThreadSandbox.IsAvailable, "the kernel has no seccomp filters, or we have none for this host");
        List<string> wrong = [];
        Thread thread = new(() =>
        {
            ThreadSandbox.EnterVcpu();
            foreach ((string what, nint[] call, int expected) in s_calls)
            {
                int got = Try(call);
                if (got != expected)
                {
                    wrong.Add($"{what}: {got}, not {expected}");
                }
            }
        });
        thread.Start();
        thread.Join();
        Assert.Empty(wrong);
    }

    [Fact]
    public void OthersAreAsTheyWere()
    {
        Assert.SkipUnless(ThreadSandbox.IsAvailable, "the kernel has no seccomp filters, or we have none for this host");
        Thread thread = new(ThreadSandbox.EnterVcpu);
        thread.Start();
        thread.Join();
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "x");
        File.Delete(path);
    }

    /// <summary>The error of a call, 0 if there is none. Whatever comes back twice goes on once.</summary>
    private static int Try(nint[] call)
    {
        nint[] arguments = [.. call, .. new nint[7 - call.Length]];
        nint result = syscall(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
        int error = Marshal.GetLastPInvokeError();
        if (call[0] is 56 or 57 or 58 && result == 0)
        {
            _ = syscall(231, 0, 0, 0, 0, 0, 0);
        }
        if (result >= 0 && call[0] is 257 or 2)
        {
            _ = syscall(3, result, 0, 0, 0, 0, 0);
        }
        return result < 0 ? error : 0;
    }

    private static nint Text(string text)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text + "\0");
        nint copy = Marshal.AllocHGlobal(bytes.Length);
        Marshal.Copy(bytes, 0, copy, bytes.Length);
        return copy;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern nint syscall(nint number, nint a, nint b, nint c, nint d, nint e, nint f);
}
