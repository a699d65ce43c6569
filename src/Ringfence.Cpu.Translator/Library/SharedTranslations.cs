namespace Ringfence.Cpu.Translator.Library;

/// <summary>What processors of one model have translated, in this run and, if there is a file, in earlier ones. Any thread.</summary>
internal sealed class SharedTranslations : IDisposable
{
    /// <summary>Different code that begins alike, at the same place of a page.</summary>
    private const int MaximumAlike = 8;
    private const int BucketBits = 14;

    private readonly string? _path;
    private readonly Digest _identity;
    private readonly int _routines;
    private readonly int _limit;
    private readonly LibraryFile? _file;
    private readonly KeyFilter _keys = new();
    /// <summary>What this run has added, by the first bits of keys. Only ever added to, with the lock held; read without.</summary>
    private readonly Node?[] _nodes = new Node?[1 << BucketBits];
    private readonly Lock _adding = new();
    private readonly AddedImages _added;

    /// <param name="path">Null for no file.</param>
    public SharedTranslations(string? path, Digest identity, int routines, int limit, Action<string>? complaint)
    {
        _path = path;
        _identity = identity;
        _routines = routines;
        _limit = limit;
        _added = new AddedImages(path is null ? null : Path.GetDirectoryName(path));
        if (path is not null)
        {
            _file = LibraryFile.Open(path, identity, out string? wrong);
            _file?.List(_keys);
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

    /// <summary>Regions that this run has made.</summary>
    public int Added
    {
        get
        {
            lock (_adding)
            {
                return _added.Count;
            }
        }
    }

    /// <summary>Whether it is worth looking for the block at an offset of a page.</summary>
    public bool MayHave(uint mode, int offset, ReadOnlySpan<byte> page)
    {
        foreach (byte length in TranslationLibrary.KeyLengths)
        {
            if (offset + length <= page.Length && _keys.MayHave(TranslationLibrary.KeyOf(mode, offset, page, length)))
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>A region that has the block at an offset of a page, all of whose blocks are there as they were.</summary>
    /// <param name="bytes">How long the block is, or <see cref="BlockTranslator.AnyBytes"/>.</param>
    /// <param name="buffer">For what is read from the file. What is returned is good until it is used again.</param>
    /// <param name="moves">As of <see cref="RegionImage.IsOf"/>.</param>
    public RegionImage? Find(uint mode, int offset, int bytes, ReadOnlySpan<byte> page, ref byte[] buffer, Span<int> moves)
    {
        foreach (byte length in TranslationLibrary.KeyLengths)
        {
            if (offset + length > page.Length || TranslationLibrary.KeyOf(mode, offset, page, length) is var key && !_keys.MayHave(key))
            {
                continue;
            }
            for (Node? node = Volatile.Read(ref _nodes[Bucket(key)]); node is not null; node = node.Next)
            {
                if (node.Key == key && _added.Read(node.Image, _routines, ref buffer) is { } added && Fits(added, mode, offset, bytes, page, moves))
                {
                    return added;
                }
            }
            if (_file is not null && FindInFile(_file, key, mode, offset, bytes, page, ref buffer, moves) is { } image)
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
            AddedImages.Place? place = null;
            foreach (ref readonly RegionEntry entry in image.Entries)
            {
                if (entry.IsWitness || !HasRoomFor(entry.Key, out Node? first))
                {
                    continue;
                }
                place ??= _added.Bytes + image.Length > _limit ? null : _added.Add(image);
                if (place is null)
                {
                    return;
                }
                Volatile.Write(ref _nodes[Bucket(entry.Key)], new Node(entry.Key, place, first));
                _keys.Add(entry.Key);
            }
        }
    }

    public void Save()
    {
        lock (_adding)
        {
            if (_path is not null && LibraryFile.IsWorthwhile(_added.Bytes, _file))
            {
                Written = LibraryFile.Write(_path, _identity, _file, _added.All(), _limit);
            }
        }
    }

    public void Dispose()
    {
        _file?.Dispose();
        _added.Dispose();
    }

    private static int Bucket(ulong key) => (int)(key >> (64 - BucketBits));

    /// <param name="first">Of those that begin with the same bits.</param>
    private bool HasRoomFor(ulong key, out Node? first)
    {
        int alike = 0;
        first = _nodes[Bucket(key)];
        for (Node? node = first; node is not null; node = node.Next)
        {
            alike += node.Key == key ? 1 : 0;
        }
        return alike < MaximumAlike;
    }

    private RegionImage? FindInFile(LibraryFile file, ulong key, uint mode, int offset, int bytes, ReadOnlySpan<byte> page, ref byte[] buffer, Span<int> moves)
    {
        for (int place = file.First(key); file.IsAt(place, key, out int record); place++)
        {
            int length = file.Read(record, ref buffer);
            if (RegionImage.Read(buffer, length, _routines) is { } image && Fits(image, mode, offset, bytes, page, moves))
            {
                file.NoteUse(record);
                return image;
            }
        }
        return null;
    }

    private static bool Fits(RegionImage image, uint mode, int offset, int bytes, ReadOnlySpan<byte> page, Span<int> moves)
    {
        if (image.Head.Mode != mode || !image.IsOf(page, moves))
        {
            return false;
        }
        foreach (ref readonly RegionEntry entry in image.Entries)
        {
            if (entry.Offset == offset && (bytes == BlockTranslator.AnyBytes || entry.Bytes == bytes) && !entry.IsWitness)
            {
                return true;
            }
        }
        return false;
    }

    private sealed class Node(ulong key, AddedImages.Place image, Node? next)
    {
        public ulong Key => key;

        public AddedImages.Place Image => image;

        public Node? Next => next;
    }
}

/// <summary>Says of most keys that are not there that they are not, with one look.</summary>
internal sealed class KeyFilter
{
    private const int Bits = 19;

    private readonly int[] _bits = new int[1 << (Bits - 5)];

    public bool MayHave(ulong key) => (Volatile.Read(ref _bits[Index(key)]) & (1 << (int)(key & 31))) != 0;

    public void Add(ulong key) => Interlocked.Or(ref _bits[Index(key)], 1 << (int)(key & 31));

    private static int Index(ulong key) => (int)(key >> 5) & ((1 << (Bits - 5)) - 1);
}
