namespace Ringfence.Cli;

/// <summary>What --engine takes. Names are for the command line only: the program asks engines for capabilities.</summary>
internal static class EngineNames
{
    /// <summary>The best engine that this host has.</summary>
    public const string Auto = "auto";
    public const string Interpreter = "interpreter";
    public const string Translator = "translator";
    /// <summary>The host's processor, through /dev/kvm.</summary>
    public const string Kvm = "kvm";

    public static IReadOnlyList<string> All { get; } = [Auto, Interpreter, Translator, Kvm];
}
