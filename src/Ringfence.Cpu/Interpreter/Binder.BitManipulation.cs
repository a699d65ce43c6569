using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>BMI1, BMI2, LZCNT, ADX and MOVBE.</summary>
internal sealed unsafe partial class Binder
{
    private bool BindBitManipulation(in Instruction i, Op* op, int size)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Andn: return BindVex<AndNot, SecondRegister>(in i, op, size, 1, 2);
            case Mnemonic.Pdep: return BindVex<Deposit, SecondRegister>(in i, op, size, 1, 2);
            case Mnemonic.Pext: return BindVex<Extract, SecondRegister>(in i, op, size, 1, 2);
            case Mnemonic.Bextr: return BindVex<ExtractField, SecondRegister>(in i, op, size, 2, 1);
            case Mnemonic.Bzhi: return BindVex<ZeroHigh, SecondRegister>(in i, op, size, 2, 1);
            case Mnemonic.Sarx: return BindVex<ShiftArithmeticQuietly, SecondRegister>(in i, op, size, 2, 1);
            case Mnemonic.Shlx: return BindVex<ShiftLeftQuietly, SecondRegister>(in i, op, size, 2, 1);
            case Mnemonic.Shrx: return BindVex<ShiftRightQuietly, SecondRegister>(in i, op, size, 2, 1);
            case Mnemonic.Blsi: return BindVex<IsolateLowest, ImmediateOperand>(in i, op, size, 0, 1);
            case Mnemonic.Blsmsk: return BindVex<MaskToLowest, ImmediateOperand>(in i, op, size, 0, 1);
            case Mnemonic.Blsr: return BindVex<ResetLowest, ImmediateOperand>(in i, op, size, 0, 1);
            case Mnemonic.Rorx: return BindVex<RotateQuietly, ImmediateOperand>(in i, op, size, 0, 1);
            case Mnemonic.Mulx when RefuseVex(op): return true;
            case Mnemonic.Mulx: op->Handler = SetThird(in i, op, 2) ? Pick.Width<Mulx<MemoryValue>>(size) : Pick.Width<Mulx<ThirdRegister>>(size); return true;
            // Without BMI1 and LZCNT the prefix is ignored.
            case Mnemonic.Tzcnt: return IsPresent(in i) ? BindCount<TrailingZeros>(in i, op, size) : BindScanForward(in i, op, size);
            case Mnemonic.Lzcnt: return IsPresent(in i) ? BindCount<LeadingZeros>(in i, op, size) : BindScanReverse(in i, op, size);
            case Mnemonic.Adcx: return BindAdd<AddWithCarryOnly>(in i, op, size);
            case Mnemonic.Adox: return BindAdd<AddWithOverflowOnly>(in i, op, size);
            case Mnemonic.Movbe: op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<SwappedStore>(size) : Pick.Width<SwappedLoad>(size); return true;
            default: return false;
        }
    }

    private bool IsPresent(in Instruction i) => _set[i.Code] == Support.Present;

    /// <param name="other">Which operand is the register besides the r/m operand; 0 if there is none.</param>
    /// <param name="operand">Which is the r/m operand.</param>
    private bool BindVex<TOp, TOther>(in Instruction i, Op* op, int size, int other, int operand)
        where TOp : struct, IBitOperation
        where TOther : struct, IOperand
    {
        if (RefuseVex(op))
        {
            return true;
        }
        op->Source = other != 0 ? Slots.Of(i.GetOpRegister(other)) : Slots.Zero;
        op->Handler = SetThird(in i, op, operand) ? Pick.Width<Combine<TOp, MemoryValue, TOther>>(size) : Pick.Width<Combine<TOp, ThirdRegister, TOther>>(size);
        return true;
    }

    private static bool BindCount<TOp>(in Instruction i, Op* op, int size)
        where TOp : struct, IBitOperation
    {
        op->Handler = i.Op1Kind == OpKind.Memory
            ? Pick.Width<Combine<TOp, MemoryValue, ImmediateOperand>>(size) : Pick.Width<Combine<TOp, SecondRegister, ImmediateOperand>>(size);
        return true;
    }

    private static bool BindAdd<TOp>(in Instruction i, Op* op, int size)
        where TOp : struct, IBitOperation
    {
        op->Handler = i.Op1Kind == OpKind.Memory
            ? Pick.Width<Combine<TOp, MemoryValue, FirstRegister>>(size) : Pick.Width<Combine<TOp, SecondRegister, FirstRegister>>(size);
        return true;
    }

    /// <summary>Gives a register that is the r/m operand the place of a memory operand's base. True if it is memory.</summary>
    private static bool SetThird(in Instruction i, Op* op, int operand)
    {
        if (i.GetOpKind(operand) == OpKind.Memory)
        {
            return true;
        }
        op->Base = Slots.Of(i.GetOpRegister(operand));
        return false;
    }

    /// <summary>There is no VEX in real and virtual-8086 mode (SDM 2 2.3.11, 2.8): binds #UD.</summary>
    private bool RefuseVex(Op* op)
    {
        op->Handler = &SystemInstructions.InvalidOpcode;
        Refused = (_mode & CodeMode.Protected) == 0;
        return Refused;
    }
}

internal readonly unsafe struct Combine<TOp, TOperand, TOther> : IForm
    where TOp : struct, IBitOperation
    where TOperand : struct, IOperand
    where TOther : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &BitManipulation.Combine<TOp, TOperand, TOther, T>;
}

internal readonly unsafe struct Mulx<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &BitManipulation.Mulx<TOperand, T>;
}

internal readonly unsafe struct SwappedLoad : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &BitManipulation.LoadSwapped<T>;
}

internal readonly unsafe struct SwappedStore : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &BitManipulation.StoreSwapped<T>;
}
