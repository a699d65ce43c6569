using static Ringfence.Cpu.Models.CpuFeature;

namespace Ringfence.Cpu.Models;

/// <summary>A processor as CPUID describes it.</summary>
/// <param name="Name">As given on the command line.</param>
/// <param name="Vendor">12 characters, as CPUID.0 has them: "AuthenticAMD", "GenuineIntel".</param>
/// <param name="Signature">Family, model and stepping as in CPUID.1:EAX.</param>
/// <param name="Brand">The processor brand string, at most 47 characters.</param>
/// <param name="Features">What it advertises: never more than <see cref="CpuFeatures.Implemented"/>.</param>
public sealed record CpuModel(string Name, string Vendor, uint Signature, string Brand, FeatureSet Features)
{
    /// <summary>AMD family 15 model 107 stepping 1: a processor of the baseline's age. Kernels know that it needs no page-table isolation.</summary>
    private const uint BaselineSignature = 0x0006_0FB1;
    private const string Amd = "AuthenticAMD";

    private static readonly FeatureSet Baseline = FeatureSet.Of(
        Fpu, Debugging, Pse, Tsc, CpuFeature.Msr, Pae, MachineCheckException, Cmpxchg8b, CpuFeature.Apic, Sysenter, Mtrr, GlobalPages, MachineCheck,
        Cmov, Pat, Pse36, Clflush, Mmx, Fxsr, Sse, Sse2, TscDeadline, Hypervisor, TscAdjust, LahfLong, Syscall, Nx, Rdtscp, LongMode, InvariantTsc);

    /// <summary>The x86-64 psABI's baseline.</summary>
    public static CpuModel X8664V1 { get; } = new("x86-64-v1", Amd, BaselineSignature, "Ringfence x86-64-v1 processor", Baseline & CpuFeatures.Implemented);

    /// <summary>All that is implemented.</summary>
    public static CpuModel Max { get; } = new("max", Amd, BaselineSignature, "Ringfence processor", CpuFeatures.Implemented);

    public static IReadOnlyList<CpuModel> All { get; } = [X8664V1, Max];

    /// <summary>The model of that name, or null.</summary>
    public static CpuModel? Find(string name) => All.FirstOrDefault(m => m.Name == name);

    /// <summary>Where the manuals of the two differ, AMD's counts.</summary>
    public bool IsAmd => Vendor == Amd;

    public bool Has(CpuFeature feature) => Features.Has(feature);
}
