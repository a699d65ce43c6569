using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>Random operands with the special classes and the boundaries weighted.</summary>
internal sealed class OperandSource
{
    private static readonly int[] Exponents =
    [
        0, 0, 0, 1, 2, 30, 63, 64, 65, 0x3BCB, 0x3BCD, 0x3C00, 0x3C01, 0x3F69, 0x3F6A, 0x3F80, 0x3F81, 0x3FBE, 0x3FFC, 0x3FFD, 0x3FFE, 0x3FFF,
        0x4000, 0x400D, 0x400E, 0x400F, 0x401D, 0x401E, 0x403A, 0x403B, 0x403D, 0x403E, 0x403F, 0x407E, 0x407F, 0x43FE, 0x43FF, 0x5FFE, 0x7FC0,
        0x7FFD, 0x7FFE, 0x7FFF, 0x7FFF, 0x7FFF,
    ];

    private readonly Random _random;

    public OperandSource(long seed) => _random = LongRun.Source(seed);

    public int Below(int limit) => _random.Next(limit);

    public ulong Bits64() => (ulong)_random.NextInt64(long.MinValue, long.MaxValue);

    public Float80 Float80()
    {
        int exponent = Below(4) switch
        {
            0 => Exponents[Below(Exponents.Length)],
            1 => Below(0x8000),
            _ => 0x3FFF + Below(140) - 70,
        };
        return Make(exponent);
    }

    /// <summary>An operand that has something to do with <paramref name="other"/>: near in exponent, near in significand, or neither.</summary>
    public Float80 Near(Float80 other)
    {
        switch (Below(4))
        {
            case 0:
                return Float80();
            case 1:
                ulong significand = unchecked(other.Significand + (ulong)(Below(5) - 2));
                int near = Math.Clamp(other.Exponent + Below(3) - 1, 0, 0x7FFF);
                return new Float80(significand, (ushort)((uint)near | ((uint)Below(2) << 15)));
            case 2:
                return Make(Math.Clamp(other.Exponent + Below(140) - 70, 0, 0x7FFF));
            default:
                // A product or quotient around the ends of the range.
                int far = (Below(2) == 0 ? 0x3FFF : 0xBFFD) + (Below(2) == 0 ? other.Exponent - 0x3FFF : 0x3FFF - other.Exponent);
                return Make(Math.Clamp((far & 0x7FFF) + Below(140) - 70, 0, 0x7FFF));
        }
    }

    private Float80 Make(int exponent)
    {
        ulong significand = Below(10) switch
        {
            0 => 0x8000_0000_0000_0000,
            1 => ulong.MaxValue,
            2 => 0x8000_0000_0000_0000 | (1UL << Below(64)),
            3 => Below(4) switch { 0 => 0, 1 => 1, 2 => 0x4000_0000_0000_0000, _ => Bits64() >> 1 >> Below(63) },
            4 => (Bits64() << Below(64)) | 0x8000_0000_0000_0000,
            5 => (ulong.MaxValue << Below(64)) | 0x8000_0000_0000_0000,
            6 => (Bits64() & ~0x7FFUL) | 0x8000_0000_0000_0000 | (0x3FFUL + (uint)Below(3)),
            7 => (Bits64() & ~0xFF_FFFF_FFFFUL) | 0x8000_0000_0000_0000 | (0x7F_FFFF_FFFFUL + (ulong)Below(3)),
            _ => Bits64() | 0x8000_0000_0000_0000,
        };
        if (exponent == 0 && Below(3) != 0)
        {
            significand = Below(2) == 0 ? significand & long.MaxValue : 0;
        }
        return new Float80(significand, (ushort)((uint)exponent | ((uint)Below(2) << 15)));
    }

    public uint Bits32() => Below(4) switch
    {
        0 => ((uint)Below(2) << 31) | (Below(4) switch { 0 => 0u, 1 => 0x7F80_0000u, 2 => 0x7FA0_0000u, _ => 0x7FC0_0001u }),
        1 => ((uint)Below(2) << 31) | ((uint)Bits64() & 0x7F_FFFF),
        _ => (uint)Bits64(),
    };

    public ulong Double() => Below(4) switch
    {
        0 => ((ulong)Below(2) << 63)
            | (Below(4) switch { 0 => 0UL, 1 => 0x7FF0UL << 48, 2 => 0x7FF4UL << 48, _ => (0x7FF8UL << 48) | 1 }),
        1 => ((ulong)Below(2) << 63) | (Bits64() & 0xF_FFFF_FFFF_FFFF),
        2 => BitConverter.DoubleToUInt64Bits(Below(2000) - 1000),
        _ => Bits64(),
    };

    public (ulong Low, ushort High) Bcd()
    {
        ulong low = 0;
        for (int i = 0; i < 16; i++)
        {
            low = (low << 4) | (uint)Below(10);
        }
        return Below(8) == 0 ? (0, (ushort)(Below(2) << 15)) : (low, (ushort)(((uint)Below(2) << 15) | ((uint)Below(10) << 4) | (uint)Below(10)));
    }

    /// <summary>Any rounding, precision 24, 53 or 64, and mostly all exceptions masked.</summary>
    public ushort ControlWord()
    {
        int precision = Below(3) switch { 0 => 0, 1 => 2, _ => 3 };
        int masks = Below(3) != 0 ? 0x3F : Below(64);
        return (ushort)(0x40 | masks | (precision << 8) | (Below(4) << 10));
    }
}
