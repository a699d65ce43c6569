namespace Ringfence.Cli;

/// <summary>What Linux tells of the host.</summary>
internal static class HostFacts
{
    private const string Modules = "/sys/module";

    public static string KernelRelease() => Read("/proc/sys/kernel/osrelease") ?? "unknown";

    /// <summary>Vendor, model name and flags of the first processor.</summary>
    public static (string Vendor, string Model, IReadOnlySet<string> Flags) Processor()
    {
        Dictionary<string, string> fields = [];
        foreach (string line in (Read("/proc/cpuinfo") ?? "").Split('\n'))
        {
            string[] parts = line.Split(':', 2);
            if (parts.Length == 2)
            {
                fields.TryAdd(parts[0].Trim(), parts[1].Trim());
            }
        }
        return (
            fields.GetValueOrDefault("vendor_id", "unknown"), fields.GetValueOrDefault("model name", "unknown"),
            fields.GetValueOrDefault("flags", "").Split(' ', StringSplitOptions.RemoveEmptyEntries).ToHashSet());
    }

    /// <summary>The module that runs KVM's guests; null if there is none.</summary>
    public static string? KvmModule() =>
        Directory.Exists(Modules) ? Directory.GetDirectories(Modules, "kvm_*").Select(Path.GetFileName).Order().FirstOrDefault() : null;

    /// <summary>Whether guests may have guests of their own; null where the module does not say.</summary>
    public static bool? NestedGuests(string? module) => module is null ? null : Read(Path.Combine(Modules, module, "parameters", "nested")) switch
    {
        "Y" or "1" => true,
        "N" or "0" => false,
        _ => null,
    };

    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
