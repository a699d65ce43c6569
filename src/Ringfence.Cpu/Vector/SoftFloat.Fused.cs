namespace Ringfence.Cpu.Vector;

/// <summary>The fused multiply-add: one rounding, of the exact sum of product and addend.</summary>
internal static unsafe partial class SoftFloat<T>
{
    /// <summary>a * b + c; the product's and the addend's sign turned if asked for, but not those of NaN.</summary>
    public static ulong MultiplyAdd(ulong a, ulong b, ulong c, bool negatesProduct, bool negatesAddend, ref FloatStatus status)
    {
        a = Operand(a, status);
        b = Operand(b, status);
        c = Operand(c, status);
        bool undefined = (IsZero(a) && IsInfinity(b)) || (IsInfinity(a) && IsZero(b));
        if (IsNaN(a) || IsNaN(b) || IsNaN(c))
        {
            if (IsSignaling(a) || IsSignaling(b) || IsSignaling(c))
            {
                status.Raised |= Mxcsr.Invalid;
            }
            return (IsNaN(a) ? a : IsNaN(b) ? b : c) | QuietBit;
        }
        ulong sign = ((a ^ b) & SignBit) ^ (negatesProduct ? SignBit : 0);
        c ^= negatesAddend ? SignBit : 0;
        bool infinite = IsInfinity(a) || IsInfinity(b);
        if (undefined || (infinite && IsInfinity(c) && ((c & SignBit) != sign)))
        {
            return Invalid(ref status);
        }
        NoteDenormals(a, b, ref status);
        NoteDenormals(c, c, ref status);
        if (infinite || IsInfinity(c))
        {
            return infinite ? sign | Infinity : c;
        }
        ulong addendSign = c & SignBit;
        if (IsZero(a) || IsZero(b))
        {
            if (IsZero(c))
            {
                return sign == addendSign ? sign : ZeroOfCancellation(status);
            }
            Unpack(c, out int exponentC, out ulong significandC);
            return Normalize(addendSign, exponentC, significandC, ref status);
        }
        Unpack(a, out int exponent, out ulong significand);
        Unpack(b, out int otherExponent, out ulong otherSignificand);
        // Bit 124 has the weight that the exponent says; at least 20 bits below the product are 0, and one above is free for a carry.
        UInt128 product = (UInt128)significand * otherSignificand;
        exponent += otherExponent - Bias;
        if (IsZero(c))
        {
            return Normalize(sign, exponent, product, ref status);
        }
        Unpack(c, out int addendExponent, out ulong addendSignificand);
        UInt128 addend = (UInt128)addendSignificand << Lead;
        int distance = exponent - addendExponent;
        if (distance >= 0)
        {
            addend = ShiftRightJam(addend, distance);
        }
        else
        {
            product = ShiftRightJam(product, -distance);
            exponent = addendExponent;
        }
        if (sign == addendSign)
        {
            return Normalize(sign, exponent, product + addend, ref status);
        }
        if (product == addend)
        {
            return ZeroOfCancellation(status);
        }
        return product > addend
            ? Normalize(sign, exponent, product - addend, ref status)
            : Normalize(addendSign, exponent, addend - product, ref status);
    }

    private static UInt128 ShiftRightJam(UInt128 value, int count)
    {
        if (count == 0)
        {
            return value;
        }
        return count > 127 ? UInt128.One : (value >> count) | ((value << (128 - count)) != 0 ? UInt128.One : UInt128.Zero);
    }

    /// <summary>Of a number whose bit 124 has the weight that the exponent says.</summary>
    private static ulong Normalize(ulong sign, int exponent, UInt128 significand, ref FloatStatus status)
    {
        int shift = (int)UInt128.LeadingZeroCount(significand) - 1;
        // The lead goes to bit 126, so that the upper half has it in bit 62.
        significand = shift < 0 ? ShiftRightJam(significand, 1) : significand << shift;
        ulong high = (ulong)(significand >> 64) | ((ulong)significand != 0 ? 1UL : 0);
        return Round(sign, exponent + 2 - shift, high, ref status);
    }
}
