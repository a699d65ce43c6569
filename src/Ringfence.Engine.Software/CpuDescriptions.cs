using System.Globalization;
using Ringfence.Cpu.Models;

namespace Ringfence.Engine.Software;

/// <summary>Our processor's models in the engine contract's terms.</summary>
internal static class CpuDescriptions
{
    /// <param name="translates">Whether it is for processors that translate.</param>
    /// <exception cref="CpuModelException">There is none such.</exception>
    public static CpuModel Parse(string text, bool translates)
    {
        try
        {
            return CpuModel.Parse(text, translates);
        }
        catch (FormatException e)
        {
            throw new CpuModelException(e.Message, e);
        }
    }

    /// <summary>The model of a machine's processors.</summary>
    /// <exception cref="CpuModelException">There is none such.</exception>
    public static CpuModel Parse(VmOptions options, bool translates) =>
        Parse(options.CpuModel, translates) with { OffersKvmClock = options.KvmClock, OffersHyperV = options.HyperV };

    /// <param name="why">Why a feature is withheld that the model alone does not explain.</param>
    public static CpuDescription Describe(CpuModel model, Func<CpuFeature, string?>? why = null) => new(
        model.Name, model.About, model.Vendor, model.Family, model.Model, model.Stepping, model.Signature, model.Brand,
        [.. model.Caches.Select(cache => cache.ToString())],
        [
            .. model.Described.Members()
                .Select(feature => feature.Info())
                .OrderBy(info => (info.Leaf, info.Subleaf, info.Register, info.Bit))
                .Select(info => new CpuFeatureDescription(info.Name, Group(info), model.Has(info.Feature) ? null : why?.Invoke(info.Feature) ?? model.WhyWithheld(info.Feature))),
        ]);

    private static string Group(CpuFeatureInfo info) => string.Create(
        CultureInfo.InvariantCulture, $"{info.Leaf:X}{(info.Leaf is 7 or 0xD ? $".{info.Subleaf}" : "")} {info.Register.ToString().ToUpperInvariant()}");
}
