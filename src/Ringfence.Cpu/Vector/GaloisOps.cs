using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ringfence.Cpu.Vector;

/// <summary>The field of 256 elements modulo x^8 + x^4 + x^3 + x + 1 (SDM 1 GFNI; FIPS 197 4): a byte is a polynomial over one bit.</summary>
internal static class Galois
{
    private static readonly byte[] Inverses = [.. Enumerable.Range(0, 256).Select(i => Inverse((byte)i))];

    public static byte Multiply(byte a, byte b) => Multiply(Vector128.CreateScalar(a), Vector128.CreateScalar(b)).ToScalar();

    /// <summary>Of each byte; 0 is its own.</summary>
    public static Vector128<byte> Inverse(Vector128<byte> x) => Portable.Map(x, Inverses);

    /// <summary>Each byte times the polynomial x.</summary>
    public static Vector128<byte> Double(Vector128<byte> a) => (a << 1) ^ (Negative(a) & Vector128.Create((byte)0x1B));

    public static Vector128<byte> Multiply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<byte> product = default;
        for (int i = 0; i < 8; i++)
        {
            product ^= a & Negative(b << (7 - i));
            a = Double(a);
        }
        return product;
    }

    /// <summary>Each byte times the matrix in the quadword of <paramref name="matrices"/> that stands where it stands. Byte 7 - i is row i.</summary>
    public static Vector128<byte> Transform(Vector128<byte> x, Vector128<byte> matrices)
    {
        Vector128<byte> result = default;
        for (int i = 0; i < 8; i++)
        {
            Vector128<byte> row = Vector128.Shuffle(matrices, Vector128.Create(0x0101_0101_0101_0101UL * (uint)(7 - i), 0x0101_0101_0101_0101UL * (uint)(15 - i)).AsByte());
            Vector128<byte> parity = x & row;
            parity ^= parity >>> 4;
            parity ^= parity >>> 2;
            parity ^= parity >>> 1;
            result |= (parity & Vector128<byte>.One) << i;
        }
        return result;
    }

    /// <summary>All ones where a byte has its high bit set.</summary>
    private static Vector128<byte> Negative(Vector128<byte> x) => Vector128.LessThan(x.AsSByte(), Vector128<sbyte>.Zero).AsByte();

    /// <summary>The 254th power: the group has 255 elements.</summary>
    private static byte Inverse(byte x)
    {
        byte power = 1;
        for (int bit = 7; bit >= 0; bit--)
        {
            power = Multiply(power, power);
            power = ((254 >> bit) & 1) != 0 ? Multiply(power, x) : power;
        }
        return power;
    }
}

/// <summary>GF2P8MULB.</summary>
internal readonly struct GaloisMultiply : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        Gfni.IsSupported ? Gfni.GaloisFieldMultiply(d, s) : Galois.Multiply(d, s);
}

/// <summary>GF2P8AFFINEQB: the matrices are the second operand, the constant the immediate.</summary>
internal readonly struct GaloisAffine : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        (Gfni.IsSupported ? Gfni.GaloisFieldAffineTransform(d, s, 0) : Galois.Transform(d, s)) ^ Vector128.Create((byte)immediate);
}

/// <summary>GF2P8AFFINEINVQB: the same of the inverses.</summary>
internal readonly struct GaloisAffineInverse : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        (Gfni.IsSupported ? Gfni.GaloisFieldAffineTransformInverse(d, s, 0) : Galois.Transform(Galois.Inverse(d), s)) ^ Vector128.Create((byte)immediate);
}

/// <summary>PCLMULQDQ: bits 0 and 4 of the immediate choose a quadword of each operand; their product without carries.</summary>
internal readonly struct CarrylessMultiply : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        ulong a = (immediate & 1) == 0 ? d.AsUInt64().GetElement(0) : d.AsUInt64().GetElement(1);
        ulong b = (immediate & 0x10) == 0 ? s.AsUInt64().GetElement(0) : s.AsUInt64().GetElement(1);
        return Pclmulqdq.IsSupported
            ? Pclmulqdq.CarrylessMultiply(Vector128.CreateScalar(a), Vector128.CreateScalar(b), 0).AsByte()
            : Portable.CarrylessMultiply(a, b).AsByte();
    }
}
