using Ringfence.Cpu.Translator;

namespace Ringfence.Engine.Software;

/// <summary>How the software engine runs its processors.</summary>
public sealed record SoftwareOptions
{
    public const int DefaultCodeCache = 64 << 20;
    public const int MinimumCodeCache = 1 << 20;
    public const int MaximumCodeCache = 1 << 30;

    /// <summary>Everything is interpreted, on any host.</summary>
    public static SoftwareOptions Interpreter { get; } = new();

    /// <summary>What runs often is translated. Only where <see cref="CanTranslate"/>.</summary>
    public static SoftwareOptions Translator { get; } = new() { Translates = true };

    /// <summary>The translator where the host can, the interpreter elsewhere.</summary>
    public static SoftwareOptions Best => CanTranslate ? Translator : Interpreter;

    /// <summary>Whether this host is one that the translator knows.</summary>
    public static bool CanTranslate => TranslatorFactory.IsSupported;

    public bool Translates { get; init; }

    /// <summary>Bytes of memory for each processor's translations, from <see cref="MinimumCodeCache"/> to <see cref="MaximumCodeCache"/>.</summary>
    public int CodeCache { get; init; } = DefaultCodeCache;

    /// <summary>Names translations for Linux's perf, in /tmp/perf-PID.map.</summary>
    public bool PerfMap { get; init; }

    /// <summary>Counts how often an operand's page was known at once, which costs some speed.</summary>
    public bool CountsHits { get; init; }

    /// <summary>Runs each translated block on the interpreter too, and ends the machine at the first difference. One processor only.</summary>
    public bool Verify { get; init; }

    /// <summary>Where translations are kept beyond a machine's end. Without it processors of one machine share what they translate, and no more.</summary>
    public TranslationCache? Cache { get; init; }

    /// <summary>How often a block is interpreted before it is translated, at least 1.</summary>
    public int Threshold { get; init; } = 24;
}
