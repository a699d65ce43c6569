using System.Globalization;

namespace Ringfence.Cpu.Tests.Fuzz;

/// <summary>How much the environment asks for: RINGFENCE_FUZZ_RUNS=50M for byte strings in all, RINGFENCE_SEED for other ones.</summary>
internal static class FuzzCount
{
    public static long Of(string variable, long otherwise)
    {
        string? text = Environment.GetEnvironmentVariable(variable);
        if (string.IsNullOrEmpty(text))
        {
            return otherwise;
        }
        long unit = char.ToUpperInvariant(text[^1]) switch { 'K' => 1_000, 'M' => 1_000_000, _ => 1 };
        return long.Parse(unit == 1 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture) * unit;
    }
}
