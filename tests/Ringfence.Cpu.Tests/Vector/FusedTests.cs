using Ringfence.Cpu.Vector;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>The fused multiply-add in integers (SDM 1 14.5.2): products and addends of all distances, that cancel or nearly do.</summary>
public sealed class FusedTests
{
    private const int Rounds = 200_000;
    private const uint Nearest = 0x1F80;
    private const uint Down = 0x3F80;
    private const uint Up = 0x5F80;

    [Fact]
    public void DoublesAreRoundedAsTheHostDoes()
    {
        var random = new Random(7);
        for (int i = 0; i < Rounds; i++)
        {
            ulong x = Number(random, 52, 0x3FF);
            ulong y = Number(random, 52, 0x3FF);
            double product = BitConverter.UInt64BitsToDouble(x) * BitConverter.UInt64BitsToDouble(y);
            ulong z = Addend(random, BitConverter.DoubleToUInt64Bits(product), 52, 0x7FF);
            double expected = Math.FusedMultiplyAdd(BitConverter.UInt64BitsToDouble(x), BitConverter.UInt64BitsToDouble(y), BitConverter.UInt64BitsToDouble(z));
            if (!double.IsNaN(expected))
            {
                Assert.Equal(BitConverter.DoubleToUInt64Bits(expected), Fused<double>(x, y, z, Nearest).Result);
                CheckDirections<double>(x, y, z);
            }
        }
    }

    [Fact]
    public void SinglesAreRoundedAsTheHostDoes()
    {
        var random = new Random(8);
        for (int i = 0; i < Rounds; i++)
        {
            uint x = (uint)Number(random, 23, 0x7F);
            uint y = (uint)Number(random, 23, 0x7F);
            float product = BitConverter.UInt32BitsToSingle(x) * BitConverter.UInt32BitsToSingle(y);
            uint z = (uint)Addend(random, BitConverter.SingleToUInt32Bits(product), 23, 0xFF);
            float expected = MathF.FusedMultiplyAdd(BitConverter.UInt32BitsToSingle(x), BitConverter.UInt32BitsToSingle(y), BitConverter.UInt32BitsToSingle(z));
            if (!float.IsNaN(expected))
            {
                Assert.Equal(BitConverter.SingleToUInt32Bits(expected), Fused<float>(x, y, z, Nearest).Result);
                CheckDirections<float>(x, y, z);
            }
        }
    }

    /// <summary>Infinity times zero is invalid unless the addend is a quiet NaN, which is then the result; invalid hides denormal operands.</summary>
    [Theory]
    [InlineData(0x7FF0_0000_0000_0000, 0, 0x7FF8_0000_0000_0123, 0x7FF8_0000_0000_0123, 0)]
    [InlineData(0, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0123, 0x7FF8_0000_0000_0123, 1)]
    [InlineData(0x7FF0_0000_0000_0000, 0, 1, 0xFFF8_0000_0000_0000, 1)]
    [InlineData(0x7FF0_0000_0000_0000, 1, 0x3FF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 2)]
    [InlineData(0x7FF0_0000_0000_0000, 1, 0xFFF0_0000_0000_0000, 0xFFF8_0000_0000_0000, 1)]
    [InlineData(0x7FF8_0000_0000_0123, 1, 0x3FF0_0000_0000_0000, 0x7FF8_0000_0000_0123, 0)]
    public void SpecialOperandsAreAsOnProcessors(ulong x, ulong y, ulong z, ulong result, uint flags) =>
        Assert.Equal((result, flags), Fused<double>(x, y, z, Nearest));

    /// <summary>Rounded down and rounded up are the same number if nothing was lost, and neighbours with the precision flag set if something was.</summary>
    private static void CheckDirections<T>(ulong x, ulong y, ulong z)
        where T : unmanaged
    {
        (ulong down, uint lowFlags) = Fused<T>(x, y, z, Down);
        (ulong up, uint highFlags) = Fused<T>(x, y, z, Up);
        Assert.Equal(lowFlags & 0x20, highFlags & 0x20);
        if (SoftFloat<T>.IsZero(down) && SoftFloat<T>.IsZero(up) && (lowFlags & 0x20) == 0)
        {
            return;
        }
        long distance = Place<T>(up) - Place<T>(down);
        Assert.Equal((lowFlags & 0x20) == 0 ? 0 : 1, distance);
    }

    /// <summary>Numbers in the order of their values, both zeros being the same.</summary>
    private static long Place<T>(ulong x)
        where T : unmanaged => (x & SoftFloat<T>.SignBit) == 0 ? (long)x : -(long)(x & ~SoftFloat<T>.SignBit);

    private static (ulong Result, uint Flags) Fused<T>(ulong x, ulong y, ulong z, uint control)
        where T : unmanaged
    {
        var status = new FloatStatus(control);
        return (SoftFloat<T>.MultiplyAdd(x, y, z, false, false, ref status), status.Raised);
    }

    private static ulong Number(Random random, int fractionBits, int bias)
    {
        ulong fraction = (ulong)random.NextInt64(1L << fractionBits);
        // Few bits now and then, so that products are short.
        fraction = random.Next(3) == 0 ? fraction >> (fractionBits - 4) << (fractionBits - 4) : fraction;
        int exponent = random.Next(4) == 0 ? random.Next(1, bias * 2) : bias + random.Next(-20, 20);
        return ((ulong)random.Next(2) << (fractionBits == 52 ? 63 : 31)) | ((ulong)exponent << fractionBits) | fraction;
    }

    /// <summary>The product's opposite, or near it; or a number at some distance from it.</summary>
    private static ulong Addend(Random random, ulong product, int fractionBits, int maximum)
    {
        ulong sign = 1UL << (fractionBits == 52 ? 63 : 31);
        if (random.Next(2) == 0)
        {
            return (product ^ sign) + (ulong)random.Next(-2, 3);
        }
        int exponent = (int)((product & ~sign) >> fractionBits) + random.Next(-130, 131);
        return ((ulong)random.Next(2) * sign) | ((ulong)Math.Clamp(exponent, 0, maximum - 1) << fractionBits)
            | (ulong)random.NextInt64(1L << fractionBits);
    }
}
