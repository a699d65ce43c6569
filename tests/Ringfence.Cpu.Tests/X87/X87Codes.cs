using Iced.Intel;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>The x87 encodings, and which of them are compared with the host's unit.</summary>
internal static class X87Codes
{
    /// <summary>All that <see cref="X87BindingTests"/> and <see cref="X87ExecutionTests"/> run on both.</summary>
    public static IEnumerable<Code> Compared => Encodings().Select(Decode).Where(i => IsCompared(in i)).Select(i => i.Code).Distinct();

    /// <summary>FNSTSW AX shows in no state compared, and those of images have tests of their own.</summary>
    public static bool IsCompared(in Instruction instruction) => !instruction.IsInvalid && !IsOfOldCoprocessor(instruction.Code)
        && instruction.Code != Code.Fnstsw_AX && !MovesAnImage(instruction.Mnemonic);

    /// <summary>Of the 80287XL and 80387SL alone: undefined opcodes on every processor since.</summary>
    public static bool IsOfOldCoprocessor(Code code) => code is Code.Fstdw_AX or Code.Fstsg_AX or Code.Fnstdw_AX or Code.Fnstsg_AX
        or Code.Frstpm or Code.Ftstp or Code.Frint2 or Code.Frichop or Code.Frinear;

    public static Instruction Decode(byte[] bytes)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(bytes));
        decoder.Decode(out Instruction instruction);
        return instruction;
    }

    private static bool MovesAnImage(Mnemonic mnemonic) =>
        mnemonic is Mnemonic.Fldenv or Mnemonic.Fnstenv or Mnemonic.Frstor or Mnemonic.Fnsave;

    private static IEnumerable<byte[]> Encodings()
    {
        for (int escape = 0xD8; escape <= 0xDF; escape++)
        {
            for (int modrm = 0; modrm < 256; modrm++)
            {
                yield return [(byte)escape, (byte)modrm, 0, 0, 0, 0, 0];
            }
        }
    }
}
