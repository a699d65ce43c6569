using System.Globalization;

namespace Ringfence.Cpu.Tests.Differential;

/// <summary>
/// How long the comparisons with the host's processor go on. As a rule each does one pass with a fixed seed. With RINGFENCE_CASES (a number,
/// with K or M) they go on until they have run so many cases in all, and RINGFENCE_SEED makes them other cases. A case is one instruction,
/// or sequence of them, run on both processors from one random state.
/// </summary>
internal static class LongRun
{
    /// <summary>The trait of all these tests, by which ./test --cases chooses them.</summary>
    public const string Category = "Differential";

    private const int ReportSeconds = 10;
    private static readonly long _wanted = Number("RINGFENCE_CASES");
    private static readonly long _seed = Number("RINGFENCE_SEED");
    private static readonly long _began = Environment.TickCount64;
    private static readonly List<(string Name, long Cases, double Seconds)> _ended = [];
    private static readonly Timer? _report = _wanted == 0 ? null : StartReports();
    private static long _cases;
    private static long _differences;

    /// <summary>Repeats a test until it has done its share of the cases; once if no long run is asked for.</summary>
    /// <param name="name">As the report names it.</param>
    /// <param name="share">Of all cases, in percent.</param>
    /// <param name="seed">Of the first pass.</param>
    /// <param name="pass">One pass: to count its cases it calls <see cref="Count"/>, and returns their number.</param>
    public static void Repeat(string name, int share, int seed, Func<Random, long> pass)
    {
        long began = Environment.TickCount64;
        long goal = _wanted * share / 100;
        long done = 0;
        for (int n = 0; n == 0 || done < goal; n++)
        {
            done += pass(Source(seed + ((long)n << 32)));
        }
        Ended(name, done, began);
    }

    /// <summary>How many cases a test that normally does <paramref name="normal"/> is to do, as one of those that do
    /// <paramref name="all"/> together.</summary>
    /// <param name="share">Of all cases, in percent, for all of them together.</param>
    public static long Scaled(long normal, long all, int share) => Math.Max(normal, (long)((double)_wanted * share / 100 * normal / all));

    public static Random Source(long seed) => new CaseRandom(seed ^ (_seed * 0x2545_F491_4F6C_DD1D));

    /// <summary>Adds to what the progress lines show.</summary>
    public static void Count(long cases) => Interlocked.Add(ref _cases, cases);

    public static void Difference() => Interlocked.Increment(ref _differences);

    /// <summary>Notes for the closing lines how fast a test was.</summary>
    public static void Ended(string name, long cases, long began)
    {
        lock (_ended)
        {
            _ended.Add((name, cases, (Environment.TickCount64 - began) / 1000.0));
        }
    }

    private static Timer StartReports()
    {
        AppDomain.CurrentDomain.ProcessExit += static (_, _) => Close();
        return new Timer(static _ => Console.WriteLine($"{Progress()} at {Seconds():F0} s, {Interlocked.Read(ref _cases) / Seconds():N0} a second"),
            null, TimeSpan.FromSeconds(ReportSeconds), TimeSpan.FromSeconds(ReportSeconds));
    }

    private static string Progress() => string.Create(
        CultureInfo.InvariantCulture, $"{Interlocked.Read(ref _cases):N0} cases, {Interlocked.Read(ref _differences)} differences");

    private static double Seconds() => Math.Max(1, Environment.TickCount64 - _began) / 1000.0;

    private static void Close()
    {
        _report?.Dispose();
        foreach (IGrouping<string, (string Name, long Cases, double Seconds)> group in _ended.GroupBy(e => e.Name))
        {
            long cases = group.Sum(e => e.Cases);
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"  {group.Key}: {cases:N0} cases, {cases / Math.Max(0.001, group.Sum(e => e.Seconds)):N0} a second"));
        }
        Console.WriteLine(Progress());
    }

    /// <summary>0 if the variable is not set.</summary>
    private static long Number(string variable)
    {
        string? text = Environment.GetEnvironmentVariable(variable);
        if (string.IsNullOrEmpty(text))
        {
            return 0;
        }
        long unit = char.ToUpperInvariant(text[^1]) switch { 'K' => 1000, 'M' => 1_000_000, _ => 1 };
        string digits = unit == 1 ? text : text[..^1];
        return long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out long value)
            ? value * unit : throw new FormatException($"{variable}={text}: not a number, nor one with K or M");
    }
}
