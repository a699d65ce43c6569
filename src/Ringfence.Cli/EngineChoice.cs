using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Ringfence.Engine.Kvm;
using Ringfence.Engine.Software;
using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>
/// What --engine auto does: each engine that this host has is measured for a few milliseconds, and the faster is taken. What was measured is remembered for this
/// host and kernel. Which it is depends on what is under KVM: VT-x and AMD-V win by far, an emulation of supervisor code loses.
/// </summary>
internal static class EngineChoice
{
    private static readonly TimeSpan s_window = TimeSpan.FromMilliseconds(15);

    /// <summary>The speeds of the engines that can be used here, by name. KVM is missing where it cannot be used.</summary>
    public static SortedDictionary<string, EngineSpeed> Measure()
    {
        SortedDictionary<string, EngineSpeed> speeds = new(StringComparer.Ordinal)
        {
            [SoftwareOptions.CanTranslate ? EngineNames.Translator : EngineNames.Interpreter] = SpeedProbe.Measure(new SoftwareEngine(), s_window),
        };
        try
        {
            speeds[EngineNames.Kvm] = SpeedProbe.Measure(new KvmEngine(), s_window);
        }
        catch (Exception e) when (e is KvmException or InvalidOperationException)
        {
            // Then there is no choice.
        }
        return speeds;
    }

    /// <summary>The name of the engine to take.</summary>
    /// <param name="why">A line for people.</param>
    public static string Choose(string cacheFolder, out string why)
    {
        string key = HostKey();
        string file = Path.Combine(cacheFolder, "engines.json");
        SortedDictionary<string, EngineSpeed>? speeds = Recall(file, key);
        string from = "remembered for this host and kernel";
        if (speeds is null)
        {
            speeds = Measure();
            from = "measured now";
            Remember(file, key, speeds);
        }
        string best = speeds.MaxBy(speed => speed.Value.Both).Key;
        why = $"engine {best}: {string.Join("; ", speeds.Select(speed => $"{speed.Key} {Describe(speed.Value)}"))} ({from})";
        return best;
    }

    public static string Describe(EngineSpeed speed) => string.Create(
        CultureInfo.InvariantCulture, $"runs {speed.Supervisor:F1} million instructions a second at level 0 and {speed.User:F1} at level 3");

    /// <summary>Where what is measured is kept: XDG's folder for caches.</summary>
    public static string CacheFolder
    {
        get
        {
            string? root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            root = string.IsNullOrEmpty(root) ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache") : root;
            return Path.Combine(root, "ringfence");
        }
    }

    /// <summary>What the speeds depend on: kernel, processor, KVM's module, our version, and whether the device can be opened.</summary>
    private static string HostKey()
    {
        bool usable = KvmEngine.CanOpen(out _);
        return string.Join('|', HostFacts.KernelRelease(), HostFacts.Processor().Model, HostFacts.KvmModule(), typeof(EngineChoice).Assembly.GetName().Version, usable);
    }

    private static SortedDictionary<string, EngineSpeed>? Recall(string file, string key)
    {
        try
        {
            Memory? memory = JsonSerializer.Deserialize(File.ReadAllBytes(file), EngineChoiceJson.Default.Memory);
            return memory?.Host == key && memory.Speeds.Count > 0 ? memory.Speeds : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    private static void Remember(string file, string key, SortedDictionary<string, EngineSpeed> speeds)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            string part = $"{file}.{Environment.ProcessId}";
            File.WriteAllBytes(part, JsonSerializer.SerializeToUtf8Bytes(new Memory(key, speeds), EngineChoiceJson.Default.Memory));
            File.Move(part, file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then it is measured each time.
        }
    }

    internal sealed record Memory(string Host, SortedDictionary<string, EngineSpeed> Speeds);
}

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(EngineChoice.Memory))]
internal sealed partial class EngineChoiceJson : JsonSerializerContext;
