using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Which general registers instructions write. For one thread: Iced's factory keeps what it says last in itself.</summary>
internal sealed class WrittenRegisters
{
    private readonly InstructionInfoFactory _information = new();
    private readonly List<int> _numbers = [];

    /// <summary>Their numbers, those that are only written under a condition or in part among them. Good until the next call.</summary>
    public IReadOnlyList<int> Of(in Instruction instruction)
    {
        _numbers.Clear();
        foreach (UsedRegister used in _information.GetInfo(in instruction, InstructionInfoOptions.NoMemoryUsage).GetUsedRegisters())
        {
            if (used.Register.IsGPR() && used.Access is not (OpAccess.Read or OpAccess.CondRead or OpAccess.None or OpAccess.NoMemAccess))
            {
                _numbers.Add(RegionCompiler.Number(used.Register));
            }
        }
        return _numbers;
    }
}
