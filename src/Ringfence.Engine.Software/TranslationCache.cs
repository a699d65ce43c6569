using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Engine.Software;

/// <summary>Translations kept for later: what one run has translated, the next need not. To be disposed when the machines that use it are gone; it writes its file then.</summary>
/// <param name="folder">Where the files are; null to keep translations in memory only.</param>
/// <param name="complaint">Told of files that are not used, and why.</param>
public sealed class TranslationCache(string? folder, Action<string>? complaint = null) : IDisposable
{
    internal TranslationLibrary Library { get; } = new(folder) { Complaint = complaint };

    /// <summary>Counts by name, for reports; all of them after <see cref="Dispose"/>.</summary>
    public IReadOnlyDictionary<string, long> Describe() => Library.Describe();

    public void Dispose() => Library.Dispose();
}
