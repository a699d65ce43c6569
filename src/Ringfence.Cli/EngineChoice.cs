using System.Globalization;
using System.Text.Json;
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
    private const string HostName = "Host";
    private const string SpeedsName = "Speeds";

    private static readonly TimeSpan s_window = TimeSpan.FromMilliseconds(15);

    /// <summary>The speeds of the engines that can be used here, by name. KVM is missing where it cannot be used.</summary>
    public static Dictionary<string, EngineSpeed> Measure()
    {
        Dictionary<string, EngineSpeed> speeds = new(StringComparer.Ordinal)
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
        Dictionary<string, EngineSpeed>? speeds = Recall(file, key);
        string from = "remembered for this host and kernel";
        if (speeds is null)
        {
            speeds = Measure();
            from = "measured now";
            Remember(file, key, speeds);
        }
        (string? best, List<string> all) = (null, []);
        foreach ((string engine, EngineSpeed speed) in speeds)
        {
            best = best is null || speed.Both > speeds[best].Both ? engine : best;
            all.Add($"{engine} {Describe(speed)}");
        }
        why = $"engine {best}: {string.Join("; ", all)} ({from})";
        return best!;
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

    // Read and written by hand: the serializer's set-up takes longer than all else that --engine auto does.
    private static Dictionary<string, EngineSpeed>? Recall(string file, string key)
    {
        try
        {
            using JsonDocument memory = JsonDocument.Parse(File.ReadAllBytes(file));
            if (memory.RootElement.GetProperty(HostName).GetString() != key)
            {
                return null;
            }
            Dictionary<string, EngineSpeed> speeds = new(StringComparer.Ordinal);
            foreach (JsonProperty speed in memory.RootElement.GetProperty(SpeedsName).EnumerateObject())
            {
                speeds[speed.Name] = new EngineSpeed(
                    speed.Value.GetProperty(nameof(EngineSpeed.Supervisor)).GetDouble(), speed.Value.GetProperty(nameof(EngineSpeed.User)).GetDouble());
            }
            return speeds.Count > 0 ? speeds : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private static void Remember(string file, string key, Dictionary<string, EngineSpeed> speeds)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            string part = $"{file}.{Environment.ProcessId}";
            using (FileStream stream = File.Create(part))
            using (Utf8JsonWriter writer = new(stream, new JsonWriterOptions { Indented = true }))
            {
                writer.WriteStartObject();
                writer.WriteString(HostName, key);
                writer.WriteStartObject(SpeedsName);
                foreach ((string engine, EngineSpeed speed) in speeds)
                {
                    writer.WriteStartObject(engine);
                    writer.WriteNumber(nameof(EngineSpeed.Supervisor), speed.Supervisor);
                    writer.WriteNumber(nameof(EngineSpeed.User), speed.User);
                    writer.WriteEndObject();
                }
                writer.WriteEndObject();
                writer.WriteEndObject();
            }
            File.Move(part, file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then it is measured each time.
        }
    }
}
