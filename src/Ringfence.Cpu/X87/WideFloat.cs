using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

/// <summary>
/// An intermediate of the transcendental functions: significand · 2^(exponent - 127), the significand having bit 127 set. Operations
/// truncate, each being wrong by less than a unit or two of 128 bits, of which a result keeps 64.
/// </summary>
internal readonly struct WideFloat
{
    public readonly UInt128 Significand;
    public readonly int Exponent;
    public readonly uint Sign;

    public WideFloat(uint sign, int exponent, UInt128 significand)
    {
        Sign = sign;
        Exponent = exponent;
        Significand = significand;
    }

    /// <summary>From any non-zero value: <paramref name="significand"/> · 2^(exponent - 127).</summary>
    public static WideFloat Normalized(uint sign, int exponent, UInt128 significand)
    {
        int shift = (int)UInt128.LeadingZeroCount(significand);
        return new WideFloat(sign, exponent - shift, significand << shift);
    }

    public WideFloat Abs => new(0, Exponent, Significand);

    public static WideFloat operator *(WideFloat a, WideFloat b)
    {
        UInt128 product = MultiplyHigh(a.Significand, b.Significand);
        return (product >> 127) != 0
            ? new WideFloat(a.Sign ^ b.Sign, a.Exponent + b.Exponent + 1, product)
            : new WideFloat(a.Sign ^ b.Sign, a.Exponent + b.Exponent, product << 1);
    }

    public static WideFloat operator /(WideFloat a, WideFloat b)
    {
        UInt128 rest = a.Significand;
        int exponent = a.Exponent - b.Exponent - 1;
        if (rest >= b.Significand)
        {
            rest >>= 1;
            exponent++;
        }
        ulong high = NextDigit(ref rest, b.Significand);
        ulong low = NextDigit(ref rest, b.Significand);
        return Normalized(a.Sign ^ b.Sign, exponent, new UInt128(high, low));
    }

    /// <summary>The magnitude as a fixed-point number: how many 2^-<paramref name="fractionBits"/> it is. It must fit 128 bits.</summary>
    public UInt128 ToFixed(int fractionBits)
    {
        int shift = 127 - Exponent - fractionBits;
        return shift >= 128 ? 0 : Significand >> shift;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static UInt128 MultiplyHigh(UInt128 a, UInt128 b)
    {
        ulong aHigh = (ulong)(a >> 64), aLow = (ulong)a, bHigh = (ulong)(b >> 64), bLow = (ulong)b;
        ulong high = Math.BigMul(aHigh, bHigh, out ulong low);
        ulong crossA = Math.BigMul(aHigh, bLow, out ulong crossALow);
        ulong crossB = Math.BigMul(aLow, bHigh, out ulong crossBLow);
        ulong carry = Math.BigMul(aLow, bLow, out _);
        UInt128 middle = (UInt128)crossALow + crossBLow + carry;
        return new UInt128(high, low) + crossA + crossB + (ulong)(middle >> 64);
    }

    /// <summary>rest · 2^64 / divisor, and what is left. The divisor is normalized and greater than the rest.</summary>
    private static ulong NextDigit(ref UInt128 rest, UInt128 divisor)
    {
        ulong divisorHigh = (ulong)(divisor >> 64), divisorLow = (ulong)divisor;
        ulong restHigh = (ulong)(rest >> 64);
        ulong digit = restHigh >= divisorHigh
            ? ulong.MaxValue
            : Float80Math.DivideWide(restHigh, (ulong)rest, divisorHigh, out _);
        // rest · 2^64 - digit · divisor over three words; the estimate is too large by two at most.
        UInt128 low = (UInt128)divisorLow * digit;
        UInt128 high = ((UInt128)divisorHigh * digit) + (low >> 64);
        ulong last = (ulong)low;
        while (high > rest || (high == rest && last != 0))
        {
            digit--;
            ulong before = last;
            last -= divisorLow;
            high -= divisorHigh + (before < divisorLow ? (UInt128)1 : 0);
        }
        UInt128 difference = rest - high - (last != 0 ? (UInt128)1 : 0);
        rest = (difference << 64) | (0UL - last);
        return digit;
    }
}
