using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.X87;

/// <summary>Chooses handlers for x87 instructions. MMX and FXSAVE are not among them.</summary>
internal static unsafe class X87Binder
{
    /// <summary>Fills the handler of <paramref name="op"/>, and <see cref="Op.Immediate"/> and <see cref="Op.Extra"/>, which here are the
    /// handlers' own. The memory operand's fields are already set. False if the instruction is not an x87 one.</summary>
    /// <param name="mode"><see cref="CodeMode"/> bits.</param>
    /// <remarks><see cref="Op.Source"/> is left to whoever has the instruction's bytes: <see cref="OpcodeOf"/>.</remarks>
    public static bool Bind(in Instruction instruction, uint mode, Op* op)
    {
        if (instruction.Code == Code.Wait)
        {
            op->Handler = &X87Handlers.Wait;
            return true;
        }
        if (!BindArithmetic(instruction, op) && !BindTransfer(instruction, op) && !BindCompare(instruction, op) && !BindRest(instruction, op)
            && !BindControl(instruction, mode, op))
        {
            return false;
        }
        if (instruction.OpCount > 0 && instruction.Op0Kind == OpKind.Memory || instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Memory)
        {
            op->Destination = Slots.SelectorOf(instruction.MemorySegment);
        }
        if ((mode & CodeMode.NoX87) != 0)
        {
            op->Handler = &X87Handlers.NotAvailable;
        }
        return true;
    }

    /// <summary>FOP (SDM 1 8.1.9): the low three bits of the opcode's first byte, D8 to DF, and the byte after it.</summary>
    public static ushort OpcodeOf(ReadOnlySpan<byte> instruction)
    {
        int at = instruction.IndexOfAnyInRange((byte)0xD8, (byte)0xDF);
        return at >= 0 && at + 1 < instruction.Length ? (ushort)(((instruction[at] & 7) << 8) | instruction[at + 1]) : (ushort)0;
    }

    /// <summary>The i of the ST(i) operand that is not ST(0), 0 if there is none.</summary>
    private static byte StackIndex(in Instruction instruction)
    {
        for (int i = instruction.OpCount - 1; i >= 0; i--)
        {
            Register register = instruction.GetOpKind(i) == OpKind.Register ? instruction.GetOpRegister(i) : Register.None;
            if (register is > Register.ST0 and <= Register.ST7)
            {
                return (byte)(register - Register.ST0);
            }
        }
        return 0;
    }

    private static bool BindArithmetic(in Instruction instruction, Op* op) => instruction.Mnemonic switch
    {
        Mnemonic.Fadd or Mnemonic.Faddp or Mnemonic.Fiadd => BindOperation<X87Add>(instruction, op),
        Mnemonic.Fmul or Mnemonic.Fmulp or Mnemonic.Fimul => BindOperation<X87Multiply>(instruction, op),
        Mnemonic.Fsub or Mnemonic.Fsubp or Mnemonic.Fisub => BindOperation<X87Subtract>(instruction, op),
        Mnemonic.Fsubr or Mnemonic.Fsubrp or Mnemonic.Fisubr => BindOperation<X87SubtractReversed>(instruction, op),
        Mnemonic.Fdiv or Mnemonic.Fdivp or Mnemonic.Fidiv => BindOperation<X87Divide>(instruction, op),
        Mnemonic.Fdivr or Mnemonic.Fdivrp or Mnemonic.Fidivr => BindOperation<X87DivideReversed>(instruction, op),
        _ => false,
    };

    private static bool BindOperation<TOperation>(in Instruction instruction, Op* op)
        where TOperation : struct, IX87Operation
    {
        switch (instruction.Code)
        {
            case Code.Fadd_st0_sti or Code.Fmul_st0_sti or Code.Fsub_st0_sti or Code.Fsubr_st0_sti or Code.Fdiv_st0_sti or Code.Fdivr_st0_sti:
                return Stack(instruction, op, &X87Handlers.ToTop<TOperation>);
            case Code.Fadd_sti_st0 or Code.Fmul_sti_st0 or Code.Fsub_sti_st0 or Code.Fsubr_sti_st0 or Code.Fdiv_sti_st0 or Code.Fdivr_sti_st0:
                return Stack(instruction, op, &X87Handlers.FromTop<TOperation>);
            case Code.Faddp_sti_st0 or Code.Fmulp_sti_st0 or Code.Fsubp_sti_st0 or Code.Fsubrp_sti_st0 or Code.Fdivp_sti_st0
                or Code.Fdivrp_sti_st0:
                return Stack(instruction, op, &X87Unit.ArithmeticPop<TOperation>);
            default:
                return instruction.MemorySize switch
                {
                    MemorySize.Float32 => Read32(op, &X87Unit.Arithmetic32<TOperation>),
                    MemorySize.Float64 => Read64(op, &X87Unit.Arithmetic64<TOperation>),
                    MemorySize.Int16 => ReadInt16(op, &X87Unit.ArithmeticInteger<TOperation>),
                    MemorySize.Int32 => ReadInt32(op, &X87Unit.ArithmeticInteger<TOperation>),
                    _ => false,
                };
        }
    }

    private static bool BindTransfer(in Instruction instruction, Op* op) => instruction.Code switch
    {
        Code.Fld_m32fp => Read32(op, &X87Unit.Load32),
        Code.Fld_m64fp => Read64(op, &X87Unit.Load64),
        Code.Fld_m80fp => Read80(op, &X87Unit.Load80),
        Code.Fbld_m80bcd => Read80(op, &X87Unit.LoadBcd),
        Code.Fild_m16int => ReadInt16(op, &X87Handlers.LoadInteger),
        Code.Fild_m32int => ReadInt32(op, &X87Handlers.LoadInteger),
        Code.Fild_m64int => Read64(op, &X87Handlers.LoadInteger64),
        Code.Fld_sti => Stack(instruction, op, &X87Unit.LoadRegister),
        Code.Fld1 => Constant(op, X87Constant.One),
        Code.Fldl2t => Constant(op, X87Constant.Log2Of10),
        Code.Fldl2e => Constant(op, X87Constant.Log2OfE),
        Code.Fldpi => Constant(op, X87Constant.Pi),
        Code.Fldlg2 => Constant(op, X87Constant.Log10Of2),
        Code.Fldln2 => Constant(op, X87Constant.LnOf2),
        Code.Fldz => Constant(op, X87Constant.Zero),
        Code.Fst_m32fp => Store(op, X87Handlers.StoreForm.Single, false),
        Code.Fstp_m32fp => Store(op, X87Handlers.StoreForm.Single, true),
        Code.Fst_m64fp => Store(op, X87Handlers.StoreForm.Double, false),
        Code.Fstp_m64fp => Store(op, X87Handlers.StoreForm.Double, true),
        Code.Fstp_m80fp => Store(op, X87Handlers.StoreForm.Extended, true),
        Code.Fbstp_m80bcd => Store(op, X87Handlers.StoreForm.Bcd, true),
        Code.Fist_m16int => Store(op, X87Handlers.StoreForm.Integer16, false),
        Code.Fist_m32int => Store(op, X87Handlers.StoreForm.Integer32, false),
        Code.Fistp_m16int => Store(op, X87Handlers.StoreForm.Integer16, true),
        Code.Fistp_m32int => Store(op, X87Handlers.StoreForm.Integer32, true),
        Code.Fistp_m64int => Store(op, X87Handlers.StoreForm.Integer64, true),
        Code.Fisttp_m16int => Store(op, X87Handlers.StoreForm.Truncated16, true),
        Code.Fisttp_m32int => Store(op, X87Handlers.StoreForm.Truncated32, true),
        Code.Fisttp_m64int => Store(op, X87Handlers.StoreForm.Truncated64, true),
        Code.Fst_sti => Stack(instruction, op, &X87Handlers.CopyTop),
        Code.Fstp_sti or Code.Fstp_sti_DFD0 or Code.Fstp_sti_DFD8 => Stack(instruction, op, &X87Handlers.MoveTop),
        Code.Fstpnce_sti => Stack(instruction, op, &X87Unit.StoreRegisterUnchecked),
        Code.Fxch_st0_sti or Code.Fxch_st0_sti_DDC8 or Code.Fxch_st0_sti_DFC8 => Stack(instruction, op, &X87Unit.Exchange),
        Code.Fcmovb_st0_sti => Move(instruction, op, 0),
        Code.Fcmove_st0_sti => Move(instruction, op, 1),
        Code.Fcmovbe_st0_sti => Move(instruction, op, 2),
        Code.Fcmovu_st0_sti => Move(instruction, op, 3),
        Code.Fcmovnb_st0_sti => Move(instruction, op, 4),
        Code.Fcmovne_st0_sti => Move(instruction, op, 5),
        Code.Fcmovnbe_st0_sti => Move(instruction, op, 6),
        Code.Fcmovnu_st0_sti => Move(instruction, op, 7),
        _ => false,
    };

    private static bool BindCompare(in Instruction instruction, Op* op) => instruction.Code switch
    {
        Code.Fcom_st0_sti or Code.Fcom_st0_sti_DCD0 => Stack(instruction, op, &X87Handlers.Compare),
        Code.Fcomp_st0_sti or Code.Fcomp_st0_sti_DCD8 or Code.Fcomp_st0_sti_DED0 => Stack(instruction, op, &X87Handlers.ComparePop),
        Code.Fcompp => Simple(op, &X87Handlers.ComparePopPop),
        Code.Fucom_st0_sti => Stack(instruction, op, &X87Handlers.CompareQuiet),
        Code.Fucomp_st0_sti => Stack(instruction, op, &X87Handlers.CompareQuietPop),
        Code.Fucompp => Simple(op, &X87Handlers.CompareQuietPopPop),
        Code.Fcom_m32fp => Read32(op, &X87Handlers.Compare32),
        Code.Fcomp_m32fp => Read32(op, &X87Handlers.Compare32Pop),
        Code.Fcom_m64fp => Read64(op, &X87Handlers.Compare64),
        Code.Fcomp_m64fp => Read64(op, &X87Handlers.Compare64Pop),
        Code.Ficom_m16int => ReadInt16(op, &X87Handlers.CompareInteger),
        Code.Ficom_m32int => ReadInt32(op, &X87Handlers.CompareInteger),
        Code.Ficomp_m16int => ReadInt16(op, &X87Handlers.CompareIntegerPop),
        Code.Ficomp_m32int => ReadInt32(op, &X87Handlers.CompareIntegerPop),
        Code.Fcomi_st0_sti => CompareFlags(instruction, op, 0),
        Code.Fcomip_st0_sti => CompareFlags(instruction, op, X87Handlers.FlagPop),
        Code.Fucomi_st0_sti => CompareFlags(instruction, op, X87Handlers.FlagQuiet),
        Code.Fucomip_st0_sti => CompareFlags(instruction, op, X87Handlers.FlagQuiet | X87Handlers.FlagPop),
        Code.Ftst => Simple(op, &X87Unit.Test),
        Code.Fxam => Simple(op, &X87Unit.Examine),
        _ => false,
    };

    private static bool BindRest(in Instruction instruction, Op* op) => instruction.Code switch
    {
        Code.Fabs => Simple(op, &X87Unit.Abs),
        Code.Fchs => Simple(op, &X87Unit.ChangeSign),
        Code.Fsqrt => Simple(op, &X87Unit.SquareRoot),
        Code.Frndint => Simple(op, &X87Unit.RoundToIntegral),
        Code.Fscale => Simple(op, &X87Unit.Scale),
        Code.Fxtract => Simple(op, &X87Unit.Extract),
        Code.Fprem => Simple(op, &X87Handlers.RemainderTruncated),
        Code.Fprem1 => Simple(op, &X87Handlers.RemainderNearest),
        Code.F2xm1 => Simple(op, &X87Unit.Exp2MinusOne),
        Code.Fyl2x => Simple(op, &X87Unit.YLog2X),
        Code.Fyl2xp1 => Simple(op, &X87Unit.YLog2XPlus1),
        Code.Fptan => Simple(op, &X87Unit.Tangent),
        Code.Fpatan => Simple(op, &X87Unit.Arctangent),
        Code.Fsin => Simple(op, &X87Unit.Sine),
        Code.Fcos => Simple(op, &X87Unit.Cosine),
        Code.Fsincos => Simple(op, &X87Unit.SineCosine),
        Code.Fincstp => Simple(op, &X87Unit.IncrementTop),
        Code.Fdecstp => Simple(op, &X87Unit.DecrementTop),
        Code.Ffree_sti => Stack(instruction, op, &X87Handlers.Free),
        Code.Ffreep_sti => Stack(instruction, op, &X87Handlers.FreePop),
        Code.Fnop => Simple(op, &X87Handlers.Nothing),
        _ => false,
    };

    private static bool BindControl(in Instruction instruction, uint mode, Op* op)
    {
        int waits = 0;
        switch (instruction.Code)
        {
            case Code.Fninit:
                return Control(op, &X87Unit.Initialize);
            case Code.Fnclex:
                return Control(op, &X87Unit.ClearExceptions);
            case Code.Fneni or Code.Fndisi or Code.Fnsetpm:
                return Control(op, &X87Handlers.Nothing);
            case Code.Fnstsw_AX:
                op->Handler = &X87Handlers.StatusToAx;
                return true;
            case Code.Fnstsw_m2byte:
                op->Handler = &X87Handlers.StoreStatus;
                return true;
            case Code.Fnstcw_m2byte:
                op->Handler = &X87Handlers.StoreControl;
                return true;
            case Code.Fldcw_m2byte:
                op->Handler = &X87Handlers.LoadControl;
                return true;
            case Code.Fnstenv_m14byte or Code.Fnstenv_m28byte:
                op->Handler = &X87Handlers.StoreEnvironment;
                break;
            case Code.Fnsave_m94byte or Code.Fnsave_m108byte:
                op->Handler = &X87Handlers.Save;
                break;
            case Code.Fldenv_m14byte or Code.Fldenv_m28byte:
                op->Handler = &X87Handlers.LoadEnvironment;
                waits = X87Handlers.ImageWaits;
                break;
            case Code.Frstor_m94byte or Code.Frstor_m108byte:
                op->Handler = &X87Handlers.Restore;
                waits = X87Handlers.ImageWaits;
                break;
            default:
                return false;
        }
        bool wide = instruction.Code is Code.Fnstenv_m28byte or Code.Fnsave_m108byte or Code.Fldenv_m28byte or Code.Frstor_m108byte;
        bool real = (mode & CodeMode.Protected) == 0;
        op->Extra = (byte)(waits | (wide ? X87Handlers.ImageWide : 0) | (real ? X87Handlers.ImageReal : 0));
        return true;
    }

    private static bool Simple(Op* op, delegate*<X87State*, void> action)
    {
        op->Handler = &X87Handlers.Simple;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool Control(Op* op, delegate*<X87State*, void> action)
    {
        op->Handler = &X87Handlers.Control;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool Stack(in Instruction instruction, Op* op, delegate*<X87State*, int, void> action)
    {
        op->Handler = &X87Handlers.Stack;
        op->Immediate = (ulong)action;
        op->Extra = StackIndex(instruction);
        return true;
    }

    private static bool Constant(Op* op, X87Constant constant)
    {
        op->Handler = &X87Handlers.Stack;
        op->Immediate = (ulong)(delegate*<X87State*, int, void>)&X87Handlers.LoadConstant;
        op->Extra = (byte)constant;
        return true;
    }

    private static bool Read32(Op* op, delegate*<X87State*, uint, void> action)
    {
        op->Handler = &X87Handlers.Read32;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool Read64(Op* op, delegate*<X87State*, ulong, void> action)
    {
        op->Handler = &X87Handlers.Read64;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool Read80(Op* op, delegate*<X87State*, ulong, ushort, void> action)
    {
        op->Handler = &X87Handlers.Read80;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool ReadInt16(Op* op, delegate*<X87State*, int, void> action)
    {
        op->Handler = &X87Handlers.ReadInteger16;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool ReadInt32(Op* op, delegate*<X87State*, int, void> action)
    {
        op->Handler = &X87Handlers.ReadInteger32;
        op->Immediate = (ulong)action;
        return true;
    }

    private static bool Store(Op* op, X87Handlers.StoreForm form, bool pop)
    {
        op->Handler = &X87Handlers.Store;
        op->Extra = (byte)form;
        op->Immediate = pop ? 1UL : 0;
        return true;
    }

    private static bool Move(in Instruction instruction, Op* op, ulong condition)
    {
        op->Handler = &X87Handlers.ConditionalMove;
        op->Extra = StackIndex(instruction);
        op->Immediate = condition;
        return true;
    }

    private static bool CompareFlags(in Instruction instruction, Op* op, ulong how)
    {
        op->Handler = &X87Handlers.CompareFlags;
        op->Extra = StackIndex(instruction);
        op->Immediate = how;
        return true;
    }
}
