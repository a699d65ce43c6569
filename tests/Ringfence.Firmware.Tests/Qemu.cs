using System.Diagnostics;

namespace Ringfence.Firmware.Tests;

/// <summary>QEMU as a second opinion: what we build must also run on a machine that is not ours.</summary>
internal static class Qemu
{
    private const string Program = "qemu-system-x86_64";

    /// <summary>Runs without display, COM1 at standard input and output, and returns what the guest printed. Skips the test without QEMU.</summary>
    /// <param name="until">When not null, QEMU is stopped after a line that contains it.</param>
    public static string Run(string input, string? until, params string[] arguments)
    {
        string? path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Select(directory => Path.Combine(directory, Program)).FirstOrDefault(File.Exists);
        Assert.SkipUnless(path is not null, Program + " is not installed");
        var start = new ProcessStartInfo(path!)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        string[] common = ["-accel", "tcg", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"];
        foreach (string argument in common.Concat(arguments))
        {
            start.ArgumentList.Add(argument);
        }
        using Process process = Process.Start(start)!;
        using var timeout = new Timer(_ => process.Kill(), null, 120_000, Timeout.Infinite);
        process.StandardInput.Write(input);
        process.StandardInput.Flush();
        if (until is null)
        {
            string all = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, "QEMU failed, or there was no power off; so far: " + all);
            return all;
        }
        var output = new System.Text.StringBuilder();
        while (process.StandardOutput.ReadLine() is { } line)
        {
            output.AppendLine(line);
            if (line.Contains(until, StringComparison.Ordinal))
            {
                process.Kill();
                process.WaitForExit();
                return output.ToString();
            }
        }
        Assert.Fail($"the guest never printed \"{until}\", only: {output}");
        return "";
    }
}
