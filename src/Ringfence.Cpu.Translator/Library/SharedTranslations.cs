using System.Collections.Concurrent;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>What processors of one model have translated, in this run and, if there is a file, in earlier ones. Any thread.</summary>
internal sealed class SharedTranslations : IDisposable
{
    /// <summary>Different code that begins alike, at the same place of a page.</summary>
    private const int MaximumAlike = 8;

    private readonly string? _path;
    private readonly UInt128 _identity;
    private readonly int _routines;
    private readonly int _limit;
    private readonly LibraryFile? _file;
    private readonly ConcurrentDictionary<ulong, RegionImage[]> _images = [];
    private readonly Lock _adding = new();
    private readonly List<RegionImage> _added = [];
    private long _bytes;
    private int _count;

    /// <param name="path">Null for no file.</param>
    public SharedTranslations(string? path, UInt128 identity, int routines, int limit, Action<string>? complaint)
    {
        _path = path;
        _identity = identity;
        _routines = routines;
        _limit = limit;
        if (path is not null)
        {
            _file = LibraryFile.Open(path, identity, out string? wrong);
            if (wrong is not null)
            {
                complaint?.Invoke($"{path}: {wrong}");
            }
        }
    }

    /// <summary>Regions that the file has.</summary>
    public int Remembered => _file?.Count ?? 0;

    /// <summary>Bytes of the file that <see cref="Save"/> has written.</summary>
    public long Written { get; private set; }

    public int Added => Volatile.Read(ref _count);

    /// <summary>Whether it is worth looking for the block at an offset of a page.</summary>
    public bool MayHave(uint mode, int offset, ReadOnlySpan<byte> page)
    {
        if (Added == 0 && _file is null)
        {
            return false;
        }
        foreach (byte length in TranslationLibrary.KeyLengths)
        {
            if (offset + length <= page.Length)
            {
                ulong key = TranslationLibrary.KeyOf(mode, offset, page, length);
                if (_images.ContainsKey(key) || (_file?.Has(key) ?? false))
                {
                    return true;
                }
            }
        }
        return false;
    }

    /// <summary>A region that has the block at an offset of a page, all of whose blocks are there as they were.</summary>
    /// <param name="moves">As of <see cref="RegionImage.IsOf"/>.</param>
    public RegionImage? Find(uint mode, int offset, ReadOnlySpan<byte> page, Span<int> moves)
    {
        foreach (byte length in TranslationLibrary.KeyLengths)
        {
            if (offset + length <= page.Length && Find(TranslationLibrary.KeyOf(mode, offset, page, length), mode, offset, page, moves) is { } image)
            {
                return image;
            }
        }
        return null;
    }

    public void Add(RegionImage image)
    {
        lock (_adding)
        {
            if (_bytes + image.Bytes.Length > _limit)
            {
                return;
            }
            bool found = false;
            foreach (RegionEntry entry in image.Entries)
            {
                RegionImage[] alike = _images.GetValueOrDefault(entry.Key, []);
                if (alike.Length < MaximumAlike)
                {
                    _images[entry.Key] = [.. alike, image];
                    found = true;
                }
            }
            if (found)
            {
                _bytes += image.Bytes.Length;
                _added.Add(image);
                Volatile.Write(ref _count, _added.Count);
            }
        }
    }

    public void Save()
    {
        lock (_adding)
        {
            if (_path is not null && LibraryFile.IsWorthwhile(_bytes, _file))
            {
                Written = LibraryFile.Write(_path, _identity, _file, _added, _limit);
            }
        }
    }

    public void Dispose() => _file?.Dispose();

    private RegionImage? Find(ulong key, uint mode, int offset, ReadOnlySpan<byte> page, Span<int> moves)
    {
        if (_images.TryGetValue(key, out RegionImage[]? images))
        {
            foreach (RegionImage image in images)
            {
                if (Fits(image, mode, offset, page, moves))
                {
                    return image;
                }
            }
        }
        if (_file is not null && _file.Has(key))
        {
            foreach (int record in _file.Find(key))
            {
                if (_file.Read(record) is { } bytes && RegionImage.Read(bytes, _routines) is { } image && Fits(image, mode, offset, page, moves))
                {
                    _file.NoteUse(record);
                    return image;
                }
            }
        }
        return null;
    }

    private static bool Fits(RegionImage image, uint mode, int offset, ReadOnlySpan<byte> page, Span<int> moves)
    {
        if (image.Head.Mode != mode || !image.IsOf(page, moves))
        {
            return false;
        }
        foreach (ref readonly RegionEntry entry in image.Entries)
        {
            if (entry.Offset == offset)
            {
                return true;
            }
        }
        return false;
    }
}
