namespace Ringfence.Cpu.Models;

/// <summary>What one processor answered to CPUID lately, so that a leaf asked for again and again is not put together each time.</summary>
internal sealed class CpuidAnswers(CpuModel model)
{
    private const int Count = 16;

    private readonly Answer[] _answers = new Answer[Count];
    private CpuidContext _context;

    /// <summary>As <see cref="Cpuid.Query"/>.</summary>
    public ref readonly Answer Query(uint leaf, uint subleaf, in CpuidContext context)
    {
        if (context != _context)
        {
            Array.Clear(_answers);
            _context = context;
        }
        ref Answer answer = ref _answers[(leaf ^ (leaf >> 28) ^ (subleaf << 2)) & (Count - 1)];
        if (!answer.IsKnown || answer.Leaf != leaf || answer.Subleaf != subleaf)
        {
            (uint a, uint b, uint c, uint d) = Cpuid.Query(model, leaf, subleaf, context);
            answer = new Answer(true, leaf, subleaf, a, b, c, d);
        }
        return ref answer;
    }

    public readonly record struct Answer(bool IsKnown, uint Leaf, uint Subleaf, uint Eax, uint Ebx, uint Ecx, uint Edx);
}
