using Iced.Intel;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Puts <see cref="SegmentGuard"/> ops around an instruction's op where the mode asks for them.</summary>
internal sealed unsafe class GuardBinder(CpuState* state)
{
    /// <summary>How many ops one instruction can become.</summary>
    public const int OpsPerInstruction = 4;

    private readonly CpuState* _s = state;
    private readonly InstructionInfoFactory _info = new();

    private uint Bits => _s->Mode & CodeMode.BitsMask;

    /// <param name="op">The instruction's op, bound, with room for <see cref="OpsPerInstruction"/> in all. It moves up to make room.</param>
    /// <param name="refused">The op raises an exception that comes before those of its operands.</param>
    /// <param name="oneByOne">A repeated instruction is to stop after each element.</param>
    /// <returns>The op after the last.</returns>
    public Op* Guard(in Instruction instruction, Op* op, bool refused, bool oneByOne)
    {
        if (IsString(in instruction, out bool source, out bool destination))
        {
            return GuardString(in instruction, op, source, destination, oneByOne);
        }
        if (Bits == CodeMode.Bits64 || refused)
        {
            return op + 1;
        }
        Op real = *op;
        Op* next = op;
        // POP to memory reads the stack first; everything else its operand.
        bool pops = instruction.Mnemonic == Mnemonic.Pop;
        next += pops ? GuardStack(in instruction, in real, next) : 0;
        next += GuardOperand(in instruction, in real, next);
        next += pops ? 0 : GuardStack(in instruction, in real, next);
        if ((_s->Mode & CodeMode.Flat) == 0 && IsNearTransfer(in instruction))
        {
            *next++ = Empty(in real, &BlockGuard.Branch);
        }
        *next = real;
        return next + 1;
    }

    private static Op Empty(in Op real, delegate*<CpuState*, Op*, Op*> handler) => new()
    {
        Handler = handler,
        Base = Slots.Zero,
        Index = Slots.Zero,
        Segment = Slots.Zero,
        Source = Slots.Zero,
        IpOffset = real.IpOffset,
        Length = real.Length,
        Ordinal = real.Ordinal,
    };

    /// <summary>Not one that falls through or goes to another segment.</summary>
    private static bool IsNearTransfer(in Instruction i) => i.FlowControl switch
    {
        FlowControl.ConditionalBranch or FlowControl.UnconditionalBranch or FlowControl.Call =>
            i.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32,
        FlowControl.IndirectBranch or FlowControl.IndirectCall => !i.IsJmpFarIndirect && !i.IsCallFarIndirect,
        FlowControl.Return => i.Mnemonic == Mnemonic.Ret,
        _ => false,
    };

    private static bool IsString(in Instruction i, out bool source, out bool destination)
    {
        source = destination = false;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            OpKind kind = i.GetOpKind(operand);
            source |= kind is OpKind.MemorySegSI or OpKind.MemorySegESI or OpKind.MemorySegRSI;
            destination |= kind is OpKind.MemoryESDI or OpKind.MemoryESEDI or OpKind.MemoryESRDI;
        }
        return source || destination;
    }

    /// <summary>Whether accesses through a segment are known to be good without looking.</summary>
    private bool IsKnownGood(Register segment, bool write) => Bits == CodeMode.Bits64
        || ((_s->Mode & CodeMode.Flat) != 0 && segment is not (Register.FS or Register.GS)
            && !(write && segment == Register.CS && (_s->Mode & CodeMode.Protected) != 0));

    private Op* GuardString(in Instruction i, Op* op, bool source, bool destination, bool oneByOne)
    {
        bool repeats = i.HasRepPrefix || i.HasRepnePrefix;
        bool checksSource = source && !IsKnownGood(i.MemorySegment, false);
        bool checksDestination = destination && !IsKnownGood(Register.ES, true);
        if (!checksSource && !checksDestination && !(repeats && oneByOne))
        {
            return op + 1;
        }
        Op real = *op;
        Op* next = op;
        bool compares = i.Mnemonic is Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq
            or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq;
        OpKind kind = i.Op0Kind == OpKind.Register ? i.Op1Kind : i.Op0Kind;
        *next = Empty(in real, &SegmentGuard.String);
        next->AddressMask = kind switch
        {
            OpKind.MemorySegSI or OpKind.MemoryESDI => ushort.MaxValue,
            OpKind.MemorySegESI or OpKind.MemoryESEDI => uint.MaxValue,
            _ => ulong.MaxValue,
        };
        next->Displacement = i.MemorySize.GetSize();
        next->Segment = checksSource ? Slots.Of(i.MemorySegment) : Slots.Zero;
        next->Source = checksDestination ? Slots.Of(Register.ES) : Slots.Zero;
        next->Extra = (byte)((repeats ? SegmentGuard.Repeats : 0) | (oneByOne ? SegmentGuard.OneByOne : 0)
            | (compares ? 0 : SegmentGuard.WritesDestination));
        ulong mask = next->AddressMask;
        next++;
        *next++ = real;
        if (repeats)
        {
            *next = Empty(in real, &SegmentGuard.EndOfString);
            next->AddressMask = mask;
            next->Extra = compares ? i.HasRepnePrefix ? Strings.RepeatWhileNotEqual : Strings.RepeatWhileEqual : Strings.Once;
            next++;
        }
        return next;
    }

    private int GuardOperand(in Instruction i, in Op real, Op* guard)
    {
        int operand = 0;
        while (operand < i.OpCount && i.GetOpKind(operand) is not (OpKind.Memory or OpKind.MemorySegDI or OpKind.MemorySegEDI))
        {
            operand++;
        }
        if (operand == i.OpCount)
        {
            return GuardAccumulator(in i, in real, guard);
        }
        OpAccess access = _info.GetInfo(in i, InstructionInfoOptions.NoMemoryUsage | InstructionInfoOptions.NoRegisterUsage).GetOpAccess(operand);
        bool write = access is OpAccess.Write or OpAccess.ReadWrite or OpAccess.CondWrite or OpAccess.ReadCondWrite;
        // ARPL sees to it itself, when it has something to write.
        write &= i.Mnemonic != Mnemonic.Arpl || i.MemorySegment == Register.CS;
        int size = i.MemorySize.GetSize();
        // Flat segments need no check of elements, but for writes through CS.
        bool byElements = (Vector.Vex.VexBinder.TouchesElements(in i) || InstructionSet.IsPassedOn(i.Code)) && !(write && i.MemorySegment == Register.CS);
        if (access is OpAccess.None or OpAccess.NoMemAccess || size == 0 || byElements || IsKnownGood(i.MemorySegment, write))
        {
            return 0;
        }
        *guard = real;
        guard->Handler = &SegmentGuard.Operand;
        guard->Segment = Slots.Of(i.MemorySegment);
        guard->Immediate = (ulong)size;
        guard->Extra = write ? SegmentGuard.Writes : (byte)0;
        if (i.Mnemonic == Mnemonic.Xlatb)
        {
            guard->Handler = &SegmentGuard.Table;
        }
        else if (i.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && i.Op1Kind == OpKind.Register)
        {
            guard->Handler = &SegmentGuard.BitString;
        }
        else if (i.Mnemonic == Mnemonic.Pop && i.MemoryBase is Register.SP or Register.ESP)
        {
            // The address is computed after the pointer moves.
            guard->Displacement += size;
        }
        return 1;
    }

    /// <summary>MONITOR and CLZERO: a byte, or a line, at rAX.</summary>
    private int GuardAccumulator(in Instruction i, in Op real, Op* guard)
    {
        bool write = i.Mnemonic == Mnemonic.Clzero;
        if ((!write && i.Mnemonic != Mnemonic.Monitor) || IsKnownGood(i.AccumulatorSegment(), write))
        {
            return 0;
        }
        *guard = real;
        guard->Handler = &SegmentGuard.Operand;
        guard->Segment = Slots.Of(i.AccumulatorSegment());
        guard->Immediate = 1;
        guard->Extra = write ? SegmentGuard.Writes : (byte)0;
        return 1;
    }

    private int GuardStack(in Instruction i, in Op real, Op* guard)
    {
        if (IsKnownGood(Register.SS, true))
        {
            return 0;
        }
        int moved = i.StackPointerIncrement;
        int size = Math.Abs(moved);
        int count = 1;
        bool push = moved < 0;
        ushort at = Slots.Rsp;
        switch (i.Mnemonic)
        {
            case Mnemonic.Push or Mnemonic.Pop or Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Popf or Mnemonic.Popfd:
                break;
            case Mnemonic.Call when i.Op0Kind is not (OpKind.FarBranch16 or OpKind.FarBranch32) && !i.IsCallFarIndirect:
                break;
            case Mnemonic.Ret:
                size = i.Code is Code.Retnw or Code.Retnw_imm16 ? 2 : 4;
                push = false;
                break;
            case Mnemonic.Pusha or Mnemonic.Pushad or Mnemonic.Popa or Mnemonic.Popad:
                count = 8;
                size /= 8;
                break;
            case Mnemonic.Leave:
                size = i.Code == Code.Leavew ? 2 : 4;
                push = false;
                at = Slots.Rbp;
                break;
            case Mnemonic.Enter:
                size = i.Code == Code.Enterw_imm16_imm8 ? 2 : 4;
                push = true;
                count = 1 + (i.Immediate8_2nd & 31);
                break;
            default:
                return 0;
        }
        *guard = Empty(in real, push ? &SegmentGuard.Push : &SegmentGuard.Pop);
        guard->Base = at;
        guard->Displacement = size;
        guard->Immediate = (ulong)count;
        if (i.Mnemonic != Mnemonic.Enter || count <= 2)
        {
            return 1;
        }
        guard[1] = guard[0];
        guard[1].Handler = &SegmentGuard.Display;
        guard[1].Immediate = (ulong)(count - 2);
        return 2;
    }
}
