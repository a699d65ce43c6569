namespace Ringfence.Cli;

/// <summary>`ringfence run`.</summary>
internal static class RunCommand
{
    /// <returns>The exit code.</returns>
    public static int Run(RunOptions options, TextWriter error)
    {
        error.WriteLine($"ringfence: {options.Kernel ?? "the guest"} cannot be run: there is no machine yet");
        return ExitCode.Internal;
    }
}
