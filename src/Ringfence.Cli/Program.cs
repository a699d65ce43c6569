using Ringfence.Cli;

TextWriter error = Console.Error;
try
{
    return new CommandLine(options => RunCommand.Run(options, Console.Out, error), RunCommand.ShowCpus, RunCommand.Diagnose).Invoke(args, Console.Out, error);
}
#pragma warning disable CA1031 // The last resort: one line for people instead of a stack trace.
catch (Exception e)
#pragma warning restore CA1031
{
    error.WriteLine($"ringfence: internal error: {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}");
    if (Environment.GetEnvironmentVariable("RINGFENCE_DEBUG") is { Length: > 0 })
    {
        error.WriteLine(e.StackTrace);
    }
    return ExitCode.Internal;
}
