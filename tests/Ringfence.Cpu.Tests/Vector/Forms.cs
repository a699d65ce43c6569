using Iced.Intel;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Every encodable form of the instructions under test: each opcode with register and with memory operands.</summary>
internal static class Forms
{
    /// <summary>The memory operand is [RSI].</summary>
    public const Register Memory = Register.RSI;

    private static readonly CpuidFeature[] Features =
        [CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1];

    private static readonly Mnemonic[] ElsewhereOrLater =
        [
            // FISTTP is an x87 instruction; the others are not in x86-64-v1.
            Mnemonic.Fisttp, Mnemonic.Monitor, Mnemonic.Mwait, Mnemonic.Dpps, Mnemonic.Dppd, Mnemonic.Mpsadbw, Mnemonic.Insertps, Mnemonic.Phminposuw,
        ];

    private static readonly CpuidFeature[] VexFeatures = [CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C];

    public static IEnumerable<Instruction> Legacy(Random random) => All(random, static code => code.Encoding() == EncodingKind.Legacy
        && !ElsewhereOrLater.Contains(code.Mnemonic()) && code.CpuidFeatures().Any(Features.Contains) && !code.CpuidFeatures().Contains(CpuidFeature.FPU));

    public static IEnumerable<Instruction> Vex(Random random) =>
        All(random, static code => code.Encoding() == EncodingKind.VEX && code.CpuidFeatures().All(VexFeatures.Contains));

    private static IEnumerable<Instruction> All(Random random, Func<Code, bool> wanted)
    {
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo info = code.ToOpCode();
            if (!info.Mode64 || !wanted(code))
            {
                continue;
            }
            foreach (bool memory in new[] { false, true })
            {
                int immediates = !Enumerable.Range(0, info.OpCount).Any(i => info.GetOpKind(i) == OpCodeOperandKind.imm8) ? 1
                    : code.Mnemonic() is Mnemonic.Vcmpps or Mnemonic.Vcmppd or Mnemonic.Vcmpss or Mnemonic.Vcmpsd ? 34 : 12;
                for (int i = 0; i < immediates; i++)
                {
                    byte immediate = i < immediates - 4 ? (byte)i : (byte)random.Next(256);
                    if (Make(code, info, memory, immediate, random) is { } instruction)
                    {
                        yield return instruction;
                    }
                }
            }
        }
    }

    /// <summary>The opcode with its r/m operand in memory or not; null if it has no such form.</summary>
    private static Instruction? Make(Code code, OpCodeInfo info, bool memory, byte immediate, Random random)
    {
        var instruction = new Instruction { Code = code };
        int number = random.Next(16);
        bool isMemory = false;
        for (int i = 0; i < info.OpCount; i++)
        {
            OpCodeOperandKind kind = info.GetOpKind(i);
            string name = kind.ToString();
            if (kind is OpCodeOperandKind.mem || (name.EndsWith("_or_mem", StringComparison.Ordinal) && memory))
            {
                isMemory = true;
                SetMemory(ref instruction, i);
            }
            else if (name.StartsWith("mem_vsib", StringComparison.Ordinal))
            {
                isMemory = true;
                SetMemory(ref instruction, i);
                instruction.MemoryIndex = (name.EndsWith('y') ? Register.YMM0 : Register.XMM0) + ((number + 5) & 15);
                instruction.MemoryIndexScale = 1 << random.Next(4);
            }
            else if (kind is OpCodeOperandKind.imm8)
            {
                instruction.SetOpKind(i, OpKind.Immediate8);
                instruction.Immediate8 = immediate;
            }
            else if (kind is OpCodeOperandKind.seg_rDI)
            {
                instruction.SetOpKind(i, OpKind.MemorySegRDI);
                isMemory = true;
            }
            else
            {
                // Never RSP, RSI, RDI, R15: those have a role in the harness.
                Register first = name.StartsWith("xmm", StringComparison.Ordinal) ? Register.XMM0
                    : name.StartsWith("ymm", StringComparison.Ordinal) ? Register.YMM0
                    : name.StartsWith("mm", StringComparison.Ordinal) ? Register.MM0
                    : name.StartsWith("r64", StringComparison.Ordinal) ? Register.RAX
                    : name.StartsWith("r32", StringComparison.Ordinal) ? Register.EAX
                    : throw new InvalidOperationException($"{code}: operand {name}");
                bool vector = first is Register.XMM0 or Register.YMM0;
                // Now and then the same register again; a gather's are all different.
                number = instruction.MemoryIndex != Register.None ? (number + 10) & 15
                    : vector ? i > 0 && random.Next(4) == 0 ? number : random.Next(16)
                    : first is Register.MM0 ? random.Next(8) : random.Next(2) == 0 ? random.Next(4) : 8 + random.Next(7);
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, first + number);
            }
        }
        return isMemory == memory ? instruction : null;
    }

    private static void SetMemory(ref Instruction instruction, int operand)
    {
        instruction.SetOpKind(operand, OpKind.Memory);
        instruction.MemoryBase = Memory;
        instruction.MemoryDisplSize = 0;
    }
}
