using System.Collections.Frozen;
using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>What EVEX instructions do with memory that is masked out (SDM 2 2.7, exception classes E1 to E12): as a rule it causes no fault. Whether an
/// instruction is an exception from the rule was moreover asked of a processor, for each.</summary>
internal static class FaultSuppression
{
    /// <summary>Smaller operands need no alignment.</summary>
    public const int LeastAligned = 16;

    /// <summary>The classes whose names end in NF: elements of the result come from several of the operand.</summary>
    private static readonly FrozenSet<Mnemonic> None = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Valignd, Mnemonic.Valignq, Mnemonic.Vcvtne2ps2bf16, Mnemonic.Vdbpsadbw, Mnemonic.Vgf2p8affineinvqb, Mnemonic.Vgf2p8affineqb,
        Mnemonic.Vinsertf32x4, Mnemonic.Vinsertf32x8, Mnemonic.Vinsertf64x2, Mnemonic.Vinsertf64x4, Mnemonic.Vinserti32x4, Mnemonic.Vinserti32x8,
        Mnemonic.Vinserti64x2, Mnemonic.Vinserti64x4, Mnemonic.Vextractf32x4, Mnemonic.Vextractf32x8, Mnemonic.Vextractf64x2, Mnemonic.Vextractf64x4,
        Mnemonic.Vextracti32x4, Mnemonic.Vextracti32x8, Mnemonic.Vextracti64x2, Mnemonic.Vextracti64x4, Mnemonic.Vmovddup, Mnemonic.Vmovshdup,
        Mnemonic.Vmovsldup, Mnemonic.Vpackssdw, Mnemonic.Vpacksswb, Mnemonic.Vpackusdw, Mnemonic.Vpackuswb, Mnemonic.Vpalignr, Mnemonic.Vpconflictd,
        Mnemonic.Vpconflictq, Mnemonic.Vpermb, Mnemonic.Vpermd, Mnemonic.Vpermi2b, Mnemonic.Vpermi2d, Mnemonic.Vpermi2pd, Mnemonic.Vpermi2ps,
        Mnemonic.Vpermi2q, Mnemonic.Vpermi2w, Mnemonic.Vpermilpd, Mnemonic.Vpermilps, Mnemonic.Vpermpd, Mnemonic.Vpermps, Mnemonic.Vpermq,
        Mnemonic.Vpermt2b, Mnemonic.Vpermt2d, Mnemonic.Vpermt2pd, Mnemonic.Vpermt2ps, Mnemonic.Vpermt2q, Mnemonic.Vpermt2w, Mnemonic.Vpermw,
        Mnemonic.Vpmaddubsw, Mnemonic.Vpmaddwd, Mnemonic.Vpmultishiftqb, Mnemonic.Vpshufb, Mnemonic.Vpshufbitqmb, Mnemonic.Vpshufd, Mnemonic.Vpshufhw,
        Mnemonic.Vpshuflw, Mnemonic.Vpunpckhbw, Mnemonic.Vpunpckhdq, Mnemonic.Vpunpckhqdq, Mnemonic.Vpunpckhwd, Mnemonic.Vpunpcklbw, Mnemonic.Vpunpckldq,
        Mnemonic.Vpunpcklqdq, Mnemonic.Vpunpcklwd, Mnemonic.Vshuff32x4, Mnemonic.Vshuff64x2, Mnemonic.Vshufi32x4, Mnemonic.Vshufi64x2, Mnemonic.Vshufpd,
        Mnemonic.Vshufps, Mnemonic.Vunpckhpd, Mnemonic.Vunpckhps, Mnemonic.Vunpcklpd, Mnemonic.Vunpcklps,
    ]);

    private static readonly FrozenSet<Mnemonic> Broadcasts = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Vbroadcastss, Mnemonic.Vbroadcastsd, Mnemonic.Vbroadcastf32x2, Mnemonic.Vbroadcastf32x4, Mnemonic.Vbroadcastf32x8,
        Mnemonic.Vbroadcastf64x2, Mnemonic.Vbroadcastf64x4, Mnemonic.Vbroadcasti32x2, Mnemonic.Vbroadcasti32x4, Mnemonic.Vbroadcasti32x8,
        Mnemonic.Vbroadcasti64x2, Mnemonic.Vbroadcasti64x4, Mnemonic.Vpbroadcastb, Mnemonic.Vpbroadcastw, Mnemonic.Vpbroadcastd, Mnemonic.Vpbroadcastq,
    ]);

    private static readonly FrozenSet<Mnemonic> Packing = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Vcompressps, Mnemonic.Vcompresspd, Mnemonic.Vpcompressb, Mnemonic.Vpcompressw, Mnemonic.Vpcompressd, Mnemonic.Vpcompressq,
        Mnemonic.Vexpandps, Mnemonic.Vexpandpd, Mnemonic.Vpexpandb, Mnemonic.Vpexpandw, Mnemonic.Vpexpandd, Mnemonic.Vpexpandq,
    ]);

    /// <summary>Shifts by a count in memory read all of it whatever the mask; those of memory by an immediate do not.</summary>
    public static bool Of(in Instruction instruction) => !None.Contains(instruction.Mnemonic)
        && !(instruction.Op2Kind == OpKind.Memory && instruction.Mnemonic is Mnemonic.Vpsllw or Mnemonic.Vpslld or Mnemonic.Vpsllq or Mnemonic.Vpsrlw
            or Mnemonic.Vpsrld or Mnemonic.Vpsrlq or Mnemonic.Vpsraw or Mnemonic.Vpsrad or Mnemonic.Vpsraq);

    public static bool IsBroadcast(Mnemonic mnemonic) => Broadcasts.Contains(mnemonic);

    public static bool Packs(Mnemonic mnemonic) => Packing.Contains(mnemonic);

    /// <summary>Classes E1 and E1NF.</summary>
    public static bool MustBeAligned(Mnemonic mnemonic) => mnemonic is Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa32 or Mnemonic.Vmovdqa64
        or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa;
}
