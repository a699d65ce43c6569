using System.Text.Json;

namespace Ringfence.Cpu.Models;

/// <summary>What models.json says: the models, other names of features, and which features need which.</summary>
internal sealed class CpuModelCatalog
{
    private static readonly Lazy<CpuModelCatalog> s_instance = new(Read);

    private readonly Dictionary<string, CpuFeature> _aliases = [];

    private CpuModelCatalog(JsonElement root)
    {
        FeatureSet[] requires = new FeatureSet[CpuFeatures.All.Count];
        foreach (JsonProperty rule in root.GetProperty("requires").EnumerateObject())
        {
            requires[(int)Named(rule.Name)] = Set(rule.Value);
        }
        Rules = new FeatureRules(requires);
        foreach (JsonProperty alias in root.GetProperty("aliases").EnumerateObject())
        {
            _aliases.Add(alias.Name, Named(alias.Value.GetString()!));
        }
        FeatureSet everywhere = Set(root.GetProperty("everywhere"));
        List<CpuModel> models = [];
        foreach (JsonElement model in root.GetProperty("models").EnumerateArray())
        {
            models.Add(Model(model, everywhere, models));
        }
        Models = models;
    }

    public static CpuModelCatalog Instance => s_instance.Value;

    public IReadOnlyList<CpuModel> Models { get; }

    public FeatureRules Rules { get; }

    /// <summary>By the name that Linux uses or another; null if there is none such.</summary>
    public CpuFeature? FindFeature(string name)
    {
        name = name.ToLowerInvariant();
        return CpuFeatures.Find(name) ?? CpuFeatures.Find(name.Replace('-', '_').Replace('.', '_'))
            ?? (_aliases.TryGetValue(name, out CpuFeature feature) ? feature : null);
    }

    private static CpuModelCatalog Read()
    {
        using Stream stream = typeof(CpuModelCatalog).Assembly.GetManifestResourceStream("models.json")!;
        using JsonDocument document = JsonDocument.Parse(stream);
        return new CpuModelCatalog(document.RootElement);
    }

    /// <summary>A model has what the one it extends has, but for what it says itself; features add up.</summary>
    private CpuModel Model(JsonElement json, FeatureSet everywhere, List<CpuModel> before)
    {
        CpuModel? extended = Text(json, "extends") is { } name ? before.Single(m => m.Name == name) : null;
        string features = Text(json, "features")!;
        FeatureSet described = features == "*" ? CpuFeatures.Implemented : everywhere | Set(features) | (extended?.Described ?? default);
        return new CpuModel
        {
            Name = Text(json, "name")!,
            About = Text(json, "about")!,
            Vendor = Text(json, "vendor") ?? extended!.Vendor,
            Family = Number(json, "family") ?? extended!.Family,
            Model = Number(json, "model") ?? extended!.Model,
            Stepping = Number(json, "stepping") ?? extended!.Stepping,
            Brand = Text(json, "brand")!,
            Caches = json.TryGetProperty("caches", out JsonElement caches)
                ? [.. caches.EnumerateObject().Select(c => CpuCache.Parse(c.Name, c.Value.GetString()!))] : extended!.Caches,
            Described = described,
            Features = Rules.Satisfied(described & CpuFeatures.Implemented),
        };
    }

    private static string? Text(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;

    private static uint? Number(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) ? value.GetUInt32() : null;

    private static FeatureSet Set(JsonElement names) => Set(names.GetString()!);

    private static FeatureSet Set(string names) => FeatureSet.Of(names.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Named));

    private static CpuFeature Named(string name) =>
        CpuFeatures.Find(name) ?? throw new InvalidOperationException($"models.json names a feature '{name}' that is not in {nameof(CpuFeatures)}");
}
