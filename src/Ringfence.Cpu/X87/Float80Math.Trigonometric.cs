namespace Ringfence.Cpu.X87;

public static partial class Float80Math
{
    /// <summary>π in units of 2^-64, cut to the 66 bits that the hardware reduces arguments with (SDM vol. 1, 8.3.8).</summary>
    private static UInt128 Pi66 => new(3, 0x243F_6A88_85A3_08D3);

    /// <summary>π in units of 2^-126, and so π/2 in units of 2^-127.</summary>
    private static UInt128 Pi128 => new(0xC90F_DAA2_2168_C234, 0xC4C6_628B_80DC_1CD1);

    /// <summary>FSIN, FCOS, FSINCOS and FPTAN reduce arguments below 2^63 in magnitude and leave others alone, setting C2.</summary>
    public static bool IsTrigonometricArgument(Float80 a) => a.Exponent < Float80.Bias + 63 || a.IsUnsupported || a.IsInfinity || a.IsNaN;

    /// <summary>The sine of <paramref name="a"/> radians, for which <see cref="IsTrigonometricArgument"/> holds.</summary>
    public static Float80 Sine(Float80 a, uint control, ref uint status)
    {
        SineCosine(a, true, false, control, ref status, out Float80 sine, out _);
        return sine;
    }

    /// <summary>The cosine of <paramref name="a"/> radians, for which <see cref="IsTrigonometricArgument"/> holds.</summary>
    public static Float80 Cosine(Float80 a, uint control, ref uint status)
    {
        SineCosine(a, false, true, control, ref status, out _, out Float80 cosine);
        return cosine;
    }

    /// <summary>Sine and cosine; C1 is that of the cosine, which the instruction pushes last.</summary>
    public static void SineCosine(Float80 a, uint control, ref uint status, out Float80 sine, out Float80 cosine) =>
        SineCosine(a, true, true, control, ref status, out sine, out cosine);

    private static void SineCosine(
        Float80 a, bool wantSine, bool wantCosine, uint control, ref uint status, out Float80 sine, out Float80 cosine)
    {
        cosine = default;
        if (TrigonometricSpecial(a, ref status, out sine))
        {
            cosine = a.IsZero ? Float80.One : sine;
            return;
        }
        WideFloat rest = Reduce(a, out uint quadrant);
        bool swap = (quadrant & 1) != 0;
        WideFloat sineOfRest = swap ? (wantCosine ? Series.Sin(rest) : default) : wantSine ? Series.Sin(rest) : default;
        WideFloat cosineOfRest = swap ? (wantSine ? Series.Cos(rest) : default) : wantCosine ? Series.Cos(rest) : default;
        if (wantSine)
        {
            uint sign = a.Sign ^ ((quadrant & 2) != 0 ? Float80.SignBit : 0);
            sine = RoundWide(swap ? cosineOfRest : sineOfRest, sign ^ (swap ? 0 : rest.Sign), control, ref status);
        }
        if (wantCosine)
        {
            status &= ~X87Status.C1;
            uint sign = ((quadrant + 1) & 2) != 0 ? Float80.SignBit : 0;
            cosine = RoundWide(swap ? sineOfRest : cosineOfRest, sign ^ (swap ? rest.Sign : 0), control, ref status);
        }
    }

    /// <summary>The tangent of <paramref name="a"/> radians, for which <see cref="IsTrigonometricArgument"/> holds.</summary>
    public static Float80 Tangent(Float80 a, uint control, ref uint status)
    {
        if (TrigonometricSpecial(a, ref status, out Float80 special))
        {
            return special;
        }
        WideFloat rest = Reduce(a, out uint quadrant);
        if (rest.Exponent < -64 && quadrant == 0)
        {
            // x + x³/3: the argument and a little more.
            return RoundWide(rest, a.Sign, control, ref status);
        }
        WideFloat sine = Series.Sin(rest), cosine = Series.Cos(rest);
        bool odd = (quadrant & 1) != 0;
        uint sign = a.Sign ^ rest.Sign ^ (odd ? Float80.SignBit : 0);
        return RoundWide(odd ? cosine / sine : sine / cosine, sign, control, ref status);
    }

    private static bool TrigonometricSpecial(Float80 a, ref uint status, out Float80 result)
    {
        if (HandleNaN(a, ref status, out result))
        {
            return true;
        }
        if (a.IsInfinity)
        {
            result = Invalid(ref status);
            return true;
        }
        NoteDenormal(a, ref status);
        result = a;
        return a.IsZero;
    }

    /// <summary>|a| = quadrant · π/2 + rest, with a rest of at most π/4 in magnitude.</summary>
    private static WideFloat Reduce(Float80 a, out uint quadrant)
    {
        int exponent = a.Exponent;
        ulong significand = a.Significand;
        Normalize(ref exponent, ref significand);
        exponent -= Float80.Bias;
        quadrant = 0;
        if (exponent < -1)
        {
            return new WideFloat(0, exponent, (UInt128)significand << 64);
        }
        // In units of 2^-65 the argument is an integer below 2^128 and π/2 is Pi66: the division is exact.
        UInt128 value = (UInt128)significand << (exponent + 2);
        UInt128 quotient = value / Pi66;
        UInt128 rest = value - (quotient * Pi66);
        uint sign = 0;
        if (rest > (Pi66 >> 1))
        {
            rest = Pi66 - rest;
            quotient++;
            sign = Float80.SignBit;
        }
        quadrant = (uint)quotient & 3;
        return WideFloat.Normalized(sign, 127 - 65, rest);
    }

    /// <summary>FPATAN: the angle of the point (x, y) in radians, from -π to π.</summary>
    public static Float80 Arctangent(Float80 y, Float80 x, uint control, ref uint status)
    {
        if (HandleNaN(y, x, ref status, out Float80 special))
        {
            return special;
        }
        NoteDenormals(y, x, ref status);
        if (y.IsInfinity && x.IsInfinity)
        {
            // ±π/4 or ±3π/4
            return RoundWide(
                x.IsNegative ? WideFloat.Normalized(0, 1, Pi128 - (Pi128 >> 2)) : new WideFloat(0, -1, Pi128), y.Sign, control, ref status);
        }
        if (y.IsZero || x.IsInfinity)
        {
            return x.IsNegative ? RoundWide(new WideFloat(0, 1, Pi128), y.Sign, control, ref status) : Float80.Zero(y.Sign);
        }
        if (x.IsZero || y.IsInfinity)
        {
            return RoundWide(new WideFloat(0, 0, Pi128), y.Sign, control, ref status);
        }
        WideFloat opposite = ToWide(y).Abs, adjacent = ToWide(x).Abs;
        bool steep = opposite.Exponent != adjacent.Exponent
            ? opposite.Exponent > adjacent.Exponent
            : opposite.Significand > adjacent.Significand;
        WideFloat angle = ArctangentOfRatio(steep ? adjacent / opposite : opposite / adjacent);
        if (steep)
        {
            angle = x.IsNegative
                ? WideFloat.Normalized(0, 1, (Pi128 >> 1) + angle.ToFixed(126))
                : WideFloat.Normalized(0, 0, Pi128 - angle.ToFixed(127));
        }
        else if (x.IsNegative)
        {
            angle = WideFloat.Normalized(0, 1, Pi128 - angle.ToFixed(126));
        }
        return RoundWide(angle, y.Sign, control, ref status);
    }

    /// <summary>arctan q, where 0 &lt; q &lt;= 1: the nearest arctan(i/8) and arctan((q - i/8) / (1 + q·i/8)).</summary>
    private static WideFloat ArctangentOfRatio(WideFloat q)
    {
        if (q.Exponent >= 0)
        {
            return new WideFloat(0, -1, Pi128);
        }
        UInt128 fraction = q.ToFixed(128);
        uint i = (uint)((ulong)(fraction >> 124) + 1) >> 1;
        if (i == 0)
        {
            return Series.Arctan(q);
        }
        UInt128 table = ArctanOfEighths(i);
        UInt128 eightfold = fraction << 3; // less i, as a signed fraction
        bool below = (eightfold >> 127) != 0;
        UInt128 numerator = below ? UInt128.Zero - eightfold : eightfold;
        if (numerator == 0)
        {
            return WideFloat.Normalized(0, -1, table);
        }
        WideFloat denominator = new(0, 3, (UInt128.One << 127) + ((fraction >> 4) * i));
        UInt128 part = Series.Arctan(WideFloat.Normalized(0, -1, numerator) / denominator).ToFixed(128);
        return WideFloat.Normalized(0, -1, below ? table - part : table + part);
    }

    private static UInt128 ArctanOfEighths(uint i) => i switch
    {
        1 => new UInt128(0x1FD5_BA9A_AC2F_6DC6, 0x5912_F313_E7D1_11DE),
        2 => new UInt128(0x3EB6_EBF2_5901_BAC5, 0x5B71_E7BD_7DE8_85F9),
        3 => new UInt128(0x5BD8_6507_937B_C239, 0xC551_9091_6E7F_2241),
        4 => new UInt128(0x76B1_9C15_86ED_3DA2, 0xB7F2_22F6_5E1D_4681),
        5 => new UInt128(0x8F00_5D5E_F7F5_9F9B, 0x5C83_5E16_65C4_3747),
        6 => new UInt128(0xA4BC_7D19_34F7_0924, 0x19A8_7F2A_457D_AC9E),
        7 => new UInt128(0xB805_3E2B_C231_9E73, 0xCB2D_A552_10A4_443D),
        _ => Pi128,
    };

    private static WideFloat ToWide(Float80 a)
    {
        int exponent = a.Exponent;
        ulong significand = a.Significand;
        Normalize(ref exponent, ref significand);
        return new WideFloat(a.Sign, exponent - Float80.Bias, (UInt128)significand << 64);
    }

    /// <summary>Rounds a result that is never exact, at full precision whatever PC says.</summary>
    private static Float80 RoundWide(WideFloat value, uint sign, uint control, ref uint status) =>
        Round(sign, value.Exponent + Float80.Bias, (ulong)(value.Significand >> 64), (ulong)value.Significand | 1,
            control | X87Control.PrecisionExtended, ref status);
}
