namespace Ringfence.Cpu.X87;

public static partial class Float80Math
{
    private static WideFloat LnOf2 => new(0, -1, new UInt128(0xB172_17F7_D1CF_79AB, 0xC9E3_B398_03F2_F6AF));

    private static WideFloat TwoOverLnOf2 => new(0, 1, new UInt128(0xB8AA_3B29_5C17_F0BB, 0xBE87_FED0_691D_3E88));

    /// <summary>F2XM1: 2^a - 1, for a from -1 to 1. Other arguments, whose result is undefined, come back as they are.</summary>
    public static Float80 Exp2MinusOne(Float80 a, uint control, ref uint status)
    {
        if (HandleNaN(a, ref status, out Float80 special))
        {
            return special;
        }
        if (a.IsInfinity)
        {
            return a.IsNegative ? Float80.One.Negate() : a;
        }
        NoteDenormal(a, ref status);
        if (a.IsZero)
        {
            return a;
        }
        if (a.Exponent >= Float80.Bias)
        {
            // 2^-1 - 1 is exact, and so is 2^1 - 1, which is its argument.
            return a == Float80.One.Negate() ? new Float80(Float80.SignBit, Float80.Bias - 1, Float80.IntegerBit) : a;
        }
        WideFloat result = Series.ExpMinusOne(ToWide(a) * LnOf2);
        return RoundWide(result, a.Sign, control, ref status);
    }

    /// <summary>FYL2X: y · log2(x).</summary>
    public static Float80 YLog2X(Float80 y, Float80 x, uint control, ref uint status)
    {
        if (HandleNaN(y, x, ref status, out Float80 special))
        {
            return special;
        }
        if (x.IsZero)
        {
            if (y.IsZero)
            {
                return Invalid(ref status);
            }
            if (y.IsInfinity)
            {
                return y.Negate();
            }
            status = (status & ~X87Status.Denormal) | X87Status.ZeroDivide;
            return Float80.Infinity(y.Sign ^ Float80.SignBit);
        }
        if (x.IsNegative || (x.IsInfinity && y.IsZero) || (x == Float80.One && y.IsInfinity))
        {
            return Invalid(ref status);
        }
        NoteDenormals(y, x, ref status);
        uint sign = y.Sign ^ (x.Exponent < Float80.Bias ? Float80.SignBit : 0);
        if (x.IsInfinity || y.IsInfinity)
        {
            return Float80.Infinity(sign);
        }
        if (y.IsZero || x == Float80.One)
        {
            return Float80.Zero(sign);
        }
        int exponent = x.Exponent;
        ulong significand = x.Significand;
        Normalize(ref exponent, ref significand);
        exponent -= Float80.Bias;
        if (significand == Float80.IntegerBit)
        {
            // Exact, but the processor reports it as it does the rest.
            Float80 product = Multiply(y, FromInteger(exponent), control | X87Control.PrecisionExtended, ref status);
            status |= product.IsSubnormal ? X87Status.Precision | X87Status.Underflow : X87Status.Precision;
            return product;
        }
        return RoundProduct(y, Log2(exponent, significand), control, ref status);
    }

    /// <summary>FYL2XP1: y · log2(x + 1), accurate for small x. Its range is |x| &lt; 1 - √½; beyond, x + 1 is rounded first, and x &lt;= -1,
    /// whose result is undefined, comes back as it is.</summary>
    public static Float80 YLog2XPlus1(Float80 y, Float80 x, uint control, ref uint status)
    {
        if (HandleNaN(y, x, ref status, out Float80 special))
        {
            return special;
        }
        if ((x.IsInfinity && (x.IsNegative || y.IsZero)) || (x.IsZero && y.IsInfinity))
        {
            return Invalid(ref status);
        }
        NoteDenormals(y, x, ref status);
        uint sign = y.Sign ^ x.Sign;
        if (x.IsInfinity || y.IsInfinity)
        {
            return Float80.Infinity(sign);
        }
        if (x.IsZero || y.IsZero)
        {
            return Float80.Zero(sign);
        }
        if (x.Exponent >= Float80.Bias - 1)
        {
            if (x.IsNegative && x.Exponent >= Float80.Bias)
            {
                return x;
            }
            uint ignored = 0;
            Float80 sum = Add(x, Float80.One, X87Control.Initial, ref ignored);
            return YLog2X(y, sum, control, ref status);
        }
        WideFloat small = ToWide(x);
        // 2 + x as a number below 4, for log2(1 + x) = 2/ln 2 · artanh(x / (2 + x)).
        UInt128 part = small.ToFixed(126);
        WideFloat denominator = WideFloat.Normalized(0, 1, x.IsNegative ? (UInt128.One << 127) - part : (UInt128.One << 127) + part);
        return RoundProduct(y, Series.Artanh(small / denominator) * TwoOverLnOf2, control, ref status);
    }

    /// <summary>log2 of significand · 2^(exponent - 63), which is not a power of two.</summary>
    private static WideFloat Log2(int exponent, ulong significand)
    {
        // The nearer power of two goes out, which leaves m from √½ to √2 and log2 m = 2/ln 2 · artanh((m - 1) / (m + 1)).
        WideFloat ratio;
        if (significand <= 0xB504_F333_F9DE_6484)
        {
            ratio = WideFloat.Normalized(0, 127, significand - Float80.IntegerBit)
                / WideFloat.Normalized(0, 127, (UInt128)significand + Float80.IntegerBit);
        }
        else
        {
            exponent++;
            ratio = WideFloat.Normalized(Float80.SignBit, 127, 0UL - significand)
                / WideFloat.Normalized(0, 127, (UInt128.One << 64) + significand);
        }
        WideFloat part = Series.Artanh(ratio) * TwoOverLnOf2;
        if (exponent == 0)
        {
            return part;
        }
        // At least one half in magnitude: sixteen integer bits and 112 others are enough.
        uint sign = exponent < 0 ? Float80.SignBit : 0;
        UInt128 whole = (UInt128)(uint)Math.Abs(exponent) << 112;
        UInt128 fraction = part.ToFixed(112);
        return WideFloat.Normalized(sign, 15, sign == part.Sign ? whole + fraction : whole - fraction);
    }

    private static Float80 RoundProduct(Float80 y, WideFloat factor, uint control, ref uint status)
    {
        WideFloat product = ToWide(y) * factor;
        return RoundWide(product, product.Sign, control, ref status);
    }
}
