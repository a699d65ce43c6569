using System.Diagnostics;
using System.Globalization;
using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>A guest in HLT costs the host next to nothing. The bounds are wide: how little it is, the benchmarks measure.</summary>
public sealed class IdleTests
{
    private const double Allowed = 0.10;
    private const int TicksPerSecond = 100;

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
        Assert.SkipWhen(EngineUnderTest.EmulatesSupervisor, "this host's KVM emulates supervisor code: the kernel would take minutes to its shell");
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
        Dictionary<string, (string Name, long Ticks)> before = ThreadTimes();
        var time = Stopwatch.StartNew();
        Thread.Sleep(3000);
        (string Name, double Share)[] shares = [.. ThreadTimes()
            .Select(thread => (thread.Value.Name, Ticks: thread.Value.Ticks - before.GetValueOrDefault(thread.Key).Ticks))
            .GroupBy(thread => thread.Name)
            .Select(name => (name.Key, name.Sum(thread => thread.Ticks) / (double)TicksPerSecond / time.Elapsed.TotalSeconds))];
        // What the start left to be compiled in the background is not the guest's, and on a busy machine it takes its time.
        double share = shares.Where(thread => !thread.Name.StartsWith(".NET Tiered", StringComparison.Ordinal)).Sum(thread => thread.Share);
        TestContext.Current.TestOutputHelper?.WriteLine($"idle {guest}: {share:P2} of a core; "
            + string.Join(", ", shares.Where(thread => thread.Share > 0).Select(thread => $"{thread.Name} {thread.Share:P2}")));
        return share;
    }

    /// <summary>The name and the processor time, in hundredths of a second, of each thread (proc(5), "stat": fields 14 and 15).</summary>
    private static Dictionary<string, (string Name, long Ticks)> ThreadTimes()
    {
        Dictionary<string, (string, long)> times = [];
        foreach (string thread in Directory.GetDirectories("/proc/self/task"))
        {
            string stat;
            try
            {
                stat = File.ReadAllText(thread + "/stat");
            }
            catch (IOException)
            {
                // It has ended meanwhile.
                continue;
            }
            int open = stat.IndexOf('(', StringComparison.Ordinal);
            int close = stat.LastIndexOf(')');
            string[] fields = stat[(close + 2)..].Split(' ');
            times[thread] = (stat[(open + 1)..close], long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture));
        }
        return times;
    }
}
