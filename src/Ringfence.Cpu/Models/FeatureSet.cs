namespace Ringfence.Cpu.Models;

/// <summary>A set of features; equal if the members are.</summary>
public readonly record struct FeatureSet
{
    private const int HalfBits = 128;

    private readonly UInt128 _low;
    private readonly UInt128 _high;

    private FeatureSet(UInt128 low, UInt128 high)
    {
        _low = low;
        _high = high;
    }

    /// <summary>How many members there are.</summary>
    public int Count => (int)(UInt128.PopCount(_low) + UInt128.PopCount(_high));

    public static FeatureSet Of(params IEnumerable<CpuFeature> features) =>
        features.Aggregate(default(FeatureSet), (set, feature) => set.With(feature));

    public bool Has(CpuFeature feature) => (this & Single(feature)) != default;

    public FeatureSet With(CpuFeature feature) => this | Single(feature);

    public FeatureSet Without(CpuFeature feature) => Without(Single(feature));

    public FeatureSet Without(FeatureSet others) => new(_low & ~others._low, _high & ~others._high);

    public static FeatureSet operator |(FeatureSet a, FeatureSet b) => new(a._low | b._low, a._high | b._high);

    public static FeatureSet operator &(FeatureSet a, FeatureSet b) => new(a._low & b._low, a._high & b._high);

    /// <summary>In the order of <see cref="CpuFeature"/>.</summary>
    public IEnumerable<CpuFeature> Members()
    {
        for (int feature = 0; feature < CpuFeatures.All.Count; feature++)
        {
            if (Has((CpuFeature)feature))
            {
                yield return (CpuFeature)feature;
            }
        }
    }

    private static FeatureSet Single(CpuFeature feature) =>
        (int)feature < HalfBits ? new(UInt128.One << (int)feature, 0) : new(0, UInt128.One << ((int)feature - HalfBits));
}
