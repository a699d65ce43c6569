namespace Ringfence.Firmware;

/// <summary>The bytes of a kernel or module, and the name that messages and multiboot strings give it.</summary>
public sealed class GuestFile
{
    private readonly ReadOnlyMemory<byte> _bytes;

    public GuestFile(string name, ReadOnlyMemory<byte> bytes)
    {
        Name = name;
        _bytes = bytes;
    }

    /// <summary>The path as the user gave it, or any other name.</summary>
    public string Name { get; }

    public ReadOnlySpan<byte> Bytes => _bytes.Span;

    public ulong Length => (ulong)_bytes.Length;

    /// <summary>Reads a whole regular file, at most 2 GiB.</summary>
    /// <exception cref="GuestLoadException">The file is missing, unreadable, empty or not a regular file.</exception>
    public static GuestFile Open(string path)
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
            return new GuestFile(path, File.ReadAllBytes(path));
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
