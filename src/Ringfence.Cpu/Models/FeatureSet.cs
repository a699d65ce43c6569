namespace Ringfence.Cpu.Models;

/// <summary>A set of features; equal if the members are.</summary>
public readonly record struct FeatureSet
{
    private readonly UInt128 _bits;

    private FeatureSet(UInt128 bits) => _bits = bits;

    public static FeatureSet Of(params IEnumerable<CpuFeature> features) =>
        new(features.Aggregate(UInt128.Zero, (bits, feature) => bits | (UInt128.One << (int)feature)));

    public bool Has(CpuFeature feature) => ((_bits >> (int)feature) & 1) != 0;

    public FeatureSet With(CpuFeature feature) => new(_bits | (UInt128.One << (int)feature));

    public FeatureSet Without(CpuFeature feature) => new(_bits & ~(UInt128.One << (int)feature));

    public static FeatureSet operator |(FeatureSet a, FeatureSet b) => new(a._bits | b._bits);

    public static FeatureSet operator &(FeatureSet a, FeatureSet b) => new(a._bits & b._bits);

    /// <summary>In the order of <see cref="CpuFeature"/>.</summary>
    public IEnumerable<CpuFeature> Members()
    {
        for (CpuFeature feature = 0; (int)feature < CpuFeatures.All.Count; feature++)
        {
            if (Has(feature))
            {
                yield return feature;
            }
        }
    }
}
