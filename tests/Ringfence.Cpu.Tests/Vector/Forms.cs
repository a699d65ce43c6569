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

    public static IEnumerable<Instruction> All(Random random)
    {
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo info = code.ToOpCode();
            if (!info.Mode64 || info.Encoding != EncodingKind.Legacy || ElsewhereOrLater.Contains(code.Mnemonic())
                || !code.CpuidFeatures().Any(Features.Contains) || code.CpuidFeatures().Contains(CpuidFeature.FPU))
            {
                continue;
            }
            foreach (bool memory in new[] { false, true })
            {
                int immediates = Enumerable.Range(0, info.OpCount).Any(i => info.GetOpKind(i) == OpCodeOperandKind.imm8) ? 12 : 1;
                for (int i = 0; i < immediates; i++)
                {
                    byte immediate = i < 8 ? (byte)i : (byte)random.Next(256);
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
        bool either = false;
        bool isMemory = false;
        for (int i = 0; i < info.OpCount; i++)
        {
            OpCodeOperandKind kind = info.GetOpKind(i);
            string name = kind.ToString();
            if (kind is OpCodeOperandKind.mem)
            {
                either = isMemory = true;
                SetMemory(ref instruction, i);
            }
            else if (name.EndsWith("_or_mem", StringComparison.Ordinal) && memory)
            {
                either = isMemory = true;
                SetMemory(ref instruction, i);
            }
            else if (kind is OpCodeOperandKind.imm8)
            {
                instruction.SetOpKind(i, OpKind.Immediate8);
                instruction.Immediate8 = immediate;
            }
            else if (kind is OpCodeOperandKind.seg_rDI)
            {
                instruction.SetOpKind(i, OpKind.MemorySegRDI);
                either = isMemory = true;
            }
            else
            {
                // Never RSP, RSI, RDI, R15: those have a role in the harness.
                Register first = name.StartsWith("xmm", StringComparison.Ordinal) ? Register.XMM0
                    : name.StartsWith("mm", StringComparison.Ordinal) ? Register.MM0
                    : name.StartsWith("r64", StringComparison.Ordinal) ? Register.RAX
                    : name.StartsWith("r32", StringComparison.Ordinal) ? Register.EAX
                    : throw new InvalidOperationException($"{code}: operand {name}");
                int number = first is Register.XMM0 ? random.Next(16) : first is Register.MM0 ? random.Next(8) : random.Next(2) == 0 ? random.Next(4) : 8 + random.Next(7);
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, first + number);
            }
        }
        _ = either;
        return isMemory == memory ? instruction : null;
    }

    private static void SetMemory(ref Instruction instruction, int operand)
    {
        instruction.SetOpKind(operand, OpKind.Memory);
        instruction.MemoryBase = Memory;
        instruction.MemoryDisplSize = 0;
    }
}
