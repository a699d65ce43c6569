using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Where code goes on. A jump within the page is direct, once its target is translated; each other looks for the target among those found
/// before. Whatever may close a loop looks whether the outer loop is wanted.</summary>
internal sealed unsafe partial class RegionCompiler
{
    private void Conditional(GuestInstruction i, RegionBlock? next)
    {
        NeedFlags();
        int condition = ConditionOf(i);
        int taken = _block.Taken!.Value;
        FlagHome before = _flags;
        if (_region.ByOffset.TryGetValue(taken, out RegionBlock? target) && (taken > i.Offset || target.IsLoop))
        {
            if (target == _block && _block.Run != null)
            {
                _e.Jump(condition, RunOf(_block).Start);
            }
            else if (_flags == FlagHome.Both || target.LiveIn == RflagsBits.None)
            {
                _e.Jump(condition, target.Entry);
            }
            else
            {
                Rarely(condition, taken);
            }
        }
        else if (target != null)
        {
            Label over = new();
            _e.Jump(condition ^ 1, over);
            GoTo(taken, i.LiveAfter, i.Offset);
            _e.Bind(over);
        }
        else
        {
            Rarely(condition, taken);
        }
        _flags = before;
        FallTo(_block.Following!.Value, i.LiveAfter, next);
    }

    private static int ConditionOf(GuestInstruction i) => (int)(i.Decoded.ConditionCode - ConditionCode.o);

    /// <summary>A conditional jump by way of code elsewhere.</summary>
    private void Rarely(int condition, int offset)
    {
        Label aside = new();
        FlagHome flags = _flags;
        GuestInstruction instruction = _instruction;
        _e.Jump(condition, aside);
        _cold.Add(() =>
        {
            _e.Bind(aside);
            _flags = flags;
            GoTo(offset, instruction.LiveAfter, instruction.Offset);
        });
    }

    private void Jump(GuestInstruction i, RegionBlock? next)
    {
        ref Instruction d = ref i.Decoded;
        if (_block.Taken is { } taken)
        {
            if (taken > i.Offset && next?.Offset == taken)
            {
                FallTo(taken, i.LiveAfter, next);
                return;
            }
            GoTo(taken, i.LiveAfter, i.Offset);
            return;
        }
        ClobberFlags(i.LiveBefore);
        Target(i);
        Dispatch(0);
    }

    private void Call(GuestInstruction i)
    {
        ClobberFlags(i.LiveBefore);
        bool direct = _block.Taken != null;
        if (!direct)
        {
            Target(i);
            if (_is64)
            {
                // The target is looked at before anything is pushed. With five levels of paging more are canonical: the op knows.
                _e.Move(Host.Scratch, Host.Address);
                RefuseNonCanonical(LeaveLabel());
            }
            _e.Store(StateOffsets.Spill, Host.Address);
        }
        int displacement = StackOperand(i, Host.GuestRsp, -WordBytes, true);
        _e.Load(Host.Scratch, StateOffsets.CodePage);
        _e.LoadAddress(_is64, Host.Scratch, Host.Scratch, i.Next);
        StorePushed(Host.Scratch, displacement);
        MoveStack(-WordBytes);
        CallOnHost(i);
        if (direct)
        {
            GoTo(_block.Taken!.Value, i.LiveAfter, i.Offset);
            return;
        }
        _e.Load(Host.Address, StateOffsets.Spill);
        Dispatch(null);
    }

    /// <summary>
    /// Calls the code that follows on the host too, so that a return finds its way, and the host's processor foresees it. Beside the return address lies the
    /// guest's, which is in <see cref="Host.Scratch"/>: what returns compares it.
    /// </summary>
    private void CallOnHost(GuestInstruction i)
    {
        if (_region.Alone || i.Next >= Region.PageBytes)
        {
            // What returns to another page knows nothing of this one.
            return;
        }
        Label deep = new();
        Label back = new();
        Label callee = new();
        _e.WithState(0x3B, Host.Rsp, StateOffsets.StackLimit);
        _e.Jump(Condition.Below, deep);
        _e.Bind(back);
        _e.Push(Host.Scratch);
        _e.Call(callee);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, 8);
        FlagHome flags = _flags;
        _flags = FlagHome.Memory;
        GoTo(i.Next, Region.AllFlags, -1);
        _flags = flags;
        _e.Bind(callee);
        _cold.Add(() =>
        {
            _e.Bind(deep);
            _e.Transfer(0xE8, _routines.ForgetCalls);
            _e.Jump(back);
        });
    }

    private void Return(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        ClobberFlags(i.LiveBefore);
        int popped = WordBytes + (d.OpCount > 0 ? d.Immediate16 : 0);
        int displacement = StackOperand(i, Host.GuestRsp, 0, false);
        (RegionBlock block, Label? leave) = (_block, _leave);
        _e.Memory(_is64, 0x8B, Host.Address, Host.Address, displacement);
        MoveStack(popped);
        if (_region.Alone)
        {
            Dispatch(popped);
            return;
        }
        Label miss = new();
        _e.StateImmediate(false, 7, StateOffsets.Attention, 0);
        _e.Jump(Condition.NotEqual, miss);
        _e.Memory(true, 0x3B, Host.Address, Host.Rsp, 8);
        _e.Jump(Condition.NotEqual, miss);
        _e.Immediate(true, 4, Host.Address, -Region.PageBytes);
        _e.Store(StateOffsets.CodePage, Host.Address);
        _e.Byte(0xC3);
        _cold.Add(() =>
        {
            _e.Bind(miss);
            _e.Transfer(0xE8, _routines.ForgetCall);
            (_block, _instruction, _leave, _pointers) = (block, i, leave, default);
            Dispatch(popped);
        });
    }

    /// <summary>Brings the target of an indirect transfer into <see cref="Host.Address"/>.</summary>
    private void Target(GuestInstruction i)
    {
        if (i.Decoded.Op0Kind == OpKind.Memory)
        {
            int displacement = MemoryOperand(i, WordBytes, false).Displacement;
            _e.Memory(_is64, 0x8B, Host.Address, Host.Address, displacement);
            _held = default;
            return;
        }
        _held = default;
        int register = Fetch(Number(i.Decoded.Op0Register), Host.Address);
        if (register != Host.Address)
        {
            _e.Register(_is64, 0x8B, Host.Address, register);
        }
    }

    /// <summary>Goes on with the instruction after this one.</summary>
    private void FallTo(int offset, RflagsBits live, RegionBlock? next)
    {
        if (next?.Offset != offset)
        {
            GoTo(offset, live, -1);
            return;
        }
        if (next.Predecessors == 1)
        {
            _carries = true;
            return;
        }
        SyncFlags(next.LiveIn);
    }

    /// <summary>Goes to a place in this page or another, a known distance away.</summary>
    /// <param name="from">Where the jump is: one that goes back may close a loop.</param>
    private void GoTo(int offset, RflagsBits live, int from)
    {
        if (offset is < 0 or >= Region.PageBytes)
        {
            ClobberFlags(live);
            _e.Load(Host.Address, StateOffsets.CodePage);
            _e.LoadAddress(_is64, Host.Address, Host.Address, offset);
            Dispatch(null);
            return;
        }
        if (_region.Alone)
        {
            SyncFlags(live);
            EmitExit(offset);
            return;
        }
        bool known = _region.ByOffset.TryGetValue(offset, out RegionBlock? target);
        SyncFlags(known ? target!.LiveIn : live & _region.LiveAt(offset));
        if (offset <= from && target is not { IsLoop: true })
        {
            Attend(offset);
            _flags = FlagHome.Memory;
        }
        if (known)
        {
            _e.Jump(target!.Entry);
            return;
        }
        // Until the target is translated this jump goes nowhere: to what comes after it.
        _e.Byte(0xE9);
        _e.Int32(0);
        EmitExit(new RegionExit { Kind = ExitKind.Edge }, offset, 0);
    }

    /// <summary>Leaves, to go on at a place in this page, if the outer loop is wanted. The flags are in the state.</summary>
    private void Attend(int offset)
    {
        Label attend = new();
        _e.StateImmediate(false, 7, StateOffsets.Attention, 0);
        _e.Jump(Condition.NotEqual, attend);
        _cold.Add(() =>
        {
            _e.Bind(attend);
            EmitExit(offset);
        });
    }

    /// <summary>Goes to the linear address in <see cref="Host.Address"/>. The flags are in the state.</summary>
    /// <param name="popped">What RSP is to be moved back by if the address turns out not to be canonical; null if it is.</param>
    private void Dispatch(int? popped)
    {
        Label miss = new();
        if (_region.Alone)
        {
            // What follows is not reached.
            _e.Jump(miss);
        }
        _e.StateImmediate(false, 7, StateOffsets.Attention, 0);
        _e.Jump(Condition.NotEqual, miss);
        _e.Move32(Host.Scratch, Host.Address);
        _e.Shift(false, 5, Host.Scratch, 13);
        _e.Register(false, 0x33, Host.Scratch, Host.Address);
        _e.Immediate(false, 4, Host.Scratch, JumpTable.Entries - 1);
        _e.Shift(false, 4, Host.Scratch, JumpTable.EntryShift);
        int table = JumpTable.Offset - Host.StateBias;
        _e.Memory(true, 0x3B, Host.Address, Host.State, Host.Scratch, 0, table + JumpTableOffsets.Linear);
        _e.Jump(Condition.NotEqual, miss);
        _e.Memory(false, 0x81, 7, Host.State, Host.Scratch, 0, table + JumpTableOffsets.Mode);
        _e.Int32((int)_mode);
        _e.Jump(Condition.NotEqual, miss);
        _e.Immediate(true, 4, Host.Address, -Region.PageBytes);
        _e.Store(StateOffsets.CodePage, Host.Address);
        _e.Memory(false, 0xFF, 4, Host.State, Host.Scratch, 0, table + JumpTableOffsets.HostCode);
        Label? leave = popped != null && _is64 ? LeaveLabel() : null;
        _cold.Add(() =>
        {
            _e.Bind(miss);
            if (leave != null)
            {
                Label wrong = new();
                _e.Move(Host.Scratch, Host.Address);
                RefuseNonCanonical(wrong);
                _e.Transfer(0xE9, _routines.Dispatch);
                _e.Bind(wrong);
                MoveStack(-popped!.Value);
                _e.Jump(leave);
                return;
            }
            _e.Transfer(0xE9, _routines.Dispatch);
        });
    }

    /// <summary>The address is in <see cref="Host.Scratch"/>, which is lost.</summary>
    private void RefuseNonCanonical(Label refused)
    {
        _e.Shift(true, 7, Host.Scratch, 47);
        _e.Immediate(true, 0, Host.Scratch, 1);
        _e.Immediate(true, 7, Host.Scratch, 1);
        _e.Jump(Condition.Above, refused);
    }
}

/// <summary>Where indirect jumps led: a direct-mapped table behind the processor's state.</summary>
internal static class JumpTable
{
    public const int Entries = 4096;
    public const int EntryShift = 5;

    public static int Offset { get; } = (int)Processor.StateBytes;

    public const int Bytes = Entries << EntryShift;

    public static int Index(ulong linear) => (int)(((uint)linear ^ ((uint)linear >> 13)) & (Entries - 1));
}
