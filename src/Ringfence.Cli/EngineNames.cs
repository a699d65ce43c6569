namespace Ringfence.Cli;

/// <summary>What --engine takes. Names are for the command line only: the program asks engines for capabilities.</summary>
internal static class EngineNames
{
    /// <summary>The best engine that this host has.</summary>
    public const string Auto = "auto";
    public const string Interpreter = "interpreter";
    public const string Translator = "translator";

    public static IReadOnlyList<string> All { get; } = [Auto, Interpreter, Translator];
}
