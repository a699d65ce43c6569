using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Writes a guest's instruction again with other registers and another memory operand. The bytes are taken apart just far enough; opcode,
/// operand size and immediates stay as they are.
/// </summary>
internal sealed unsafe partial class Recoder(Emitter emitter)
{
    private readonly Emitter _e = emitter;

    /// <param name="code">The guest's bytes.</param>
    /// <param name="registers">For each operand in a register its host number, else -1.</param>
    /// <param name="operand">What replaces a memory operand, or a register in ModRM.rm.</param>
    /// <returns>False if it cannot be said: AH to BH beside a register that needs REX. Nothing is written then.</returns>
    public bool Write(byte* code, bool is64, in Instruction instruction, CodeForm form, ReadOnlySpan<int> registers, HostOperand operand)
    {
        int reg = -1;
        int rm = -1;
        int vvvv = -1;
        int inOpcode = -1;
        bool high = false;
        bool low = false;
        for (int i = 0; i < form.Fields.Length; i++)
        {
            if (form.Fields[i] == Field.None)
            {
                continue;
            }
            if (instruction.GetOpKind(i) == OpKind.Register)
            {
                Register name = instruction.GetOpRegister(i);
                high |= name is >= Register.AH and <= Register.BH;
                low |= name is >= Register.SPL and <= Register.DIL;
            }
            switch (form.Fields[i])
            {
                case Field.Reg: reg = registers[i]; break;
                case Field.Rm: rm = registers[i]; break;
                case Field.Vvvv: vvvv = registers[i]; break;
                case Field.Opcode: inOpcode = registers[i]; break;
            }
        }
        return form.Encoding switch
        {
            EncodingKind.Legacy => Legacy(code, is64, instruction.Length, form, reg, rm, inOpcode, high, low, operand),
            EncodingKind.VEX when !form.HasModRm => Plain(code, instruction.Length),
            EncodingKind.VEX => Vex(code, is64, instruction.Length, form, reg, rm, vvvv, operand),
            EncodingKind.EVEX => form.HasModRm
                && Evex(code, instruction.Length, !is64 && form.IgnoresWide32, reg, rm, vvvv, operand),
            _ => false,
        };
    }

    private bool Legacy(byte* code, bool is64, int length, CodeForm form, int reg, int rm, int inOpcode, bool high, bool low, HostOperand operand)
    {
        int at = 0;
        int rex = 0;
        int repeat = 0;
        bool size = false;
        bool locked = false;
        for (; ; at++)
        {
            int b = code[at];
            if (b is 0xF2 or 0xF3)
            {
                repeat = b;
            }
            else if (b == 0x66)
            {
                size = true;
            }
            else if (b == 0xF0)
            {
                locked = true;
            }
            else if (is64 && (b & 0xF0) == 0x40)
            {
                rex = b;
                continue;
            }
            else if (b is not (0x67 or 0x2E or 0x36 or 0x3E or 0x26 or 0x64 or 0x65))
            {
                break;
            }
            // REX counts only right before the opcode.
            rex = 0;
        }
        int escape = 0;
        if (code[at] == 0x0F)
        {
            at++;
            escape = 0x0F;
            if (code[at] is 0x38 or 0x3A)
            {
                escape = code[at++];
            }
        }
        int opcode = code[at++];
        if (!is64 && escape == 0 && opcode is >= 0x40 and <= 0x4F)
        {
            // INC and DEC of 32-bit code; in 64-bit code these are prefixes.
            rm = inOpcode;
            inOpcode = -1;
            reg = opcode < 0x48 ? 0 : 1;
            if (size)
            {
                _e.Byte(0x66);
            }
            _e.Register(false, 0xFF, reg, rm);
            return true;
        }
        int modRm = 0;
        if (form.HasModRm)
        {
            modRm = code[at++];
            at = SkipOperand(code, at, modRm);
            reg = reg < 0 ? (modRm >> 3) & 7 : reg;
        }
        bool memory = form.HasModRm && operand.IsMemory;
        int rexBits = (rex & 8) | ((Math.Max(reg, 0) >> 1) & 4) | (memory ? (Math.Max(operand.Index, 0) >> 2) & 2 : 0)
            | ((Math.Max(memory ? operand.Base : inOpcode >= 0 ? inOpcode : rm, 0) >> 3) & 1);
        if (high && rexBits != 0)
        {
            return false;
        }
        if (locked)
        {
            _e.Byte(0xF0);
        }
        if (size)
        {
            _e.Byte(0x66);
        }
        if (repeat != 0)
        {
            _e.Byte(repeat);
        }
        if (rexBits != 0 || low)
        {
            _e.Byte(0x40 | rexBits);
        }
        if (escape != 0)
        {
            _e.Byte(0x0F);
            if (escape != 0x0F)
            {
                _e.Byte(escape);
            }
        }
        else if (opcode == 0x82)
        {
            opcode = 0x80;
        }
        _e.Byte(inOpcode >= 0 ? (opcode & ~7) | (inOpcode & 7) : opcode);
        if (form.HasModRm)
        {
            if (memory)
            {
                _e.Operand(reg & 7, operand);
            }
            else
            {
                _e.Byte(0xC0 | ((reg & 7) << 3) | ((rm >= 0 ? rm : modRm) & 7));
            }
        }
        _e.Bytes(new ReadOnlySpan<byte>(code + at, length - at));
        return true;
    }

    /// <summary>An instruction without operands.</summary>
    private bool Plain(byte* code, int length)
    {
        _e.Bytes(new ReadOnlySpan<byte>(code, length));
        return true;
    }

    private bool Vex(byte* code, bool is64, int length, CodeForm form, int reg, int rm, int vvvv, HostOperand operand)
    {
        int at = 0;
        while (code[at] is not (0xC4 or 0xC5))
        {
            at++;
        }
        int map = 1;
        int last;
        int wide = 0;
        if (code[at] == 0xC5)
        {
            last = code[at + 1] & 0x7F;
            at += 2;
        }
        else
        {
            map = code[at + 1] & 0x1F;
            last = code[at + 2] & 0x7F;
            wide = !is64 && form.IgnoresWide32 ? 0 : code[at + 2] & 0x80;
            at += 3;
        }
        int opcode = code[at++];
        int modRm = code[at++];
        at = SkipOperand(code, at, modRm);
        reg = reg < 0 ? (modRm >> 3) & 7 : reg;
        bool memory = operand.IsMemory;
        int extended = Math.Max(memory ? operand.Base : rm, 0) >> 3;
        int index = memory ? Math.Max(operand.Index, 0) >> 3 : 0;
        if (vvvv >= 0)
        {
            last = (last & 7) | ((~vvvv & 15) << 3);
        }
        _e.Byte(0xC4);
        _e.Byte(((~reg & 8) << 4) | ((~index & 1) << 6) | ((~extended & 1) << 5) | map);
        _e.Byte(wide | last);
        _e.Byte(opcode);
        if (memory)
        {
            _e.Operand(reg & 7, operand);
        }
        else
        {
            _e.Byte(0xC0 | ((reg & 7) << 3) | ((rm >= 0 ? rm : modRm) & 7));
        }
        if (!is64 && form.RegisterInImmediate)
        {
            // There its topmost bit does not count.
            _e.Byte(code[at] & 0x7F);
            return true;
        }
        _e.Bytes(new ReadOnlySpan<byte>(code + at, length - at));
        return true;
    }

    /// <summary>Past SIB and displacement. All code here has 32- or 64-bit addresses.</summary>
    private static int SkipOperand(byte* code, int at, int modRm)
    {
        int mode = modRm >> 6;
        if (mode == 3)
        {
            return at;
        }
        bool absolute = mode == 0 && (modRm & 7) == 5;
        if ((modRm & 7) == 4)
        {
            absolute = mode == 0 && (code[at] & 7) == 5;
            at++;
        }
        return at + (mode == 1 ? 1 : mode == 2 || absolute ? 4 : 0);
    }
}
