namespace Ringfence.Firmware;

/// <summary>A guest image cannot be loaded. The message is one line that names the file and the reason.</summary>
public sealed class GuestLoadException : Exception
{
    public GuestLoadException()
    {
    }

    public GuestLoadException(string message)
        : base(message)
    {
    }

    public GuestLoadException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
