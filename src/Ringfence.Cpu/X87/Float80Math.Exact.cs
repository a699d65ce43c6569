using System.Numerics;

namespace Ringfence.Cpu.X87;

public static partial class Float80Math
{
    /// <summary>Compares and answers with C3, C2 and C0: none if a &gt; b, C0 if a &lt; b, C3 if equal, all if unordered.</summary>
    /// <param name="quiet">FUCOM: only signaling NaNs and unsupported encodings raise IE; FCOM raises it for every NaN.</param>
    public static uint Compare(Float80 a, Float80 b, bool quiet, ref uint status)
    {
        if (!(a.IsNormal && b.IsNormal))
        {
            if (a.IsUnsupported || b.IsUnsupported || a.IsNaN || b.IsNaN)
            {
                status &= ~X87Status.Denormal;
                if (!quiet || a.IsUnsupported || b.IsUnsupported || a.IsSignalingNaN || b.IsSignalingNaN)
                {
                    status |= X87Status.Invalid;
                }
                return X87Status.Conditions;
            }
            NoteDenormals(a, b, ref status);
            if (a.IsZero && b.IsZero)
            {
                return X87Status.C3;
            }
        }
        if (a.Sign != b.Sign)
        {
            return a.IsNegative ? X87Status.C0 : 0;
        }
        // A pseudo-denormal has the value that exponent 1 would give it.
        int exponentA = Math.Max(a.Exponent, 1), exponentB = Math.Max(b.Exponent, 1);
        if (exponentA == exponentB && a.Significand == b.Significand)
        {
            return X87Status.C3;
        }
        bool larger = exponentA != exponentB ? exponentA > exponentB : a.Significand > b.Significand;
        return larger != a.IsNegative ? 0 : X87Status.C0;
    }

    /// <summary>FXAM: the class in C3, C2, C0 and the sign in C1 (SDM vol. 2, FXAM). An empty register is the caller's affair.</summary>
    public static uint Examine(Float80 a) => (a.IsNegative ? X87Status.C1 : 0) | a.Class switch
    {
        Float80Class.Unsupported => 0,
        Float80Class.QuietNaN or Float80Class.SignalingNaN => X87Status.C0,
        Float80Class.Normal => X87Status.C2,
        Float80Class.Infinity => X87Status.C2 | X87Status.C0,
        Float80Class.Zero => X87Status.C3,
        _ => X87Status.C3 | X87Status.C2,
    };

    /// <summary>FRNDINT: rounds to an integral value in the direction of RC.</summary>
    public static Float80 RoundToIntegral(Float80 a, uint control, ref uint status)
    {
        if (a.Exponent >= Float80.Bias + 63 || a.IsUnsupported)
        {
            return HandleNaN(a, ref status, out Float80 special) ? special : a;
        }
        if (a.IsZero)
        {
            return a;
        }
        NoteDenormal(a, ref status);
        _ = TryRoundToMagnitude(a, control, out ulong magnitude, out uint flags);
        status |= flags;
        if (magnitude == 0)
        {
            return Float80.Zero(a.Sign);
        }
        int shift = BitOperations.LeadingZeroCount(magnitude);
        return new Float80(a.Sign, Float80.Bias + 63 - shift, magnitude << shift);
    }

    /// <summary>FSCALE: a times two to the power of b, b being truncated to an integer.</summary>
    public static Float80 Scale(Float80 a, Float80 b, uint control, ref uint status)
    {
        if (HandleNaN(a, b, ref status, out Float80 special))
        {
            return special;
        }
        if (b.IsInfinity)
        {
            if (b.IsNegative ? a.IsInfinity : a.IsZero)
            {
                return Invalid(ref status);
            }
            NoteDenormal(a, ref status);
            return b.IsNegative ? Float80.Zero(a.Sign) : Float80.Infinity(a.Sign);
        }
        NoteDenormals(a, b, ref status);
        if (a.IsInfinity || a.IsZero)
        {
            return a;
        }
        int exponent = a.Exponent;
        ulong significand = a.Significand;
        Normalize(ref exponent, ref significand);
        // Beyond 2^16 everything overflows or underflows by more than the bias.
        int power = b.Exponent < Float80.Bias ? 0
            : b.Exponent > Float80.Bias + 15 ? 0x10000
            : (int)(b.Significand >> (Float80.Bias + 63 - b.Exponent));
        exponent += b.IsNegative ? -power : power;
        return Round(a.Sign, exponent, significand, 0, control | X87Control.PrecisionExtended, ref status);
    }

    /// <summary>FXTRACT: the exponent as a number, and the significand with an exponent of zero. A zero raises ZE and has -infinity.</summary>
    public static Float80 Extract(Float80 a, out Float80 significand, ref uint status)
    {
        if (HandleNaN(a, ref status, out Float80 special))
        {
            significand = special;
            return special;
        }
        significand = a;
        if (a.IsInfinity)
        {
            return Float80.Infinity(0);
        }
        if (a.IsZero)
        {
            status |= X87Status.ZeroDivide;
            return Float80.Infinity(Float80.SignBit);
        }
        NoteDenormal(a, ref status);
        int exponent = a.Exponent;
        ulong bits = a.Significand;
        Normalize(ref exponent, ref bits);
        significand = new Float80(a.Sign, Float80.Bias, bits);
        return FromInteger(exponent - Float80.Bias);
    }

    /// <summary>
    /// FPREM (quotient truncated) and FPREM1 (quotient rounded to nearest, IEEE 754 remainder). An exponent difference of 64 or more
    /// is reduced by some 32 to 63 only and C2 says that more is to do; else C0, C3 and C1 are bits 2, 1 and 0 of the quotient.
    /// </summary>
    /// <param name="conditions">C3, C2, C1 and C0; null after NaN and invalid operands.</param>
    public static Float80 Remainder(Float80 a, Float80 b, bool nearest, uint control, ref uint status, out uint? conditions)
    {
        conditions = null;
        if (HandleNaN(a, b, ref status, out Float80 special))
        {
            return special;
        }
        if (a.IsInfinity || b.IsZero)
        {
            return Invalid(ref status);
        }
        conditions = 0;
        NoteDenormals(a, b, ref status);
        control |= X87Control.PrecisionExtended;
        if (a.IsZero)
        {
            return a;
        }
        int exponentA = a.Exponent, exponentB = b.Exponent;
        ulong significandA = a.Significand, significandB = b.Significand;
        Normalize(ref exponentA, ref significandA);
        if (b.IsInfinity)
        {
            return Round(a.Sign, exponentA, significandA, 0, control, ref status);
        }
        Normalize(ref exponentB, ref significandB);
        int difference = exponentA - exponentB;
        if (difference < -1 || (difference == -1 && !nearest))
        {
            return Round(a.Sign, exponentA, significandA, 0, control, ref status);
        }

        ulong quotient, remainder;
        int exponent = exponentB;
        uint sign = a.Sign;
        if (difference >= 64)
        {
            int step = (difference & 0x1F) | 0x20;
            _ = ReduceWide(significandA, step, significandB, out remainder);
            conditions = X87Status.C2;
            exponent = exponentA - step;
        }
        else if (difference < 0)
        {
            // |a| is between a quarter of |b| and |b|: the quotient is 0 or, above one half, 1.
            if (significandA <= significandB)
            {
                return Round(a.Sign, exponentA, significandA, 0, control, ref status);
            }
            conditions = X87Status.C1;
            // |b| - |a| in units of the last place of a.
            UInt128 rest = ((UInt128)significandB << 1) - significandA;
            remainder = (ulong)rest;
            exponent = exponentA;
            sign ^= Float80.SignBit;
        }
        else
        {
            quotient = ReduceWide(significandA, difference, significandB, out remainder);
            if (nearest)
            {
                ulong rest = significandB - remainder;
                if (remainder > rest || (remainder == rest && (quotient & 1) != 0))
                {
                    quotient++;
                    remainder = rest;
                    sign ^= Float80.SignBit;
                }
            }
            conditions = ((quotient & 4) != 0 ? X87Status.C0 : 0)
                | ((quotient & 2) != 0 ? X87Status.C3 : 0)
                | ((quotient & 1) != 0 ? X87Status.C1 : 0);
        }
        if (remainder == 0)
        {
            return Float80.Zero(a.Sign);
        }
        int shift = BitOperations.LeadingZeroCount(remainder);
        return Round(sign, exponent - shift, remainder << shift, 0, control, ref status);
    }

    /// <summary>(significand · 2^power) / divisor, both normalized, power 0 to 63; the quotient's low 64 bits and the remainder.</summary>
    private static ulong ReduceWide(ulong significand, int power, ulong divisor, out ulong remainder)
    {
        ulong hi = power == 0 ? 0 : significand >> (64 - power);
        ulong lo = significand << power;
        // hi is below 2^power and so below the divisor.
        return DivideWide(hi, lo, divisor, out remainder);
    }
}
