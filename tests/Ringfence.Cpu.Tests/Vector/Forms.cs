using Iced.Intel;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Every encodable form of the instructions under test: each opcode with register and with memory operands.</summary>
internal static class Forms
{
    /// <summary>The memory operand is [RSI].</summary>
    public const Register Memory = Register.RSI;

    private static readonly CpuidFeature[] Features =
        [
            CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1, CpuidFeature.SSE4_2,
            CpuidFeature.SSE4A, CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.SHA, CpuidFeature.GFNI,
        ];

    private static readonly CpuidFeature[] VexFeatures =
        [
            CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C, CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.GFNI,
            CpuidFeature.VAES, CpuidFeature.VPCLMULQDQ,
        ];

    /// <summary>FISTTP is an x87 instruction, CRC32 an integer one, MONITOR and MWAIT are the system's.</summary>
    private static readonly Mnemonic[] Elsewhere = [Mnemonic.Fisttp, Mnemonic.Crc32, Mnemonic.Monitor, Mnemonic.Mwait];

    /// <summary>Every encoding of a vector instruction.</summary>
    public static IReadOnlyList<Code> Codes { get; } = [.. Enum.GetValues<Code>().Where(IsWanted)];

    /// <summary>PCMPESTRI and its kin, whose every immediate is another instruction.</summary>
    public static bool IsText(Mnemonic mnemonic) =>
        mnemonic is >= Mnemonic.Pcmpestri and <= Mnemonic.Pcmpestrm64 or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm
            or (>= Mnemonic.Vpcmpestri and <= Mnemonic.Vpcmpestrm64) or Mnemonic.Vpcmpistri or Mnemonic.Vpcmpistrm;

    private static bool IsWanted(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        if (info.Encoding == EncodingKind.VEX)
        {
            return info.Mode64 && code.CpuidFeatures().All(VexFeatures.Contains);
        }
        return info.Mode64 && info.Encoding == EncodingKind.Legacy && !Elsewhere.Contains(code.Mnemonic())
            && code.CpuidFeatures().Any(Features.Contains) && !code.CpuidFeatures().Contains(CpuidFeature.FPU);
    }

    /// <summary>All forms of <paramref name="codes"/>.</summary>
    public static IEnumerable<Instruction> Of(IEnumerable<Code> codes, Random random)
    {
        foreach (Code code in codes)
        {
            OpCodeInfo info = code.ToOpCode();
            bool text = IsText(code.Mnemonic()) && info.Encoding == EncodingKind.Legacy;
            bool compares = code.Mnemonic() is Mnemonic.Vcmpps or Mnemonic.Vcmppd or Mnemonic.Vcmpss or Mnemonic.Vcmpsd;
            foreach (bool memory in new[] { false, true })
            {
                int immediates = text ? 128 : compares ? 36
                    : Enumerable.Range(0, info.OpCount).Any(i => info.GetOpKind(i) == OpCodeOperandKind.imm8) ? 24 : 1;
                for (int i = 0; i < immediates; i++)
                {
                    byte immediate = text || i < (compares ? 32 : 8) ? (byte)i : (byte)random.Next(256);
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
                if (info.GetOpKind(i - 1) is OpCodeOperandKind.imm8)
                {
                    instruction.SetOpKind(i, OpKind.Immediate8_2nd);
                    instruction.Immediate8_2nd = (byte)random.Next(256);
                    continue;
                }
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
