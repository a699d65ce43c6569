using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Every near transfer of 64-bit code, with a store in the way that it goes around or through.</summary>
internal sealed class BranchSource(Random random)
{
    private const ulong Target = 1;
    private const ulong Mark = Layout.Data + 0x80;
    private const ulong Pointer = Layout.Data + 0x100;

    /// <summary>Of Intel's: AMD's with an operand-size prefix go to 16-bit addresses.</summary>
    public static IReadOnlyList<Code> Codes { get; } =
        [.. Enum.GetValues<Code>().Where(c => c.ToOpCode() is { Mode64: true, IntelDecoder64: true, IsInstruction: true } && IsNear(c))];

    /// <summary>The transfer; a store; its target, and another store.</summary>
    public List<Instruction> Next(Code code)
    {
        var body = new List<Instruction>();
        var pointer = new MemoryOperand(Register.None, Register.None, 1, (long)Pointer, 4);
        bool returns = code.Mnemonic() == Mnemonic.Ret;
        if (returns || code.IsJmpNearIndirect() || code.IsCallNearIndirect())
        {
            Register register = random.Next(2) == 0 ? Register.R11 : Register.RSI;
            body.Add(Instruction.Create(Code.Lea_r64_m, register, new MemoryOperand(Register.RIP, Register.None, 1, (long)Target, 8)));
            if (returns)
            {
                body.Add(Instruction.Create(Code.Push_r64, register));
                Instruction back = Instruction.Create(code);
                if (code.ToOpCode().OpCount == 1)
                {
                    back = Instruction.Create(code, random.Next(64) * 8);
                }
                body.Add(back);
            }
            else if (random.Next(2) == 0)
            {
                body.Add(Instruction.Create(code, register));
            }
            else
            {
                body.Add(Instruction.Create(Code.Mov_rm64_r64, pointer, register));
                body.Add(Instruction.Create(code, pointer));
            }
        }
        else
        {
            body.Add(Instruction.CreateBranch(code, Target));
        }
        body.Add(Instruction.Create(Code.Mov_rm8_imm8, new MemoryOperand(Register.None, Register.None, 1, (long)Mark, 4), 1));
        Instruction here = Instruction.Create(Code.Nopd);
        here.IP = Target;
        body.Add(here);
        body.Add(Instruction.Create(Code.Mov_rm64_r64, new MemoryOperand(Register.None, Register.None, 1, (long)Mark + 8, 4), Register.RSP));
        return body;
    }

    /// <summary>Counts that LOOP and JRCXZ tell apart, in 32 and in 64 bits.</summary>
    public ulong Count() => (ulong)random.Next(3) + ((ulong)random.Next(2) << 32);

    private static bool IsNear(Code code) => code.IsJccShortOrNear() || code.IsJmpShortOrNear() || code.IsCallNear() || code.IsJmpNearIndirect()
        || code.IsCallNearIndirect() || code.IsLoop() || code.IsLoopcc() || code.Mnemonic() is Mnemonic.Jecxz or Mnemonic.Jrcxz or Mnemonic.Ret;
}
