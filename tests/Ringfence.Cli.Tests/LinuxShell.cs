namespace Ringfence.Cli.Tests;

/// <summary>A Debian kernel in the command as users run it, and the shell on its serial line. ./test hands over the files by environment
/// variables; a test whose files are missing is skipped.</summary>
internal sealed class LinuxShell : IDisposable
{
    /// <summary>More than anything here takes on a busy machine.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

    private const string Prompt = "# ";

    /// <param name="kernelVariable">The environment variable that names the kernel.</param>
    /// <param name="options">More options of `ringfence run`.</param>
    public LinuxShell(string kernelVariable, params string[] options)
        : this(kernelVariable, "RINGFENCE_INITRD", 512, options)
    {
    }

    /// <param name="memory">MiB.</param>
    public LinuxShell(string kernelVariable, string initrdVariable, int memory, params string[] options)
    {
        string? kernel = Environment.GetEnvironmentVariable(kernelVariable);
        string? initrd = Environment.GetEnvironmentVariable(initrdVariable);
        Assert.SkipUnless(File.Exists(kernel), $"{kernelVariable} names no kernel (./test gets one from Debian's packages)");
        Assert.SkipUnless(File.Exists(initrd), $"{initrdVariable} names no initramfs (./test makes one)");
        Process = new RingfenceProcess(
        [
            "run", "--kernel", kernel!, "--initrd", initrd!, "--append", "console=ttyS0,115200 quiet panic=-1", "--memory", $"{memory}M", "--timeout", "10m",
            .. options,
        ]);
    }

    public RingfenceProcess Process { get; }

    public void WaitForWelcome() => Process.WaitFor("Welcome to Linux", Limit);

    public void WaitForPrompt() => Process.WaitFor(Prompt, Limit);

    /// <summary>Runs a shell command and returns its output. The marks are spelled so that the echo of the command does not have them.</summary>
    public string Run(string command)
    {
        Process.Send($"echo '<''<'; {command}; echo '>''>'\n");
        Process.WaitFor("<<", Limit);
        string output = Process.WaitFor(">>", Limit)[..^2];
        WaitForPrompt();
        return output.ReplaceLineEndings("\n").Trim();
    }

    /// <summary>Powers off; returns the command's exit code.</summary>
    public int PowerOff()
    {
        Process.Send("poweroff -f\n");
        return Process.WaitForExit(Limit);
    }

    public void Dispose() => Process.Dispose();
}
