using System.Numerics;

namespace Ringfence.Cpu.Models;

/// <summary>A set of features; equal if the members are.</summary>
/// <remarks>Four words and not two UInt128: what takes or returns those is never compiled ahead of time.</remarks>
public readonly record struct FeatureSet
{
    private const int WordBits = 64;

    private readonly ulong _0;
    private readonly ulong _1;
    private readonly ulong _2;
    private readonly ulong _3;

    private FeatureSet(ulong word0, ulong word1, ulong word2, ulong word3)
    {
        _0 = word0;
        _1 = word1;
        _2 = word2;
        _3 = word3;
    }

    /// <summary>How many members there are.</summary>
    public int Count => BitOperations.PopCount(_0) + BitOperations.PopCount(_1) + BitOperations.PopCount(_2) + BitOperations.PopCount(_3);

    public static FeatureSet Of(params IEnumerable<CpuFeature> features)
    {
        FeatureSet set = default;
        foreach (CpuFeature feature in features)
        {
            set = set.With(feature);
        }
        return set;
    }

    public bool Has(CpuFeature feature) => (this & Single(feature)) != default;

    public FeatureSet With(CpuFeature feature) => this | Single(feature);

    public FeatureSet Without(CpuFeature feature) => Without(Single(feature));

    public FeatureSet Without(FeatureSet others) => new(_0 & ~others._0, _1 & ~others._1, _2 & ~others._2, _3 & ~others._3);

    public static FeatureSet operator |(FeatureSet a, FeatureSet b) => new(a._0 | b._0, a._1 | b._1, a._2 | b._2, a._3 | b._3);

    public static FeatureSet operator &(FeatureSet a, FeatureSet b) => new(a._0 & b._0, a._1 & b._1, a._2 & b._2, a._3 & b._3);

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

    private static FeatureSet Single(CpuFeature feature)
    {
        ulong bit = 1UL << ((int)feature % WordBits);
        return ((int)feature / WordBits) switch
        {
            0 => new(bit, 0, 0, 0),
            1 => new(0, bit, 0, 0),
            2 => new(0, 0, bit, 0),
            _ => new(0, 0, 0, bit),
        };
    }
}
