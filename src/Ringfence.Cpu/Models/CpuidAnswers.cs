using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Models;

/// <summary>Remembers what a processor answered to CPUID (<see cref="CpuidTable"/>), so that a leaf asked for again and again is not put together each time.</summary>
internal sealed unsafe class CpuidAnswers(Processor processor)
{
    private readonly CpuState* _s = processor.State;

    /// <summary>As <see cref="Cpuid.Query"/>, now.</summary>
    public CpuidAnswer* Query(uint leaf, uint subleaf)
    {
        ref CpuidTable table = ref _s->Translated.Cpuid;
        if (!table.IsFor(_s))
        {
            CpuidTable.Forget(_s);
            (table.Cr4, table.Xcr0, table.Xss) = (_s->Cr4, _s->Xcr0, _s->Xss);
        }
        CpuidAnswer* answer = CpuidTable.At(_s, leaf, subleaf);
        if (answer->IsKnown == 0 || answer->Leaf != leaf || answer->Subleaf != subleaf)
        {
            CpuidContext context = new((uint)processor.ApicId, processor.Shared.Processors.Length, _s->Cr4, _s->Xcr0, _s->Xss, processor.Apic.Enabled,
                processor.Platform.ClockHertz, processor.ApicHertz);
            (uint a, uint b, uint c, uint d) = Cpuid.Query(processor.Model, leaf, subleaf, context);
            // An exit that someone wants to be told of is not to be answered by host code.
            uint kept = processor.Trace == null ? 1u : 0;
            *answer = new CpuidAnswer { Leaf = leaf, Subleaf = subleaf, Eax = a, Ebx = b, Ecx = c, Edx = d, IsKnown = kept };
        }
        return answer;
    }

    /// <summary>Whether the local APIC is enabled, how many processors there are, or who is told of exits has changed.</summary>
    public void Forget() => CpuidTable.Forget(_s);
}
