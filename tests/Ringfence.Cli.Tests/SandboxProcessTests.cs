using System.Globalization;
using Ringfence.Host.Sandbox;

namespace Ringfence.Cli.Tests;

/// <summary>--sandbox: the kernel says under how many filters each thread of the process is.</summary>
public sealed class SandboxProcessTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("", 1, 2)]
    [InlineData("--sandbox on", 1, 2)]
    [InlineData("--sandbox off", 0, 0)]
    public void ThreadsAreUnderFilters(string option, int all, int vcpu)
    {
        Assert.SkipUnless(ThreadSandbox.IsAvailable, "the kernel has no seccomp filters, or we have none for this host");
        using RingfenceProcess process = new(["run", "--engine", "interpreter", .. option.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        process.WaitFor("ringfence> ", s_limit);
        int ours = Filters("/proc/self/status");
        bool seen = false;
        foreach (string thread in Directory.GetDirectories($"/proc/{process.Id}/task"))
        {
            bool isVcpu = File.ReadAllText($"{thread}/comm").StartsWith("ringfence-vcpu", StringComparison.Ordinal);
            Assert.InRange(Filters($"{thread}/status") - ours, isVcpu ? vcpu : all, vcpu);
            seen |= isVcpu;
        }
        Assert.True(seen);
    }

    [Fact]
    public void WithAPerfMapThereIsNone()
    {
        (int code, _, string error) = RingfenceProcess.Run("run", "--engine", "auto", "--perf-map", "--sandbox", "on");
        Assert.Equal(2, code);
        Assert.StartsWith("ringfence: --perf-map: ", error, StringComparison.Ordinal);
    }

    private static int Filters(string status) =>
        int.Parse(File.ReadLines(status).First(line => line.StartsWith("Seccomp_filters:", StringComparison.Ordinal)).Split('\t')[1], CultureInfo.InvariantCulture);
}
