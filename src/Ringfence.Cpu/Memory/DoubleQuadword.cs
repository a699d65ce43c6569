namespace Ringfence.Cpu.Memory;

/// <summary>16 bytes on their way from or to memory. Not UInt128: what is made for that is never compiled ahead of time.</summary>
internal readonly record struct DoubleQuadword(ulong Low, ulong High)
{
    public static DoubleQuadword operator |(DoubleQuadword a, DoubleQuadword b) => new(a.Low | b.Low, a.High | b.High);
}
