using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Turns an instruction that Iced decoded into an op: operands to offsets, mnemonic and operand kinds to a handler. Split by topic:
/// this part operands, arithmetic and moves; <c>Binder.Control.cs</c> transfers, stack and strings; <c>Binder.System.cs</c> the rest.
/// </summary>
internal sealed unsafe partial class Binder(CpuState* state, CpuModel model)
{
    private readonly CpuState* _s = state;
    private readonly InstructionSet _set = new(model);
    /// <summary>The mode of the code being decoded.</summary>
    private uint _mode;
    private ulong _blockRip;

    /// <summary>What was bound last raises #UD or #NM, whatever its operands.</summary>
    public bool Refused { get; private set; }

    /// <summary>What was bound last is an x87 instruction.</summary>
    public bool IsX87 { get; private set; }

    /// <summary>What was bound last has no handler of ours: the translator is to provide one.</summary>
    public bool IsPassedOn { get; private set; }

    private bool Is64 => (_mode & CodeMode.BitsMask) == CodeMode.Bits64;

    /// <summary>Fills <paramref name="op"/>, whose place in the block is set already. True if nothing can follow it in its block.</summary>
    public bool Bind(in Instruction instruction, Op* op, ulong blockRip)
    {
        _mode = _s->Mode;
        _blockRip = blockRip;
        Refused = false;
        IsX87 = false;
        IsPassedOn = false;
        op->Base = op->Index = op->Segment = Slots.Zero;
        op->AddressMask = ulong.MaxValue;
        if (instruction.IsInvalid)
        {
            Refused = true;
            op->Handler = instruction.Length >= 15 ? &SystemInstructions.TooLong : &SystemInstructions.InvalidOpcode;
            return true;
        }
        switch (_set[instruction.Code])
        {
            case Support.None:
                Refused = true;
                op->Handler = &SystemInstructions.InvalidOpcode;
                return true;
            case Support.Hint:
                op->Handler = &SystemInstructions.Nop;
                return false;
        }
        SetOperands(in instruction, op);
        if (InstructionSet.IsPassedOn(instruction.Code))
        {
            IsPassedOn = !RefusesVectors(op, CodeMode.InvalidAvx512);
            return Refused;
        }
        if (BindInteger(in instruction, op))
        {
            return false;
        }
        if (BindControl(in instruction, op, out bool ends) || BindSystem(in instruction, op, out ends))
        {
            return ends;
        }
        if (BindFloatingPoint(in instruction, op, out ends))
        {
            return ends;
        }
        Refused = true;
        op->Handler = &SystemInstructions.InvalidOpcode;
        return true;
    }

    private static int Size(in Instruction instruction) => instruction.Op0Kind switch
    {
        OpKind.Register => instruction.Op0Register.GetSize(),
        OpKind.Memory => instruction.MemorySize.GetSize(),
        _ => 0,
    };

    private void SetOperands(in Instruction instruction, Op* op)
    {
        int count = instruction.OpCount;
        for (int i = 0; i < count; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Register:
                    ushort slot = Slots.Of(instruction.GetOpRegister(i));
                    if (i == 0)
                    {
                        op->Destination = slot;
                    }
                    else if (i == 1)
                    {
                        op->Source = slot;
                    }
                    break;
                case OpKind.Memory:
                    SetMemory(in instruction, op);
                    break;
                case OpKind.Immediate8 or OpKind.Immediate16 or OpKind.Immediate32 or OpKind.Immediate64 or OpKind.Immediate8to16
                    or OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32to64:
                    op->Immediate = instruction.GetImmediate(i);
                    break;
            }
        }
    }

    private void SetMemory(in Instruction instruction, Op* op)
    {
        Register baseRegister = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        int addressSize = baseRegister != Register.None ? baseRegister.GetSize()
            : index != Register.None ? index.GetSize() : instruction.MemoryDisplSize;
        op->AddressMask = addressSize switch
        {
            2 => ushort.MaxValue,
            4 => uint.MaxValue,
            8 => ulong.MaxValue,
            _ => Is64 ? ulong.MaxValue : (_mode & CodeMode.BitsMask) == CodeMode.Bits32 ? uint.MaxValue : ushort.MaxValue,
        };
        if (baseRegister is Register.RIP or Register.EIP)
        {
            op->Base = Slots.Rip;
            op->Displacement = (int)(instruction.MemoryDisplacement64 - _blockRip);
        }
        else
        {
            op->Base = Slots.Of(baseRegister);
            op->Displacement = (int)instruction.MemoryDisplacement64;
        }
        op->Index = Slots.Of(index);
        op->Scale = instruction.MemoryIndexScale switch
        {
            2 => 1,
            4 => 2,
            8 => 3,
            _ => 0,
        };
        op->Segment = SegmentSlot(instruction.MemorySegment);
    }

    /// <summary>Where the base of a segment stands; the slot that is always 0 when it is known to be 0.</summary>
    private ushort SegmentSlot(Register segment) =>
        segment is not (Register.FS or Register.GS) && (_mode & CodeMode.Flat) != 0 ? Slots.Zero : Slots.Of(segment);

    private bool BindInteger(in Instruction i, Op* op)
    {
        int size = Size(in i);
        switch (i.Mnemonic)
        {
            case Mnemonic.Mov: return BindMov(in i, op, size);
            case Mnemonic.Add: return BindBinary<Add>(in i, op, size);
            case Mnemonic.Or: return BindBinary<Or>(in i, op, size);
            case Mnemonic.Adc: return BindBinary<Adc>(in i, op, size);
            case Mnemonic.Sbb: return BindBinary<Sbb>(in i, op, size);
            case Mnemonic.And: return BindBinary<And>(in i, op, size);
            case Mnemonic.Sub: return BindBinary<Sub>(in i, op, size);
            case Mnemonic.Xor: return BindBinary<Xor>(in i, op, size);
            case Mnemonic.Cmp: return BindBinary<Cmp>(in i, op, size);
            case Mnemonic.Test: return BindBinary<Test>(in i, op, size);
            case Mnemonic.Inc: return BindUnary<Inc>(in i, op, size);
            case Mnemonic.Dec: return BindUnary<Dec>(in i, op, size);
            case Mnemonic.Neg: return BindUnary<Neg>(in i, op, size);
            case Mnemonic.Not: return BindUnary<Not>(in i, op, size);
            case Mnemonic.Shl or Mnemonic.Sal: return BindShift<Shl>(in i, op, size);
            case Mnemonic.Shr: return BindShift<Shr>(in i, op, size);
            case Mnemonic.Sar: return BindShift<Sar>(in i, op, size);
            case Mnemonic.Rol: return BindShift<Rol>(in i, op, size);
            case Mnemonic.Ror: return BindShift<Ror>(in i, op, size);
            case Mnemonic.Rcl: return BindShift<Rcl>(in i, op, size);
            case Mnemonic.Rcr: return BindShift<Rcr>(in i, op, size);
            case Mnemonic.Lea: op->Handler = Pick.Width<Lea>(size); return true;
            case Mnemonic.Movzx: return BindExtend<ZeroExtend>(in i, op, size);
            case Mnemonic.Movsx or Mnemonic.Movsxd: return BindExtend<SignExtend>(in i, op, size);
            case Mnemonic.Xchg: return BindXchg(in i, op, size);
            case Mnemonic.Bt: return BindBitTest<BitKeep>(in i, op, size);
            case Mnemonic.Bts: return BindBitTest<BitSet>(in i, op, size);
            case Mnemonic.Btr: return BindBitTest<BitReset>(in i, op, size);
            case Mnemonic.Btc: return BindBitTest<BitComplement>(in i, op, size);
            case Mnemonic.Bsf: return BindScanForward(in i, op, size);
            case Mnemonic.Bsr: return BindScanReverse(in i, op, size);
            case Mnemonic.Popcnt:
                op->Handler = i.Op1Kind == OpKind.Memory ? Pick.Width<CountOnes<MemoryValue>>(size) : Pick.Width<CountOnes<SecondRegister>>(size);
                return true;
            case Mnemonic.Crc32:
                op->Handler = i.Op1Kind == OpKind.Memory ? Pick.Width<Crc32<MemoryValue>>(i.MemorySize.GetSize())
                    : Pick.Width<Crc32<SecondRegister>>(i.Op1Register.GetSize());
                return true;
            case Mnemonic.Bswap: op->Handler = Pick.Width<Swap>(size); return true;
            case Mnemonic.Shld: return BindDoubleShift<ToLeft>(in i, op, size);
            case Mnemonic.Shrd: return BindDoubleShift<ToRight>(in i, op, size);
            case Mnemonic.Mul:
                op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<Mul<MemoryValue>>(size) : Pick.Width<Mul<FirstRegister>>(size);
                return true;
            case Mnemonic.Imul: return BindImul(in i, op, size);
            case Mnemonic.Div:
                op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<Div<MemoryValue>>(size) : Pick.Width<Div<FirstRegister>>(size);
                return true;
            case Mnemonic.Idiv:
                op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<Idiv<MemoryValue>>(size) : Pick.Width<Idiv<FirstRegister>>(size);
                return true;
            case Mnemonic.Cbw: op->Handler = &MultiplyDivide.ExtendAccumulator<byte, ushort>; return true;
            case Mnemonic.Cwde: op->Handler = &MultiplyDivide.ExtendAccumulator<ushort, uint>; return true;
            case Mnemonic.Cdqe: op->Handler = &MultiplyDivide.ExtendAccumulator<uint, ulong>; return true;
            case Mnemonic.Cwd: op->Handler = &MultiplyDivide.SignToData<ushort>; return true;
            case Mnemonic.Cdq: op->Handler = &MultiplyDivide.SignToData<uint>; return true;
            case Mnemonic.Cqo: op->Handler = &MultiplyDivide.SignToData<ulong>; return true;
            case Mnemonic.Xadd: op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<XaddM>(size) : Pick.Width<XaddR>(size); return true;
            case Mnemonic.Cmpxchg: op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<CmpxchgM>(size) : Pick.Width<CmpxchgR>(size); return true;
            case Mnemonic.Cmpxchg16b: op->Handler = &WideCompare.Cmpxchg16B; return true;
            case Mnemonic.Cmpxchg8b: op->Handler = &MultiplyDivide.Cmpxchg8B; return true;
        }
        ConditionCode condition = i.ConditionCode;
        if (condition == ConditionCode.None)
        {
            return BindBitManipulation(in i, op, size);
        }
        return (i.IsSetcc() && BindSetcc(in i, op, condition)) || (IsCmov(i.Mnemonic) && BindCmov(in i, op, condition, size));
    }

    private static bool IsCmov(Mnemonic mnemonic) => mnemonic is >= Mnemonic.Cmova and <= Mnemonic.Cmovs;

    private static bool BindMov(in Instruction i, Op* op, int size)
    {
        if (i.Op0Kind == OpKind.Register)
        {
            if (!i.Op0Register.IsGPR())
            {
                return false;
            }
            if (i.Op1Kind == OpKind.Memory)
            {
                if (i.MemoryDisplSize == 8 && i.MemoryBase == Register.None && i.MemoryIndex == Register.None)
                {
                    op->Immediate = i.MemoryDisplacement64;
                    op->Handler = Pick.Width<LoadAbsolute>(size);
                }
                else
                {
                    op->Handler = Pick.Memory<MovRM>(size, op);
                }
                return true;
            }
            if (i.Op1Kind == OpKind.Register)
            {
                op->Handler = Pick.Width<MovRR>(size);
                return i.Op1Register.IsGPR();
            }
            op->Handler = Pick.Width<MovRI>(size);
            return true;
        }
        if (i.Op1Kind == OpKind.Register)
        {
            if (i.MemoryDisplSize == 8 && i.MemoryBase == Register.None && i.MemoryIndex == Register.None)
            {
                op->Immediate = i.MemoryDisplacement64;
                op->Handler = Pick.Width<StoreAbsolute>(size);
            }
            else
            {
                op->Handler = Pick.Memory<MovMR>(size, op);
            }
            return i.Op1Register.IsGPR();
        }
        op->Handler = Pick.Memory<MovMI>(size, op);
        return true;
    }

    private static bool BindBinary<TOp>(in Instruction i, Op* op, int size)
        where TOp : struct, IBinary
    {
        op->Handler = (i.Op0Kind, i.Op1Kind) switch
        {
            (OpKind.Register, OpKind.Register) => Pick.Width<RR<TOp>>(size),
            (OpKind.Register, OpKind.Memory) => Pick.Memory<RM<TOp>>(size, op),
            (OpKind.Register, _) => Pick.Width<RI<TOp>>(size),
            (_, OpKind.Register) => i.HasLockPrefix ? Pick.Width<LockMR<TOp>>(size) : Pick.Memory<MR<TOp>>(size, op),
            _ => i.HasLockPrefix ? Pick.Width<LockMI<TOp>>(size) : Pick.Memory<MI<TOp>>(size, op),
        };
        return true;
    }

    private static bool BindUnary<TOp>(in Instruction i, Op* op, int size)
        where TOp : struct, IUnary
    {
        op->Handler = i.Op0Kind == OpKind.Register ? Pick.Width<R<TOp>>(size)
            : i.HasLockPrefix ? Pick.Width<LockM<TOp>>(size) : Pick.Memory<M<TOp>>(size, op);
        return true;
    }

    private static bool BindShift<TOp>(in Instruction i, Op* op, int size)
        where TOp : struct, IBinary
    {
        bool byCl = i.Op1Kind == OpKind.Register;
        op->Handler = i.Op0Kind == OpKind.Register
            ? byCl ? Pick.Width<ShiftRCl<TOp>>(size) : Pick.Width<RI<TOp>>(size)
            : byCl ? Pick.Width<ShiftMCl<TOp>>(size) : Pick.Memory<MI<TOp>>(size, op);
        return true;
    }

    private static bool BindExtend<TSign>(in Instruction i, Op* op, int size)
        where TSign : struct, IExtend
    {
        if (i.Op1Kind == OpKind.Register)
        {
            op->Handler = i.Op1Register.GetSize() switch
            {
                1 => Pick.Width<ExtendR<TSign, byte>>(size),
                2 => Pick.Width<ExtendR<TSign, ushort>>(size),
                _ => Pick.Width<ExtendR<TSign, uint>>(size),
            };
            return true;
        }
        op->Handler = i.MemorySize.GetSize() switch
        {
            1 => Pick.Memory<ExtendM<TSign, byte>>(size, op),
            2 => Pick.Memory<ExtendM<TSign, ushort>>(size, op),
            _ => Pick.Memory<ExtendM<TSign, uint>>(size, op),
        };
        return true;
    }

    private static bool BindXchg(in Instruction i, Op* op, int size)
    {
        if (i.Op0Kind == OpKind.Register && i.Op1Kind == OpKind.Register)
        {
            op->Handler = Pick.Width<XchgRR>(size);
        }
        else
        {
            op->Source = i.Op0Kind == OpKind.Register ? op->Destination : op->Source;
            op->Handler = Pick.Width<XchgMR>(size);
        }
        return true;
    }

    private static bool BindBitTest<TChange>(in Instruction i, Op* op, int size)
        where TChange : struct, IBitChange
    {
        bool register = i.Op1Kind == OpKind.Register;
        op->Handler = i.Op0Kind == OpKind.Register
            ? register ? Pick.Width<TestBitR<TChange, SecondRegister>>(size) : Pick.Width<TestBitR<TChange, ImmediateOperand>>(size)
            : register ? Pick.Width<TestBitM<TChange, SecondRegister>>(size) : Pick.Width<TestBitM<TChange, ImmediateOperand>>(size);
        return true;
    }

    private static bool BindScanForward(in Instruction i, Op* op, int size)
    {
        op->Handler = i.Op1Kind == OpKind.Memory ? Pick.Width<ScanForward<MemoryValue>>(size) : Pick.Width<ScanForward<SecondRegister>>(size);
        return true;
    }

    private static bool BindScanReverse(in Instruction i, Op* op, int size)
    {
        op->Handler = i.Op1Kind == OpKind.Memory ? Pick.Width<ScanReverse<MemoryValue>>(size) : Pick.Width<ScanReverse<SecondRegister>>(size);
        return true;
    }

    private static bool BindDoubleShift<TLeft>(in Instruction i, Op* op, int size)
        where TLeft : struct, IDirection
    {
        bool byCl = i.Op2Kind == OpKind.Register;
        op->Handler = i.Op0Kind == OpKind.Register
            ? byCl ? Pick.Width<DoubleShiftR<TLeft, CountCl>>(size) : Pick.Width<DoubleShiftR<TLeft, CountImmediate>>(size)
            : byCl ? Pick.Width<DoubleShiftM<TLeft, CountCl>>(size) : Pick.Width<DoubleShiftM<TLeft, CountImmediate>>(size);
        return true;
    }

    private static bool BindImul(in Instruction i, Op* op, int size)
    {
        bool memory = i.Op0Kind == OpKind.Memory || (i.OpCount > 1 && i.Op1Kind == OpKind.Memory);
        op->Handler = i.OpCount switch
        {
            1 => memory ? Pick.Width<Imul<MemoryValue>>(size) : Pick.Width<Imul<FirstRegister>>(size),
            2 => memory ? Pick.Width<ImulTwo<MemoryValue>>(size) : Pick.Width<ImulTwo<SecondRegister>>(size),
            _ => memory ? Pick.Width<ImulThree<MemoryValue>>(size) : Pick.Width<ImulThree<SecondRegister>>(size),
        };
        return true;
    }

    private static bool BindSetcc(in Instruction i, Op* op, ConditionCode condition)
    {
        bool memory = i.Op0Kind == OpKind.Memory;
        op->Handler = condition switch
        {
            ConditionCode.o => Set<IfOverflow>(memory),
            ConditionCode.no => Set<Unless<IfOverflow>>(memory),
            ConditionCode.b => Set<IfBelow>(memory),
            ConditionCode.ae => Set<Unless<IfBelow>>(memory),
            ConditionCode.e => Set<IfEqual>(memory),
            ConditionCode.ne => Set<Unless<IfEqual>>(memory),
            ConditionCode.be => Set<IfBelowOrEqual>(memory),
            ConditionCode.a => Set<Unless<IfBelowOrEqual>>(memory),
            ConditionCode.s => Set<IfSign>(memory),
            ConditionCode.ns => Set<Unless<IfSign>>(memory),
            ConditionCode.p => Set<IfParity>(memory),
            ConditionCode.np => Set<Unless<IfParity>>(memory),
            ConditionCode.l => Set<IfLess>(memory),
            ConditionCode.ge => Set<Unless<IfLess>>(memory),
            ConditionCode.le => Set<IfLessOrEqual>(memory),
            _ => Set<Unless<IfLessOrEqual>>(memory),
        };
        return true;
    }

    private static delegate*<CpuState*, Op*, Op*> Set<TCondition>(bool memory)
        where TCondition : struct, ICondition => memory ? &Conditional.SetM<TCondition> : &Conditional.SetR<TCondition>;

    private static bool BindCmov(in Instruction i, Op* op, ConditionCode condition, int size)
    {
        bool memory = i.Op1Kind == OpKind.Memory;
        op->Handler = condition switch
        {
            ConditionCode.o => Cmov<IfOverflow>(memory, size),
            ConditionCode.no => Cmov<Unless<IfOverflow>>(memory, size),
            ConditionCode.b => Cmov<IfBelow>(memory, size),
            ConditionCode.ae => Cmov<Unless<IfBelow>>(memory, size),
            ConditionCode.e => Cmov<IfEqual>(memory, size),
            ConditionCode.ne => Cmov<Unless<IfEqual>>(memory, size),
            ConditionCode.be => Cmov<IfBelowOrEqual>(memory, size),
            ConditionCode.a => Cmov<Unless<IfBelowOrEqual>>(memory, size),
            ConditionCode.s => Cmov<IfSign>(memory, size),
            ConditionCode.ns => Cmov<Unless<IfSign>>(memory, size),
            ConditionCode.p => Cmov<IfParity>(memory, size),
            ConditionCode.np => Cmov<Unless<IfParity>>(memory, size),
            ConditionCode.l => Cmov<IfLess>(memory, size),
            ConditionCode.ge => Cmov<Unless<IfLess>>(memory, size),
            ConditionCode.le => Cmov<IfLessOrEqual>(memory, size),
            _ => Cmov<Unless<IfLessOrEqual>>(memory, size),
        };
        return true;
    }

    private static delegate*<CpuState*, Op*, Op*> Cmov<TCondition>(bool memory, int size)
        where TCondition : struct, ICondition =>
        memory ? Pick.Width<MovIf<TCondition, MemoryValue>>(size) : Pick.Width<MovIf<TCondition, SecondRegister>>(size);

    private bool BindFloatingPoint(in Instruction instruction, Op* op, out bool ends)
    {
        if (instruction.Encoding == EncodingKind.VEX)
        {
            return BindVex(in instruction, op, out ends);
        }
        if (X87.X87Binder.Bind(in instruction, _mode, op))
        {
            ends = false;
            IsX87 = true;
            Refused = (_mode & CodeMode.NoX87) != 0;
            return true;
        }
        if (instruction.IsMmx())
        {
            ends = (_mode & CodeMode.NoX87) != 0;
            if (ends)
            {
                Refused = true;
                op->Handler = (_s->Cr0 & ControlBits.Emulation) != 0 ? &SystemInstructions.InvalidOpcode : &SystemInstructions.DeviceNotAvailable;
                return true;
            }
            return Vector.VectorBinder.Bind(in instruction, op);
        }
        bool sse = Vector.VectorBinder.Bind(in instruction, op);
        ends = true;
        if (!sse)
        {
            return false;
        }
        bool integerOnly = instruction.Mnemonic is Mnemonic.Movnti or Mnemonic.Sfence or Mnemonic.Lfence or Mnemonic.Mfence
            or Mnemonic.Clflush or Mnemonic.Clflushopt or Mnemonic.Clwb or Mnemonic.Prefetchw or Mnemonic.Prefetch or Mnemonic.Prefetchwt1
            or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchnta;
        if (!integerOnly && (_mode & (CodeMode.InvalidSse | CodeMode.NoSse)) != 0)
        {
            Refused = true;
            op->Handler = (_mode & CodeMode.InvalidSse) != 0 ? &SystemInstructions.InvalidOpcode : &SystemInstructions.DeviceNotAvailable;
            return true;
        }
        ends = false;
        return true;
    }

    /// <summary>AVX and what followed (SDM 2 2.7, exception classes 1 to 12).</summary>
    private bool BindVex(in Instruction instruction, Op* op, out bool ends)
    {
        ends = RefusesVectors(op, CodeMode.InvalidAvx);
        return ends || Vector.Vex.VexBinder.Bind(in instruction, op);
    }

    /// <summary>Binds #UD or #NM if the mode refuses such instructions.</summary>
    private bool RefusesVectors(Op* op, uint invalid)
    {
        Refused = (_mode & (invalid | CodeMode.NoSse)) != 0;
        if (Refused)
        {
            op->Handler = (_mode & invalid) != 0 ? &SystemInstructions.InvalidOpcode : &SystemInstructions.DeviceNotAvailable;
        }
        return Refused;
    }
}

internal static class InstructionKinds
{
    /// <summary>Works on MMX registers, so it is subject to the x87's availability.</summary>
    public static bool IsMmx(this in Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Emms)
        {
            return true;
        }
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsMM())
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>The segment of an operand at rAX that the instruction does not name: MONITOR, CLZERO.</summary>
    public static Register AccumulatorSegment(this in Instruction instruction) =>
        instruction.HasSegmentPrefix ? instruction.SegmentPrefix : Register.DS;

    public static bool IsSetcc(this in Instruction instruction) => instruction.Mnemonic is >= Mnemonic.Seta and <= Mnemonic.Sets;
}
