using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Ringfence.Cpu.Models;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator.Library;

/// <summary>
/// What regions were translated to, for all processors of a machine and, in a folder, for other runs. Only what was made by the same program, for the same model of
/// processor, on the same kind of host is taken (<see cref="Identity"/>).
/// </summary>
/// <param name="folder">Null to keep nothing.</param>
/// <param name="limit">Bytes of a file at most, and of what is kept in memory.</param>
public sealed class TranslationLibrary(string? folder = null, int limit = TranslationLibrary.DefaultLimit) : IDisposable
{
    public const int DefaultLimit = 64 << 20;

    private readonly ConcurrentDictionary<string, SharedTranslations> _byIdentity = [];
    private int _disposed;

    /// <summary>Told of files that cannot be used.</summary>
    public Action<string>? Complaint { get; init; }

    /// <summary>Counts by name, for reports; after <see cref="Dispose"/> too.</summary>
    public IReadOnlyDictionary<string, long> Describe() => new Dictionary<string, long>
    {
        ["regions in the file"] = _byIdentity.Values.Sum(shared => (long)shared.Remembered),
        ["regions added"] = _byIdentity.Values.Sum(shared => (long)shared.Added),
        ["bytes written"] = _byIdentity.Values.Sum(shared => shared.Written),
    };

    /// <summary>Writes what is new to the folder, if that is worthwhile.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }
        foreach (SharedTranslations shared in _byIdentity.Values)
        {
            shared.Save();
            shared.Dispose();
        }
    }

    /// <param name="routines">Where the routines end in the code memory.</param>
    /// <param name="countsHits">As of <see cref="TranslatorOptions"/>.</param>
    internal SharedTranslations For(CpuModel model, int routines, bool countsHits) => _byIdentity.GetOrAdd(Identity(model, routines, countsHits), identity =>
    {
        Digest sum = Checksum.Of(Encoding.UTF8.GetBytes(identity));
        string? path = folder is null ? null : Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"translations-{sum.Low:x16}.bin"));
        return new SharedTranslations(path, sum, routines, limit, Complaint);
    });

    /// <summary>How many of a block's bytes may be in its key: as many as it has before the first that may be others.</summary>
    internal static ReadOnlySpan<byte> KeyLengths => [16, 7, 3, 2, 1];

    /// <summary>What finds a block: its mode, its place in the page and its first bytes.</summary>
    /// <param name="length">One of <see cref="KeyLengths"/>.</param>
    internal static ulong KeyOf(uint mode, int offset, ReadOnlySpan<byte> page, int length)
    {
        const int Word = sizeof(ulong);
        Span<byte> first = stackalloc byte[2 * Word];
        first.Clear();
        page.Slice(offset, Math.Min(first.Length, page.Length - offset)).CopyTo(first);
        ulong low = MemoryMarshal.Read<ulong>(first);
        ulong high = MemoryMarshal.Read<ulong>(first[Word..]);
        if (length < Word)
        {
            low &= (1UL << (length * 8)) - 1;
        }
        return Checksum.Of(low, length < 2 * Word ? 0 : high, ((ulong)length << 48) | ((ulong)mode << 12) | (uint)offset);
    }

    internal static int KeyLength(int bytes)
    {
        int i = 0;
        while (KeyLengths[i] > bytes)
        {
            i++;
        }
        return KeyLengths[i];
    }

    /// <summary>All that host code depends on beside the guest's: any other build is another program.</summary>
    private static string Identity(CpuModel model, int routines, bool countsHits)
    {
        StringBuilder text = new();
        foreach (Type type in (Type[])[typeof(TranslationLibrary), typeof(Processor), typeof(CodeMemory), typeof(Iced.Intel.Decoder)])
        {
            text.Append(type.Module.ModuleVersionId).Append(' ');
        }
        text.Append(Environment.Version).Append(' ').Append(routines).Append(' ').Append(countsHits).Append(HostVectors.HasAvx).Append(HostVectors.HasAvx512);
        text.Append(CultureInfo.InvariantCulture, $" {model.Vendor} {model.Signature:x} {string.Join(',', model.Features.Members().Select(feature => (int)feature))} {model.OffersKvmClock}");
        if (X86Base.IsSupported)
        {
            foreach ((int leaf, int part) in ((int, int)[])[(0, 0), (1, 0), (7, 0), (7, 1), (0xD, 0), (0xD, 1), (unchecked((int)0x8000_0001), 0)])
            {
                (int eax, int ebx, int ecx, int edx) = X86Base.CpuId(leaf, part);
                // Of leaf 1 EBX names the processor that answers; of leaf 0xD it is the size of what happens to be on.
                text.Append(CultureInfo.InvariantCulture, $" {eax:x}.{(leaf is 1 or 0xD ? 0 : ebx):x}.{ecx:x}.{edx:x}");
            }
        }
        return text.ToString();
    }
}
