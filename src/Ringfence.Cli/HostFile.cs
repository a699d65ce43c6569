namespace Ringfence.Cli;

/// <summary>A file of the host's that an option names cannot be written, or a port not be listened on. The message is one line that names both and the reason.</summary>
internal sealed class HostFileException(string message, Exception inner) : Exception(message, inner);

/// <summary>Files that options name for output.</summary>
internal static class HostFile
{
    /// <summary>Creates or empties a file.</summary>
    /// <exception cref="HostFileException">It cannot be written.</exception>
    public static FileStream Create(string option, string path)
    {
        try
        {
            return new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            string reason = e switch
            {
                DirectoryNotFoundException => "no such folder",
                UnauthorizedAccessException when Directory.Exists(path) => "is a folder",
                UnauthorizedAccessException => "permission denied",
                _ => e.Message.ReplaceLineEndings(" "),
            };
            throw new HostFileException($"{option}: {path}: {reason}", e);
        }
    }
}
