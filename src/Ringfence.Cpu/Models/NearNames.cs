namespace Ringfence.Cpu.Models;

/// <summary>What somebody may have meant.</summary>
internal static class NearNames
{
    private const int Most = 5;

    /// <summary>The names nearest to <paramref name="typed"/>, nearest first: those that contain it, and those that a few changes of letters make of it.</summary>
    public static string[] Of(string typed, IEnumerable<string> names)
    {
        string wanted = Plain(typed);
        int allowed = Math.Max(1, wanted.Length / 3);
        return
        [
            .. names
                .Select(name => (Name: name, Distance: Contains(Plain(name), wanted) ? 0 : Distance(wanted, Plain(name))))
                .Where(candidate => candidate.Distance <= allowed)
                .OrderBy(candidate => candidate.Distance)
                .Take(Most)
                .Select(candidate => candidate.Name),
        ];
    }

    private static bool Contains(string name, string part) => part.Length > 2 && name.Contains(part, StringComparison.Ordinal);

    /// <summary>Letters and digits, small.</summary>
    private static string Plain(string name) => string.Concat(name.Where(char.IsAsciiLetterOrDigit)).ToLowerInvariant();

    /// <summary>How many letters must be put in, taken out or changed (Levenshtein).</summary>
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }
        return row[b.Length];
    }
}
