using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;
using static Ringfence.Cpu.Tests.X87.HostComparison;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>Agreement with the host's x87 to a unit in the last place, special cases and flags included.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class X87TranscendentalTests
{
    private const int Cases = 50_000;

    [Fact]
    public void Sine() =>
        Run("fsin", [0xD9, 0xFE], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Sine(f), 0, Cases, approximate: true);

    [Fact]
    public void Cosine() =>
        Run("fcos", [0xD9, 0xFF], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Cosine(f), 0, Cases, approximate: true);

    [Fact]
    public void SineCosine() =>
        Run("fsincos", [0xD9, 0xFB], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.SineCosine(f), 0, Cases, approximate: true);

    [Fact]
    public void Tangent() =>
        Run("fptan", [0xD9, 0xF2], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Tangent(f), 0, Cases, approximate: true);

    [Fact]
    public void Arctangent() =>
        Run("fpatan", [0xD9, 0xF3], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Arctangent(f), 0, Cases, approximate: true);

    [Fact]
    public void Exp2MinusOne() =>
        Run("f2xm1", [0xD9, 0xF0], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Exp2MinusOne(f), 0, Cases,
            approximate: true, maximumExponent: 0x3FFE);

    [Fact]
    public void YLog2X() =>
        Run("fyl2x", [0xD9, 0xF1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.YLog2X(f), 0, Cases, approximate: true);

    [Fact]
    public void YLog2XPlus1() =>
        Run("fyl2xp1", [0xD9, 0xF9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.YLog2XPlus1(f), 0, Cases,
            approximate: true, maximumExponent: 0x3FFC);
}
