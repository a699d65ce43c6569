using Ringfence.Engine.Kvm;

namespace Ringfence.Cli.Tests;

/// <summary>The command at a real terminal, which script(1) makes.</summary>
public sealed class TerminalProcessTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);
    private readonly string _folder = Directory.CreateTempSubdirectory("ringfence-").FullName;

    public TerminalProcessTests() =>
        Assert.SkipUnless(File.Exists("/usr/bin/script"), "script(1) is not installed (Debian: bsdutils)");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void CtrlAXLeavesWithZeroAndRestores()
    {
        using RingfenceProcess process = Start();
        process.WaitFor("#", s_limit);
        Assert.Contains("-icanon", WhileRunning(process), StringComparison.Ordinal);
        process.Send("\x01h");
        process.WaitFor("Ctrl-A X", s_limit);
        process.Send("\x01z");
        process.Send("\x01");
        process.Send("x");
        Assert.Equal(0, process.WaitForExit(s_limit));
        AssertRestored();
    }

    [Fact]
    public void CtrlAEMovesTheGuestOrSaysWhyNot()
    {
        using (RingfenceProcess process = Start("--engine interpreter"))
        {
            process.WaitFor("#", s_limit);
            process.Send("\x01" + "e");
            process.WaitFor("no other engine than interpreter", s_limit);
            process.Send("\x01x");
            Assert.Equal(0, process.WaitForExit(s_limit));
        }
        Assert.SkipUnless(KvmEngine.CanOpen(out string? problem), problem ?? "");
        using (RingfenceProcess process = RingfenceProcess.InTerminal("exec {0} run --engine kvm"))
        {
            process.WaitFor("ringfence> ", s_limit);
            process.Send("\x01" + "e");
            process.WaitFor("runs on software now", s_limit);
            process.Send("echo so\r");
            process.WaitFor("\nso", s_limit);
            process.Send("\x01" + "e");
            process.WaitFor("runs on kvm now", s_limit);
            process.Send("echo on\r");
            process.WaitFor("\non", s_limit);
            process.Send("\x01x");
            Assert.Equal(0, process.WaitForExit(s_limit));
        }
    }

    [Fact]
    public void CtrlCGoesToTheGuest()
    {
        using RingfenceProcess process = Start();
        process.WaitFor("#", s_limit);
        process.Send("\x03");
        Thread.Sleep(300);
        process.Send("\x01x");
        Assert.Equal(0, process.WaitForExit(s_limit));
    }

    [Theory]
    [InlineData("TERM", 130)]
    [InlineData("HUP", 130)]
    [InlineData("INT", 130)]
    public void SignalsRestore(string signal, int code)
    {
        using RingfenceProcess process = Start();
        process.WaitFor("#", s_limit);
        Shell($"kill -s {signal} $(cat {_folder}/pid)");
        Assert.Equal(code, process.WaitForExit(s_limit));
        AssertRestored();
    }

    [Fact]
    public void ATimeoutRestores()
    {
        using RingfenceProcess process = Start("--timeout 700ms");
        Assert.Equal(124, process.WaitForExit(s_limit));
        AssertRestored();
    }

    // A guest that says '#' and spins; the terminal's modes before and after, and the command's process id while it runs.
    private RingfenceProcess Start(string more = "")
    {
        byte[] sector = new byte[512];
        ((byte[])[0xBA, 0xF8, 0x03, 0xB0, (byte)'#', 0xEE, 0xEB, 0xFE]).CopyTo(sector, 0);
        sector[510] = 0x55;
        sector[511] = 0xAA;
        File.WriteAllBytes(Path.Combine(_folder, "guest"), sector);
        File.WriteAllText(
            Path.Combine(_folder, "start"),
            $"""
            cd {_folder}
            tty > tty
            stty -a > before
            sh -c 'echo $$ > pid; exec {RingfenceProcess.Executable} run --kernel guest {more}'
            code=$?
            stty -a > after
            exit $code
            """);
        return RingfenceProcess.InTerminal($"sh {_folder}/start");
    }

    private string WhileRunning(RingfenceProcess process)
    {
        Assert.NotEqual(0, process.Id);
        return Shell($"stty -a < $(cat {_folder}/tty)");
    }

    private static string Shell(string command)
    {
        using var shell = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("sh", ["-c", command]) { RedirectStandardOutput = true })!;
        string output = shell.StandardOutput.ReadToEnd();
        shell.WaitForExit();
        return output;
    }

    private void AssertRestored()
    {
        string before = File.ReadAllText(Path.Combine(_folder, "before"));
        Assert.Contains(" icanon", before, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllText(Path.Combine(_folder, "after")));
    }
}
