using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;
using static Ringfence.Cpu.Tests.X87.HostComparison;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>Bit-exact agreement with the host's x87, instruction by instruction.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class X87InstructionTests
{
    // Escape opcode D8-DF and ModRM, by operand form; the operation is the reg field.
    private static void TestArithmetic<TOperation>(string name, int toTop, int toOther)
        where TOperation : struct, IX87Operation
    {
        byte top = (byte)(0xC0 + (toTop << 3)), other = (byte)(0xC0 + (toOther << 3)), memory = (byte)((toTop << 3) + 6);
        Run(name + " st,st1", [0xD8, (byte)(top + 1)], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Arithmetic<TOperation>(f, 0, 1),
            0, 200_000);
        Run(name + " st,st", [0xD8, top], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Arithmetic<TOperation>(f, 0, 0), 0, 20_000);
        Run(name + " st2,st", [0xDC, (byte)(other + 2)], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Arithmetic<TOperation>(f, 2, 0));
        Run(name + "p st1,st", [0xDE, (byte)(other + 1)], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.ArithmeticPop<TOperation>(f, 1));
        Run(name + " m32", [0xD8, memory], OperandKind.Single, (X87State* f, byte* m, ref ulong r) => X87Unit.Arithmetic32<TOperation>(f, *(uint*)m));
        Run(name + " m64", [0xDC, memory], OperandKind.Double, (X87State* f, byte* m, ref ulong r) => X87Unit.Arithmetic64<TOperation>(f, *(ulong*)m));
        Run(name + " i32", [0xDA, memory], OperandKind.Integer, (X87State* f, byte* m, ref ulong r) => X87Unit.ArithmeticInteger<TOperation>(f, *(int*)m));
        Run(name + " i16", [0xDE, memory], OperandKind.Integer16, (X87State* f, byte* m, ref ulong r) => X87Unit.ArithmeticInteger<TOperation>(f, *(short*)m));
    }

    [Fact]
    public void Add() => TestArithmetic<X87Add>("fadd", 0, 0);

    [Fact]
    public void Multiply() => TestArithmetic<X87Multiply>("fmul", 1, 1);

    [Fact]
    public void Subtract() => TestArithmetic<X87Subtract>("fsub", 4, 5);

    [Fact]
    public void SubtractReversed() => TestArithmetic<X87SubtractReversed>("fsubr", 5, 4);

    [Fact]
    public void Divide() => TestArithmetic<X87Divide>("fdiv", 6, 7);

    [Fact]
    public void DivideReversed() => TestArithmetic<X87DivideReversed>("fdivr", 7, 6);

    [Fact]
    public void SquareRoot() => Run("fsqrt", [0xD9, 0xFA], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.SquareRoot(f), 0, 200_000);

    [Fact]
    public void RoundToIntegral() => Run("frndint", [0xD9, 0xFC], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.RoundToIntegral(f));

    [Fact]
    public void Scale() => Run("fscale", [0xD9, 0xFD], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Scale(f));

    [Fact]
    public void Extract() => Run("fxtract", [0xD9, 0xF4], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Extract(f));

    [Fact]
    public void RemainderTruncated() =>
        Run("fprem", [0xD9, 0xF8], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Remainder(f, false), 0, 200_000);

    [Fact]
    public void RemainderNearest() =>
        Run("fprem1", [0xD9, 0xF5], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Remainder(f, true), 0, 200_000);

    [Fact]
    public void Abs() => Run("fabs", [0xD9, 0xE1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Abs(f));

    [Fact]
    public void ChangeSign() => Run("fchs", [0xD9, 0xE0], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.ChangeSign(f));

    [Fact]
    public void Compare()
    {
        Run("fcom", [0xD8, 0xD1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, false, 0), compares: true);
        Run("fcomp", [0xD8, 0xD9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, false, 1), compares: true);
        Run("fcompp", [0xDE, 0xD9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, false, 2), compares: true);
        Run("fucom", [0xDD, 0xE1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, true, 0), compares: true);
        Run("fucomp", [0xDD, 0xE9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, true, 1), compares: true);
        Run("fucompp", [0xDA, 0xE9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare(f, 1, true, 2), compares: true);
        Run("fcomp m32", [0xD8, 0x1E], OperandKind.Single, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare32(f, *(uint*)m, true), compares: true);
        Run("fcom m64", [0xDC, 0x16], OperandKind.Double, (X87State* f, byte* m, ref ulong r) => X87Unit.Compare64(f, *(ulong*)m, false), compares: true);
        Run("ficomp m16", [0xDE, 0x1E], OperandKind.Integer16, (X87State* f, byte* m, ref ulong r) => X87Unit.CompareInteger(f, *(short*)m, true), compares: true);
        Run("ficom m32", [0xDA, 0x16], OperandKind.Integer, (X87State* f, byte* m, ref ulong r) => X87Unit.CompareInteger(f, *(int*)m, false), compares: true);
        Run("ftst", [0xD9, 0xE4], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Test(f), compares: true);
    }

    [Fact]
    public void CompareFlags()
    {
        Run("fcomi", [0xDB, 0xF1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => r = X87Unit.CompareFlags(f, 1, false, false, r), X87Status.C1, compares: true);
        Run("fcomip", [0xDF, 0xF1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => r = X87Unit.CompareFlags(f, 1, false, true, r), X87Status.C1, compares: true);
        Run("fucomi", [0xDB, 0xE9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => r = X87Unit.CompareFlags(f, 1, true, false, r), X87Status.C1, compares: true);
        Run("fucomip", [0xDF, 0xE9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => r = X87Unit.CompareFlags(f, 1, true, true, r), X87Status.C1, compares: true);
    }

    [Fact]
    public void Examine() => Run("fxam", [0xD9, 0xE5], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Examine(f));

    [Fact]
    public void Load()
    {
        Run("fld m32", [0xD9, 0x06], OperandKind.Single, (X87State* f, byte* m, ref ulong r) => X87Unit.Load32(f, *(uint*)m));
        Run("fld m64", [0xDD, 0x06], OperandKind.Double, (X87State* f, byte* m, ref ulong r) => X87Unit.Load64(f, *(ulong*)m));
        Run("fld m80", [0xDB, 0x2E], OperandKind.Extended,
            (X87State* f, byte* m, ref ulong r) => X87Unit.Load80(f, *(ulong*)m, *(ushort*)(m + 8)));
        Run("fild m16", [0xDF, 0x06], OperandKind.Integer16, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadInteger(f, *(short*)m));
        Run("fild m32", [0xDB, 0x06], OperandKind.Integer, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadInteger(f, *(int*)m));
        Run("fild m64", [0xDF, 0x2E], OperandKind.Integer, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadInteger(f, *(long*)m));
        Run("fbld", [0xDF, 0x26], OperandKind.Bcd, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadBcd(f, *(ulong*)m, *(ushort*)(m + 8)));
        Run("fld st2", [0xD9, 0xC2], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadRegister(f, 2));
    }

    [Fact]
    public void Constants()
    {
        for (int i = 0; i < 7; i++)
        {
            X87Constant constant = (X87Constant)i;
            Run(constant.ToString(), [0xD9, (byte)(0xE8 + i)], OperandKind.None,
                (X87State* f, byte* m, ref ulong r) => X87Unit.LoadConstant(f, constant), 0, 5_000);
        }
    }

    [Fact]
    public void Store()
    {
        Run("fst m32", [0xD9, 0x16], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) =>
        {
            if (X87Unit.Store32(f, out uint value))
            {
                *(uint*)m = value;
            }
        }, 0, 200_000);
        Run("fstp m64", [0xDD, 0x1E], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) =>
        {
            if (X87Unit.Store64(f, out ulong value))
            {
                *(ulong*)m = value;
                X87Unit.Pop(f);
            }
        }, 0, 200_000);
        Run("fstp m80", [0xDB, 0x3E], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) =>
        {
            if (X87Unit.Store80(f, out Float80 value))
            {
                *(ulong*)m = value.Significand;
                *(ushort*)(m + 8) = value.SignExponent;
                X87Unit.Pop(f);
            }
        });
        Run("fbstp", [0xDF, 0x36], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) =>
        {
            if (X87Unit.StoreBcd(f, out ulong low, out ushort high))
            {
                *(ulong*)m = low;
                *(ushort*)(m + 8) = high;
                X87Unit.Pop(f);
            }
        });
        Run("fst st2", [0xDD, 0xD2], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.StoreRegister(f, 2, false));
        Run("fstp st2", [0xDD, 0xDA], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.StoreRegister(f, 2, true));
        Run("fstp st", [0xDD, 0xD8], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.StoreRegister(f, 0, true));
    }

    [Fact]
    public void StoreInteger()
    {
        foreach ((byte escape, byte modrm, int bits, bool truncate, bool pop) in new (byte, byte, int, bool, bool)[]
        {
            (0xDF, 0x16, 16, false, false), (0xDB, 0x16, 32, false, false), (0xDF, 0x1E, 16, false, true), (0xDB, 0x1E, 32, false, true),
            (0xDF, 0x3E, 64, false, true), (0xDF, 0x0E, 16, true, true), (0xDB, 0x0E, 32, true, true), (0xDD, 0x0E, 64, true, true),
        })
        {
            Run($"{(truncate ? "fisttp" : "fist")} {bits}", [escape, modrm], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) =>
            {
                if (X87Unit.StoreInteger(f, bits, truncate, out long value))
                {
                    new ReadOnlySpan<byte>(&value, bits / 8).CopyTo(new Span<byte>(m, bits / 8));
                    if (pop)
                    {
                        X87Unit.Pop(f);
                    }
                }
            });
        }
    }

    [Fact]
    public void StackAndControl()
    {
        const int Few = 20_000;
        Run("fxch", [0xD9, 0xC9], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Exchange(f, 1), 0, Few);
        Run("fcmovb", [0xDA, 0xC1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.ConditionalMove(f, 1, (r & 1) != 0), 0, Few);
        Run("fincstp", [0xD9, 0xF7], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.IncrementTop(f), 0, Few);
        Run("fdecstp", [0xD9, 0xF6], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.DecrementTop(f), 0, Few);
        Run("ffree", [0xDD, 0xC1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Free(f, 1, false), 0, Few);
        Run("ffreep", [0xDF, 0xC1], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Free(f, 1, true), 0, Few);
        Run("fninit", [0xDB, 0xE3], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.Initialize(f), 0, Few);
        Run("fnclex", [0xDB, 0xE2], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.ClearExceptions(f), 0, Few);
        Run("fldcw", [0xD9, 0x2E], OperandKind.Integer16, (X87State* f, byte* m, ref ulong r) => X87Unit.LoadControlWord(f, *(ushort*)m), 0, Few);
        Run("fnstcw", [0xD9, 0x3E], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) => *(ushort*)m = X87Unit.ControlWord(f), 0, Few);
        Run("fnstsw", [0xDD, 0x3E], OperandKind.Destination, (X87State* f, byte* m, ref ulong r) => *(ushort*)m = X87Unit.StatusWord(f), 0, Few);
        Run("emms", [0x0F, 0x77], OperandKind.None, (X87State* f, byte* m, ref ulong r) => X87Unit.EmptyAll(f), 0, Few);
        Run("movq mm3,[rsi]", [0x0F, 0x6F, 0x1E], OperandKind.Extended, (X87State* f, byte* m, ref ulong r) =>
        {
            X87Unit.EnterMmx(f);
            X87Unit.WriteMmx(f, 3, *(ulong*)m);
        }, 0, Few);
    }
}
