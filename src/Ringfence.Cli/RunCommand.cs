namespace Ringfence.Cli;

/// <summary>`ringfence run`.</summary>
internal static class RunCommand
{
    public static int Run(RunOptions options) => throw new UsageException($"no engine yet for {options.Kernel}");
}
