using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Makes straight-line and branching code of several instructions and keeps account of which flags it leaves undefined.</summary>
internal sealed class SequenceSource(Random random)
{
    private const ulong All = 0x8D5;
    private static readonly Code[] Jumps = [.. Enum.GetValues<Code>().Where(c => c.IsJccShort() && c.ToOpCode().Mode64 && c.ToString().EndsWith("64", StringComparison.Ordinal))];
    private readonly InstructionSource _source = new(random) { Tame = true };
    private readonly Code[] _codes = [.. InstructionSource.Codes.Where(IsFit)];

    /// <summary>A block of <paramref name="length"/> instructions, and the flags undefined after it.</summary>
    public List<Instruction> Next(int length, out ulong undefined)
    {
        var code = new List<Instruction>();
        undefined = 0;
        Append(code, length, true, ref undefined);
        return code;
    }

    /// <summary>
    /// Blocks that transfer to each other: a loop by Jcc or LOOP around a body, which calls a subroutine, directly or through a register
    /// or memory. The count is kept where no other instruction reaches. All
    /// flags are undefined after it.
    /// </summary>
    public List<Instruction> NextLoop()
    {
        const ulong Counter = Layout.Stack + 0x100;
        const ulong Top = 100;
        const ulong Subroutine = 101;
        const ulong Past = 102;
        var counter = new MemoryOperand(Register.None, Register.None, 1, (long)Counter, 4);
        var code = new List<Instruction> { Instruction.Create(Code.Mov_rm32_imm32, counter, random.Next(2, 9)), Labeled(Top) };
        Append(code, random.Next(1, 6), false);
        int kind = random.Next(4);
        var target = new MemoryOperand(Register.None, Register.None, 1, (long)Counter + 8, 4);
        if (kind != 0)
        {
            var here = new MemoryOperand(Register.RIP, Register.None, 1, (long)Subroutine, 8);
            code.Add(Instruction.Create(Code.Lea_r64_m, Register.R11, here));
            code.Add(Instruction.Create(Code.Mov_rm64_r64, target, Register.R11));
        }
        code.Add(kind switch
        {
            0 => Instruction.CreateBranch(Code.Call_rel32_64, Subroutine),
            1 => Instruction.Create(Code.Call_rm64, Register.R11),
            _ => Instruction.Create(Code.Call_rm64, target),
        });
        Append(code, random.Next(1, 6), false);
        switch (random.Next(4))
        {
            case 0:
                code.Add(Instruction.Create(Code.Mov_r32_rm32, Register.ECX, counter));
                code.Add(Instruction.Create(Code.Dec_rm32, counter));
                code.Add(Instruction.CreateBranch(Code.Loop_rel8_64_RCX, Top));
                break;
            case 1:
                code.Add(Instruction.Create(Code.Dec_rm32, counter));
                code.Add(Instruction.Create(Code.Mov_r32_rm32, Register.ECX, counter));
                code.Add(Instruction.CreateBranch(Code.Jrcxz_rel8_64, Past));
                code.Add(Instruction.CreateBranch(Code.Jmp_rel32_64, Top));
                break;
            case 2:
                code.Add(Instruction.Create(Code.Mov_r32_rm32, Register.ECX, counter));
                code.Add(Instruction.Create(Code.Dec_rm32, counter));
                code.Add(Instruction.CreateBranch(Code.Loopne_rel8_64_RCX, Top));
                break;
            default:
                code.Add(Instruction.Create(Code.Sub_rm32_imm8, counter, 1));
                code.Add(Instruction.CreateBranch(Code.Jg_rel32_64, Top));
                break;
        }
        code.Add(Instruction.CreateBranch(Code.Jmp_rel32_64, Past));
        code.Add(Labeled(Subroutine));
        Append(code, random.Next(1, 6), false);
        code.Add(Instruction.Create(Code.Retnq));
        code.Add(Labeled(Past));
        return code;
    }

    /// <summary>As the other, where nothing is known of the flags before.</summary>
    private void Append(List<Instruction> code, int length, bool stack)
    {
        ulong undefined = All;
        Append(code, length, stack, ref undefined);
    }

    private void Append(List<Instruction> code, int length, bool stack, ref ulong undefined)
    {
        // Jumps whose target is not reached yet: what is undefined there includes what was undefined at the jump.
        var open = new List<(int At, ulong Label, ulong Undefined)>();
        ulong label = (ulong)(1000 + code.Count);
        for (int n = 0; n < length; n++)
        {
            if (random.Next(6) == 0)
            {
                Code jump = Jumps[random.Next(Jumps.Length)];
                Instruction branch = Instruction.CreateBranch(jump, label);
                Define(code, ref undefined, Expectation.ToFlags(branch.RflagsRead));
                code.Add(branch);
                open.Add((n + random.Next(1, 4), label++, undefined));
            }
            Instruction next = _source.Next(_codes[random.Next(_codes.Length)]);
            if (Wrong(next) || (!stack && next.IsStackInstruction))
            {
                n--;
                continue;
            }
            Define(code, ref undefined, Expectation.ToFlags(next.RflagsRead));
            code.Add(next);
            ulong certain = IsCountInCl(next) ? 0 : Expectation.ToFlags(next.RflagsWritten | next.RflagsCleared | next.RflagsSet);
            undefined = (undefined & ~certain) | Undefined(next);
            foreach ((int at, ulong target, ulong before) in open)
            {
                if (at == n)
                {
                    code.Add(Labeled(target));
                    undefined |= before;
                }
            }
            open.RemoveAll(o => o.At <= n);
        }
        foreach ((int _, ulong target, ulong before) in open)
        {
            code.Add(Labeled(target));
            undefined |= before;
        }
    }

    public unsafe void Prepare(Registers* r) => _source.Prepare(r);

    /// <summary>Flags that may be undefined after an instruction whatever the operands.</summary>
    public static ulong Undefined(in Instruction i)
    {
        ulong undefined = Expectation.ToFlags(i.RflagsUndefined);
        if (i.Mnemonic is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar)
        {
            undefined |= 0x10;
            if (i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() < 4 : i.MemorySize.GetSize() < 4)
            {
                undefined |= 1;
            }
        }
        return IsCountInCl(i) || IsImmediateCount(i) ? undefined | 0x800 : undefined;
    }

    private static bool IsCountInCl(in Instruction i) => i.OpCount > 1 && i.GetOpKind(i.OpCount - 1) == OpKind.Register
        && i.GetOpRegister(i.OpCount - 1) == Register.CL && i.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr
            or Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd;

    private static bool IsImmediateCount(in Instruction i) => i.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr
        or Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd && i.GetOpKind(i.OpCount - 1) == OpKind.Immediate8
        && i.GetImmediate(i.OpCount - 1) != 1;

    /// <summary>Instructions left out of sequences: results that differ between processors, addresses that no register holds.</summary>
    private static bool Wrong(in Instruction i)
    {
        if (i.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc)
        {
            return i.Op0Kind == OpKind.Memory && i.Op1Kind == OpKind.Register;
        }
        // A 16-bit double shift by more than 16 has no defined result.
        return i.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd
            && (i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() : i.MemorySize.GetSize()) == 2
            && (i.Op2Kind == OpKind.Register || (i.Immediate8 & 31) > 16);
    }

    private static bool IsFit(Code code) => code.Mnemonic() is not (Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Leave or Mnemonic.Enter or Mnemonic.Popf
        or Mnemonic.Popfq or Mnemonic.Std or Mnemonic.Bswap or Mnemonic.Xlatb or Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Cmpxchg16b)
        && !IsString(code.Mnemonic());

    private static bool IsString(Mnemonic m) => m is Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq or Mnemonic.Stosb or Mnemonic.Stosw
        or Mnemonic.Stosd or Mnemonic.Stosq or Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq or Mnemonic.Scasb or Mnemonic.Scasw
        or Mnemonic.Scasd or Mnemonic.Scasq or Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq;

    private static Instruction Labeled(ulong label)
    {
        Instruction nop = Instruction.Create(Code.Nopd);
        nop.IP = label;
        return nop;
    }

    /// <summary>Puts a comparison before an instruction that reads undefined flags.</summary>
    private void Define(List<Instruction> code, ref ulong undefined, ulong read)
    {
        if ((undefined & read) != 0)
        {
            code.Add(Instruction.Create(Code.Cmp_r64_rm64, Register.RAX + random.Next(16), Register.RAX + random.Next(16)));
            undefined &= ~All;
        }
    }
}
