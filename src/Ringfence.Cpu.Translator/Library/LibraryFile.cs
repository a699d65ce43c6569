using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>
/// Images on disk: a header, the images, then two tables: where each image is, and which blocks are in which. The tables are read at the start, an image when
/// it is asked for. All of it has checksums; a file that is not as it was written, that another program wrote, or that others than the user may have written
/// to, is as good as none.
/// </summary>
internal sealed class LibraryFile : IDisposable
{
    private const ulong Magic = 0x3153_4E41_5254_4652;
    /// <summary>An image that was of no use in so many runs is left out.</summary>
    private const int OldAge = 4;
    /// <summary>A file is written anew when so much of it would be new.</summary>
    private const int WorthwhileShare = 16;
    private const int BucketBits = 14;
    private const int MaximumFiles = 4;
    private const string FilePattern = "translations-*";

    private readonly SafeFileHandle _file;
    private readonly Record[] _records;
    private readonly Place[] _places;
    private readonly bool[] _used;
    /// <summary>Places are in the order of their keys: for the first bits of a key the first place that is not before it.</summary>
    private readonly int[] _first;

    private LibraryFile(SafeFileHandle file, Record[] records, Place[] places)
    {
        _file = file;
        _records = records;
        _places = places;
        _used = new bool[records.Length];
        _first = new int[1 << BucketBits];
        int at = 0;
        for (int bucket = 0; bucket < _first.Length; bucket++)
        {
            while (at < places.Length && Bucket(places[at].Key) < bucket)
            {
                at++;
            }
            _first[bucket] = at;
        }
    }

    public int Count => _records.Length;

    /// <param name="wrong">Why there is none, if that is worth telling.</param>
    public static LibraryFile? Open(string path, Digest identity, out string? wrong)
    {
        wrong = null;
        SafeFileHandle? file = null;
        LibraryFile? opened = null;
        try
        {
            file = File.OpenHandle(path);
            wrong = OwnFile.IsTrusted(file) ? null : "not used, since others than you may have written it";
            if (wrong is null)
            {
                opened = ReadTables(file, identity);
                wrong = opened is null ? "not used, since it is damaged or of another version" : null;
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // The first run.
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            wrong = e.Message;
        }
        if (opened is null)
        {
            file?.Dispose();
        }
        return opened;
    }

    /// <summary>Tells a filter of all keys.</summary>
    public void List(KeyFilter filter)
    {
        foreach (ref readonly Place place in _places.AsSpan())
        {
            filter.Add(place.Key);
        }
    }

    /// <summary>The first place that may be this key's.</summary>
    public int First(ulong key)
    {
        int at = _first[Bucket(key)];
        while (at < _places.Length && _places[at].Key < key)
        {
            at++;
        }
        return at;
    }

    /// <summary>Whether a place is this key's: then an image that has a block of this key.</summary>
    public bool IsAt(int place, ulong key, out int record)
    {
        bool there = place < _places.Length && _places[place].Key == key;
        record = there ? _places[place].Record : 0;
        return there;
    }

    /// <summary>Reads an image.</summary>
    /// <param name="buffer">Becomes larger if it must.</param>
    /// <returns>Its bytes; 0 if they cannot be read as they were written.</returns>
    public int Read(int number, ref byte[] buffer)
    {
        ref readonly Record record = ref _records[number];
        return Read(_file, record.Offset, record.Bytes, ref buffer) && Checksum.Of(buffer.AsSpan(0, record.Bytes)) == record.Sum ? record.Bytes : 0;
    }

    /// <param name="buffer">Becomes larger if it must.</param>
    public static bool Read(SafeFileHandle file, long offset, int bytes, ref byte[] buffer)
    {
        if (buffer.Length < bytes)
        {
            buffer = new byte[bytes * 2];
        }
        try
        {
            return ReadWhole(file, buffer.AsSpan(0, bytes), offset);
        }
        catch (IOException)
        {
            return false;
        }
    }

    public void NoteUse(int record) => _used[record] = true;

    public void Dispose() => _file.Dispose();

    /// <summary>Whether so much is new that it should be kept.</summary>
    public static bool IsWorthwhile(long bytes, LibraryFile? old) => bytes > 0 && bytes >= (old?._records.Sum(record => (long)record.Bytes) ?? 0) / WorthwhileShare;

    /// <summary>Writes a file that takes the place of what is there: what of the old file was used, what is new, and of the rest what is not too old, as much
    /// as there is room for. Nothing happens where the host does not let us.</summary>
    /// <returns>Its bytes.</returns>
    public static long Write(string path, Digest identity, LibraryFile? old, IEnumerable<RegionImage> images, long limit)
    {
        string part = $"{path}.{Environment.ProcessId}";
        try
        {
            const UnixFileMode Mine = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.Delete(part);
            long length;
            FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 1 << 16 };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = Mine;
            }
            using (FileStream stream = new(part, options))
            {
                Writer writer = new(stream, limit);
                old?.CopyTo(writer, 0);
                foreach (RegionImage image in images)
                {
                    writer.Add(image, 0);
                }
                for (int age = 1; age <= OldAge; age++)
                {
                    old?.CopyTo(writer, age);
                }
                writer.Finish(identity);
                length = stream.Length;
            }
            File.Move(part, path, overwrite: true);
            Tidy(Path.GetDirectoryName(path)!);
            return length;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (File.Exists(part))
            {
                File.Delete(part);
            }
            return 0;
        }
    }

    /// <summary>Other versions and other models leave files that nobody may ask for again.</summary>
    private static void Tidy(string folder)
    {
        foreach (FileInfo file in new DirectoryInfo(folder).GetFiles(FilePattern).OrderByDescending(file => file.LastWriteTimeUtc).Skip(MaximumFiles))
        {
            file.Delete();
        }
    }

    /// <param name="age">Runs since what is copied was of use.</param>
    private void CopyTo(Writer writer, int age)
    {
        byte[] buffer = [];
        for (int number = 0; number < Count; number++)
        {
            if (age != (_used[number] ? 0 : _records[number].Age + 1))
            {
                continue;
            }
            int length = Read(number, ref buffer);
            // What it says of routines was looked at when it was used, or will be.
            if (RegionImage.Read(buffer, length, int.MaxValue) is { } image)
            {
                writer.Add(image, age);
            }
        }
    }

    private static int Bucket(ulong key) => (int)(key >> (64 - BucketBits));

    private static LibraryFile? ReadTables(SafeFileHandle file, Digest identity)
    {
        Header header = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<Header>(ref header));
        long length = RandomAccess.GetLength(file);
        if (!ReadWhole(file, bytes, 0) || header.Magic != Magic || header.Identity != identity || header.Sum != header.OwnSum || header.Records < 0 || header.Places < 0)
        {
            return null;
        }
        long tables = ((long)header.Records * Unsafe.SizeOf<Record>()) + ((long)header.Places * Unsafe.SizeOf<Place>());
        if (header.Tables < Unsafe.SizeOf<Header>() || header.Tables > length || length - header.Tables != tables || tables > int.MaxValue)
        {
            return null;
        }
        byte[] both = new byte[tables];
        if (!ReadWhole(file, both, header.Tables) || Checksum.Of(both) != header.TablesSum)
        {
            return null;
        }
        int half = header.Records * Unsafe.SizeOf<Record>();
        Record[] records = MemoryMarshal.Cast<byte, Record>(both.AsSpan(0, half)).ToArray();
        Place[] places = MemoryMarshal.Cast<byte, Place>(both.AsSpan(half)).ToArray();
        bool good = Array.TrueForAll(records, record => record.Bytes > 0 && record.Offset >= Unsafe.SizeOf<Header>() && record.Offset <= header.Tables - record.Bytes)
            && Array.TrueForAll(places, place => place.Number >= 0 && place.Number < records.Length);
        for (int i = 1; i < places.Length; i++)
        {
            good &= places[i - 1].Key <= places[i].Key;
        }
        return good ? new LibraryFile(file, records, places) : null;
    }

    private static bool ReadWhole(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        while (bytes.Length > 0)
        {
            int read = RandomAccess.Read(file, bytes, offset);
            if (read <= 0)
            {
                return false;
            }
            bytes = bytes[read..];
            offset += read;
        }
        return true;
    }

    private sealed class Writer(FileStream stream, long limit)
    {
        private readonly List<Record> _records = [];
        private readonly List<Place> _places = [];
        private long _at = Unsafe.SizeOf<Header>();

        public void Add(RegionImage image, int age)
        {
            ReadOnlySpan<byte> bytes = image.All;
            long tables = ((_records.Count + 1L) * Unsafe.SizeOf<Record>()) + ((_places.Count + (long)image.Entries.Length) * Unsafe.SizeOf<Place>());
            if (_at + bytes.Length + tables > limit)
            {
                return;
            }
            if (_records.Count == 0)
            {
                // Whoever reads it before it is finished finds no magic number.
                stream.Write(new byte[Unsafe.SizeOf<Header>()]);
            }
            stream.Write(bytes);
            foreach (ref readonly RegionEntry entry in image.Entries)
            {
                if (!entry.IsWitness)
                {
                    _places.Add(new Place(entry.Key, _records.Count));
                }
            }
            _records.Add(new Record(_at, bytes.Length, age, Checksum.Of(bytes)));
            _at += bytes.Length;
        }

        public void Finish(Digest identity)
        {
            _places.Sort((a, b) => a.Key.CompareTo(b.Key));
            byte[] tables =
            [
                .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_records)),
                .. MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_places)),
            ];
            stream.Write(tables);
            Header header = new()
            {
                Magic = Magic,
                Records = _records.Count,
                Places = _places.Count,
                Tables = _at,
                Identity = identity,
                TablesSum = Checksum.Of(tables),
            };
            header.Sum = header.OwnSum;
            stream.Position = 0;
            stream.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<Header>(in header)));
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Header
    {
        public ulong Magic;
        public int Records;
        public int Places;
        public long Tables;
        public ulong Sum;
        public Digest Identity;
        public Digest TablesSum;

        /// <summary>Of all but itself.</summary>
        public readonly ulong OwnSum
        {
            get
            {
                Header copy = this;
                copy.Sum = 0;
                return Checksum.Of(MemoryMarshal.AsBytes(new ReadOnlySpan<Header>(in copy))).Low;
            }
        }
    }

    /// <param name="Age">Runs since it was of use.</param>
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Record(long Offset, int Bytes, int Age, Digest Sum);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Place(ulong Key, long Number)
    {
        public int Record => (int)Number;
    }
}
