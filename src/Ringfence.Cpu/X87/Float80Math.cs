using System.Numerics;
using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

/// <summary>
/// The arithmetic of the x87 as pure functions. Each takes the control word (masks, PC, RC) and ORs exception flags and C1 ("rounded up")
/// into <c>status</c>, in the places they have in the status word. The result is that of the masked response, except that unmasked
/// overflow and underflow give the biased result (SDM vol. 1, 8.5). Where an unmasked exception of
/// <see cref="X87Status.PreComputation"/> is reported the result and the other flags mean nothing: the caller drops them.
/// A caller that widened a denormal memory operand sets DE beforehand; it is taken back where invalid operands go before it.
/// </summary>
public static partial class Float80Math
{
    public static Float80 Add(Float80 a, Float80 b, uint control, ref uint status) => AddSigned(a, b, 0, control, ref status);

    public static Float80 Subtract(Float80 a, Float80 b, uint control, ref uint status) =>
        AddSigned(a, b, Float80.SignBit, control, ref status);

    public static Float80 Multiply(Float80 a, Float80 b, uint control, ref uint status)
    {
        uint sign = (uint)(a.SignExponent ^ b.SignExponent) & Float80.SignBit;
        int exponentA = a.Exponent, exponentB = b.Exponent;
        ulong significandA = a.Significand, significandB = b.Significand;
        if (!(a.IsNormal && b.IsNormal))
        {
            if (HandleNaN(a, b, ref status, out Float80 special))
            {
                return special;
            }
            if (a.IsInfinity || b.IsInfinity)
            {
                if (a.IsZero || b.IsZero)
                {
                    return Invalid(ref status);
                }
                NoteDenormals(a, b, ref status);
                return Float80.Infinity(sign);
            }
            NoteDenormals(a, b, ref status);
            if (a.IsZero || b.IsZero)
            {
                return Float80.Zero(sign);
            }
            Normalize(ref exponentA, ref significandA);
            Normalize(ref exponentB, ref significandB);
        }
        ulong hi = Math.BigMul(significandA, significandB, out ulong lo);
        int exponent = exponentA + exponentB - (Float80.Bias - 1);
        if ((long)hi >= 0)
        {
            hi = (hi << 1) | (lo >> 63);
            lo <<= 1;
            exponent--;
        }
        return Round(sign, exponent, hi, lo, control, ref status);
    }

    public static Float80 Divide(Float80 a, Float80 b, uint control, ref uint status)
    {
        uint sign = (uint)(a.SignExponent ^ b.SignExponent) & Float80.SignBit;
        int exponentA = a.Exponent, exponentB = b.Exponent;
        ulong significandA = a.Significand, significandB = b.Significand;
        if (!(a.IsNormal && b.IsNormal))
        {
            if (HandleNaN(a, b, ref status, out Float80 special))
            {
                return special;
            }
            if (a.IsInfinity)
            {
                if (b.IsInfinity)
                {
                    return Invalid(ref status);
                }
                NoteDenormals(a, b, ref status);
                return Float80.Infinity(sign);
            }
            if (b.IsZero)
            {
                if (a.IsZero)
                {
                    return Invalid(ref status);
                }
                // The zero divisor goes before a denormal dividend.
                status = (status & ~X87Status.Denormal) | X87Status.ZeroDivide;
                return Float80.Infinity(sign);
            }
            NoteDenormals(a, b, ref status);
            if (a.IsZero || b.IsInfinity)
            {
                return Float80.Zero(sign);
            }
            Normalize(ref exponentA, ref significandA);
            Normalize(ref exponentB, ref significandB);
        }
        int exponent = exponentA - exponentB + Float80.Bias;
        ulong quotient, remainder;
        if (significandA >= significandB)
        {
            quotient = DivideWide(significandA >> 1, significandA << 63, significandB, out remainder);
        }
        else
        {
            quotient = DivideWide(significandA, 0, significandB, out remainder);
            exponent--;
        }
        // The remainder tells only whether it is nothing, less than half, half, or more.
        ulong below = 0;
        if (remainder != 0)
        {
            ulong rest = significandB - remainder;
            below = remainder < rest ? 1 : remainder == rest ? Float80.IntegerBit : Float80.IntegerBit + 1;
        }
        return Round(sign, exponent, quotient, below, control, ref status);
    }

    public static Float80 SquareRoot(Float80 a, uint control, ref uint status)
    {
        int exponent = a.Exponent;
        ulong significand = a.Significand;
        if (!a.IsNormal || a.IsNegative)
        {
            if (HandleNaN(a, ref status, out Float80 special))
            {
                return special;
            }
            if (a.IsZero)
            {
                return a;
            }
            if (a.IsNegative)
            {
                return Invalid(ref status);
            }
            if (a.IsInfinity)
            {
                return a;
            }
            NoteDenormal(a, ref status);
            Normalize(ref exponent, ref significand);
        }
        int power = exponent - Float80.Bias;
        // The radicand has 128 bits and an even scale; its root has 64 with the top one set.
        UInt128 radicand = (UInt128)significand << ((power & 1) != 0 ? 64 : 63);
        ulong root = RootWide(radicand);
        UInt128 rest = radicand - ((UInt128)root * root);
        // root + 1/2 squared is root² + root + 1/4: a rest above root rounds up, and there is no tie.
        ulong below = rest == 0 ? 0 : rest > root ? Float80.IntegerBit + 1 : 1UL;
        return Round(0, (power >> 1) + Float80.Bias, root, below, control, ref status);
    }

    private static Float80 AddSigned(Float80 a, Float80 b, uint negateB, uint control, ref uint status)
    {
        int exponentA = a.Exponent, exponentB = b.Exponent;
        ulong significandA = a.Significand, significandB = b.Significand;
        uint signA = a.Sign, signB = b.Sign ^ negateB;
        if (!(a.IsNormal && b.IsNormal))
        {
            if (HandleNaN(a, b, ref status, out Float80 special))
            {
                return special;
            }
            if (a.IsInfinity || b.IsInfinity)
            {
                if (a.IsInfinity && b.IsInfinity && signA != signB)
                {
                    return Invalid(ref status);
                }
                NoteDenormals(a, b, ref status);
                return Float80.Infinity(a.IsInfinity ? signA : signB);
            }
            NoteDenormals(a, b, ref status);
            if (a.IsZero && b.IsZero)
            {
                return Float80.Zero(signA == signB ? signA : ZeroSign(control));
            }
            // A zero takes part with a significand of zero: what is exact stays exact, and PC still rounds the other operand.
            NormalizeUnlessZero(ref exponentA, ref significandA, exponentB);
            NormalizeUnlessZero(ref exponentB, ref significandB, exponentA);
        }
        ulong hi, lo = 0, otherHi, otherLo = 0;
        int exponent = exponentA;
        uint sign = signA;
        if (exponentA > exponentB || (exponentA == exponentB && significandA >= significandB))
        {
            hi = significandA;
            otherHi = significandB;
            ShiftRightJam(ref otherHi, ref otherLo, exponentA - exponentB);
        }
        else
        {
            hi = significandB;
            otherHi = significandA;
            exponent = exponentB;
            sign = signB;
            ShiftRightJam(ref otherHi, ref otherLo, exponentB - exponentA);
        }
        if (signA == signB)
        {
            lo = otherLo;
            hi += otherHi;
            if (hi < otherHi)
            {
                lo = (hi << 63) | (lo >> 1) | (lo & 1);
                hi = Float80.IntegerBit | (hi >> 1);
                exponent++;
            }
        }
        else
        {
            lo = 0UL - otherLo;
            hi = hi - otherHi - (otherLo != 0 ? 1UL : 0);
            if ((long)hi >= 0)
            {
                if ((hi | lo) == 0)
                {
                    return Float80.Zero(ZeroSign(control));
                }
                if (hi == 0)
                {
                    hi = lo;
                    lo = 0;
                    exponent -= 64;
                }
                int shift = BitOperations.LeadingZeroCount(hi);
                if (shift != 0)
                {
                    hi = (hi << shift) | (lo >> (64 - shift));
                    lo <<= shift;
                    exponent -= shift;
                }
            }
        }
        return Round(sign, exponent, hi, lo, control, ref status);
    }

    private static void NormalizeUnlessZero(ref int exponent, ref ulong significand, int otherExponent)
    {
        if (significand == 0)
        {
            exponent = Math.Min(otherExponent, 1) - 128;
            return;
        }
        Normalize(ref exponent, ref significand);
    }

    /// <summary>An exact difference of zero is +0, or -0 when rounding down.</summary>
    private static uint ZeroSign(uint control) => (control & X87Control.RoundMask) == X87Control.RoundDown ? Float80.SignBit : 0;

    /// <summary>Gives a denormal or pseudo-denormal its true exponent (below 1) and a set integer bit. The significand is not zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Normalize(ref int exponent, ref ulong significand)
    {
        if (exponent == 0)
        {
            int shift = BitOperations.LeadingZeroCount(significand);
            significand <<= shift;
            exponent = 1 - shift;
        }
    }

    private static void NoteDenormal(Float80 a, ref uint status)
    {
        if (a.IsSubnormal)
        {
            status |= X87Status.Denormal;
        }
    }

    private static void NoteDenormals(Float80 a, Float80 b, ref uint status)
    {
        if (a.IsSubnormal || b.IsSubnormal)
        {
            status |= X87Status.Denormal;
        }
    }

    /// <summary>Raises IE, which goes before the denormal-operand exception, and returns the real indefinite.</summary>
    private static Float80 Invalid(ref uint status)
    {
        status = (status & ~X87Status.Denormal) | X87Status.Invalid;
        return Float80.Indefinite;
    }

    private static bool HandleNaN(Float80 a, ref uint status, out Float80 result)
    {
        if (a.IsUnsupported)
        {
            result = Invalid(ref status);
            return true;
        }
        result = a.Quieted;
        if (!a.IsNaN)
        {
            return false;
        }
        status &= ~X87Status.Denormal;
        if (a.IsSignalingNaN)
        {
            status |= X87Status.Invalid;
        }
        return true;
    }

    /// <summary>The rules for NaN operands (SDM vol. 1, table 4-7), after those for unsupported encodings.</summary>
    private static bool HandleNaN(Float80 a, Float80 b, ref uint status, out Float80 result)
    {
        if (a.IsUnsupported || b.IsUnsupported)
        {
            result = Invalid(ref status);
            return true;
        }
        if (!a.IsNaN && !b.IsNaN)
        {
            result = default;
            return false;
        }
        status &= ~X87Status.Denormal;
        bool signalingA = a.IsSignalingNaN, signalingB = b.IsSignalingNaN;
        if (signalingA || signalingB)
        {
            status |= X87Status.Invalid;
        }
        Float80 chosen;
        if (!b.IsNaN)
        {
            chosen = a;
        }
        else if (!a.IsNaN)
        {
            chosen = b;
        }
        else if (signalingA != signalingB)
        {
            chosen = signalingA ? b : a;
        }
        else if (a.Significand != b.Significand)
        {
            chosen = a.Significand > b.Significand ? a : b;
        }
        else
        {
            chosen = a.IsNegative ? b : a;
        }
        result = chosen.Quieted;
        return true;
    }

    /// <summary>hi:lo divided by a normalized divisor greater than <paramref name="hi"/>, by two 32-bit digits.</summary>
    internal static ulong DivideWide(ulong hi, ulong lo, ulong divisor, out ulong remainder)
    {
        ulong divisorHigh = divisor >> 32, divisorLow = (uint)divisor;
        ulong digitHigh = hi / divisorHigh;
        ulong rest = hi - (digitHigh * divisorHigh);
        ulong next = lo >> 32;
        while (digitHigh > uint.MaxValue || digitHigh * divisorLow > ((rest << 32) | next))
        {
            digitHigh--;
            rest += divisorHigh;
            if (rest > uint.MaxValue)
            {
                break;
            }
        }
        ulong middle = unchecked((hi << 32) + next - (digitHigh * divisor));
        ulong digitLow = middle / divisorHigh;
        rest = middle - (digitLow * divisorHigh);
        next = (uint)lo;
        while (digitLow > uint.MaxValue || digitLow * divisorLow > ((rest << 32) | next))
        {
            digitLow--;
            rest += divisorHigh;
            if (rest > uint.MaxValue)
            {
                break;
            }
        }
        remainder = unchecked((middle << 32) + next - (digitLow * divisor));
        return unchecked((digitHigh << 32) + digitLow);
    }

    /// <summary>The square root, rounded down, of a radicand of 2^126 or more.</summary>
    private static ulong RootWide(UInt128 radicand)
    {
        // Fifty-three bits from the host's square root, one Newton step for the others, and an exact last place.
        double estimate = Math.Sqrt((ulong)(radicand >> 64) * 18446744073709551616.0);
        ulong root = estimate >= 18446744073709551615.0 ? ulong.MaxValue : (ulong)estimate;
        Int128 error = (Int128)(radicand - ((UInt128)root * root));
        long step = (long)((double)error / (2.0 * root));
        root = step > 0 && root + (ulong)step < root ? ulong.MaxValue : root + (ulong)step;
        UInt128 square = (UInt128)root * root;
        while (square > radicand)
        {
            root--;
            square = (UInt128)root * root;
        }
        while (root != ulong.MaxValue && radicand - square > (UInt128)root * 2)
        {
            root++;
            square = (UInt128)root * root;
        }
        return root;
    }
}
