using Ringfence.Engine.Software;

namespace Ringfence.Tests;

/// <summary>Which engine mode the tests' machines are of: RINGFENCE_ENGINE, the best that this host has unless it says "interpreter" or
/// "translator".</summary>
internal static class EngineUnderTest
{
    public const string Variable = "RINGFENCE_ENGINE";

    /// <summary>As typed, or null.</summary>
    public static string? Name { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } name ? name : null;

    public static SoftwareOptions Options { get; } = Name switch
    {
        null => SoftwareOptions.Best,
        "interpreter" => SoftwareOptions.Interpreter,
        "translator" => SoftwareOptions.Translator,
        _ => throw new InvalidOperationException($"{Variable}: unknown engine '{Name}' (known: interpreter, translator)"),
    };

    public static SoftwareEngine Create() => new(Options);
}
