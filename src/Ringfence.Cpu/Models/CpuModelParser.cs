namespace Ringfence.Cpu.Models;

/// <summary>Reads MODEL[,+F|,-F]...: in order from left to right; +F brings what F needs, -F takes what needs F.</summary>
internal static class CpuModelParser
{
    /// <exception cref="FormatException">It cannot be; one line says why.</exception>
    public static CpuModel Parse(string text, bool translates)
    {
        string[] parts = text.Split(',');
        CpuModel model = Find(parts[0].Trim(), translates);
        FeatureRules rules = CpuModelCatalog.Instance.Rules;
        FeatureSet described = model.Described;
        string name = model.Name;
        foreach (string part in parts[1..].Select(p => p.Trim()))
        {
            if (part.Length < 2 || part[0] is not ('+' or '-'))
            {
                throw new FormatException($"'{part}' is neither +FEATURE nor -FEATURE");
            }
            CpuFeature feature = CpuModelCatalog.Instance.FindFeature(part[1..]) ?? throw UnknownFeature(part[1..]);
            if (part[0] == '+')
            {
                FeatureSet added = rules.WithRequirements(FeatureSet.Of(feature));
                RequireAvailable(feature, added.Without(model.Available));
                described |= added;
            }
            else
            {
                described = rules.Satisfied(rules.WithRequirements(described).Without(feature)) & described;
            }
            name += $",{part[0]}{feature.Info().Name}";
        }
        return model with { Name = name, Described = described, Features = rules.Satisfied(described & model.Available) };
    }

    private static CpuModel Find(string name, bool translates)
    {
        if (!name.Equals(HostModel.Name, StringComparison.OrdinalIgnoreCase))
        {
            return CpuModel.Find(name) ?? throw UnknownModel(name);
        }
        return translates ? CpuModel.Host
            : throw new FormatException($"the model '{HostModel.Name}' is only for the translator, which passes instructions on to the host's processor");
    }

    private static void RequireAvailable(CpuFeature feature, FeatureSet missing)
    {
        if (missing.Has(feature) && CpuFeatures.PassedOn.Has(feature))
        {
            throw new FormatException($"{feature.Info().Name} cannot be added: only the model '{HostModel.Name}' has it, if the host does");
        }
        if (missing.Has(feature))
        {
            throw new FormatException($"{feature.Info().Name} cannot be added: it is not implemented");
        }
        if (missing.Count > 0)
        {
            string names = string.Join(" ", missing.Members().Select(m => m.Info().Name));
            throw new FormatException($"{feature.Info().Name} cannot be added: it needs {names}, not implemented");
        }
    }

    private static FormatException UnknownModel(string name)
    {
        string[] near = NearNames.Of(name, CpuModel.All.Select(m => m.Name));
        return new FormatException(
            $"unknown model '{name}' ({(near.Length > 0 ? "near it: " + string.Join(", ", near) : "known: " + string.Join(", ", CpuModel.All.Select(m => m.Name)))})");
    }

    private static FormatException UnknownFeature(string name)
    {
        string[] near = NearNames.Of(name, CpuFeatures.All.Select(f => f.Name));
        return new FormatException($"unknown feature '{name}'{(near.Length > 0 ? $" (near it: {string.Join(", ", near)})" : "")}");
    }
}
