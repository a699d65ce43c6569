namespace Ringfence.Cpu.Translator;

/// <summary>EVEX (SDM 2 2.7): four bytes of prefix, with a fifth bit for each register number.</summary>
internal sealed unsafe partial class Recoder
{
    private const int EvexPrefix = 0x62;

    /// <summary>Opmask, zeroing, vector length, broadcast or rounding stay as they are.</summary>
    /// <param name="narrow">W means nothing in the guest's code and would in the host's.</param>
    private bool Evex(byte* code, int length, bool narrow, int reg, int rm, int vvvv, HostOperand operand)
    {
        int at = 0;
        while (code[at] != EvexPrefix)
        {
            at++;
        }
        int map = code[at + 1] & 0x0F;
        int middle = narrow ? code[at + 2] & 0x7F : code[at + 2];
        int last = code[at + 3];
        int opcode = code[at + 4];
        int modRm = code[at + 5];
        at = SkipOperand(code, at + 6, modRm);
        bool memory = operand.IsMemory;
        if (memory && modRm >> 6 == 3 && (last & 0x10) != 0)
        {
            // The bit that says how a register's contents are rounded broadcasts memory's.
            return false;
        }
        reg = reg < 0 ? (modRm >> 3) & 7 : reg;
        int number = memory ? operand.Base : Math.Max(rm, 0);
        int index = Math.Max(operand.Index, 0);
        if (vvvv >= 0)
        {
            middle = (middle & 0x87) | ((~vvvv & 15) << 3);
            last = (last & 0xF7) | ((~vvvv & 16) >> 1);
        }
        _e.Byte(EvexPrefix);
        // R, X, B and R', all inverted: X is a register operand's fifth bit, and otherwise an index's fourth.
        _e.Byte(((~reg & 8) << 4) | (memory ? (~index & 8) << 3 : (~number & 16) << 2) | ((~number & 8) << 2) | (~reg & 16) | map);
        _e.Byte(middle);
        _e.Byte(last);
        _e.Byte(opcode);
        if (memory)
        {
            // No displacement of 8 bits: it would count in units of the operand.
            bool none = operand.Displacement == 0 && (operand.Base & 7) != 5;
            bool indexed = operand.Index >= 0;
            _e.Byte((none ? 0 : 0x80) | ((reg & 7) << 3) | (indexed ? 4 : operand.Base & 7));
            if (indexed || (operand.Base & 7) == 4)
            {
                _e.Byte(indexed ? (operand.Scale << 6) | ((operand.Index & 7) << 3) | (operand.Base & 7) : 0x24);
            }
            if (!none)
            {
                _e.Int32(operand.Displacement);
            }
        }
        else
        {
            _e.Byte(0xC0 | ((reg & 7) << 3) | ((rm >= 0 ? rm : modRm) & 7));
        }
        _e.Bytes(new ReadOnlySpan<byte>(code + at, length - at));
        return true;
    }
}
