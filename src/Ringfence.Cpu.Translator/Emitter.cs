using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>The host's general registers, and what they are for in translated code.</summary>
internal static class Host
{
    public const int Rax = 0;
    public const int Rcx = 1;
    public const int Rdx = 2;
    public const int Rbx = 3;
    /// <summary>Always the host's own stack: signals push their frames there.</summary>
    public const int Rsp = 4;
    public const int Rbp = 5;
    public const int Rsi = 6;
    public const int Rdi = 7;
    /// <summary>The guest's RSP. Its other registers up to R11 are in the host's of the same name; R12 to R15 are in <see cref="CpuState"/>.</summary>
    public const int GuestRsp = 12;
    /// <summary>Free within one instruction.</summary>
    public const int Scratch = 13;
    /// <summary>The host address of a memory operand, or free.</summary>
    public const int Address = 14;
    /// <summary><see cref="CpuState"/>, 128 bytes in, so that its first 256 bytes have short displacements.</summary>
    public const int State = 15;
    public const int StateBias = 128;
}

/// <summary>Condition codes of Jcc, SETcc, CMOVcc (SDM 1 appendix B).</summary>
internal static class Condition
{
    public const int Below = 2;
    public const int AboveOrEqual = 3;
    public const int Equal = 4;
    public const int NotEqual = 5;
    public const int BelowOrEqual = 6;
    public const int Above = 7;
}

/// <summary>A place in code that is jumped to, bound once.</summary>
internal sealed class Label
{
    /// <summary>Offset in the code memory, or -1.</summary>
    public int At { get; set; } = -1;

    /// <summary>Offsets of the 32-bit displacements that wait for it.</summary>
    public List<int> Waiting { get; } = [];
}

/// <summary>Writes machine code: the few instructions that surround a guest's own.</summary>
internal sealed unsafe class Emitter(CodeMemory memory)
{
    /// <summary>Displacements from here on are those of sites.</summary>
    private static readonly int s_firstSite = JumpTable.Offset + JumpTable.Bytes - Host.StateBias;

    private readonly byte* _base = memory.Write;

    /// <summary>Positions of what depends on where the code, its sites and the routines lie: displacements of sites, and those that lead to routines.</summary>
    public List<int> SiteReferences { get; } = [];

    public List<int> RoutineReferences { get; } = [];

    /// <summary>Offset of the next byte in the code memory.</summary>
    public int Position { get; set; }

    public long Address(int position) => (long)memory.Execute + position;

    public void Byte(int value) => _base[Position++] = (byte)value;

    public void Int32(int value)
    {
        *(int*)(_base + Position) = value;
        Position += 4;
    }

    public void Int64(long value)
    {
        *(long*)(_base + Position) = value;
        Position += 8;
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_base + Position, bytes.Length));
        Position += bytes.Length;
    }

    public void Patch32(int position, int value) => *(int*)(_base + position) = value;

    public void Bind(Label label)
    {
        label.At = Position;
        foreach (int waiting in label.Waiting)
        {
            Patch32(waiting, Position - waiting - 4);
        }
    }

    public void Jump(Label label)
    {
        Byte(0xE9);
        Displacement(label);
    }

    public void Call(Label label)
    {
        Byte(0xE8);
        Displacement(label);
    }

    public void Jump(int condition, Label label)
    {
        Byte(0x0F);
        Byte(0x80 | condition);
        Displacement(label);
    }

    /// <summary>A jump or call (0xE9, 0xE8) to a routine.</summary>
    public void Transfer(int opcode, int position)
    {
        Byte(opcode);
        RoutineReferences.Add(Position);
        Int32(position - Position - 4);
    }

    public void JumpIndirect(int register) => Register(false, 0xFF, 4, register);

    public void Move(int to, int from) => Register(true, 0x8B, to, from);

    public void Move32(int to, int from) => Register(false, 0x8B, to, from);

    public void MoveImmediate(int register, long value)
    {
        if (value >= 0 && value <= uint.MaxValue)
        {
            Prefixes(false, 0, 0, register, false);
            Byte(0xB8 | (register & 7));
            Int32((int)value);
            return;
        }
        Prefixes(true, 0, 0, register, false);
        Byte(0xB8 | (register & 7));
        Int64(value);
    }

    /// <summary>Loads 64 bits of the state.</summary>
    public void Load(int register, int offset) => Memory(true, 0x8B, register, Host.State, offset - Host.StateBias);

    public void Load32(int register, int offset) => Memory(false, 0x8B, register, Host.State, offset - Host.StateBias);

    public void Store(int offset, int register) => Memory(true, 0x89, register, Host.State, offset - Host.StateBias);

    /// <summary>An operation between a register and 64 bits of the state.</summary>
    public void WithState(int opcode, int register, int offset) => Memory(true, opcode, register, Host.State, offset - Host.StateBias);

    /// <summary>ADD, OR, AND, SUB, XOR or CMP (0, 1, 4, 5, 6, 7) of an immediate to a register.</summary>
    public void Immediate(bool wide, int operation, int register, int value)
    {
        if (value is >= -128 and <= 127)
        {
            Register(wide, 0x83, operation, register);
            Byte(value);
            return;
        }
        Register(wide, 0x81, operation, register);
        Int32(value);
    }

    /// <summary>The same to memory of the state.</summary>
    public void StateImmediate(bool wide, int operation, int offset, int value)
    {
        bool small = value is >= -128 and <= 127;
        Memory(wide, small ? 0x83 : 0x81, operation, Host.State, offset - Host.StateBias);
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    /// <summary>Stores 32 or 64 bits in the state.</summary>
    public void StoreImmediate(bool wide, int offset, int value)
    {
        Memory(wide, 0xC7, 0, Host.State, offset - Host.StateBias);
        Int32(value);
    }

    /// <summary>Compares a byte of the state with an immediate.</summary>
    public void CompareStateByte(int offset, int value)
    {
        Memory(false, 0x80, 7, Host.State, offset - Host.StateBias);
        Byte(value);
    }

    /// <summary>SHL, SHR or SAR (4, 5, 7) by an immediate.</summary>
    public void Shift(bool wide, int operation, int register, int count)
    {
        Register(wide, 0xC1, operation, register);
        Byte(count);
    }

    public void LoadAddress(bool wide, int register, int @base, int displacement) => Memory(wide, 0x8D, register, @base, displacement);

    /// <summary>Adds without touching flags.</summary>
    public void Add(int to, int from) => Memory(true, 0x8D, to, to, from, 0, 0);

    public void Push(int register)
    {
        Prefixes(false, 0, 0, register, false);
        Byte(0x50 | (register & 7));
    }

    public void Pop(int register)
    {
        Prefixes(false, 0, 0, register, false);
        Byte(0x58 | (register & 7));
    }

    /// <summary>An instruction with two register operands; the opcode may have its 0F in the second byte.</summary>
    public void Register(bool wide, int opcode, int reg, int rm)
    {
        Prefixes(wide, reg, 0, rm, false);
        Opcode(opcode);
        Byte(0xC0 | ((reg & 7) << 3) | (rm & 7));
    }

    /// <summary>An instruction with a register and memory at base + displacement.</summary>
    public void Memory(bool wide, int opcode, int reg, int @base, int displacement)
    {
        Prefixes(wide, reg, 0, @base, false);
        Opcode(opcode);
        Operand(reg, @base, displacement);
    }

    /// <summary>An instruction with a register and memory at base (or none, if negative) + index x 2^scale + displacement.</summary>
    public void Memory(bool wide, int opcode, int reg, int @base, int index, int scale, int displacement)
    {
        Prefixes(wide, reg, index, Math.Max(@base, 0), false);
        Opcode(opcode);
        if (@base < 0)
        {
            Byte(((reg & 7) << 3) | 4);
            Byte((scale << 6) | ((index & 7) << 3) | 5);
            Int32(displacement);
            return;
        }
        Indexed(reg, @base, index, scale, displacement);
    }

    /// <summary>ModRM, SIB if the base needs one, and displacement.</summary>
    public void Operand(int reg, int @base, int displacement)
    {
        bool none = displacement == 0 && (@base & 7) != 5;
        bool small = displacement is >= -128 and <= 127;
        Byte((none ? 0 : small ? 0x40 : 0x80) | ((reg & 7) << 3) | (@base & 7));
        if ((@base & 7) == 4)
        {
            Byte(0x24);
        }
        if (!none)
        {
            if (@base == Host.State && displacement >= s_firstSite)
            {
                SiteReferences.Add(Position);
            }
            Number(small, displacement);
        }
    }

    public void Operand(int reg, HostOperand operand)
    {
        if (operand.Index < 0)
        {
            Operand(reg, operand.Base, operand.Displacement);
            return;
        }
        Indexed(reg, operand.Base, operand.Index, operand.Scale, operand.Displacement);
    }

    public void Prefixes(bool wide, int reg, int index, int rm, bool always)
    {
        int rex = (wide ? 8 : 0) | ((reg >> 1) & 4) | ((index >> 2) & 2) | ((rm >> 3) & 1);
        if (rex != 0 || always)
        {
            Byte(0x40 | rex);
        }
    }

    public void Opcode(int opcode)
    {
        if (opcode > 0xFF)
        {
            Byte(0x0F);
        }
        Byte(opcode & 0xFF);
    }

    private void Indexed(int reg, int @base, int index, int scale, int displacement)
    {
        bool none = displacement == 0 && (@base & 7) != 5;
        bool small = displacement is >= -128 and <= 127;
        Byte((none ? 0 : small ? 0x40 : 0x80) | ((reg & 7) << 3) | 4);
        Byte((scale << 6) | ((index & 7) << 3) | (@base & 7));
        if (!none)
        {
            Number(small, displacement);
        }
    }

    private void Number(bool small, int value)
    {
        if (small)
        {
            Byte(value);
        }
        else
        {
            Int32(value);
        }
    }

    private void Displacement(Label label)
    {
        if (label.At >= 0)
        {
            Int32(label.At - Position - 4);
            return;
        }
        label.Waiting.Add(Position);
        Int32(0);
    }
}
