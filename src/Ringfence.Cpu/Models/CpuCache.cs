using System.Globalization;

namespace Ringfence.Cpu.Models;

/// <summary>What a cache holds.</summary>
public enum CacheKind : byte
{
    Data = 1,
    Instructions = 2,
    Unified = 3,
}

/// <summary>A cache that CPUID tells of; there is none behind it. Lines have <see cref="LineSize"/> bytes. Level 3 is shared by the package.</summary>
/// <param name="Level">1 to 3.</param>
/// <param name="Size">Bytes.</param>
public readonly record struct CpuCache(int Level, CacheKind Kind, uint Size, uint Ways)
{
    public const uint LineSize = 64;

    public uint Sets => Size / (Ways * LineSize);

    /// <summary>"l1d" and "32K/8": 32 KiB in 8 ways.</summary>
    internal static CpuCache Parse(string name, string text)
    {
        string[] parts = text.Split('/');
        uint size = uint.Parse(parts[0][..^1], CultureInfo.InvariantCulture) << (parts[0][^1] == 'M' ? 20 : 10);
        CacheKind kind = name[^1] switch { 'd' => CacheKind.Data, 'i' => CacheKind.Instructions, _ => CacheKind.Unified };
        return new CpuCache(name[1] - '0', kind, size, uint.Parse(parts[1], CultureInfo.InvariantCulture));
    }

    public override string ToString()
    {
        string letter = Kind switch { CacheKind.Data => "d", CacheKind.Instructions => "i", _ => "" };
        return string.Create(CultureInfo.InvariantCulture, $"L{Level}{letter} {Size >> 10} KiB, {Ways} ways");
    }
}
