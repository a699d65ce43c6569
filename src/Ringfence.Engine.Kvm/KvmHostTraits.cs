using Ringfence.Cpu.Models;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>What the host's KVM can do, as far as we act on it.</summary>
/// <param name="Cpuid">What CPUID may tell guests.</param>
/// <param name="NestedPaging">The processor walks guests' page tables itself; otherwise the kernel keeps shadows of them.</param>
/// <param name="Unasked">Features that guests find though CPUID was told otherwise.</param>
/// <param name="Module">The kernel module that runs guest code: kvm_intel, kvm_amd, or another; null if unknown.</param>
internal sealed record KvmHostTraits(
    IReadOnlyList<KvmCpuidEntry> Cpuid, bool TellsEmulationFailures, TscOffsets TscOffsets, bool TscScaling, bool Xsave, bool NestedPaging, string? Module,
    FeatureSet Unasked)
{
    /// <summary>VT-x or AMD-V runs all of the guest's code. Other modules of KVM's emulate, slowly, what is not user mode.</summary>
    public bool RunsSupervisorNatively => Module is "kvm_intel" or "kvm_amd";

    /// <summary>Of the ratio of guests' time-stamp counters to the host's.</summary>
    public int TscFractionBits => Module == "kvm_amd" ? TscScale.AmdBits : TscScale.IntelBits;

    private const string Modules = "/sys/module";

    /// <summary>What we cannot do without, and what it is for.</summary>
    private static readonly (KvmCapability Capability, string For)[] s_needed =
    [
        (KvmCapability.UserMemory, "guest memory"),
        (KvmCapability.ExtendedCpuid, "CPUID"),
        (KvmCapability.SyncRegisters, "fast access to registers"),
        (KvmCapability.ImmediateExit, "stopping a vCPU"),
        (KvmCapability.VcpuEvents, "pending events"),
        (KvmCapability.DebugRegisters, "debug registers"),
        (KvmCapability.Xsave, "vector registers"),
        (KvmCapability.UserSpaceMsr, "MSRs of ours"),
        (KvmCapability.MsrFilter, "MSRs of ours"),
        (KvmCapability.SystemRegisters2, "PAE paging"),
        (KvmCapability.Nmi, "NMIs"),
    ];

    /// <exception cref="KvmException">It lacks what we need.</exception>
    public static KvmHostTraits Read(KvmSystem system)
    {
        foreach ((KvmCapability capability, string use) in s_needed)
        {
            if (system.Check(capability) == 0)
            {
                throw new KvmException($"kvm: {KvmSystem.Path}: this kernel's KVM has no {capability}, needed for {use}: Linux 5.14 and later have it");
            }
        }
        string? module = FindModule();
        return new KvmHostTraits(
            system.SupportedCpuid(),
            system.Check(KvmCapability.ExitOnEmulationFailure) != 0,
            TscOffsetProbe.Try(system),
            system.Check(KvmCapability.TscControl) != 0,
            system.Check(KvmCapability.Xcrs) != 0,
            HasNestedPaging(module),
            module,
            CpuidProbe.Unasked(system));
    }

    public static string? FindModule()
    {
        try
        {
            return Directory.GetDirectories(Modules, "kvm_*").Select(Path.GetFileName).FirstOrDefault();
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static bool HasNestedPaging(string? module) => module switch
    {
        "kvm_intel" => IsOn("kvm_intel/parameters/ept"),
        "kvm_amd" => IsOn("kvm_amd/parameters/npt"),
        _ => false,
    };

    private static bool IsOn(string parameter)
    {
        try
        {
            return File.ReadAllText(Path.Combine(Modules, parameter)).Trim() is "Y" or "1";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
