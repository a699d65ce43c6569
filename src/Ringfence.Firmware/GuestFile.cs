namespace Ringfence.Firmware;

/// <summary>The bytes of a kernel or module, and the name that messages and multiboot strings give it. What is on disk stays in memory only until it is
/// released: for a guest that resets itself, hours later, it is read again.</summary>
public sealed class GuestFile
{
    private readonly DateTime? _written;
    private ReadOnlyMemory<byte>? _bytes;

    public GuestFile(string name, ReadOnlyMemory<byte> bytes)
    {
        Name = name;
        _bytes = bytes;
        Length = (ulong)bytes.Length;
    }

    private GuestFile(string path, byte[] bytes, DateTime written)
    {
        Name = path;
        Length = (ulong)bytes.Length;
        _bytes = bytes;
        _written = written;
    }

    /// <summary>The path as the user gave it, or any other name.</summary>
    public string Name { get; }

    /// <exception cref="GuestLoadException">The file has changed since it was opened, or cannot be read any more.</exception>
    public ReadOnlySpan<byte> Bytes => (_bytes ??= ReadAgain()).Span;

    public ulong Length { get; }

    /// <summary>Reads a whole regular file, at most 2 GiB.</summary>
    /// <exception cref="GuestLoadException">The file is missing, unreadable, empty or not a regular file.</exception>
    public static GuestFile Open(string path)
    {
        byte[] bytes = Read(path, out DateTime written);
        return new GuestFile(path, bytes, written);
    }

    /// <summary>What is on disk is not needed in memory for now.</summary>
    public void Release()
    {
        if (_written != null)
        {
            _bytes = null;
        }
    }

    private byte[] ReadAgain()
    {
        byte[] bytes = Read(Name, out DateTime written);
        if (written != _written || (ulong)bytes.Length != Length)
        {
            throw new GuestLoadException($"{Name}: has changed since the machine was started");
        }
        return bytes;
    }

    private static byte[] Read(string path, out DateTime written)
    {
        if (Directory.Exists(path))
        {
            throw new GuestLoadException($"{path}: is a directory");
        }
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists)
            {
                throw new GuestLoadException($"{path}: no such file");
            }
            // Devices and pipes report no length; reading one might never end.
            if (info.Length == 0)
            {
                throw new GuestLoadException($"{path}: empty, or not a regular file");
            }
            written = info.LastWriteTimeUtc;
            return File.ReadAllBytes(path);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new GuestLoadException($"{path}: permission denied", e);
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            throw new GuestLoadException($"{path}: cannot be read: {OneLine(e.Message)}", e);
        }
    }

    internal GuestLoadException Error(string reason) => new($"{OneLine(Name)}: {reason}");

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");
}
