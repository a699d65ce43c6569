using Ringfence.Cpu.Models;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>What this host's KVM is, for people.</summary>
/// <param name="Problem">Why it cannot be used, and what helps; null if it can.</param>
/// <param name="Module">The kernel module that runs guest code.</param>
/// <param name="RunsSupervisorNatively">VT-x or AMD-V runs all of a guest's code.</param>
/// <param name="Capabilities">The capabilities that matter to us, and what the kernel answers: 0 for one that it has not.</param>
/// <param name="Unasked">Features that guests find though CPUID was told otherwise, as Linux names them.</param>
public sealed record KvmReport(
    string? Problem, int? ApiVersion, string? Module, bool RunsSupervisorNatively, bool NestedPaging, IReadOnlyDictionary<string, int> Capabilities,
    IReadOnlyList<string> Unasked)
{
    public static string Device => KvmSystem.Path;

    public static KvmReport Read()
    {
        SortedDictionary<string, int> capabilities = new(StringComparer.Ordinal);
        int? version = null;
        try
        {
            using KvmSystem system = KvmSystem.Open();
            version = KvmSystem.ApiVersion;
            foreach (KvmCapability capability in Enum.GetValues<KvmCapability>())
            {
                capabilities[capability.ToString()] = system.Check(capability);
            }
            KvmHostTraits traits = KvmHostTraits.Read(system);
            return new KvmReport(
                null, version, traits.Module, traits.RunsSupervisorNatively, traits.NestedPaging, capabilities, [.. traits.Unasked.Members().Select(feature => feature.Info().Name)]);
        }
        catch (KvmException e)
        {
            return new KvmReport(e.Message, version, KvmHostTraits.FindModule(), false, false, capabilities, []);
        }
    }
}
