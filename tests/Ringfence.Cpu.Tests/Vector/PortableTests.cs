using System.Runtime.Intrinsics;
using Ringfence.Cpu.Vector;
using Ringfence.Cpu.Vector.Vex;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>What stands in for the host's instructions where it has none gives what they give. The differential tests have shown those right.</summary>
public sealed class PortableTests
{
    private const int Rounds = 20_000;
    private readonly Random _random = new(42);

    [Fact]
    public void AesIsTheSame()
    {
        for (int i = 0; i < Rounds; i++)
        {
            Vector128<byte> d = Next();
            Vector128<byte> s = Next();
            Assert.Equal(AesEncrypt.Do(d, s), PortableAes.Encrypt(d, s));
            Assert.Equal(AesEncryptLast.Do(d, s), PortableAes.EncryptLast(d, s));
            Assert.Equal(AesDecrypt.Do(d, s), PortableAes.Decrypt(d, s));
            Assert.Equal(AesDecryptLast.Do(d, s), PortableAes.DecryptLast(d, s));
            Assert.Equal(AesInverseMixColumns.Do(d, s), PortableAes.InverseMixColumns(s));
            Assert.Equal(AesAssistKey.Do(d, s, 0), PortableAes.AssistKey(s));
        }
    }

    /// <summary>FIPS 197 appendix B: the first round of its example, whatever the host.</summary>
    [Fact]
    public void AesIsAsPublished()
    {
        Vector128<byte> start = Vector("193de3bea0f4e22b9ac68d2ae9f84808");
        Assert.Equal(Vector("046681e5e0cb199a48f8d37a2806264c"), PortableAes.Encrypt(start, Vector128<byte>.Zero));
        Assert.Equal(Vector("d4bf5d30e0b452aeb84111f11e2798e5"), PortableAes.EncryptLast(start, Vector128<byte>.Zero));
        Assert.Equal(start, PortableAes.DecryptLast(Vector("d4bf5d30e0b452aeb84111f11e2798e5"), Vector128<byte>.Zero));
    }

    [Fact]
    public void GaloisFieldIsTheSame()
    {
        for (int i = 0; i < Rounds; i++)
        {
            Vector128<byte> d = Next();
            Vector128<byte> s = Next();
            Assert.Equal(GaloisMultiply.Do(d, s), Galois.Multiply(d, s));
            Assert.Equal(GaloisAffine.Do(d, s, 0), Galois.Transform(d, s));
            Assert.Equal(GaloisAffineInverse.Do(d, s, 0), Galois.Transform(Galois.Inverse(d), s));
        }
        Assert.All(Enumerable.Range(1, 255), x => Assert.Equal(1, Galois.Multiply((byte)x, Galois.Inverse(Vector128.CreateScalar((byte)x)).ToScalar())));
    }

    [Fact]
    public void CarrylessProductIsTheSame()
    {
        for (int i = 0; i < Rounds; i++)
        {
            Vector128<byte> d = Next();
            Vector128<byte> s = Next();
            Assert.Equal(CarrylessMultiply.Do(d, s, 0x10).AsUInt64(), Portable.CarrylessMultiply(d.AsUInt64()[0], s.AsUInt64()[1]));
        }
        Assert.Equal(Vector128.Create(5UL, 0), Portable.CarrylessMultiply(3, 3));
    }

    [Fact]
    public void SumsAndMinimaAreTheSame()
    {
        for (int i = 0; i < Rounds; i++)
        {
            Vector128<byte> d = Next();
            Vector128<byte> s = Next();
            Assert.Equal(SumsOfAbsoluteDifferences.Do(d, s, 0).AsUInt16(), Portable.SumsOfAbsoluteDifferences(d, s));
            Assert.Equal(MinimumPosition.Do(d, s).AsUInt16(), Portable.MinimumPosition(s.AsUInt16()));
            // Equal words: the first counts.
            s &= Vector128.Create((ushort)0x0300).AsByte();
            Assert.Equal(MinimumPosition.Do(d, s).AsUInt16(), Portable.MinimumPosition(s.AsUInt16()));
        }
    }

    [Fact]
    public void ShiftsOfEachLaneAreTheSame()
    {
        for (int i = 0; i < Rounds; i++)
        {
            Vector128<byte> d = Next();
            Vector128<byte> s = (i & 1) == 0 ? Next() : Vector128.Create((uint)_random.Next(34), 31, 63, (uint)_random.Next(70)).AsByte();
            Assert.Equal(ShiftLeftEach<uint>.Do(d, s), Portable.ShiftEach<uint, ShiftLeft<uint>>(d, s));
            Assert.Equal(ShiftLeftEach<ulong>.Do(d, s), Portable.ShiftEach<ulong, ShiftLeft<ulong>>(d, s));
            Assert.Equal(ShiftRightEach<uint>.Do(d, s), Portable.ShiftEach<uint, ShiftRight<uint>>(d, s));
            Assert.Equal(ShiftRightEach<ulong>.Do(d, s), Portable.ShiftEach<ulong, ShiftRight<ulong>>(d, s));
            Assert.Equal(ShiftRightArithmeticEach.Do(d, s), Portable.ShiftEach<int, ShiftRightArithmetic<int>>(d, s));
        }
    }

    private static Vector128<byte> Vector(string hex) => Vector128.Create(Convert.FromHexString(hex));

    private Vector128<byte> Next() => Vector128.Create(_random.NextInt64(long.MinValue, long.MaxValue), _random.NextInt64(long.MinValue, long.MaxValue)).AsByte();
}
