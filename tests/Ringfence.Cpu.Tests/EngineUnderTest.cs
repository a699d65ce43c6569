using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Translator;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Cpu.Tests;

/// <summary>Which engine mode the tests' processors are of: RINGFENCE_ENGINE, "interpreter" unless it says otherwise. With "translator" each block is
/// translated before it first runs; with "library" processors share what they translate, from one test to the next; with "verify" the translation is moreover checked against the interpreter.</summary>
internal static class EngineUnderTest
{
    public static ITranslatorFactory? Translators { get; } = Environment.GetEnvironmentVariable("RINGFENCE_ENGINE") switch
    {
        null or "" or "interpreter" => null,
        "translator" => new TranslatorFactory(Eager),
        "library" => new TranslatorFactory(Eager with { Library = new TranslationLibrary() }),
        "verify" => new TranslatorFactory(Eager with { Verify = true }),
        string name => throw new InvalidOperationException($"RINGFENCE_ENGINE: unknown engine '{name}' (known: interpreter, translator, library, verify)"),
    };

    /// <summary>The same for machines of several processors, where nothing can be checked.</summary>
    public static ITranslatorFactory? ForSeveral { get; } = Environment.GetEnvironmentVariable("RINGFENCE_ENGINE") == "verify" ? new TranslatorFactory(Eager) : Translators;

    /// <summary>Nothing is interpreted that can be translated.</summary>
    public static TranslatorOptions Eager => new(CodeBytes: 4 << 20, Threshold: 1, Sites: 1 << 16);
}
