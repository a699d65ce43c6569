namespace Ringfence.Cpu.Models;

/// <summary>A processor as CPUID describes it. All but what the constructor is told comes from models.json.</summary>
public sealed record CpuModel
{
    /// <summary>As given on the command line, with the features added and taken away.</summary>
    public required string Name { get; init; }

    /// <summary>One line for people.</summary>
    public required string About { get; init; }

    /// <summary>12 characters, as CPUID.0 has them: "AuthenticAMD", "GenuineIntel".</summary>
    public required string Vendor { get; init; }

    public required uint Family { get; init; }

    /// <summary>With the extended model in bits 4 to 7.</summary>
    public required uint Model { get; init; }

    public required uint Stepping { get; init; }

    /// <summary>The processor brand string, at most 47 characters.</summary>
    public required string Brand { get; init; }

    public required IReadOnlyList<CpuCache> Caches { get; init; }

    /// <summary>What the processor that it is named for has, of all that we know.</summary>
    public required FeatureSet Described { get; init; }

    /// <summary>What it may advertise at most.</summary>
    public FeatureSet Available { get; init; } = CpuFeatures.Implemented;

    /// <summary>What it advertises: never more than <see cref="Available"/>, and nothing without what it needs.</summary>
    public required FeatureSet Features { get; init; }

    /// <summary>Guests find KVM's signature, its clock and its hypercalls.</summary>
    public bool OffersKvmClock { get; init; }

    /// <summary>Guests find Hyper-V's interface.</summary>
    public bool OffersHyperV { get; init; }

    /// <summary>Where the standard format of XSAVE has AVX-512's first component and PKRU, if that is a real processor's affair; null for as the vendor's have it.</summary>
    internal (int Opmask, int Pkru)? ExtendedStateOffsets { get; init; }

    public bool IsIntel => Vendor == "GenuineIntel";

    /// <summary>Named for no processor that was ever made: it may have what test suites expect of any.</summary>
    public bool IsGeneric => Brand.StartsWith("Ringfence", StringComparison.Ordinal);

    /// <summary>Family, model and stepping as in CPUID.1:EAX (SDM 2 CPUID, figure 3-6).</summary>
    public uint Signature
    {
        get
        {
            uint family = Math.Min(Family, 15);
            return ((Family - family) << 20) | ((Model >> 4) << 16) | (family << 8) | ((Model & 15) << 4) | Stepping;
        }
    }

    /// <summary>The x86-64 psABI's baseline.</summary>
    public static CpuModel X8664V1 => Find("x86-64-v1")!;

    /// <summary>All that is implemented.</summary>
    public static CpuModel Max => Find("max")!;

    /// <summary><see cref="Max"/>, and what of <see cref="CpuFeatures.PassedOn"/> this host has. For processors that translate only.</summary>
    public static CpuModel Host => HostModel.Instance;

    /// <summary>All but <see cref="Host"/>.</summary>
    public static IReadOnlyList<CpuModel> All => CpuModelCatalog.Instance.Models;

    /// <summary>The model of that name, or null. Letters may be large or small.</summary>
    public static CpuModel? Find(string name) => All.FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>A model, and features more or less: MODEL[,+F|,-F]...</summary>
    /// <param name="translates">Whether it is for processors that translate, so that it may be <see cref="Host"/>.</param>
    /// <exception cref="FormatException">It cannot be; one line says why.</exception>
    public static CpuModel Parse(string text, bool translates = false) => CpuModelParser.Parse(text, translates);

    /// <summary>Where the manuals of the two differ, AMD's counts.</summary>
    public bool IsAmd => !IsIntel;

    public bool Has(CpuFeature feature) => Features.Has(feature);

    /// <summary>Why a feature that is described is not advertised.</summary>
    public string WhyWithheld(CpuFeature feature)
    {
        if (!Available.Has(feature))
        {
            return CpuFeatures.PassedOn.Has(feature) ? $"only in '{HostModel.Name}'" : "not implemented";
        }
        FeatureSet missing = CpuModelCatalog.Instance.Rules.Requirements(feature).Without(Features);
        return $"needs {string.Join(" ", missing.Members().Select(m => m.Info().Name))}";
    }
}
