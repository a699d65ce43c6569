using System.Collections.Frozen;
using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Which x87 instructions become host code. Not among them: transcendental functions, of which processors differ in the last place, so that a
/// guest's results would depend on what happened to be translated; packed decimals, whose result is undefined for some
/// operands; and what moves the unit's whole state, which is the interpreter's to hold.
/// </summary>
internal static class X87Set
{
    private static readonly FrozenSet<Mnemonic> Computing = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Fld, Mnemonic.Fst, Mnemonic.Fstp, Mnemonic.Fstpnce, Mnemonic.Fild, Mnemonic.Fist, Mnemonic.Fistp, Mnemonic.Fisttp, Mnemonic.Fxch,
        Mnemonic.Fcmovb, Mnemonic.Fcmove, Mnemonic.Fcmovbe, Mnemonic.Fcmovu, Mnemonic.Fcmovnb, Mnemonic.Fcmovne, Mnemonic.Fcmovnbe, Mnemonic.Fcmovnu,
        Mnemonic.Fld1, Mnemonic.Fldl2t, Mnemonic.Fldl2e, Mnemonic.Fldpi, Mnemonic.Fldlg2, Mnemonic.Fldln2, Mnemonic.Fldz,
        Mnemonic.Fadd, Mnemonic.Faddp, Mnemonic.Fiadd, Mnemonic.Fmul, Mnemonic.Fmulp, Mnemonic.Fimul, Mnemonic.Fsub, Mnemonic.Fsubp, Mnemonic.Fisub,
        Mnemonic.Fsubr, Mnemonic.Fsubrp, Mnemonic.Fisubr, Mnemonic.Fdiv, Mnemonic.Fdivp, Mnemonic.Fidiv, Mnemonic.Fdivr, Mnemonic.Fdivrp,
        Mnemonic.Fidivr, Mnemonic.Fabs, Mnemonic.Fchs, Mnemonic.Fsqrt, Mnemonic.Frndint, Mnemonic.Fscale, Mnemonic.Fxtract, Mnemonic.Fprem,
        Mnemonic.Fprem1, Mnemonic.Fcom, Mnemonic.Fcomp, Mnemonic.Fcompp, Mnemonic.Fucom, Mnemonic.Fucomp, Mnemonic.Fucompp, Mnemonic.Ficom,
        Mnemonic.Ficomp, Mnemonic.Fcomi, Mnemonic.Fcomip, Mnemonic.Fucomi, Mnemonic.Fucomip, Mnemonic.Ftst, Mnemonic.Fxam, Mnemonic.Fincstp,
        Mnemonic.Fdecstp, Mnemonic.Ffree, Mnemonic.Ffreep, Mnemonic.Fnop,
    ]);

    /// <summary>These leave opcode and pointers of the last instruction as they are (SDM 1 8.1.8).</summary>
    private static readonly FrozenSet<Mnemonic> Controlling = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Fnstsw, Mnemonic.Fnstcw, Mnemonic.Fldcw, Mnemonic.Fnclex, Mnemonic.Wait,
    ]);

    public static bool Contains(Mnemonic mnemonic) => Computing.Contains(mnemonic) || Controlling.Contains(mnemonic);

    public static bool MovesPointers(Mnemonic mnemonic) => Computing.Contains(mnemonic);

    /// <summary>Its memory operand is written.</summary>
    public static bool Stores(Mnemonic mnemonic) => mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fisttp
        or Mnemonic.Fnstsw or Mnemonic.Fnstcw;
}
