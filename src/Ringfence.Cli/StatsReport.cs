using System.Globalization;
using System.Text;
using Ringfence.Engine;

namespace Ringfence.Cli;

/// <summary>
/// What --stats prints: counts of all vCPUs added up. With busy time = elapsed time of all vCPUs less what they slept in HLT,
/// P = time in guest code / busy time (the share of the work) and O = time in the VMM / busy time (the share of the overhead);
/// what is left of 1 was spent starting and stopping.
/// </summary>
/// <param name="Elapsed">Wall time from the first vCPU's start to the last one's end.</param>
/// <param name="Vcpus">Statistics of each vCPU.</param>
/// <param name="PeakMemory">The process's largest resident size in bytes; 0 if unknown.</param>
internal sealed record StatsReport(TimeSpan Elapsed, IReadOnlyList<VcpuStatistics> Vcpus, long PeakMemory)
{
    /// <summary>What has become of translations kept for later runs; null if none are.</summary>
    public IReadOnlyDictionary<string, long>? Cache { get; init; }

    public long Instructions => Vcpus.Sum(vcpu => vcpu.Instructions);

    public TimeSpan GuestTime => Sum(vcpu => vcpu.GuestTime);

    public TimeSpan VmmTime => Sum(vcpu => vcpu.VmmTime);

    public TimeSpan HaltTime => Sum(vcpu => vcpu.HaltTime);

    /// <summary>Never less than what was counted: clocks are read at slightly different moments.</summary>
    public TimeSpan BusyTime
    {
        get
        {
            TimeSpan outside = (Elapsed * Vcpus.Count) - HaltTime;
            TimeSpan inside = GuestTime + VmmTime;
            return outside > inside ? outside : inside;
        }
    }

    /// <summary>Million guest instructions per second in guest code.</summary>
    public double Mips => Ratio(Instructions / 1e6, GuestTime.TotalSeconds);

    public double Performance => Ratio(GuestTime.TotalSeconds, BusyTime.TotalSeconds);

    public double Overhead => Ratio(VmmTime.TotalSeconds, BusyTime.TotalSeconds);

    /// <summary>Exits by kind, most frequent first.</summary>
    public IReadOnlyList<KeyValuePair<string, long>> Exits =>
        [.. Vcpus.SelectMany(vcpu => vcpu.Exits)
            .GroupBy(exit => exit.Key, exit => exit.Value)
            .Select(kind => KeyValuePair.Create(kind.Key, kind.Sum()))
            .Where(kind => kind.Value != 0)
            .OrderByDescending(kind => kind.Value)
            .ThenBy(kind => kind.Key, StringComparer.Ordinal)];

    public override string ToString()
    {
        var text = new StringBuilder();
        Line(text, "elapsed", Seconds(Elapsed));
        Line(text, "guest instructions", Count(Instructions));
        Line(text, "MIPS", Mips.ToString("F1", CultureInfo.InvariantCulture));
        Line(text, "time in the guest", Seconds(GuestTime));
        Line(text, "time in the VMM", Seconds(VmmTime));
        Line(text, "time asleep (HLT)", Seconds(HaltTime));
        Line(text, "P = work / time", Performance.ToString("F3", CultureInfo.InvariantCulture));
        Line(text, "O = overhead / time", Overhead.ToString("F3", CultureInfo.InvariantCulture));
        if (PeakMemory > 0)
        {
            Line(text, "peak memory", (PeakMemory / 1048576.0).ToString("F0", CultureInfo.InvariantCulture) + " MiB");
        }
        IReadOnlyList<KeyValuePair<string, long>> exits = Exits;
        Line(text, "exits", Count(exits.Sum(kind => kind.Value)));
        foreach ((string kind, long count) in exits)
        {
            Line(text, "  " + kind, Count(count));
        }
        VcpuStatistics? all = Vcpus.Count == 0 ? null : Vcpus.Aggregate((a, b) => a + b);
        if (all?.Translation is { } translation)
        {
            Line(text, "translation", "");
            foreach ((string name, long count) in translation)
            {
                Line(text, "  " + name, Count(count));
            }
        }
        if (Cache is { } cache)
        {
            Line(text, "translation cache", "");
            foreach ((string name, long count) in cache)
            {
                Line(text, "  " + name, Count(count));
            }
        }
        return text.ToString();
    }

    /// <summary>The largest resident size of this process in bytes (VmHWM, proc(5)); 0 if the host does not tell.</summary>
    public static long ReadPeakMemory()
    {
        try
        {
            string? line = File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
            string[] words = (line ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            return words.Length >= 2 && long.TryParse(words[1], CultureInfo.InvariantCulture, out long kilobytes) ? kilobytes * 1024 : 0;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private TimeSpan Sum(Func<VcpuStatistics, TimeSpan> part) => new(Vcpus.Sum(vcpu => part(vcpu).Ticks));

    private static double Ratio(double part, double whole) => whole > 0 ? part / whole : 0;

    private static string Count(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Seconds(TimeSpan time) => time.TotalSeconds.ToString("F3", CultureInfo.InvariantCulture) + " s";

    private static void Line(StringBuilder text, string name, string value) => text.Append(CultureInfo.InvariantCulture, $"{name,-22}{value,18}\n");
}
