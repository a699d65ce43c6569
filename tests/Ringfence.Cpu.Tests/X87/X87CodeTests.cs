using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>The decoder's list of x87 instructions and ours are the same.</summary>
public sealed unsafe class X87CodeTests
{
    private static bool IsX87(Code code) => code == Code.Wait || code.CpuidFeatures().Any(f => f is CpuidFeature.FPU or CpuidFeature.FPU287
        or CpuidFeature.FPU287XL_ONLY or CpuidFeature.FPU387 or CpuidFeature.FPU387SL_ONLY)
        || code.Mnemonic() is Mnemonic.Fisttp;

    /// <summary>Encodings that are WAIT and another instruction: the encoder knows them as one, the decoder gives two.</summary>
    private static bool BeginsWithWait(Code code) => code != Code.Wait && code.ToOpCode().Fwait;

    [Fact]
    public void EveryInstructionOfTheDecoderIsBound()
    {
        int bound = 0;
        var missing = new List<Code>();
        foreach (Code code in Enum.GetValues<Code>())
        {
            if (!IsX87(code) || BeginsWithWait(code) || X87Codes.IsOfOldCoprocessor(code))
            {
                continue;
            }
            var instruction = new Instruction { Code = code };
            Op op = default;
            bound++;
            if (!X87Binder.Bind(instruction, CodeMode.Bits64 | CodeMode.Protected, &op) || op.Handler == null)
            {
                missing.Add(code);
            }
        }
        Assert.Empty(missing);
        Assert.InRange(bound, 140, 200);
    }

    [Fact]
    public void NothingElseIsBound()
    {
        foreach (Code code in Enum.GetValues<Code>())
        {
            Op op = default;
            Assert.False(!IsX87(code) && X87Binder.Bind(new Instruction { Code = code }, CodeMode.Bits64, &op), code.ToString());
        }
    }

    /// <summary>FINIT is WAIT and FNINIT to the decoder, and so on.</summary>
    [Fact]
    public void WaitIsAnInstructionOfItsOwn()
    {
        int forms = 0;
        foreach (Code code in Enum.GetValues<Code>().Where(c => IsX87(c) && BeginsWithWait(c)))
        {
            var writer = new Bytes();
            Instruction instruction = Build(code);
            Encoder.Create(32, writer).Encode(instruction, 0);
            var decoder = Decoder.Create(32, new ByteArrayCodeReader([.. writer.Written]));
            Assert.Equal(Code.Wait, decoder.Decode().Code);
            forms++;
        }
        Assert.InRange(forms, 9, 20);
    }

    private static Instruction Build(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.OpCount == 0 ? Instruction.Create(code)
            : info.Op0Kind == OpCodeOperandKind.mem ? Instruction.Create(code, new MemoryOperand(Register.ESI))
            : Instruction.Create(code, Register.AX);
    }

    private sealed class Bytes : CodeWriter
    {
        public List<byte> Written { get; } = [];

        public override void WriteByte(byte value) => Written.Add(value);
    }
}
