using System.Diagnostics;

namespace Ringfence.Machine.Tests;

/// <summary>A guest in HLT costs the host next to nothing. The bounds are wide: how little it is, the benchmarks measure.</summary>
public sealed class IdleTests
{
    private const double Allowed = 0.10;

    [Fact]
    public void TheMonitorAtItsPromptSleeps()
    {
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(new MachineSpec { Memory = 16 << 20, Serial = serial });
        serial.WaitFor("ringfence> ");
        Assert.InRange(Measure("monitor"), 0, Allowed);
    }

    [Fact]
    [Trait("Category", "Guest")]
    public void LinuxAtItsShellSleeps()
    {
        string? kernel = Environment.GetEnvironmentVariable("RINGFENCE_KERNEL");
        string? initrd = Environment.GetEnvironmentVariable("RINGFENCE_INITRD");
        Assert.SkipUnless(File.Exists(kernel), "RINGFENCE_KERNEL names no kernel (./test gets one from Debian's packages)");
        Assert.SkipUnless(File.Exists(initrd), "RINGFENCE_INITRD names no initramfs (./test makes one)");
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(new MachineSpec
        {
            Kernel = kernel,
            Initrds = [new InitrdSpec(initrd!)],
            Append = "console=ttyS0,115200 quiet panic=-1",
            NoReboot = true,
            Serial = serial,
        });
        serial.WaitFor("# ");
        MachineStatistics before = machine.Statistics;
        Assert.InRange(Measure("Linux"), 0, Allowed);
        // What woke it, should it ever be too much.
        IReadOnlyDictionary<string, long> exits = before.Vcpus[0].Exits;
        TestContext.Current.TestOutputHelper?.WriteLine("exits: " + string.Join(", ", machine.Statistics.Vcpus[0].Exits
            .Select(exit => (exit.Key, Count: exit.Value - exits.GetValueOrDefault(exit.Key)))
            .Where(exit => exit.Count != 0)
            .Select(exit => $"{exit.Key} {exit.Count}")));
    }

    /// <summary>The share of one core that this process uses, over three seconds. On a host with other work, code that earlier tests ran is
    /// still being compiled in the background for some time: what is too much is measured again.</summary>
    private static double Measure(string guest)
    {
        const int Attempts = 5;
        double share = 1;
        for (int i = 0; i < Attempts && share > Allowed; i++)
        {
            // What the start left to be compiled is not the guest's.
            Thread.Sleep(1000);
            using var process = Process.GetCurrentProcess();
            TimeSpan before = process.TotalProcessorTime;
            var time = Stopwatch.StartNew();
            Thread.Sleep(3000);
            process.Refresh();
            share = (process.TotalProcessorTime - before) / time.Elapsed;
            TestContext.Current.TestOutputHelper?.WriteLine($"idle {guest}: {share:P2} of a core");
        }
        return share;
    }
}
