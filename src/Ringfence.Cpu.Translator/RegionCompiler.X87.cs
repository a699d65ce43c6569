using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// x87 and MMX instructions, on the host's own unit. It holds the guest's state only while all exceptions are masked, so that none is ever
/// pending there. What it keeps of opcode and pointers is the host's and never read: the guest's are known when the code is
/// written, but for the offset of a memory operand.
/// </summary>
internal sealed unsafe partial class RegionCompiler
{
    private bool _x87;
    /// <summary>What the state's pointers are to become before anyone looks.</summary>
    private X87Pointers _pointers;

    /// <summary>The last instructions of the block that move them: of all, and of those with a memory operand.</summary>
    private readonly record struct X87Pointers(GuestInstruction? Instruction, GuestInstruction? Data);

    private void EnsureX87(GuestInstruction i) => EnsureLoaded(i, ref _x87, StateOffsets.X87Loaded, _routines.LoadX87);

    private void Mmx(GuestInstruction i)
    {
        EnsureX87(i);
        General(i);
    }

    private void X87(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        EnsureX87(i);
        Mnemonic mnemonic = i.Form.Mnemonic;
        if (mnemonic == Mnemonic.Wait)
        {
            // Nothing is pending.
            return;
        }
        bool moves = X87Set.MovesPointers(mnemonic);
        bool memory = MemoryIndex(i) >= 0;
        if (memory)
        {
            MemoryOperand(i, d.MemorySize.GetSize(), X87Set.Stores(mnemonic), kept: moves);
            if (moves)
            {
                _e.Load(Host.Scratch, StateOffsets.Spill);
                _e.Store(StateOffsets.X87DataPointer, Host.Scratch);
            }
        }
        if (mnemonic == Mnemonic.Fldcw)
        {
            LoadControlWord();
            return;
        }
        NeedOldFlags(i);
        int opcode = X87Opcode(i);
        if (memory)
        {
            _e.Memory(false, 0xD8 | (opcode >> 8), (opcode >> 3) & 7, Host.Address, 0);
        }
        else
        {
            _e.Byte(0xD8 | (opcode >> 8));
            _e.Byte(opcode & 0xFF);
        }
        if (i.Writes != RflagsBits.None)
        {
            _flags = FlagHome.Host;
        }
        if (moves)
        {
            _pointers = new X87Pointers(i, memory ? i : _pointers.Data);
        }
    }

    /// <summary>FLDCW of what <see cref="Host.Address"/> points to. It is read once, since others may write to it.</summary>
    private void LoadControlWord()
    {
        _e.Memory(false, 0x1B7, Host.Scratch, Host.Address, 0);
        _e.Store(StateOffsets.Spill, Host.Scratch);
        _e.Immediate(false, 4, Host.Scratch, (int)X87Status.Exceptions);
        _e.Immediate(false, 7, Host.Scratch, (int)X87Status.Exceptions);
        _e.Jump(Condition.NotEqual, LeaveLabel());
        _e.Memory(false, 0xD9, 5, Host.State, StateOffsets.Spill - Host.StateBias);
    }

    /// <summary>Brings the state's opcode and pointers up to date. <see cref="Host.Scratch"/> is lost, no flag.</summary>
    private void KeepPointers()
    {
        Write(_pointers);
        _pointers = default;
    }

    private void Write(X87Pointers pointers)
    {
        if (pointers.Instruction is not { } last)
        {
            return;
        }
        _e.Load(Host.Scratch, StateOffsets.CodePage);
        _e.LoadAddress(true, Host.Scratch, Host.Scratch, last.Offset);
        _e.Store(StateOffsets.X87InstructionPointer, Host.Scratch);
        CopyWord(Slots.SelectorOf(Register.CS), StateOffsets.X87InstructionSelector);
        int opcode = X87Opcode(last);
        _e.Byte(0x66);
        _e.Memory(false, 0xC7, 0, Host.State, StateOffsets.X87Opcode - Host.StateBias);
        _e.Byte(opcode);
        _e.Byte(opcode >> 8);
        if (pointers.Data is { } data)
        {
            CopyWord(Slots.SelectorOf(data.Decoded.MemorySegment), StateOffsets.X87DataSelector);
        }
    }

    private void CopyWord(int from, int to)
    {
        _e.Load32(Host.Scratch, from);
        _e.Byte(0x66);
        _e.Memory(false, 0x89, Host.Scratch, Host.State, to - Host.StateBias);
    }

    private int X87Opcode(GuestInstruction i) => X87Binder.OpcodeOf(new ReadOnlySpan<byte>(_page + i.Offset, i.Decoded.Length));
}
