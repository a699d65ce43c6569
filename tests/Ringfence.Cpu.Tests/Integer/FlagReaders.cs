using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Systematic code: each kind of instruction that writes flags, one that writes some of them after it, then all that read them.</summary>
internal static class FlagReaders
{
    private const ulong Results = Layout.Data + 0x100;

    /// <summary>Writers of flags, of registers R8 to R10 and CL only. Not among them: those whose result may be undefined.</summary>
    public static IEnumerable<Instruction> Writers()
    {
        foreach (Code code in InstructionSource.Codes)
        {
            OpCodeInfo info = code.ToOpCode();
            Instruction i = default;
            i.Code = code;
            bool fits = info.OpCount > 0 && code.Mnemonic() is not (Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Cmpxchg8b)
                && code is not (Code.Shld_rm16_r16_CL or Code.Shrd_rm16_r16_CL);
            for (int n = 0; n < info.OpCount && fits; n++)
            {
                string kind = info.GetOpKind(n).ToString();
                int size = kind.StartsWith("r8_", StringComparison.Ordinal) ? 1 : kind.StartsWith("r16_", StringComparison.Ordinal) ? 2
                    : kind.StartsWith("r32_", StringComparison.Ordinal) ? 4 : kind.StartsWith("r64_", StringComparison.Ordinal) ? 8 : 0;
                if (size != 0)
                {
                    i.SetOpRegister(n, (size switch { 1 => Register.R8L, 2 => Register.R8W, 4 => Register.R8D, _ => Register.R8 }) + n);
                }
                else if (kind == "cl")
                {
                    i.SetOpRegister(n, Register.CL);
                }
                else if (kind is "imm8" or "imm8_const_1")
                {
                    i.SetOpKind(n, OpKind.Immediate8);
                    i.Immediate8 = (byte)(kind == "imm8" ? 3 : 1);
                }
                else
                {
                    fits = false;
                }
            }
            if (fits && i.RflagsModified != RflagsBits.None)
            {
                yield return i;
            }
        }
    }

    /// <summary>Instructions that write some flags and keep others.</summary>
    public static Instruction?[] Partial { get; } =
    [
        null,
        Instruction.Create(Code.Inc_rm8, Register.R11L),
        Instruction.Create(Code.Dec_rm16, Register.R11W),
        Instruction.Create(Code.Inc_rm32, Register.R11D),
        Instruction.Create(Code.Dec_rm64, Register.R11),
        Instruction.Create(Code.Rol_rm32_1, Register.R11D, 1),
        Instruction.Create(Code.Ror_rm8_1, Register.R11L, 1),
        Instruction.Create(Code.Rcl_rm64_1, Register.R11, 1),
        Instruction.Create(Code.Rcr_rm16_1, Register.R11W, 1),
        Instruction.Create(Code.Shl_rm32_imm8, Register.R11D, 0),
        Instruction.Create(Code.Rcr_rm8_imm8, Register.R11L, 9),
        Instruction.Create(Code.Bt_rm64_imm8, Register.R11, 7),
        Instruction.Create(Code.Clc),
        Instruction.Create(Code.Stc),
        Instruction.Create(Code.Cmc),
        Instruction.Create(Code.Sahf),
        Instruction.Create(Code.Not_rm64, Register.R11),
    ];

    /// <summary>All that read flags. None of those but the last few changes any, and those come after the flags are put back.</summary>
    public static List<Instruction> All(ulong undefined)
    {
        var code = new List<Instruction>();
        ulong label = 1;
        long at = (long)Results;
        foreach (Code set in Conditional("Set", "_rm8"))
        {
            Add(Instruction.Create(set, Memory(at++)));
        }
        foreach (Code move in Conditional("Cmov", "_r64_rm64").Concat(Conditional("Cmov", "_r32_rm32")))
        {
            Instruction mov = Instruction.Create(move, Sized(move, Register.R12, Register.R12D), Sized(move, Register.RBP, Register.EBP));
            if (Readable(mov))
            {
                code.Add(Instruction.Create(Code.Mov_r64_rm64, Register.R12, Register.RDI));
                code.Add(mov);
                code.Add(Instruction.Create(Code.Mov_rm64_r64, Memory(at), Register.R12));
                at += 8;
            }
        }
        foreach (Code jump in Conditional("J", "_rel8_64").Concat(Conditional("J", "_rel32_64")))
        {
            Instruction branch = Instruction.CreateBranch(jump, label);
            if (Readable(branch))
            {
                code.Add(branch);
                code.Add(Instruction.Create(Code.Mov_rm8_imm8, Memory(at), 1));
                Instruction nop = Instruction.Create(Code.Nopd);
                nop.IP = label++;
                code.Add(nop);
            }
            at++;
        }
        if (undefined == 0)
        {
            code.Add(Instruction.Create(Code.Lahf));
            code.Add(Instruction.Create(Code.Mov_rm16_r16, Memory(at), Register.AX));
            code.Add(Instruction.Create(Code.Pushfq));
            code.Add(Instruction.Create(Code.Pushfw));
            code.Add(Instruction.Create(Code.Pop_r16, Register.DX));
            code.Add(Instruction.Create(Code.Pop_r64, Register.RDI));
        }
        return code;

        void Add(Instruction i)
        {
            if (Readable(i))
            {
                code.Add(i);
            }
        }

        bool Readable(in Instruction i) => (Expectation.ToFlags(i.RflagsRead) & undefined) == 0;
    }

    /// <summary>Instructions that take CF in and change flags: each ends code of its own.</summary>
    public static Instruction[] CarryReaders { get; } =
    [
        Instruction.Create(Code.Adc_rm8_r8, Register.SIL, Register.DIL),
        Instruction.Create(Code.Adc_rm64_r64, Register.RSI, Register.RDI),
        Instruction.Create(Code.Sbb_rm32_r32, Register.ESI, Register.EDI),
        Instruction.Create(Code.Sbb_rm64_r64, Register.RSI, Register.RSI),
        Instruction.Create(Code.Rcl_rm32_1, Register.ESI, 1),
        Instruction.Create(Code.Rcr_rm64_1, Register.RSI, 1),
        Instruction.Create(Code.Cmc),
    ];

    private static IEnumerable<Code> Conditional(string start, string end) => Enum.GetValues<Code>().Where(c =>
        c.ToString().StartsWith(start, StringComparison.Ordinal) && c.ToString().EndsWith(end, StringComparison.Ordinal)
        && c.ConditionCode() != ConditionCode.None && c.ToOpCode().Mode64 && !c.ToString().StartsWith("Jk", StringComparison.Ordinal));

    private static MemoryOperand Memory(long address) => new(Register.None, Register.None, 1, address, 4);

    private static Register Sized(Code code, Register wide, Register narrow) =>
        code.ToString().Contains("64", StringComparison.Ordinal) ? wide : narrow;
}
