using System.Numerics;

namespace Ringfence.Cpu.Vector;

/// <summary>
/// IEEE 754 arithmetic in integers as SSE does it, for everything that the host's arithmetic cannot tell: exceptions, other roundings,
/// denormals as zeros, flushing to zero. <typeparamref name="T"/> is Half, float or double; values are its bits in a ulong.
/// </summary>
/// <remarks>Within: a finite number is sign, biased exponent and significand, the latter with its leading one in bit 62, so that there
/// is room for a carry above and at least ten bits below those of the format; bit 0 collects what was shifted out.</remarks>
internal static unsafe partial class SoftFloat<T>
    where T : unmanaged
{
    private const int Lead = 62;

    private static int FractionBits => sizeof(T) == 2 ? 10 : sizeof(T) == 4 ? 23 : 52;
    private static int MaximumExponent => sizeof(T) == 2 ? 0x1F : sizeof(T) == 4 ? 0xFF : 0x7FF;
    private static int Bias => MaximumExponent >> 1;
    private static int ExtraBits => Lead - FractionBits;
    private static ulong Fraction => (1UL << FractionBits) - 1;
    public static ulong QuietBit => 1UL << (FractionBits - 1);
    public static ulong Infinity => (ulong)MaximumExponent << FractionBits;
    public static ulong SignBit => 1UL << ((8 * sizeof(T)) - 1);
    public static ulong DefaultNaN => SignBit | Infinity | QuietBit;

    public static bool IsNaN(ulong x) => (x & ~SignBit) > Infinity;

    public static bool IsSignaling(ulong x) => IsNaN(x) && (x & QuietBit) == 0;

    public static bool IsInfinity(ulong x) => (x & ~SignBit) == Infinity;

    public static bool IsZero(ulong x) => (x & ~SignBit) == 0;

    public static bool IsDenormal(ulong x) => (x & Infinity) == 0 && !IsZero(x);

    /// <summary>An operand as the instruction sees it: MXCSR.DAZ makes denormals zeros.</summary>
    public static ulong Operand(ulong x, in FloatStatus status) => status.DenormalsAreZero && IsDenormal(x) ? x & SignBit : x;

    /// <summary>Raises denormal-operand if one of the operands, which are not NaN, is denormal.</summary>
    public static void NoteDenormals(ulong a, ulong b, ref FloatStatus status)
    {
        if (IsDenormal(a) || IsDenormal(b))
        {
            status.Raised |= Mxcsr.Denormal;
        }
    }

    /// <summary>The result if an operand is NaN: the first such, made quiet.</summary>
    private static ulong Propagate(ulong a, ulong b, ref FloatStatus status)
    {
        if (IsSignaling(a) || IsSignaling(b))
        {
            status.Raised |= Mxcsr.Invalid;
        }
        return (IsNaN(a) ? a : b) | QuietBit;
    }

    private static ulong Invalid(ref FloatStatus status)
    {
        status.Raised |= Mxcsr.Invalid;
        return DefaultNaN;
    }

    public static ulong Add(ulong a, ulong b, bool subtract, ref FloatStatus status)
    {
        a = Operand(a, status);
        b = Operand(b, status);
        if (IsNaN(a) || IsNaN(b))
        {
            return Propagate(a, b, ref status);
        }
        if (subtract)
        {
            b ^= SignBit;
        }
        if (IsInfinity(a) && IsInfinity(b) && a != b)
        {
            return Invalid(ref status);
        }
        NoteDenormals(a, b, ref status);
        if (IsInfinity(a) || IsInfinity(b))
        {
            return IsInfinity(a) ? a : b;
        }
        if (IsZero(a) && IsZero(b))
        {
            return a == b ? a : ZeroOfCancellation(status);
        }
        // The smaller of two numbers differing in sign is subtracted from the larger.
        if ((a & ~SignBit) < (b & ~SignBit))
        {
            (a, b) = (b, a);
        }
        Unpack(a, out int exponent, out ulong significand);
        if (!IsZero(b))
        {
            Unpack(b, out int lesser, out ulong other);
            other = ShiftRightJam(other, exponent - lesser);
            if (((a ^ b) & SignBit) == 0)
            {
                significand += other;
            }
            else
            {
                significand -= other;
                if (significand == 0)
                {
                    return ZeroOfCancellation(status);
                }
            }
        }
        return Normalize(a & SignBit, exponent, significand, ref status);
    }

    public static ulong Multiply(ulong a, ulong b, ref FloatStatus status)
    {
        a = Operand(a, status);
        b = Operand(b, status);
        if (IsNaN(a) || IsNaN(b))
        {
            return Propagate(a, b, ref status);
        }
        bool zero = IsZero(a) || IsZero(b);
        bool infinite = IsInfinity(a) || IsInfinity(b);
        if (zero && infinite)
        {
            return Invalid(ref status);
        }
        NoteDenormals(a, b, ref status);
        ulong sign = (a ^ b) & SignBit;
        if (zero || infinite)
        {
            return infinite ? sign | Infinity : sign;
        }
        Unpack(a, out int exponentA, out ulong significandA);
        Unpack(b, out int exponentB, out ulong significandB);
        // Leading ones in bits 63 and 62 give one in bit 125 or 126 of the product, 61 or 62 of its high half.
        ulong high = Math.BigMul(significandA << 1, significandB, out ulong low);
        return Normalize(sign, exponentA + exponentB - Bias + 1, high | (low != 0 ? 1UL : 0), ref status);
    }

    public static ulong Divide(ulong a, ulong b, ref FloatStatus status)
    {
        a = Operand(a, status);
        b = Operand(b, status);
        if (IsNaN(a) || IsNaN(b))
        {
            return Propagate(a, b, ref status);
        }
        ulong sign = (a ^ b) & SignBit;
        if ((IsInfinity(a) && IsInfinity(b)) || (IsZero(a) && IsZero(b)))
        {
            return Invalid(ref status);
        }
        if (IsZero(b) && !IsInfinity(a))
        {
            status.Raised |= Mxcsr.ZeroDivide;
            return sign | Infinity;
        }
        NoteDenormals(a, b, ref status);
        if (IsInfinity(a))
        {
            return sign | Infinity;
        }
        if (IsZero(a) || IsInfinity(b))
        {
            return sign;
        }
        Unpack(a, out int exponentA, out ulong significandA);
        Unpack(b, out int exponentB, out ulong significandB);
        (UInt128 quotient, UInt128 rest) = UInt128.DivRem((UInt128)significandA << Lead, significandB);
        return Normalize(sign, exponentA - exponentB + Bias, (ulong)quotient | (rest != 0 ? 1UL : 0), ref status);
    }

    public static ulong SquareRoot(ulong x, ref FloatStatus status)
    {
        x = Operand(x, status);
        if (IsNaN(x))
        {
            return Propagate(x, x, ref status);
        }
        if (IsZero(x))
        {
            return x;
        }
        if ((x & SignBit) != 0)
        {
            return Invalid(ref status);
        }
        NoteDenormals(x, x, ref status);
        if (IsInfinity(x))
        {
            return x;
        }
        Unpack(x, out int exponent, out ulong significand);
        // value = m * 4^half with 1 <= m < 4, exact in a double; the sign of r*r - m, also exact, tells where the root lies beside r.
        int power = exponent - Bias;
        int half = power >> 1;
        double m = (significand >> 10) * ((power & 1) != 0 ? (1.0 / (1L << 51)) : (1.0 / (1L << 52)));
        double r = Math.Sqrt(m);
        double residue = Math.FusedMultiplyAdd(r, r, -m);
        ulong root = (BitConverter.DoubleToUInt64Bits(r) & 0x000F_FFFF_FFFF_FFFF) | 0x0010_0000_0000_0000;
        root <<= 10;
        root = residue < 0 ? root | 1 : residue > 0 ? root - 1 : root;
        return Normalize(0, half + Bias, root, ref status);
    }

    /// <summary>Rounds <paramref name="value"/> to the format.</summary>
    public static ulong FromInteger(long value, ref FloatStatus status)
    {
        if (value == 0)
        {
            return 0;
        }
        ulong magnitude = value < 0 ? (ulong)-value : (ulong)value;
        return Normalize(value < 0 ? SignBit : 0, Bias + Lead, magnitude, ref status);
    }

    /// <summary>Rounds a finite number other than 0, unpacked from another format with bias <paramref name="bias"/>.</summary>
    public static ulong FromUnpacked(bool negative, int exponent, int bias, ulong significand, ref FloatStatus status) =>
        Normalize(negative ? SignBit : 0, exponent - bias + Bias, significand, ref status);

    /// <summary>Takes a finite number other than 0 apart.</summary>
    public static void Unpack(ulong x, out int exponent, out ulong significand)
    {
        exponent = (int)(x >> FractionBits) & MaximumExponent;
        significand = (x & Fraction) << ExtraBits;
        if (exponent != 0)
        {
            significand |= 1UL << Lead;
            return;
        }
        int shift = BitOperations.LeadingZeroCount(significand) - 1;
        significand <<= shift;
        exponent = 1 - shift;
    }

    private static ulong ZeroOfCancellation(in FloatStatus status) => status.Rounding == Rounding.Down ? SignBit : 0;

    private static ulong ShiftRightJam(ulong value, int count)
    {
        if (count == 0)
        {
            return value;
        }
        return count > 63 ? (value != 0 ? 1UL : 0) : (value >> count) | ((value << (64 - count)) != 0 ? 1UL : 0);
    }

    private static ulong Normalize(ulong sign, int exponent, ulong significand, ref FloatStatus status)
    {
        int shift = BitOperations.LeadingZeroCount(significand) - 1;
        return shift < 0
            ? Round(sign, exponent + 1, ShiftRightJam(significand, 1), ref status)
            : Round(sign, exponent - shift, significand << shift, ref status);
    }

    /// <summary>Rounds and packs; finds overflow, underflow (tininess after rounding) and inexactness.</summary>
    private static ulong Round(ulong sign, int exponent, ulong significand, ref FloatStatus status)
    {
        ulong mask = (1UL << ExtraBits) - 1;
        ulong half = 1UL << (ExtraBits - 1);
        ulong increment = status.Rounding switch
        {
            Rounding.Nearest => half,
            Rounding.Up => sign == 0 ? mask : 0,
            Rounding.Down => sign != 0 ? mask : 0,
            _ => 0,
        };
        if (exponent >= MaximumExponent || (exponent == MaximumExponent - 1 && significand + increment >= 1UL << 63))
        {
            status.Raised |= Mxcsr.Overflow | Mxcsr.Precision;
            return sign | (increment != 0 ? Infinity : Infinity - 1);
        }
        if (exponent <= 0)
        {
            bool tiny = exponent < 0 || significand + increment < 1UL << 63;
            significand = ShiftRightJam(significand, 1 - exponent);
            exponent = 1;
            if (tiny)
            {
                if (!status.Masks(Mxcsr.Underflow))
                {
                    status.Raised |= Mxcsr.Underflow;
                }
                else if ((status.Control & Mxcsr.FlushToZero) != 0)
                {
                    status.Raised |= Mxcsr.Underflow | Mxcsr.Precision;
                    return sign;
                }
                else if ((significand & mask) != 0)
                {
                    status.Raised |= Mxcsr.Underflow;
                }
            }
        }
        ulong rest = significand & mask;
        significand = (significand + increment) >> ExtraBits;
        if (rest != 0)
        {
            status.Raised |= Mxcsr.Precision;
            if (rest == half && status.Rounding == Rounding.Nearest)
            {
                significand &= ~1UL;
            }
        }
        // The leading one, if there is one, adds the last unit of the exponent.
        return sign | (((ulong)(exponent - 1) << FractionBits) + significand);
    }
}
