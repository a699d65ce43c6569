using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Cpu.Translator;

/// <summary>How a processor's translator is to be.</summary>
/// <param name="CodeBytes">Memory for translations, at least 1 MiB. When it is full all are forgotten and made anew as needed.</param>
/// <param name="Threshold">How often a block is interpreted before it is translated, at least 1.</param>
/// <param name="Sites">How many memory operands translations may have in all.</param>
/// <param name="PerfMap">Names translations for Linux's perf, in /tmp/perf-PID.map.</param>
/// <param name="Verify">Runs each translated block on the interpreter too; a difference is a <see cref="TranslationDifferenceException"/>. Nobody else may
/// write to guest memory meanwhile: one processor only.</param>
/// <param name="CountsHits">Counts how often a site knows the page, which costs some speed.</param>
/// <param name="Library">Where translations are kept for other processors and other runs; null for nowhere. Not used where translations are checked.</param>
public sealed record TranslatorOptions(int CodeBytes = 64 << 20, int Threshold = 24, int Sites = 1 << 20, bool PerfMap = false, bool Verify = false,
    bool CountsHits = false, TranslationLibrary? Library = null)
{
    /// <summary>As many as that much code may come to need.</summary>
    public static int SitesFor(int codeBytes) => Math.Max(codeBytes / 64, 1 << 14);
}

/// <summary>What a translator has done.</summary>
public sealed class TranslatorStatistics
{
    public long Regions { get; internal set; }

    public long Blocks { get; internal set; }

    /// <summary>Guest instructions translated, and how many of these became host code.</summary>
    public long Instructions { get; internal set; }

    public long NativeInstructions { get; internal set; }

    public long CodeBytes { get; internal set; }

    /// <summary>Regions that were not compiled, since the library had them.</summary>
    public long Installed { get; internal set; }

    /// <summary>How often the memory for translations was full.</summary>
    public long Evictions { get; internal set; }

    /// <summary>How often all translations were given back, for the guest was idle.</summary>
    public long GivenBack { get; internal set; }

    /// <summary>Blocks whose code was changed.</summary>
    public long Dropped { get; internal set; }

    /// <summary>How often all sites were forgotten, for a change of translations or rights.</summary>
    public long SiteFlushes { get; internal set; }

    public long Nanoseconds { get; internal set; }
}

/// <summary>Makes translators to x86-64 code.</summary>
public sealed class TranslatorFactory(TranslatorOptions options) : ITranslatorFactory
{
    /// <summary>Whether this host can run what is translated.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    public nuint StateBytes => (nuint)(JumpTable.Bytes + (options.Sites * Unsafe.SizeOf<Site>()));

    public IBlockTranslator Create(Processor processor) => new BlockTranslator(processor, options);
}
