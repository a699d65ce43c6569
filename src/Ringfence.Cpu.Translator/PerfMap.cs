using System.Diagnostics;
using System.Globalization;
using System.Text;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Tells Linux's perf what translated code is of: lines of "address bytes name" in /tmp/perf-PID.map, where it looks for code that has no file.
/// All processors of a process write to the one file. When memory for translations is used anew, later lines are for the same addresses.
/// </summary>
internal sealed class PerfMap
{
    private static readonly Lock OneAtATime = new();

    private readonly StringBuilder _lines = new();

    /// <exception cref="IOException">The file cannot be had.</exception>
    /// <exception cref="UnauthorizedAccessException">Nor for another reason.</exception>
    public PerfMap()
    {
        lock (OneAtATime)
        {
            // What another process of this number has left would name our code.
            if (File.Exists(Name) && File.GetLastWriteTime(Name) < Process.GetCurrentProcess().StartTime)
            {
                File.Delete(Name);
            }
            File.AppendAllText(Name, "");
        }
    }

    public static string Name { get; } = $"/tmp/perf-{Environment.ProcessId}.map";

    public void Add(Emitter e, Routines routines, int end)
    {
        (string Name, int At)[] places = [.. routines.Places.OrderBy(place => place.At)];
        for (int i = 0; i < places.Length; i++)
        {
            Line(e, places[i].At, i + 1 < places.Length ? places[i + 1].At : end, $"ringfence {places[i].Name}");
        }
        Write();
    }

    /// <param name="page">The linear address of the region's page.</param>
    /// <param name="end">Where the region's code ends.</param>
    public void Add(Emitter e, RegionCode region, ulong page, int end)
    {
        uint mode = region.Mode;
        string kind = ((mode & CodeMode.BitsMask) == CodeMode.Bits64 ? "64" : "32") + ((mode & CodeMode.User) != 0 ? " user" : " system");
        int last = region.Start;
        foreach (RegionEntry block in region.Entries)
        {
            if (block.IsWitness)
            {
                continue;
            }
            Line(e, region.Start + block.CodeStart, region.Start + block.CodeEnd, string.Create(CultureInfo.InvariantCulture,
                $"guest 0x{page + block.Offset:x}+{block.Bytes} {kind}"));
            last = Math.Max(last, region.Start + block.CodeEnd);
        }
        Line(e, last, end, string.Create(CultureInfo.InvariantCulture, $"guest 0x{page + region.Entries[0].Offset:x} {kind} rare ways"));
        Write();
    }

    private void Line(Emitter e, int from, int to, string name) =>
        _lines.Append(CultureInfo.InvariantCulture, $"{e.Address(from):x} {to - from:x} {name}\n");

    private void Write()
    {
        lock (OneAtATime)
        {
            File.AppendAllText(Name, _lines.ToString());
        }
        _lines.Clear();
    }
}
