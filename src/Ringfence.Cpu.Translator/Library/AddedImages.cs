using Microsoft.Win32.SafeHandles;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>
/// Images that this run has made: in a file without a name, which is gone with the process however that ends; in memory if there is no folder for it, or
/// nothing can be written there. One thread at a time adds, any reads.
/// </summary>
internal sealed class AddedImages : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly List<Place> _all = [];

    /// <param name="folder">Null for none.</param>
    public AddedImages(string? folder) => _file = folder is null ? null : Open(folder);

    public int Count => _all.Count;

    /// <summary>Of all images.</summary>
    public long Bytes { get; private set; }

    /// <returns>Where it is; null if the host has no room for it.</returns>
    public Place? Add(RegionImage image)
    {
        ReadOnlySpan<byte> bytes = image.All;
        try
        {
            if (_file is not null)
            {
                RandomAccess.Write(_file, bytes, Bytes);
            }
        }
        catch (IOException)
        {
            return null;
        }
        Place place = new(Bytes, bytes.Length, _file is null ? bytes.ToArray() : null);
        _all.Add(place);
        Bytes += bytes.Length;
        return place;
    }

    /// <param name="routines">As of <see cref="RegionImage.Read"/>.</param>
    /// <param name="buffer">For what is read from the file. What is returned is good until it is used again.</param>
    public RegionImage? Read(Place place, int routines, ref byte[] buffer)
    {
        if (place.Held is { } held)
        {
            return RegionImage.Read(held, held.Length, routines);
        }
        return LibraryFile.Read(_file!, place.Offset, place.Bytes, ref buffer) ? RegionImage.Read(buffer, place.Bytes, routines) : null;
    }

    /// <summary>Each image in the order in which they came, good until the next is asked for.</summary>
    public IEnumerable<RegionImage> All()
    {
        byte[] buffer = [];
        foreach (Place place in _all)
        {
            if (Read(place, int.MaxValue, ref buffer) is { } image)
            {
                yield return image;
            }
        }
    }

    public void Dispose() => _file?.Dispose();

    private static SafeFileHandle? Open(string folder)
    {
        SafeFileHandle? file = null;
        try
        {
            Directory.CreateDirectory(folder);
            string path = Path.Combine(folder, $"new-{Guid.NewGuid():n}");
            file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
            File.Delete(path);
            return file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            return null;
        }
    }

    /// <summary>Where an image is.</summary>
    /// <param name="held">Its bytes if they are in memory.</param>
    internal sealed class Place(long offset, int bytes, byte[]? held)
    {
        public long Offset => offset;

        public int Bytes => bytes;

        public byte[]? Held => held;
    }
}
