namespace Ringfence.Cpu.Translator;

/// <summary>Where host code finds a memory operand: base + index x 2^scale + displacement.</summary>
/// <param name="Base">A host register, or negative: the operand is a register.</param>
/// <param name="Index">A host register, or negative for none.</param>
internal readonly record struct HostOperand(int Base, int Displacement, int Index = -1, int Scale = 0)
{
    /// <summary>What takes the place of a memory operand is a register.</summary>
    public static HostOperand None { get; } = new(-1, 0);

    public bool IsMemory => Base >= 0;
}
