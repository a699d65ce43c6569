using System.Numerics;

namespace Ringfence.Cpu.Models;

/// <summary>The leaves of CPUID that tell of caches: 2 and 4 (SDM 2 CPUID), 8000_0005, 8000_0006 and 8000_001D (APM 3 E.4.4, E.4.5, E.4.15).</summary>
internal static class CpuidCaches
{
    private const uint SelfInitializing = 1 << 8;
    private const uint Inclusive = 1 << 1;

    public static (uint Eax, uint Ebx, uint Ecx, uint Edx) Query(CpuModel model, uint leaf, uint subleaf, int processors) => leaf switch
    {
        // One query is enough; descriptor FF: see leaf 4.
        2 => model.IsIntel ? (0x0000_FF01u, 0u, 0u, 0u) : default,
        4 => model.IsIntel ? Parameters(model, subleaf, processors, CoresPerPackage(processors) << 26) : default,
        0x8000_001D => model.IsIntel ? default : Parameters(model, subleaf, processors, 0),
        // TLBs: 64 entries each, fully associative. L1: size, ways, one line per tag, line size.
        0x8000_0005 => model.IsIntel ? default : (0xFF40_FF40u, 0xFF40_FF40u, Level1(model, CacheKind.Data), Level1(model, CacheKind.Instructions)),
        0x8000_0006 => (0u, model.IsIntel ? 0u : 0x4200_4200, Level2(model), model.IsIntel ? 0u : Level3(model)),
        _ => default,
    };

    /// <summary>The caches one by one, data before instructions, nearest first; a type of 0 ends the list.</summary>
    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) Parameters(CpuModel model, uint subleaf, int processors, uint cores)
    {
        if (subleaf >= model.Caches.Count)
        {
            return default;
        }
        CpuCache cache = model.Caches[(int)subleaf];
        uint sharedBy = cache.Level == 3 ? CoresPerPackage(processors) : 0;
        return (
            cores | (sharedBy << 14) | SelfInitializing | ((uint)cache.Level << 5) | (uint)cache.Kind,
            ((cache.Ways - 1) << 22) | (CpuCache.LineSize - 1),
            cache.Sets - 1,
            cache.Level == 3 ? Inclusive : 0);
    }

    /// <summary>Less one, as the fields count, and of IDs rather than processors: to the next power of two.</summary>
    private static uint CoresPerPackage(int processors) => Math.Min(BitOperations.RoundUpToPowerOf2((uint)processors) - 1, 63);

    private static uint Level1(CpuModel model, CacheKind kind)
    {
        CpuCache cache = model.Caches.Single(c => c.Level == 1 && c.Kind == kind);
        return (cache.Size >> 10 << 24) | (cache.Ways << 16) | (1 << 8) | CpuCache.LineSize;
    }

    private static uint Level2(CpuModel model)
    {
        CpuCache cache = model.Caches.Single(c => c.Level == 2);
        return (cache.Size >> 10 << 16) | (Associativity(cache.Ways) << 12) | (1 << 8) | CpuCache.LineSize;
    }

    /// <summary>In units of 512 KiB; 0 if there is none.</summary>
    private static uint Level3(CpuModel model)
    {
        CpuCache cache = model.Caches.FirstOrDefault(c => c.Level == 3);
        return cache.Size == 0 ? 0 : (cache.Size >> 19 << 18) | (Associativity(cache.Ways) << 12) | (1 << 8) | CpuCache.LineSize;
    }

    /// <summary>The code for a number of ways (APM 3 table E-4); for one without a code, the next lower.</summary>
    private static uint Associativity(uint ways) => ways switch
    {
        >= 128 => 14,
        >= 96 => 13,
        >= 64 => 12,
        >= 48 => 11,
        >= 32 => 10,
        >= 16 => 8,
        >= 8 => 6,
        >= 4 => 4,
        _ => ways,
    };
}
