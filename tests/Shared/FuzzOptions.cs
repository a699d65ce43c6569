using System.Globalization;

namespace Ringfence.Tests;

/// <summary>How much the environment asks of fuzz tests: RINGFENCE_FUZZ_RUNS=50M byte strings in all, RINGFENCE_FUZZ_IMAGES=1M images;
/// RINGFENCE_SEED for other ones.</summary>
internal static class FuzzOptions
{
    public const string Runs = "RINGFENCE_FUZZ_RUNS";
    public const string Images = "RINGFENCE_FUZZ_IMAGES";

    public static ulong Seed { get; } = (ulong)Count("RINGFENCE_SEED", 1);

    /// <summary>A number, perhaps in thousands or millions.</summary>
    public static long Count(string variable, long otherwise)
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
