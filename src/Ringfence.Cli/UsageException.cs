namespace Ringfence.Cli;

/// <summary>The command line asks for what cannot be. The message is one line that names the thing and the reason.</summary>
internal sealed class UsageException(string message) : Exception(message);
