namespace Ringfence.Cpu.Models;

/// <summary>Which features need which others.</summary>
/// <param name="requires">What each feature needs, in the order of <see cref="CpuFeature"/>.</param>
internal sealed class FeatureRules(FeatureSet[] requires)
{
    /// <summary>What the feature needs itself.</summary>
    public FeatureSet Requirements(CpuFeature feature) => requires[(int)feature];

    /// <summary>The set, what its members need, what that needs, and so on.</summary>
    public FeatureSet WithRequirements(FeatureSet set)
    {
        FeatureSet before;
        do
        {
            before = set;
            foreach (CpuFeature feature in before.Members())
            {
                set |= Requirements(feature);
            }
        }
        while (set != before);
        return set;
    }

    /// <summary>The members that have all they need within the set.</summary>
    public FeatureSet Satisfied(FeatureSet set)
    {
        FeatureSet before;
        do
        {
            before = set;
            foreach (CpuFeature feature in before.Members())
            {
                set = Requirements(feature).Without(before) == default ? set : set.Without(feature);
            }
        }
        while (set != before);
        return set;
    }
}
