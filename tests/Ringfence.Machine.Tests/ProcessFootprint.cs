using System.Globalization;

namespace Ringfence.Machine.Tests;

/// <summary>What this process holds of the host.</summary>
/// <param name="Descriptors">Open descriptors.</param>
/// <param name="Threads">Threads, those of the runtime included.</param>
/// <param name="PrivateMemory">KiB that are this process' own, after a full collection.</param>
/// <param name="Mapped">KiB of address space that is writable and private: reserved memory that was never touched counts too.</param>
internal sealed record ProcessFootprint(int Descriptors, int Threads, long PrivateMemory, long Mapped)
{
    public static ProcessFootprint Take()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            GC.WaitForPendingFinalizers();
        }
        return new ProcessFootprint(
            Directory.GetFileSystemEntries("/proc/self/fd").Length,
            Directory.GetDirectories("/proc/self/task").Length,
            KiB("/proc/self/smaps_rollup", "Private_Clean:") + KiB("/proc/self/smaps_rollup", "Private_Dirty:"),
            KiB("/proc/self/status", "VmData:"));
    }

    private static long KiB(string file, string name) => File.ReadLines(file)
        .Where(line => line.StartsWith(name, StringComparison.Ordinal))
        .Sum(line => long.Parse(line.AsSpan(name.Length).Trim().TrimEnd("kB ").Trim(), CultureInfo.InvariantCulture));
}
