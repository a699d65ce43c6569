using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>What the manuals leave undefined (SDM 2), which processors may differ in.</summary>
internal static unsafe class Expectation
{
    private const ulong Carry = 1;
    private const ulong Adjust = 0x10;
    private const ulong Overflow = 0x800;
    private const ulong All = 0x8D5;

    /// <summary>Flags undefined after <paramref name="i"/> runs from <paramref name="r"/>.</summary>
    public static ulong UndefinedFlags(in Instruction i, Registers* r)
    {
        int count = -1;
        if (i.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr
            or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd)
        {
            int size = Bits(i);
            OpKind last = i.GetOpKind(i.OpCount - 1);
            count = (last == OpKind.Immediate8 ? i.Immediate8 : (byte)r->Gpr[1]) & (size == 64 ? 63 : 31);
            if (count == 0)
            {
                return 0;
            }
            ulong undefined = count == 1 ? 0 : Overflow;
            if (i.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr)
            {
                return undefined;
            }
            if (i.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd)
            {
                return count > size ? All : undefined | Adjust;
            }
            return undefined | Adjust | (count >= size && i.Mnemonic != Mnemonic.Sar ? Carry : 0);
        }
        return ToFlags(i.RflagsUndefined);
    }

    /// <summary>Whether the result itself is undefined.</summary>
    public static bool IsUndefined(in Instruction i, Registers* r)
    {
        if (i.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && Bits(i) == 16)
        {
            OpKind last = i.GetOpKind(i.OpCount - 1);
            return ((last == OpKind.Immediate8 ? i.Immediate8 : (byte)r->Gpr[1]) & 31) > 16;
        }
        // AMD's processors read four bytes, Intel's the two that are moved: that shows at a page's end. Ours reads two.
        return (i.Mnemonic == Mnemonic.Bswap && i.Op0Register.IsGPR16())
            || (i.Code == Code.Movsxd_r16_rm16 && i.Op1Kind == OpKind.Memory);
    }

    public static ulong ToFlags(RflagsBits bits) =>
        ((bits & RflagsBits.CF) != 0 ? Carry : 0) | ((bits & RflagsBits.PF) != 0 ? 4UL : 0) | ((bits & RflagsBits.AF) != 0 ? Adjust : 0)
        | ((bits & RflagsBits.ZF) != 0 ? 0x40UL : 0) | ((bits & RflagsBits.SF) != 0 ? 0x80UL : 0) | ((bits & RflagsBits.OF) != 0 ? Overflow : 0);

    private static int Bits(in Instruction i) =>
        i.Op0Kind == OpKind.Register ? i.Op0Register.GetSize() * 8 : i.MemorySize.GetSize() * 8;
}
