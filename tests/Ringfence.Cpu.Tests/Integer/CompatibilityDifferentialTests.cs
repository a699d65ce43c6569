using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>The arithmetic that 64-bit code has no more (decimal adjustment, the short INC, opcode 82), in 32-bit code of the host.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class CompatibilityDifferentialTests
{
    private const int Rounds = 400;
    private const uint Arithmetic = 0x8D5;

    /// <summary>What is compared here.</summary>
    public static IReadOnlyList<Code> Codes { get; } =
    [
        Code.Aaa, Code.Aas, Code.Daa, Code.Das, Code.Aad_imm8, Code.Aam_imm8, Code.Salc, Code.Inc_r16, Code.Inc_r32, Code.Dec_r16, Code.Dec_r32,
        Code.Add_rm8_imm8_82, Code.Or_rm8_imm8_82, Code.Adc_rm8_imm8_82, Code.Sbb_rm8_imm8_82, Code.And_rm8_imm8_82, Code.Sub_rm8_imm8_82,
        Code.Xor_rm8_imm8_82, Code.Cmp_rm8_imm8_82,
    ];

    [Fact]
    public void EveryEncodingAlone()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64,
            "needs an x86-64 host with Linux to compare with");
        LongRun.Repeat("32-bit arithmetic", 1, 20240908, Pass);
    }

    private static long Pass(Random random)
    {
        using var host = new CompatibilityThunk();
        using var guest = new Guest(GuestMode.Compatibility);
        CpuState* s = guest.State;
        var numbers = new InstructionSource(random);
        var failures = new List<string>();
        long cases = 0;
        foreach (Code code in Codes)
        {
            // AAM 0 is a division by zero.
            Instruction instruction = Make(code, (byte)(random.Next(2) == 0 ? 10 : random.Next(1, 256)));
            byte[] bytes = Encode(instruction);
            host.Compile(bytes);
            guest.Run(bytes);
            uint compared = Arithmetic & ~(uint)Expectation.ToFlags(instruction.RflagsUndefined);
            for (int round = 0; round < Rounds; round++)
            {
                uint eax = (uint)numbers.Number();
                uint flags = 2 | ((uint)random.Next(0x1000) & Arithmetic);
                s->Gpr[0] = eax;
                Flags.Set(s, flags);
                guest.Start(Guest.Code);
                (uint hostEax, uint hostFlags) = host.Run(eax, flags);
                cases++;
                LongRun.Count(1);
                if (hostEax != (uint)s->Gpr[0] || ((hostFlags ^ (uint)Flags.Get(s)) & compared) != 0)
                {
                    LongRun.Difference();
                    failures.Add($"{instruction} ({code}) eax {eax:x} flags {flags:x}: host {hostEax:x} {hostFlags & compared:x}, "
                        + $"guest {s->Gpr[0]:x} {(uint)Flags.Get(s) & compared:x}");
                    break;
                }
            }
        }
        Assert.True(failures.Count == 0, string.Join('\n', failures));
        return cases;
    }

    private static Instruction Make(Code code, byte immediate)
    {
        OpCodeInfo info = code.ToOpCode();
        var instruction = new Instruction { Code = code };
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i) == OpCodeOperandKind.imm8)
            {
                instruction.SetOpKind(i, OpKind.Immediate8);
                instruction.Immediate8 = immediate;
            }
            else
            {
                instruction.SetOpRegister(i, code is Code.Inc_r16 or Code.Dec_r16 ? Register.AX
                    : code is Code.Inc_r32 or Code.Dec_r32 ? Register.EAX : Register.AL);
            }
        }
        return instruction;
    }

    private static byte[] Encode(in Instruction instruction)
    {
        var writer = new Writer();
        Iced.Intel.Encoder.Create(32, writer).Encode(instruction, 0);
        return [.. writer.Bytes];
    }

    private sealed class Writer : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
