using System.Numerics;
using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

public static partial class Float80Math
{
    /// <summary>The packed BCD indefinite: what FBSTP stores in place of what does not fit (SDM vol. 1, table 4-10).</summary>
    public const ushort BcdIndefiniteHigh = 0xFFFF;
    public const ulong BcdIndefiniteLow = 0xC000_0000_0000_0000;

    private const ulong BcdLimit = 1_000_000_000_000_000_000;

    /// <summary>Widens a binary32 bit pattern exactly. A signaling NaN stays one; a denormal becomes normal and sets DE.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 FromSingle(uint bits, ref uint status)
    {
        uint sign = (bits >> 16) & Float80.SignBit;
        int exponent = (int)(bits >> 23) & 0xFF;
        ulong significand = (ulong)(bits & 0x7F_FFFF) << 40;
        return (uint)(exponent - 1) < 0xFE
            ? new Float80(sign, exponent + (Float80.Bias - 0x7F), Float80.IntegerBit | significand)
            : Widen(sign, exponent, significand, Float80.Bias - 0x7F, ref status);
    }

    /// <summary>Widens a binary64 bit pattern exactly. A signaling NaN stays one; a denormal becomes normal and sets DE.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 FromDouble(ulong bits, ref uint status)
    {
        uint sign = (uint)(bits >> 48) & Float80.SignBit;
        int exponent = (int)(bits >> 52) & 0x7FF;
        ulong significand = (bits << 11) & ~Float80.IntegerBit;
        return (uint)(exponent - 1) < 0x7FE
            ? new Float80(sign, exponent + (Float80.Bias - 0x3FF), Float80.IntegerBit | significand)
            : Widen(sign, exponent, significand, Float80.Bias - 0x3FF, ref status);
    }

    private static Float80 Widen(uint sign, int exponent, ulong significand, int biasDifference, ref uint status)
    {
        if (exponent != 0)
        {
            return new Float80(sign, Float80.MaximumExponent, Float80.IntegerBit | significand);
        }
        if (significand == 0)
        {
            return Float80.Zero(sign);
        }
        status |= X87Status.Denormal;
        int shift = BitOperations.LeadingZeroCount(significand);
        return new Float80(sign, biasDifference + 1 - shift, significand << shift);
    }

    public static Float80 FromInteger(long value)
    {
        if (value == 0)
        {
            return default;
        }
        ulong magnitude = value < 0 ? 0UL - (ulong)value : (ulong)value;
        int shift = BitOperations.LeadingZeroCount(magnitude);
        return new Float80(value < 0 ? Float80.SignBit : 0, Float80.Bias + 63 - shift, magnitude << shift);
    }

    /// <summary>Reads 18 packed decimal digits, low digits first, and the sign in bit 15 of <paramref name="high"/>.
    /// What digits above 9 give is undefined; here they count for their binary value.</summary>
    public static Float80 FromBcd(ulong low, ushort high)
    {
        ulong value = 0;
        for (int shift = 4; shift >= 0; shift -= 4)
        {
            value = (value * 10) + ((uint)(high >> shift) & 0xF);
        }
        for (int shift = 60; shift >= 0; shift -= 4)
        {
            value = (value * 10) + ((low >> shift) & 0xF);
        }
        uint sign = high & Float80.SignBit;
        if (value == 0)
        {
            return Float80.Zero(sign);
        }
        int zeros = BitOperations.LeadingZeroCount(value);
        return new Float80(sign, Float80.Bias + 63 - zeros, value << zeros);
    }

    /// <summary>Rounds to binary32. With unmasked IE, OE or UE the result means nothing and must not be stored.</summary>
    public static uint ToSingle(Float80 a, uint control, ref uint status) => (uint)Narrow(a, 23, 0xFF, control, ref status);

    /// <summary>Rounds to binary64. With unmasked IE, OE or UE the result means nothing and must not be stored.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ToDouble(Float80 a, uint control, ref uint status)
    {
        int exponent = a.Exponent - (Float80.Bias - 0x3FF);
        ulong significand = a.Significand;
        if ((significand & 0x7FF) == 0 && (uint)(exponent - 1) < 0x7FE && (long)significand < 0)
        {
            return ((ulong)a.Sign << 48) | ((ulong)exponent << 52) | ((significand >> 11) & 0xF_FFFF_FFFF_FFFF);
        }
        return Narrow(a, 52, 0x7FF, control, ref status);
    }

    /// <param name="fractionBits">23 or 52.</param>
    /// <param name="special">The exponent of infinities: all ones.</param>
    private static ulong Narrow(Float80 a, int fractionBits, int special, uint control, ref uint status)
    {
        int exponentBits = BitOperations.PopCount((uint)special);
        ulong sign = a.IsNegative ? 1UL << (fractionBits + exponentBits) : 0;
        ulong infinity = (ulong)special << fractionBits;
        ulong fractionMask = (1UL << fractionBits) - 1;
        int dropped = 63 - fractionBits;
        if (HandleNaN(a, ref status, out Float80 nan))
        {
            return (nan.IsNegative ? 1UL << (fractionBits + exponentBits) : 0) | infinity | ((nan.Significand >> dropped) & fractionMask);
        }
        if (a.IsZero)
        {
            return sign;
        }
        if (a.IsInfinity)
        {
            return sign | infinity;
        }
        int exponent = a.Exponent;
        ulong significand = a.Significand;
        Normalize(ref exponent, ref significand);
        exponent -= Float80.Bias - (special >> 1);
        ulong unit = 1UL << dropped;
        ulong kept = significand;
        ulong fraction = SplitFraction(ref kept, 0, dropped);
        bool up = RoundsUp(a.Sign, (kept & unit) != 0, fraction, control);
        if (exponent <= 0)
        {
            bool tiny = exponent < 0 || !up || kept + unit != 0;
            if (tiny && (control & X87Status.Underflow) == 0)
            {
                status |= X87Status.Underflow;
                return 0;
            }
            ulong below = 0;
            ShiftRightJam(ref significand, ref below, 1 - exponent);
            fraction = SplitFraction(ref significand, below, dropped);
            if (fraction != 0)
            {
                status |= tiny ? X87Status.Precision | X87Status.Underflow : X87Status.Precision;
                if (RoundsUp(a.Sign, (significand & unit) != 0, fraction, control))
                {
                    status |= X87Status.C1;
                    significand += unit;
                }
            }
            // A carry into the integer bit becomes exponent 1 by itself.
            return sign | (significand >> dropped);
        }
        if (up)
        {
            kept += unit;
            if (kept == 0)
            {
                kept = Float80.IntegerBit;
                exponent++;
            }
        }
        if (exponent >= special)
        {
            status |= X87Status.Overflow;
            if ((control & X87Status.Overflow) == 0)
            {
                return 0;
            }
            return OverflowResult(a.Sign, unit, control, ref status).IsInfinity ? sign | infinity : sign | (infinity - 1);
        }
        if (fraction != 0)
        {
            status |= up ? X87Status.Precision | X87Status.C1 : X87Status.Precision;
        }
        return sign | ((ulong)exponent << fractionBits) | ((kept >> dropped) & fractionMask);
    }

    /// <summary>Rounds to a signed integer of 16, 32 or 64 bits; what does not fit raises IE and gives the integer indefinite, the most
    /// negative value.</summary>
    public static long ToInteger(Float80 a, int bits, uint control, ref uint status)
    {
        long indefinite = long.MinValue >> (64 - bits);
        if (!TryRoundToMagnitude(a, control, out ulong magnitude, out uint flags)
            || (a.IsNegative ? magnitude > 1UL << (bits - 1) : magnitude >= 1UL << (bits - 1)))
        {
            status |= X87Status.Invalid;
            return indefinite;
        }
        status |= flags;
        return a.IsNegative ? (long)(0UL - magnitude) : (long)magnitude;
    }

    /// <summary>Rounds to 18 packed decimal digits; what does not fit raises IE and gives the BCD indefinite.</summary>
    public static (ulong Low, ushort High) ToBcd(Float80 a, uint control, ref uint status)
    {
        if (!TryRoundToMagnitude(a, control, out ulong magnitude, out uint flags) || magnitude >= BcdLimit)
        {
            status |= X87Status.Invalid;
            return (BcdIndefiniteLow, BcdIndefiniteHigh);
        }
        status |= flags;
        ulong low = 0;
        for (int shift = 0; shift < 64; shift += 4)
        {
            (magnitude, ulong digit) = Math.DivRem(magnitude, 10);
            low |= digit << shift;
        }
        return (low, (ushort)(a.Sign | (uint)(magnitude / 10 << 4) | (uint)(magnitude % 10)));
    }

    /// <summary>False for NaNs, infinities, unsupported encodings, and magnitudes of 2^64 or more.</summary>
    private static bool TryRoundToMagnitude(Float80 a, uint control, out ulong magnitude, out uint flags)
    {
        flags = 0;
        magnitude = 0;
        int exponent = a.Exponent;
        if (a.IsUnsupported || exponent > Float80.Bias + 63)
        {
            return false;
        }
        ulong hi = a.Significand, fraction = 0;
        ShiftRightJam(ref hi, ref fraction, Float80.Bias + 63 - exponent);
        if (fraction != 0)
        {
            flags = X87Status.Precision;
            if (RoundsUp(a.Sign, (hi & 1) != 0, fraction, control))
            {
                flags |= X87Status.C1;
                hi++;
            }
        }
        magnitude = hi;
        return true;
    }
}
