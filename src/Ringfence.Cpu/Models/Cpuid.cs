using System.Collections.Frozen;
using Ringfence.Cpu.Paravirtual;
using static Ringfence.Cpu.Models.CpuidRegister;

namespace Ringfence.Cpu.Models;

/// <summary>What CPUID's answer depends on besides the model.</summary>
/// <param name="ApicId">The initial one.</param>
/// <param name="ApicEnabled">IA32_APIC_BASE's enable bit, without which there seems to be no APIC.</param>
/// <param name="ClockHertz">What the time-stamp counter counts in a second.</param>
/// <param name="ApicHertz">What the local APIC's timer does.</param>
internal readonly record struct CpuidContext(
    uint ApicId, int Processors, ulong Cr4, ulong Xcr0, ulong Xss, bool ApicEnabled = true, long ClockHertz = Processor.TscHertz, long ApicHertz = Processor.TscHertz);

/// <summary>CPUID (SDM 2 CPUID; APM 3 appendix E): the feature bits of a model, and around them the leaves that are not bits.</summary>
internal static class Cpuid
{
    private const uint HighestBasic = 0xD;
    private const uint HighestFeatureSubleaf = 1;

    /// <summary>The highest extended leaf: AMD's go on to the caches.</summary>
    private static uint HighestExtended(CpuModel model) => model.IsIntel ? 0x8000_0008 : 0x8000_001D;

    /// <summary>The features of each register of each leaf, so that an answer looks at no others.</summary>
    private static readonly FrozenDictionary<(uint Leaf, uint Subleaf, CpuidRegister Register), CpuFeatureInfo[]> s_places =
        CpuFeatures.All.GroupBy(f => (f.Leaf, f.Subleaf, f.Register)).ToFrozenDictionary(g => g.Key, g => g.ToArray());

    public static (uint Eax, uint Ebx, uint Ecx, uint Edx) Query(CpuModel model, uint leaf, uint subleaf, in CpuidContext context)
    {
        if (leaf is >= HypervisorLeaves.First and < 0x8000_0000)
        {
            return HypervisorLeaves.Query(model, leaf, context);
        }
        if (leaf > (leaf < HypervisorLeaves.First ? HighestBasic : HighestExtended(model)))
        {
            return default;
        }
        uint absent = CpuidTopology.Absent(context);
        switch (leaf)
        {
            case 0:
                return (HighestBasic, Ascii(model.Vendor, 0), Ascii(model.Vendor, 8), Ascii(model.Vendor, 4));
            case 1:
                uint osxsave = (context.Cr4 & State.ControlBits.OsXsave) != 0 ? 1u << 27 : 0;
                return (model.Signature, CpuidTopology.Leaf1(model, context) | (8 << 8), Bits(model, 1, 0, Ecx) | osxsave, Bits(model, 1, 0, Edx) & ~absent);
            case 5 when model.Has(CpuFeature.MonitorWait):
                // One line; interrupts may end MWAIT though they are masked. No C-states beyond HLT: systems that have the choice take HLT.
                return (64, 64, 3, 0);
            case 7 when subleaf == 0:
                uint ospke = (context.Cr4 & State.ControlBits.ProtectionKeys) != 0 ? 1u << 4 : 0;
                return (HighestFeatureSubleaf, Bits(model, 7, 0, Ebx), Bits(model, 7, 0, Ecx) | ospke, Bits(model, 7, 0, Edx));
            case 2 or 4 or 0x8000_0005 or 0x8000_0006 or 0x8000_001D:
                return CpuidCaches.Query(model, leaf, subleaf, context.Processors);
            case 0xD:
                return QueryExtendedState(model, subleaf, context);
            case 0x8000_0000:
                return (HighestExtended(model), Ascii(model.Vendor, 0), Ascii(model.Vendor, 8), Ascii(model.Vendor, 4));
            case 0x8000_0001:
                // AMD repeats much of leaf 1's EDX.
                uint repeated = model.IsIntel ? 0 : Bits(model, 1, 0, Edx) & ~absent & 0x0183_F3FF;
                return (model.Signature, 0, CpuidTopology.Legacy(Bits(model, leaf, 0, Ecx), context), Bits(model, leaf, 0, Edx) | repeated);
            case >= 0x8000_0002 and <= 0x8000_0004:
                int start = (int)(leaf - 0x8000_0002) * 16;
                return (Ascii(model.Brand, start), Ascii(model.Brand, start + 4), Ascii(model.Brand, start + 8), Ascii(model.Brand, start + 12));
            case 0x8000_0008:
                return (Memory.PageWalker.PhysicalBits | ((uint)Memory.LinearAddress.Width(model) << 8), Bits(model, leaf, 0, Ebx),
                    CpuidTopology.CoreCount(model, context), 0);
            case 0xB:
                return CpuidTopology.Extended(model, subleaf, context);
            default:
                subleaf = leaf == 7 ? subleaf : 0;
                return (Bits(model, leaf, subleaf, Eax), Bits(model, leaf, subleaf, Ebx), Bits(model, leaf, subleaf, Ecx), Bits(model, leaf, subleaf, Edx));
        }
    }

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) QueryExtendedState(CpuModel model, uint subleaf, in CpuidContext context)
    {
        if (!model.Has(CpuFeature.Xsave))
        {
            return default;
        }
        var layout = new ExtendedStateLayout(model);
        switch (subleaf)
        {
            case 0:
                return ((uint)layout.User, (uint)layout.Size(context.Xcr0), (uint)layout.Size(layout.User), (uint)(layout.User >> 32));
            case 1:
                bool compacts = model.Has(CpuFeature.XsaveC) || model.Has(CpuFeature.XsaveS);
                uint size = compacts ? (uint)ExtendedStateLayout.CompactSize(context.Xcr0 | context.Xss) : 0;
                return (Bits(model, 0xD, 1, Eax), size, (uint)layout.Supervisor, (uint)(layout.Supervisor >> 32));
            default:
                return subleaf < 64 && ((layout.User >> (int)subleaf) & 1) != 0
                    ? ((uint)ExtendedStateLayout.SizeOf((int)subleaf), (uint)layout.Offset((int)subleaf), 0u, 0u) : default;
        }
    }

    private static uint Bits(CpuModel model, uint leaf, uint subleaf, CpuidRegister register)
    {
        uint bits = 0;
        if (s_places.TryGetValue((leaf, subleaf, register), out CpuFeatureInfo[]? features))
        {
            foreach (CpuFeatureInfo info in features)
            {
                bits |= model.Has(info.Feature) ? 1u << info.Bit : 0;
            }
        }
        return bits;
    }

    /// <summary>Four characters as a register holds them; zeros behind the end.</summary>
    internal static uint Ascii(string text, int start)
    {
        uint value = 0;
        for (int i = 0; i < 4 && start + i < text.Length; i++)
        {
            value |= (uint)text[start + i] << (8 * i);
        }
        return value;
    }
}
