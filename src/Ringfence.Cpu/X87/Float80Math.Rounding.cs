using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

public static partial class Float80Math
{
    /// <summary>The bias by which unmasked overflow and underflow bring the exponent back into range (SDM vol. 1, 8.5.4 and 8.5.5).</summary>
    private const int WrapBias = 0x6000;

    /// <summary>
    /// Rounds hi:lo, whose top bit is set, with the integer bit at bit 63 of <paramref name="hi"/>, to the precision and in the direction
    /// that the control word asks for. Tininess is detected after rounding.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float80 Round(uint sign, int exponent, ulong hi, ulong lo, uint control, ref uint status)
    {
        if ((control & (X87Control.PrecisionMask | X87Control.RoundMask)) == (X87Control.PrecisionExtended | X87Control.RoundNearest)
            && (uint)(exponent - 1) < 0x7FFD)
        {
            if (lo == 0)
            {
                return new Float80(sign, exponent, hi);
            }
            status |= X87Status.Precision;
            if (lo > Float80.IntegerBit || (lo == Float80.IntegerBit && (hi & 1) != 0))
            {
                status |= X87Status.C1;
                if (++hi == 0)
                {
                    hi = Float80.IntegerBit;
                    exponent++;
                }
            }
            return new Float80(sign, exponent, hi);
        }
        return RoundSlow(sign, exponent, hi, lo, control, ref status);
    }

    private static Float80 RoundSlow(uint sign, int exponent, ulong hi, ulong lo, uint control, ref uint status)
    {
        int dropped = (control & X87Control.PrecisionMask) switch
        {
            X87Control.PrecisionSingle => 40,
            X87Control.PrecisionDouble => 11,
            _ => 0,
        };
        ulong unit = 1UL << dropped;
        ulong kept = hi;
        ulong fraction = SplitFraction(ref kept, lo, dropped);
        bool up = RoundsUp(sign, (kept & unit) != 0, fraction, control);

        if (exponent <= 0)
        {
            bool tiny = exponent < 0 || !up || kept + unit != 0;
            if (!tiny || (control & X87Status.Underflow) != 0)
            {
                return RoundDenormal(sign, exponent, hi, lo, dropped, tiny, control, ref status);
            }
            status |= X87Status.Underflow;
            exponent += WrapBias;
            if (exponent <= 0)
            {
                // Beyond what the bias can bring back: FSCALE alone gets here.
                status |= X87Status.Precision;
                return Float80.Zero(sign);
            }
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
        if (exponent >= Float80.MaximumExponent)
        {
            status |= X87Status.Overflow;
            if ((control & X87Status.Overflow) != 0)
            {
                return OverflowResult(sign, unit, control, ref status);
            }
            exponent -= WrapBias;
            if (exponent >= Float80.MaximumExponent)
            {
                status |= X87Status.Precision | X87Status.C1;
                return Float80.Infinity(sign);
            }
        }
        if (fraction != 0)
        {
            status |= up ? X87Status.Precision | X87Status.C1 : X87Status.Precision;
        }
        return new Float80(sign, exponent, kept);
    }

    private static Float80 RoundDenormal(
        uint sign, int exponent, ulong hi, ulong lo, int dropped, bool tiny, uint control, ref uint status)
    {
        ShiftRightJam(ref hi, ref lo, 1 - exponent);
        ulong unit = 1UL << dropped;
        ulong fraction = SplitFraction(ref hi, lo, dropped);
        if (fraction != 0)
        {
            status |= tiny ? X87Status.Precision | X87Status.Underflow : X87Status.Precision;
            if (RoundsUp(sign, (hi & unit) != 0, fraction, control))
            {
                status |= X87Status.C1;
                hi += unit;
            }
        }
        return new Float80(sign, (int)(hi >> 63), hi);
    }

    private static Float80 OverflowResult(uint sign, ulong unit, uint control, ref uint status)
    {
        status |= X87Status.Precision;
        bool toInfinity = (control & X87Control.RoundMask) switch
        {
            X87Control.RoundNearest => true,
            X87Control.RoundDown => sign != 0,
            X87Control.RoundUp => sign == 0,
            _ => false,
        };
        if (!toInfinity)
        {
            return new Float80(sign, Float80.MaximumExponent - 1, ~(unit - 1));
        }
        status |= X87Status.C1;
        return Float80.Infinity(sign);
    }

    /// <summary>Clears the low bits of <paramref name="hi"/> and returns what was there and below, left-aligned, with a sticky last bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SplitFraction(ref ulong hi, ulong lo, int dropped)
    {
        if (dropped == 0)
        {
            return lo;
        }
        ulong fraction = (hi << (64 - dropped)) | (lo != 0 ? 1UL : 0);
        hi &= ~((1UL << dropped) - 1);
        return fraction;
    }

    /// <param name="fraction">The part below the last place, 2^63 being one half.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool RoundsUp(uint sign, bool odd, ulong fraction, uint control) => (control & X87Control.RoundMask) switch
    {
        X87Control.RoundNearest => fraction > Float80.IntegerBit || (fraction == Float80.IntegerBit && odd),
        X87Control.RoundDown => fraction != 0 && sign != 0,
        X87Control.RoundUp => fraction != 0 && sign == 0,
        _ => false,
    };

    /// <summary>Shifts hi:lo right; what falls off the end is remembered in the last bit.</summary>
    /// <param name="count">Zero or more.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ShiftRightJam(ref ulong hi, ref ulong lo, int count)
    {
        if (count == 0)
        {
            return;
        }
        if (count < 64)
        {
            lo = (hi << (64 - count)) | (lo >> count) | (lo << (64 - count) != 0 ? 1UL : 0);
            hi >>= count;
        }
        else if (count < 128)
        {
            ulong lost = count == 64 ? lo : (hi << (128 - count)) | lo;
            lo = (hi >> (count - 64)) | (lost != 0 ? 1UL : 0);
            hi = 0;
        }
        else
        {
            lo = (hi | lo) != 0 ? 1UL : 0;
            hi = 0;
        }
    }
}
