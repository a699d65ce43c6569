using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>What single instructions do to flags and memory.</summary>
internal static class FlagScan
{
    /// <summary>Flags that an instruction leaves otherwise in any case.</summary>
    public static RflagsBits Kills(in Instruction d) => Region.MayKeepFlags(in d) ? RflagsBits.None : d.RflagsModified;

    /// <summary>Flags that may be anything after it. Of a rotation through CF by a whole turn OF is among them.</summary>
    public static RflagsBits Undefined(in Instruction d) =>
        d.RflagsUndefined | (d.Mnemonic is Mnemonic.Rcl or Mnemonic.Rcr && d.Code.ToOpCode().GetOpKind(1) != OpCodeOperandKind.imm8_const_1
            ? RflagsBits.OF : RflagsBits.None);

    /// <summary>Whether C1 may be anything after it: Intel's clears it, AMD's leaves it (FCOMI and its kin).</summary>
    public static bool SpoilsC1(in Instruction d) => d.Mnemonic is Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip;

    /// <summary>Whether it hands the x87 status word on.</summary>
    public static bool ReadsC1(in Instruction d) => d.Mnemonic == Mnemonic.Fnstsw;

    public static bool WritesMemory(in Instruction d)
    {
        foreach (UsedMemory memory in new InstructionInfoFactory().GetInfo(in d).GetUsedMemory())
        {
            if (memory.Access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite)
            {
                return true;
            }
        }
        return false;
    }
}
