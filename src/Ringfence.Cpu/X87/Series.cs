namespace Ringfence.Cpu.X87;

/// <summary>Power series in 128-bit fixed point: a fraction f stands for f / 2^128.</summary>
internal static class Series
{
    /// <summary>Just below one.</summary>
    private static UInt128 One => UInt128.MaxValue;

    // 2^128 / (2k + 1)!, 2^128 / (2k)!, 2^128 / (k + 1)! and 2^128 / (2k + 1), for k from 1 on, with as many terms as leave less than 2^-80
    // over the interval that argument reduction leaves.
    private static readonly UInt128[] SinCoefficients = InverseFactorials(13, k => (2 * k) + 1);
    private static readonly UInt128[] CosCoefficients = InverseFactorials(13, k => 2 * k);
    private static readonly UInt128[] ExpCoefficients = InverseFactorials(24, k => k + 1);
    private static readonly UInt128[] OddCoefficients = Inverses(20);

    /// <summary>sin r, where 0 &lt; r &lt; 0.8.</summary>
    public static WideFloat Sin(WideFloat r) => r * new WideFloat(0, -1, Alternating(SinCoefficients, Square(r), SinCoefficients.Length));

    /// <summary>cos r, where 0 &lt;= r &lt; 0.8.</summary>
    public static WideFloat Cos(WideFloat r) => new(0, -1, Alternating(CosCoefficients, Square(r), CosCoefficients.Length));

    /// <summary>e^y - 1, where |y| &lt; 0.7.</summary>
    public static WideFloat ExpMinusOne(WideFloat y)
    {
        UInt128 fraction = y.ToFixed(128);
        return y * (y.Sign != 0
            ? new WideFloat(0, -1, Alternating(ExpCoefficients, fraction, ExpCoefficients.Length))
            : OnePlus(ExpCoefficients, fraction));
    }

    /// <summary>artanh z, where |z| &lt; 0.18.</summary>
    public static WideFloat Artanh(WideFloat z) => z * OnePlus(OddCoefficients, Square(z));

    /// <summary>arctan t, where |t| &lt;= 1/16.</summary>
    public static WideFloat Arctan(WideFloat t) => t * WideFloat.Normalized(0, -1, Alternating(OddCoefficients, Square(t), 12));

    private static UInt128 Square(WideFloat value)
    {
        UInt128 fraction = value.ToFixed(128);
        return WideFloat.MultiplyHigh(fraction, fraction);
    }

    /// <summary>1 - x (c1 - x (c2 - ...)).</summary>
    private static UInt128 Alternating(UInt128[] coefficients, UInt128 x, int terms)
    {
        UInt128 sum = coefficients[terms - 1];
        for (int k = terms - 2; k >= 0; k--)
        {
            sum = coefficients[k] - WideFloat.MultiplyHigh(x, sum);
        }
        return One - WideFloat.MultiplyHigh(x, sum);
    }

    /// <summary>1 + x (c1 + x (c2 + ...)).</summary>
    private static WideFloat OnePlus(UInt128[] coefficients, UInt128 x)
    {
        UInt128 sum = coefficients[^1];
        for (int k = coefficients.Length - 2; k >= 0; k--)
        {
            sum = coefficients[k] + WideFloat.MultiplyHigh(x, sum);
        }
        return new WideFloat(0, 0, (UInt128.One << 127) + (WideFloat.MultiplyHigh(x, sum) >> 1));
    }

    private static UInt128[] InverseFactorials(int count, Func<int, int> factor)
    {
        var result = new UInt128[count];
        for (int k = 1; k <= count; k++)
        {
            UInt128 value = UInt128.MaxValue;
            for (int n = 2; n <= factor(k); n++)
            {
                value /= (UInt128)n;
            }
            result[k - 1] = value;
        }
        return result;
    }

    private static UInt128[] Inverses(int count)
    {
        var result = new UInt128[count];
        for (int k = 1; k <= count; k++)
        {
            result[k - 1] = UInt128.MaxValue / (UInt128)((2 * k) + 1);
        }
        return result;
    }
}
