using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ringfence.Cpu.X87;

/// <summary>What a double extended-precision encoding stands for (SDM vol. 1, table 8-3).</summary>
public enum Float80Class
{
    Zero,
    Denormal,
    /// <summary>Exponent 0 with the integer bit set: read as if the exponent were 1, never produced.</summary>
    PseudoDenormal,
    Normal,
    /// <summary>Non-zero exponent with the integer bit clear (unnormal, pseudo-infinity, pseudo-NaN): an invalid operand since the 80387.</summary>
    Unsupported,
    Infinity,
    QuietNaN,
    SignalingNaN,
}

/// <summary>
/// A double extended-precision number as the x87 holds it: sign, 15-bit exponent biased by 16383, and a 64-bit significand whose integer
/// bit is explicit. Sixteen bytes with the significand first, so that the low eight bytes of a register are its MMX alias.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public readonly struct Float80 : IEquatable<Float80>
{
    public const int Bias = 0x3FFF;
    public const int MaximumExponent = 0x7FFF;
    public const uint SignBit = 0x8000;
    internal const ulong IntegerBit = 1UL << 63;
    internal const ulong QuietBit = 1UL << 62;

    public readonly ulong Significand;
    public readonly ushort SignExponent;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float80(ulong significand, ushort signExponent)
    {
        Significand = significand;
        SignExponent = signExponent;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal Float80(uint sign, int exponent, ulong significand)
    {
        Significand = significand;
        SignExponent = (ushort)(sign | (uint)exponent);
    }

    public static Float80 One => new(IntegerBit, Bias);

    /// <summary>The real indefinite: the masked response to an invalid operation (SDM vol. 1, table 4-3).</summary>
    public static Float80 Indefinite => new(IntegerBit | QuietBit, 0xFFFF);

    /// <summary>The biased exponent, 0 to 0x7FFF.</summary>
    public int Exponent => SignExponent & 0x7FFF;

    /// <summary>0x8000 if negative, or 0.</summary>
    public uint Sign => SignExponent & SignBit;

    public bool IsNegative => (SignExponent & SignBit) != 0;

    /// <summary>Finite, non-zero, and neither denormal nor unsupported: what the fast paths take.</summary>
    public bool IsNormal => (long)Significand < 0 && (uint)(Exponent - 1) < 0x7FFE;

    public bool IsZero => Exponent == 0 && Significand == 0;

    /// <summary>A denormal or pseudo-denormal: either raises the denormal-operand exception.</summary>
    internal bool IsSubnormal => Exponent == 0 && Significand != 0;

    public bool IsInfinity => Exponent == MaximumExponent && Significand == IntegerBit;

    public bool IsNaN => Exponent == MaximumExponent && Significand > IntegerBit;

    public bool IsSignalingNaN => IsNaN && (Significand & QuietBit) == 0;

    public bool IsUnsupported => Exponent != 0 && (long)Significand >= 0;

    public Float80Class Class
    {
        get
        {
            if (Exponent == 0)
            {
                return Significand == 0 ? Float80Class.Zero : (long)Significand < 0 ? Float80Class.PseudoDenormal : Float80Class.Denormal;
            }
            if ((long)Significand >= 0)
            {
                return Float80Class.Unsupported;
            }
            if (Exponent != MaximumExponent)
            {
                return Float80Class.Normal;
            }
            return Significand == IntegerBit ? Float80Class.Infinity
                : (Significand & QuietBit) != 0 ? Float80Class.QuietNaN : Float80Class.SignalingNaN;
        }
    }

    internal static Float80 Zero(uint sign) => new(0, (ushort)sign);

    internal static Float80 Infinity(uint sign) => new(sign, MaximumExponent, IntegerBit);

    internal Float80 Quieted => new(Significand | QuietBit, SignExponent);

    /// <summary>FCHS: the sign turned, whatever the class.</summary>
    public Float80 Negate() => new(Significand, (ushort)(SignExponent ^ SignBit));

    /// <summary>FABS: the sign cleared, whatever the class.</summary>
    public Float80 Abs() => new(Significand, (ushort)(SignExponent & 0x7FFF));

    public bool Equals(Float80 other) => Significand == other.Significand && SignExponent == other.SignExponent;

    public override bool Equals(object? obj) => obj is Float80 other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(Significand, SignExponent);

    public static bool operator ==(Float80 left, Float80 right) => left.Equals(right);

    public static bool operator !=(Float80 left, Float80 right) => !left.Equals(right);

    /// <summary>The encoding, sign and exponent first: "3FFF:8000000000000000" is one.</summary>
    public override string ToString() => $"{SignExponent:X4}:{Significand:X16}";
}
