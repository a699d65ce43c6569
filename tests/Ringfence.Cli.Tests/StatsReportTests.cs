using Ringfence.Engine;

namespace Ringfence.Cli.Tests;

public sealed class StatsReportTests
{
    private static readonly VcpuStatistics s_first = new(
        300_000_000, Seconds(2), Seconds(0.5), Seconds(1), new Dictionary<string, long> { ["out"] = 10, ["in"] = 3, ["hlt"] = 0 });

    private static readonly VcpuStatistics s_second = new(
        100_000_000, Seconds(1), Seconds(0.5), Seconds(2.5), new Dictionary<string, long> { ["in"] = 9 });

    [Fact]
    public void AddsUpVcpus()
    {
        var report = new StatsReport(Seconds(4), [s_first, s_second], 256 << 20);
        Assert.Equal(400_000_000, report.Instructions);
        Assert.Equal(400.0 / 3, report.Mips, 6);
        Assert.Equal(Seconds(4.5), report.BusyTime);
        Assert.Equal(3 / 4.5, report.Performance, 6);
        Assert.Equal(1 / 4.5, report.Overhead, 6);
        Assert.Equal([KeyValuePair.Create("in", 12L), KeyValuePair.Create("out", 10L)], report.Exits);
    }

    [Fact]
    public void BusyTimeIsNeverLessThanWhatWasCounted()
    {
        var report = new StatsReport(Seconds(1), [s_first], 0);
        Assert.Equal(Seconds(2.5), report.BusyTime);
        Assert.True(report.Performance <= 1);
    }

    [Fact]
    public void NothingRunIsNoDivisionByZero()
    {
        var report = new StatsReport(TimeSpan.Zero, [], 0);
        Assert.Equal((0, 0, 0), (report.Mips, report.Performance, report.Overhead));
    }

    [Fact]
    public void PrintsNamesAndFigures()
    {
        string text = new StatsReport(Seconds(4), [s_first, s_second], 256 << 20).ToString();
        Assert.Matches(@"(?m)^guest instructions +400,000,000$", text);
        Assert.Matches(@"(?m)^MIPS +133\.3$", text);
        Assert.Matches(@"(?m)^P = work / time +0\.667$", text);
        Assert.Matches(@"(?m)^O = overhead / time +0\.222$", text);
        Assert.Matches(@"(?m)^peak memory +256 MiB$", text);
        Assert.Matches(@"(?m)^exits +22$", text);
        Assert.Matches(@"(?m)^  in +12\n  out +10$", text);
    }

    [Fact]
    public void PeakMemoryOfThisProcessIsKnown() => Assert.InRange(StatsReport.ReadPeakMemory(), 1 << 20, 1L << 40);

    private static TimeSpan Seconds(double seconds) => TimeSpan.FromSeconds(seconds);
}
