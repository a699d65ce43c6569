namespace Ringfence.Cli;

/// <summary>What the process ends with. A guest's write of V to the debug exit port ends with (V &lt;&lt; 1) | 1 instead.</summary>
internal static class ExitCode
{
    /// <summary>The guest powered off, halted for good or was left with Ctrl-A X.</summary>
    public const int Ended = 0;
    /// <summary>Something inside Ringfence is at fault.</summary>
    public const int Internal = 1;
    /// <summary>Wrong usage.</summary>
    public const int Usage = 2;
    /// <summary>The guest could not be loaded.</summary>
    public const int NotLoaded = 3;
    /// <summary>The guest shut down by triple fault.</summary>
    public const int TripleFault = 4;
    /// <summary>The engine cannot go on.</summary>
    public const int EngineFailed = 5;
    /// <summary>The time allowed was over, as timeout(1) says it.</summary>
    public const int Timeout = 124;
    /// <summary>SIGINT, SIGTERM or SIGHUP.</summary>
    public const int Interrupted = 130;
}
