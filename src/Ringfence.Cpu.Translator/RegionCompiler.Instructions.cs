using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Instructions that compute and move.</summary>
internal sealed unsafe partial class RegionCompiler
{
    private void General(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        if (i.Kind == NativeKind.Vector)
        {
            EnsureVectors(i);
        }
        if (IsTurned(i))
        {
            Turn(i);
            return;
        }
        int memory = MemoryIndex(i);
        HostOperand inMemory = memory >= 0 ? MemoryOperand(i, d.MemorySize.GetSize(), WritesOperand(i)) : HostOperand.None;
        NeedOldFlags(i);
        Span<int> registers = stackalloc int[8];
        Span<(int Guest, int Host)> spilled = stackalloc (int, int)[2];
        int used = 0;
        for (int operand = 0; operand < i.Form.Fields.Length; operand++)
        {
            registers[operand] = -1;
            if (d.GetOpKind(operand) != OpKind.Register || i.Form.Fields[operand] == Field.None)
            {
                continue;
            }
            Register register = d.GetOpRegister(operand);
            if (!register.IsGPR())
            {
                registers[operand] = register.GetNumber();
                continue;
            }
            if (register is >= Register.AH and <= Register.BH)
            {
                registers[operand] = 4 + (register - Register.AH);
                continue;
            }
            int guest = Number(register);
            int host = HostOf(guest);
            if (host < 0 && i.Form.Fields[operand] == Field.Rm && MayBeMemory(i, operand, register))
            {
                inMemory = new HostOperand(Host.State, StateOffsets.Gpr(guest) - Host.StateBias);
                continue;
            }
            if (host < 0)
            {
                int known = used > 0 && spilled[0].Guest == guest ? 0 : used > 1 && spilled[1].Guest == guest ? 1 : -1;
                if (known < 0)
                {
                    known = used++;
                    spilled[known] = (guest, memory >= 0 || known == 0 ? Host.Scratch : Host.Address);
                    if (spilled[known].Host == Host.Address)
                    {
                        _held = default;
                    }
                }
                host = spilled[known].Host;
                if (operand != 0 || !IsReplaced(i, register))
                {
                    _e.Load(host, StateOffsets.Gpr(guest));
                }
            }
            registers[operand] = host;
        }
        _recoder.Write(_page + i.Offset, _is64, in d, i.Form, registers, inMemory);
        NoteField(i.Immediate);
        for (int operand = 0; operand < i.Form.Fields.Length; operand++)
        {
            if (registers[operand] is Host.Scratch or Host.Address && d.GetOpRegister(operand).IsGPR() && IsWritten(i, operand))
            {
                _e.Store(StateOffsets.Gpr(Number(d.GetOpRegister(operand))), registers[operand]);
            }
        }
        if (i.Writes != RflagsBits.None)
        {
            _flags = FlagHome.Host;
        }
    }

    /// <summary>An operation of two registers of which the second, in ModRM.reg, lives in the state and the first does not: the other encoding, with the
    /// operands exchanged, has the state's as its memory operand.</summary>
    private static bool IsTurned(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        return i.Kind == NativeKind.General && i.Form.Fields is [Field.Rm, Field.Reg] && d.Op0Kind == OpKind.Register && d.Op0Register.GetSize() >= 4
            && i.Form.Mnemonic is Mnemonic.Mov or Mnemonic.Add or Mnemonic.Adc or Mnemonic.And or Mnemonic.Or or Mnemonic.Sub or Mnemonic.Sbb
                or Mnemonic.Xor or Mnemonic.Cmp
            && HostOf(Number(d.Op0Register)) >= 0 && HostOf(Number(d.Op1Register)) < 0;
    }

    private void Turn(GuestInstruction i)
    {
        const int Direction = 2;
        ref Instruction d = ref i.Decoded;
        NeedOldFlags(i);
        int opcode = (int)i.Form.Opcode | Direction;
        _e.Memory(d.Op0Register.GetSize() == 8, opcode, HostOf(Number(d.Op0Register)), Host.State, StateOffsets.Gpr(Number(d.Op1Register)) - Host.StateBias);
        if (i.Writes != RflagsBits.None)
        {
            _flags = FlagHome.Host;
        }
    }

    /// <summary>How many host registers besides its own an instruction needs for its operands.</summary>
    public static int ScratchNeeded(GuestInstruction i)
    {
        if (IsTurned(i))
        {
            return 0;
        }
        ref Instruction d = ref i.Decoded;
        int needed = 0;
        int last = -1;
        for (int operand = 0; operand < i.Form.Fields.Length; operand++)
        {
            if (d.GetOpKind(operand) == OpKind.Register && i.Form.Fields[operand] != Field.None && d.GetOpRegister(operand).IsGPR())
            {
                int guest = Number(d.GetOpRegister(operand));
                bool inMemory = i.Form.Fields[operand] == Field.Rm && MayBeMemory(i, operand, d.GetOpRegister(operand));
                if (HostOf(guest) < 0 && !inMemory && guest != last)
                {
                    needed++;
                    last = guest;
                }
            }
        }
        return needed;
    }

    /// <summary>The index of the operand that is memory, or -1.</summary>
    public static int MemoryIndex(GuestInstruction i)
    {
        for (int operand = 0; operand < i.Form.Fields.Length; operand++)
        {
            if (i.Decoded.GetOpKind(operand) == OpKind.Memory)
            {
                return operand;
            }
        }
        return -1;
    }

    /// <summary>Whether a register that lives in the state may take the place of a memory operand: not if the instruction means something else
    /// with memory there, or clears the upper half of a register.</summary>
    private static bool MayBeMemory(GuestInstruction i, int operand, Register register) => i.Form.Mnemonic switch
    {
        Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc or Mnemonic.Xchg or Mnemonic.Xadd or Mnemonic.Cmpxchg => false,
        _ when i.Form.OnlyInRegister => false,
        _ when operand != 0 => true,
        _ => i.Kind == NativeKind.General && (register.GetSize() != 4 || OnlyReads(i.Form.Mnemonic)),
    };

    /// <summary>Whether it writes its memory operand.</summary>
    public static bool WritesOperand(GuestInstruction i) => MemoryIndex(i) == 0 && !OnlyReads(i.Form.Mnemonic)
        && i.Kind is NativeKind.General or NativeKind.Vector or NativeKind.Mmx;

    /// <summary>Instructions whose first operand is not written.</summary>
    private static bool OnlyReads(Mnemonic mnemonic) => mnemonic is Mnemonic.Cmp or Mnemonic.Test or Mnemonic.Bt or Mnemonic.Mul or Mnemonic.Imul
        or Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Ucomiss or Mnemonic.Ucomisd or Mnemonic.Comiss or Mnemonic.Comisd;

    private static bool IsWritten(GuestInstruction i, int operand) => operand == 0
        ? !OnlyReads(i.Form.Mnemonic) || (i.Form.Mnemonic == Mnemonic.Imul && i.Form.Fields.Length > 1)
        : operand == 1 && i.Form.Mnemonic is Mnemonic.Xchg or Mnemonic.Xadd or Mnemonic.Mulx;

    /// <summary>The first operand's old value does not matter.</summary>
    private static bool IsReplaced(GuestInstruction i, Register register) => register.GetSize() >= 4
        && i.Form.Mnemonic is Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd;

    /// <summary>The guest's vector registers are loaded when a block first uses one, and stay until translated code is left.</summary>
    private void EnsureVectors(GuestInstruction i)
    {
        int wanted = i.NeedsAvx512 ? Routines.AllLoaded : Routines.LegacyLoaded;
        if (_vectors < wanted)
        {
            _vectors = wanted;
            EnsureLoaded(i, StateOffsets.VectorsLoaded, wanted, i.NeedsAvx512 ? _routines.LoadAvx512 : _routines.LoadVectors);
        }
    }

    /// <param name="least">What the flag is when the registers are there, at least.</param>
    private void EnsureLoaded(GuestInstruction i, int flag, int least, int routine)
    {
        ClobberFlags(i.LiveBefore);
        Label load = new();
        Label back = new();
        Label leave = LeaveLabel();
        _e.CompareStateByte(flag, least);
        _e.Jump(Condition.Below, load);
        _e.Bind(back);
        _cold.Add(() =>
        {
            _e.Bind(load);
            _e.Transfer(0xE8, routine);
            _e.Jump(back);
            _e.Jump(leave);
        });
    }

    private void LoadAddress(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        int guest = Number(d.Op0Register);
        int host = HostOf(guest);
        EffectiveAddress(in d, host < 0 ? Host.Scratch : host, d.Op0Register.GetSize() == 8 && AddressIs64(in d));
        if (host < 0)
        {
            _e.Store(StateOffsets.Gpr(guest), Host.Scratch);
        }
    }

    /// <summary>MOV between AL, AX, EAX or RAX and an absolute address.</summary>
    private void AbsoluteMove(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        bool store = d.Op0Kind == OpKind.Memory;
        int bytes = d.MemorySize.GetSize();
        ClobberFlags(i.LiveBefore);
        _e.MoveImmediate(Host.Address, (long)(_is64 ? d.MemoryDisplacement64 : (uint)d.MemoryDisplacement64));
        if (d.MemorySegment is Register.FS or Register.GS)
        {
            _e.WithState(0x03, Host.Address, d.MemorySegment == Register.FS ? StateOffsets.FsBase : StateOffsets.GsBase);
        }
        Probe(bytes, store);
        if (bytes == 2)
        {
            _e.Byte(0x66);
        }
        _e.Memory(bytes == 8, (store ? 0x88 : 0x8A) | (bytes == 1 ? 0 : 1), Host.Rax, Host.Address, 0);
    }

    /// <summary>DIV and IDIV of 32 and 64 bits. What may raise #DE leaves; of IDIV all that is not a quotient of one word.</summary>
    private void Divide(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        ClobberFlags(i.LiveBefore);
        bool signed = i.Form.Mnemonic == Mnemonic.Idiv;
        bool memory = d.Op0Kind == OpKind.Memory;
        int size = memory ? d.MemorySize.GetSize() : d.Op0Register.GetSize();
        bool wide = size == 8;
        int operand = Host.Address;
        int displacement = 0;
        if (memory)
        {
            displacement = MemoryOperand(i, size, false).Displacement;
        }
        else
        {
            operand = Fetch(Number(d.Op0Register), Host.Address);
        }
        if (!signed)
        {
            Operate(0x3B, Host.Rdx);
            _e.Jump(Condition.AboveOrEqual, LeaveLabel());
        }
        else
        {
            _e.Register(wide, 0x8B, Host.Scratch, Host.Rax);
            _e.Shift(wide, 7, Host.Scratch, (size * 8) - 1);
            _e.Register(wide, 0x3B, Host.Scratch, Host.Rdx);
            _e.Jump(Condition.NotEqual, LeaveLabel());
            Operate(0x8B, Host.Scratch);
            _e.Immediate(wide, 0, Host.Scratch, 1);
            _e.Immediate(wide, 7, Host.Scratch, 1);
            _e.Jump(Condition.BelowOrEqual, LeaveLabel());
        }
        Operate(0xF7, signed ? 7 : 6);
        _flags = FlagHome.Host;

        void Operate(int opcode, int reg)
        {
            if (memory)
            {
                _e.Memory(wide, opcode, reg, operand, displacement);
            }
            else
            {
                _e.Register(wide, opcode, reg, operand);
            }
        }
    }

    private void Push(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        if (d.Op0Kind == OpKind.Memory)
        {
            int from = MemoryOperand(i, WordBytes, false).Displacement;
            _e.Memory(_is64, 0x8B, Host.Scratch, Host.Address, from);
            _e.Store(StateOffsets.Spill, Host.Scratch);
        }
        int displacement = StackOperand(i, Host.GuestRsp, -WordBytes, true);
        if (d.Op0Kind == OpKind.Memory)
        {
            _e.Load(Host.Scratch, StateOffsets.Spill);
            StorePushed(Host.Scratch, displacement);
        }
        else if (d.Op0Kind == OpKind.Register)
        {
            StorePushed(Fetch(Number(d.Op0Register), Host.Scratch), displacement);
        }
        else
        {
            _e.Memory(_is64, 0xC7, 0, Host.Address, displacement);
            _e.Int32((int)d.GetImmediate(0));
            NoteField(i.Immediate);
        }
        MoveStack(-WordBytes);
    }

    private void StorePushed(int register, int displacement) => _e.Memory(_is64, 0x89, register, Host.Address, displacement);

    private void MoveStack(int bytes) => _e.LoadAddress(_is64, Host.GuestRsp, Host.GuestRsp, bytes);

    private void Pop(GuestInstruction i)
    {
        int displacement = StackOperand(i, Host.GuestRsp, 0, false);
        MoveStack(WordBytes);
        int guest = Number(i.Decoded.Op0Register);
        int host = HostOf(guest);
        _e.Memory(_is64, 0x8B, host < 0 ? Host.Scratch : host, Host.Address, displacement);
        if (host < 0)
        {
            _e.Store(StateOffsets.Gpr(guest), Host.Scratch);
        }
    }

    private void LeaveFrame(GuestInstruction i)
    {
        int displacement = StackOperand(i, Host.Rbp, 0, false);
        _e.LoadAddress(_is64, Host.GuestRsp, Host.Rbp, WordBytes);
        _e.Memory(_is64, 0x8B, Host.Rbp, Host.Address, displacement);
    }
}
