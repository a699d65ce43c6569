using System.Runtime.Intrinsics.X86;
using Ringfence.Host;

namespace Ringfence.Cpu.Models;

/// <summary>The model that has what the host under it has: <see cref="CpuModel.Max"/>, and extensions for users that only translated code can pass on.</summary>
internal static class HostModel
{
    public const string Name = "host";

    private static readonly Lazy<CpuModel> s_instance = new(Make);

    public static CpuModel Instance => s_instance.Value;

    private static CpuModel Make()
    {
        FeatureSet available = CpuFeatures.Implemented | FeatureSet.Of(CpuFeatures.PassedOn.Members().Where(IsThere));
        FeatureSet features = CpuModelCatalog.Instance.Rules.Satisfied(available);
        return CpuModel.Max with
        {
            Name = Name,
            About = "all of 'max', and what this host can run beyond it",
            Available = available,
            Described = features,
            Features = features,
        };
    }

    /// <summary>Whether the host's CPUID tells of it and its system keeps the registers that it needs.</summary>
    private static bool IsThere(CpuFeature feature)
    {
        CpuFeatureInfo info = feature.Info();
        if (!HostVectors.HasAvx512 || info.Leaf > (uint)X86Base.CpuId((int)(info.Leaf & 0x8000_0000), 0).Eax)
        {
            return false;
        }
        (int eax, int ebx, int ecx, int edx) = X86Base.CpuId((int)info.Leaf, (int)info.Subleaf);
        int value = info.Register switch
        {
            CpuidRegister.Eax => eax,
            CpuidRegister.Ebx => ebx,
            CpuidRegister.Ecx => ecx,
            _ => edx,
        };
        return ((value >> info.Bit) & 1) != 0;
    }
}
