using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>CPUID under KVM: our models, less what the host and the kernel cannot give.</summary>
internal static class KvmCpuid
{
    private const uint SubleafMatters = 1;
    private const uint ExtendedStateLeaf = 0xD;
    private const int ExtendedStateComponents = 10;

    /// <summary>What is ours whatever the kernel says, because our local APIC, our MSRs or the board's layout stand behind it.</summary>
    private static readonly FeatureSet s_ours = FeatureSet.Of(
        CpuFeature.Apic, CpuFeature.X2Apic, CpuFeature.TscDeadline, CpuFeature.TscAdjust, CpuFeature.Mtrr, CpuFeature.MachineCheck,
        CpuFeature.MachineCheckException, CpuFeature.Arat, CpuFeature.Hypervisor, CpuFeature.Threads, CpuFeature.LegacyThreads);

    /// <summary>What only an interpreter may say or do: to be safe from speculation, and to wait for a store.</summary>
    private static readonly FeatureSet s_never = FeatureSet.Of(CpuFeature.ArchCapabilities, CpuFeature.MonitorWait);

    /// <summary>The model as it can be here.</summary>
    public static CpuModel Filter(CpuModel model, KvmHostTraits traits)
    {
        FeatureSet there = FeatureSet.Of(model.Features.Members().Where(feature => IsSupported(feature.Info(), traits.Cpuid))) | (model.Features & s_ours);
        there |= traits.Unasked & CpuFeatures.Implemented;
        there = there.Without(s_never);
        there = traits.TscOffsets switch
        {
            TscOffsets.Forgotten => there.Without(CpuFeature.TscAdjust),
            TscOffsets.Steered => there.Without(CpuFeature.InvariantTsc),
            _ => there,
        };
        return model with { Features = CpuModelCatalog.Instance.Rules.Satisfied(there), ExtendedStateOffsets = ExtendedStateOffsets(model, traits.Cpuid) };
    }

    /// <summary>Guests save their extended state by the host's instructions, which put it where the host has it. The model says the same, for our processor to do so too.</summary>
    private static (int Opmask, int Pkru) ExtendedStateOffsets(CpuModel model, IReadOnlyList<KvmCpuidEntry> host)
    {
        ExtendedStateLayout usual = new(model);
        return (Find(ExtendedStateLayout.OpmaskNumber), Find(ExtendedStateLayout.PkruNumber));

        int Find(int component)
        {
            int offset = (int)host.FirstOrDefault(entry => entry.Leaf == ExtendedStateLeaf && entry.Subleaf == component).Ebx;
            return offset != 0 ? offset : usual.Offset(component);
        }
    }

    /// <summary>The answers of one processor. What changes while it runs (OSXSAVE, sizes of the extended state) the kernel keeps up to date.</summary>
    /// <param name="clockHertz">What the time-stamp counter counts in a second.</param>
    /// <param name="apicHertz">What the local APIC's timer does.</param>
    public static KvmCpuidEntry[] Entries(CpuModel model, int index, int processors, long clockHertz, long apicHertz)
    {
        CpuidContext context = new((uint)index, processors, 0, 1, 0, ClockHertz: clockHertz, ApicHertz: apicHertz);
        List<KvmCpuidEntry> entries = [];
        foreach (uint first in (ReadOnlySpan<uint>)[0, HypervisorLeaves.First, HypervisorLeaves.Second, 0x8000_0000])
        {
            uint last = Cpuid.Query(model, first, 0, context).Eax;
            for (uint leaf = first; leaf <= last; leaf++)
            {
                Add(entries, model, leaf, context);
            }
        }
        // Leaves between that say nothing would only make the list long.
        entries.RemoveAll(entry => entry.Leaf != 0 && (entry.Eax | entry.Ebx | entry.Ecx | entry.Edx) == 0);
        return [.. entries];
    }

    private static void Add(List<KvmCpuidEntry> entries, CpuModel model, uint leaf, in CpuidContext context)
    {
        int subleaves = leaf switch
        {
            4 or 0x8000_001D => 5,
            7 => 2,
            0xB => 3,
            ExtendedStateLeaf => ExtendedStateComponents,
            _ => 0,
        };
        for (uint subleaf = 0; subleaf < Math.Max(subleaves, 1); subleaf++)
        {
            (uint a, uint b, uint c, uint d) = Cpuid.Query(model, leaf, subleaf, context);
            if (subleaf == 0 || (a | b | c | d) != 0)
            {
                entries.Add(new KvmCpuidEntry { Leaf = leaf, Subleaf = subleaf, Flags = subleaves > 0 ? SubleafMatters : 0, Eax = a, Ebx = b, Ecx = c, Edx = d });
            }
        }
    }

    private static bool IsSupported(CpuFeatureInfo info, IReadOnlyList<KvmCpuidEntry> supported)
    {
        foreach (KvmCpuidEntry entry in supported)
        {
            if (entry.Leaf == info.Leaf && entry.Subleaf == info.Subleaf)
            {
                uint bits = info.Register switch
                {
                    CpuidRegister.Eax => entry.Eax,
                    CpuidRegister.Ebx => entry.Ebx,
                    CpuidRegister.Ecx => entry.Ecx,
                    _ => entry.Edx,
                };
                return (bits & (1u << info.Bit)) != 0;
            }
        }
        return false;
    }
}
