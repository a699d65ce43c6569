using Microsoft.Win32.SafeHandles;
using Ringfence.Host;

namespace Ringfence.Firmware;

/// <summary>The bytes of a kernel or module, and the name that messages and multiboot strings give it. What is on disk stays in memory only until it is
/// released: for a guest that resets itself, hours later, it is read again.</summary>
public sealed unsafe class GuestFile
{
    private readonly ReadOnlyMemory<byte> _given;
    private readonly DateTime? _written;
    /// <summary>What was read. Not the collector's: it would hardly ever come to take back as much as a kernel needs.</summary>
    private HostPages? _read;

    public GuestFile(string name, ReadOnlyMemory<byte> bytes)
    {
        Name = name;
        _given = bytes;
        Length = (ulong)bytes.Length;
    }

    private GuestFile(string path)
    {
        Name = path;
        (_read, int length, _written) = Read(path);
        Length = (ulong)length;
    }

    /// <summary>The path as the user gave it, or any other name.</summary>
    public string Name { get; }

    /// <summary>Good as long as this object is, and until <see cref="Release"/>.</summary>
    /// <exception cref="GuestLoadException">The file has changed since it was opened, or cannot be read any more.</exception>
    public ReadOnlySpan<byte> Bytes => _written == null ? _given.Span : new ReadOnlySpan<byte>((_read ?? ReadAgain()).Address, (int)Length);

    public ulong Length { get; }

    /// <summary>Reads a whole regular file, at most 2 GiB.</summary>
    /// <exception cref="GuestLoadException">The file is missing, unreadable, empty or not a regular file.</exception>
    public static GuestFile Open(string path) => new(path);

    /// <summary>What is on disk is not needed in memory for now.</summary>
    public void Release()
    {
        _read?.Dispose();
        _read = null;
    }

    private HostPages ReadAgain()
    {
        (_read, int length, DateTime written) = Read(Name);
        if (written != _written || (ulong)length != Length)
        {
            Release();
            throw new GuestLoadException($"{Name}: has changed since the machine was started");
        }
        return _read;
    }

    private static (HostPages Bytes, int Length, DateTime Written) Read(string path)
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
            if (info.Length > int.MaxValue)
            {
                throw new GuestLoadException($"{path}: is larger than 2 GiB");
            }
            return (ReadAll(path, (int)info.Length), (int)info.Length, info.LastWriteTimeUtc);
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

    private static HostPages ReadAll(string path, int length)
    {
        using SafeFileHandle file = File.OpenHandle(path);
        HostPages bytes = new((ulong)length);
        try
        {
            for (int done = 0; done < length;)
            {
                int count = RandomAccess.Read(file, new Span<byte>(bytes.Address + done, length - done), done);
                done += count != 0 ? count : throw new EndOfStreamException("it became shorter meanwhile");
            }
            return bytes;
        }
        catch
        {
            bytes.Dispose();
            throw;
        }
    }

    internal GuestLoadException Error(string reason) => new($"{OneLine(Name)}: {reason}");

    private static string OneLine(string text) => text.ReplaceLineEndings(" ");
}
