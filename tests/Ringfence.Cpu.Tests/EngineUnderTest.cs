using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests;

/// <summary>Which engine mode the tests' processors are of: RINGFENCE_ENGINE, "interpreter" unless it says "translator". Then each block is translated
/// before it first runs.</summary>
internal static class EngineUnderTest
{
    public static ITranslatorFactory? Translators { get; } = Environment.GetEnvironmentVariable("RINGFENCE_ENGINE") == "translator"
        ? new TranslatorFactory(new TranslatorOptions(CodeBytes: 4 << 20, Threshold: 1, Sites: 1 << 16)) : null;
}
