using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>What the processor under the tests has, by its CPUID.</summary>
internal static class HostFeatures
{
    private static readonly Dictionary<CpuidFeature, bool> Known = CpuFeatures.All.Where(f => f.Instructions != null)
        .GroupBy(f => f.Instructions!.Value).ToDictionary(g => g.Key, g => g.Any(IsThere));

    /// <summary>False only if CPUID says so: what has no bit is taken to be there.</summary>
    public static bool Has(Code code) => code.CpuidFeatures().All(f => !Known.TryGetValue(f, out bool there) || there);

    private static bool IsThere(CpuFeatureInfo info)
    {
        uint highest = (uint)X86Base.CpuId((int)(info.Leaf & 0x8000_0000), 0).Eax;
        if (info.Leaf > highest)
        {
            return false;
        }
        (int a, int b, int c, int d) = X86Base.CpuId((int)info.Leaf, (int)info.Subleaf);
        int value = info.Register switch
        {
            CpuidRegister.Eax => a,
            CpuidRegister.Ebx => b,
            CpuidRegister.Ecx => c,
            _ => d,
        };
        return ((value >> info.Bit) & 1) != 0;
    }
}
