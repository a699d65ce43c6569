using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Transfers, stack and string instructions.</summary>
internal sealed unsafe partial class Binder
{
    private bool BindControl(in Instruction i, Op* op, out bool ends)
    {
        ends = true;
        switch (i.FlowControl)
        {
            case FlowControl.ConditionalBranch: return BindBranch(in i, op);
            case FlowControl.UnconditionalBranch when i.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                SetTarget(in i, op);
                op->Handler = i.Op0Kind == OpKind.NearBranch16 ? &ControlFlow.Jump16<Always> : &ControlFlow.Jump;
                return true;
            case FlowControl.Call when i.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                SetTarget(in i, op);
                op->Handler = i.Op0Kind == OpKind.NearBranch16
                    ? Is64 ? &ControlFlow.Call16<Stack64> : (_mode & CodeMode.Stack32) != 0 ? &ControlFlow.Call16<Stack32> : &ControlFlow.Call16<Stack16>
                    : Pick.Stack<CallRelative>(Is64 ? 8 : 4, _mode);
                return true;
            case FlowControl.IndirectBranch when i.Mnemonic == Mnemonic.Jmp && !IsFar(in i):
                op->Handler = i.Op0Kind == OpKind.Memory ? Pick.Width<JumpTo<MemoryValue>>(Size(in i)) : Pick.Width<JumpTo<FirstRegister>>(Size(in i));
                return true;
            case FlowControl.IndirectCall when i.Mnemonic == Mnemonic.Call && !IsFar(in i):
                op->Handler = i.Op0Kind == OpKind.Memory
                    ? Pick.Stack<CallTo<MemoryValue>>(Size(in i), _mode) : Pick.Stack<CallTo<FirstRegister>>(Size(in i), _mode);
                return true;
            case FlowControl.Return when i.Mnemonic == Mnemonic.Ret:
                op->Handler = Pick.Stack<ReturnNear>(StackOperandSize(in i), _mode);
                return true;
        }
        ends = false;
        return BindStack(in i, op) || BindString(in i, op, ref ends);
    }

    private static bool IsFar(in Instruction i) => i.IsJmpFarIndirect || i.IsCallFarIndirect;

    /// <summary>The width of what an instruction pushes or pops.</summary>
    private static int StackOperandSize(in Instruction i)
    {
        int moved = Math.Abs(i.StackPointerIncrement);
        // RET n and ENTER move the pointer by more than the operand: the code tells the width.
        return i.Code switch
        {
            Code.Retnw or Code.Retnw_imm16 or Code.Enterw_imm16_imm8 or Code.Leavew or Code.Pushaw or Code.Popaw => 2,
            Code.Retnd or Code.Retnd_imm16 or Code.Enterd_imm16_imm8 or Code.Leaved or Code.Pushad or Code.Popad => 4,
            Code.Retnq or Code.Retnq_imm16 or Code.Enterq_imm16_imm8 or Code.Leaveq => 8,
            _ => moved,
        };
    }

    private void SetTarget(in Instruction i, Op* op)
    {
        ulong target = i.NearBranchTarget;
        op->Displacement = (int)(target - _blockRip);
        op->AddressMask = 0;
        op->Immediate = 0;
        op->Extra = 0;
        ulong start = _blockRip + _s->Cs.Base;
        if (i.Op0Kind == OpKind.NearBranch16)
        {
            return;
        }
        // Only within the page that the block is in is the target's physical page known for good.
        if (((start ^ (target + _s->Cs.Base)) & ~0xFFFUL) == 0)
        {
            op->Extra |= ControlFlow.LinkTaken;
        }
        ulong after = start + op->IpOffset + op->Length;
        if (((start ^ after) & ~0xFFFUL) == 0)
        {
            op->Extra |= ControlFlow.LinkNotTaken;
        }
    }

    private bool BindBranch(in Instruction i, Op* op)
    {
        SetTarget(in i, op);
        bool narrow = i.Op0Kind == OpKind.NearBranch16;
        ConditionCode condition = i.ConditionCode;
        if (i.IsLoop || i.IsLoopcc || i.IsJcxShort)
        {
            op->Source = narrow ? (ushort)1 : (ushort)0;
            int counter = i.Code switch
            {
                Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 or Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX
                    or Code.Loope_rel8_32_CX or Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX => 2,
                Code.Jrcxz_rel8_16 or Code.Jrcxz_rel8_64 or Code.Loop_rel8_16_RCX or Code.Loop_rel8_64_RCX or Code.Loope_rel8_16_RCX
                    or Code.Loope_rel8_64_RCX or Code.Loopne_rel8_16_RCX or Code.Loopne_rel8_64_RCX => 8,
                _ => 4,
            };
            op->Handler = i.Mnemonic switch
            {
                Mnemonic.Loop => LoopOf<LoopAlways>(counter),
                Mnemonic.Loope => LoopOf<LoopWhile<IfEqual>>(counter),
                Mnemonic.Loopne => LoopOf<LoopWhile<Unless<IfEqual>>>(counter),
                _ => LoopOf<JumpIfZeroCount>(counter),
            };
            return true;
        }
        op->Handler = condition switch
        {
            ConditionCode.o => Jump<IfOverflow>(narrow),
            ConditionCode.no => Jump<Unless<IfOverflow>>(narrow),
            ConditionCode.b => Jump<IfBelow>(narrow),
            ConditionCode.ae => Jump<Unless<IfBelow>>(narrow),
            ConditionCode.e => Jump<IfEqual>(narrow),
            ConditionCode.ne => Jump<Unless<IfEqual>>(narrow),
            ConditionCode.be => Jump<IfBelowOrEqual>(narrow),
            ConditionCode.a => Jump<Unless<IfBelowOrEqual>>(narrow),
            ConditionCode.s => Jump<IfSign>(narrow),
            ConditionCode.ns => Jump<Unless<IfSign>>(narrow),
            ConditionCode.p => Jump<IfParity>(narrow),
            ConditionCode.np => Jump<Unless<IfParity>>(narrow),
            ConditionCode.l => Jump<IfLess>(narrow),
            ConditionCode.ge => Jump<Unless<IfLess>>(narrow),
            ConditionCode.le => Jump<IfLessOrEqual>(narrow),
            ConditionCode.g => Jump<Unless<IfLessOrEqual>>(narrow),
            _ => &SystemInstructions.InvalidOpcode,
        };
        return true;
    }

    private static delegate*<CpuState*, Op*, Op*> Jump<TCondition>(bool narrow)
        where TCondition : struct, ICondition => narrow ? &ControlFlow.Jump16<TCondition> : &Conditional.Jump<TCondition>;

    private static delegate*<CpuState*, Op*, Op*> LoopOf<TLoop>(int counter)
        where TLoop : struct, ILoop => counter switch
        {
            2 => &ControlFlow.Loop<TLoop, ushort>,
            4 => &ControlFlow.Loop<TLoop, uint>,
            _ => &ControlFlow.Loop<TLoop, ulong>,
        };

    private bool BindStack(in Instruction i, Op* op)
    {
        int size = StackOperandSize(in i);
        switch (i.Mnemonic)
        {
            case Mnemonic.Push:
                if (i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister())
                {
                    op->Extra = (byte)(i.Op0Register - Register.ES);
                    op->Handler = Pick.Stack<PushSegment>(size, _mode);
                }
                else
                {
                    op->Handler = i.Op0Kind == OpKind.Register ? Pick.Stack<PushR>(size, _mode)
                        : i.Op0Kind == OpKind.Memory ? Pick.Stack<PushM>(size, _mode) : Pick.Stack<PushI>(size, _mode);
                }
                return true;
            case Mnemonic.Pop when i.Op0Kind == OpKind.Memory: op->Handler = Pick.Stack<PopM>(size, _mode); return true;
            case Mnemonic.Pop when i.Op0Register.IsGPR(): op->Handler = Pick.Stack<PopR>(size, _mode); return true;
            case Mnemonic.Leave: op->Handler = Pick.Stack<LeaveFrame>(size, _mode); return true;
            case Mnemonic.Enter:
                op->Immediate = i.Immediate16;
                op->Extra = i.Immediate8_2nd;
                op->Handler = Pick.Stack<EnterFrame>(size, _mode);
                return true;
            case Mnemonic.Pusha or Mnemonic.Pushad: op->Handler = Pick.Stack<PushAll>(size, _mode); return true;
            case Mnemonic.Popa or Mnemonic.Popad: op->Handler = Pick.Stack<PopAll>(size, _mode); return true;
            case Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq: op->Handler = Pick.Stack<PushFlags>(size, _mode); return true;
        }
        return false;
    }

    private bool BindString(in Instruction i, Op* op, ref bool ends)
    {
        OpKind destination = i.Op0Kind;
        OpKind source = i.OpCount > 1 ? i.Op1Kind : OpKind.Register;
        int address = AddressSize(destination) != 0 ? AddressSize(destination) : AddressSize(source);
        if (address == 0)
        {
            return false;
        }
        op->Extra = i.HasRepnePrefix ? Strings.RepeatWhileNotEqual : i.HasRepePrefix ? Strings.RepeatWhileEqual : Strings.Once;
        op->Segment = SegmentSlot(i.MemorySegment);
        op->Source = SegmentSlot(Register.ES);
        int size = i.MemorySize.GetSize();
        switch (i.Mnemonic)
        {
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                op->Handler = address switch
                {
                    2 => Pick.Width<Movs<ushort>>(size),
                    4 => Pick.Width<Movs<uint>>(size),
                    _ => Pick.Width<Movs<ulong>>(size),
                };
                return true;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                op->Handler = address switch
                {
                    2 => Pick.Width<Stos<ushort>>(size),
                    4 => Pick.Width<Stos<uint>>(size),
                    _ => Pick.Width<Stos<ulong>>(size),
                };
                return true;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                op->Handler = address switch
                {
                    2 => Pick.Width<Lods<ushort>>(size),
                    4 => Pick.Width<Lods<uint>>(size),
                    _ => Pick.Width<Lods<ulong>>(size),
                };
                return true;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq:
                op->Handler = address switch
                {
                    2 => Pick.Width<Scas<ushort>>(size),
                    4 => Pick.Width<Scas<uint>>(size),
                    _ => Pick.Width<Scas<ulong>>(size),
                };
                return true;
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq:
                op->Handler = address switch
                {
                    2 => Pick.Width<Cmps<ushort>>(size),
                    4 => Pick.Width<Cmps<uint>>(size),
                    _ => Pick.Width<Cmps<ulong>>(size),
                };
                return true;
            case Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd:
                ends = true;
                op->Handler = address switch
                {
                    2 => Pick.Width<Ins<ushort>>(size),
                    4 => Pick.Width<Ins<uint>>(size),
                    _ => Pick.Width<Ins<ulong>>(size),
                };
                return true;
            case Mnemonic.Outsb or Mnemonic.Outsw or Mnemonic.Outsd:
                ends = true;
                op->Handler = address switch
                {
                    2 => Pick.Width<Outs<ushort>>(size),
                    4 => Pick.Width<Outs<uint>>(size),
                    _ => Pick.Width<Outs<ulong>>(size),
                };
                return true;
        }
        return false;
    }

    private static int AddressSize(OpKind kind) => kind switch
    {
        OpKind.MemorySegSI or OpKind.MemoryESDI => 2,
        OpKind.MemorySegESI or OpKind.MemoryESEDI => 4,
        OpKind.MemorySegRSI or OpKind.MemoryESRDI => 8,
        _ => 0,
    };
}
