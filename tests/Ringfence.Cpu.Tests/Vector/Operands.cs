namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Random states in which the special values are frequent.</summary>
internal static unsafe class Operands
{
    private static readonly uint[] Singles =
        [
            0, 0x8000_0000, 1, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x8080_0000, 0x0080_0001, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC1_2345,
            0x7F80_0001, 0xFFA0_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x3F80_0000, 0xBF80_0000, 0x3F00_0000, 0xBF00_0000, 0x3FC0_0000, 0x4F00_0000,
            0xCF00_0000, 0xCF00_0001, 0x4EFF_FFFF, 0x5F00_0000, 0xDF00_0000, 0x4F80_0000, 0x4020_0000, 0x3F7F_FFFF, 0x2000_0000, 0x1FFF_FFFF,
        ];

    private static readonly ulong[] Doubles =
        [
            0, 0x8000_0000_0000_0000, 1, 0x8000_0000_0000_0001, 0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x8010_0000_0000_0000,
            0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000, 0x7FF8_0000_0000_0000, 0xFFF8_1234_5678_9ABC, 0x7FF0_0000_0000_0001, 0xFFF4_0000_0000_0000,
            0x7FEF_FFFF_FFFF_FFFF, 0xFFEF_FFFF_FFFF_FFFF, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x3FF8_0000_0000_0000,
            0x41E0_0000_0000_0000, 0xC1E0_0000_0000_0000, 0xC1E0_0000_0020_0000, 0xC1E0_0000_0010_0000, 0x41DF_FFFF_FFC0_0000, 0x41DF_FFFF_FFE0_0000,
            0x43E0_0000_0000_0000, 0xC3E0_0000_0000_0000, 0xC3E0_0000_0000_0001, 0x3810_0000_0000_0000, 0x380F_FFFF_FFFF_FFFF, 0x36A0_0000_0000_0000,
            0x3690_0000_0000_0000, 0x47EF_FFFF_E000_0000, 0x47EF_FFFF_F000_0000, 0x4004_0000_0000_0000, 0x3FEF_FFFF_FFFF_FFFF, 0x380F_FFFF_F000_0000,
        ];

    public static void Fill(MachineImage* image, Random random)
    {
        *image = default;
        FillVector(new Span<byte>(image->Ymm, 512), random);
        FillVector(new Span<byte>(image->Mm, 64), random);
        for (int i = 0; i < 16; i++)
        {
            image->Gpr[i] = (ulong)(random.NextInt64() << 1) >> random.Next(64);
            if (random.Next(4) == 0)
            {
                image->Gpr[i] = ~image->Gpr[i];
            }
        }
        image->Flags = 2 | ((ulong)random.Next() & 0x8D5);
        uint flags = random.Next(3) switch { 0 => 0, 1 => 0x20, _ => (uint)random.Next(64) };
        uint control = random.Next(2) == 0 ? 0 : (uint)(random.Next(4) << 13) | (random.Next(3) == 0 ? 0x40U : 0) | (random.Next(3) == 0 ? 0x8000U : 0);
        image->Mxcsr = 0x1F80 | flags | control;
    }

    /// <summary>Each 16 bytes are of one kind: noise, singles, doubles, small counts.</summary>
    public static void FillVector(Span<byte> destination, Random random)
    {
        for (; destination.Length != 0; destination = destination[16..])
        {
            Span<byte> vector = destination[..16];
            int kind = random.Next(10);
            for (int i = 0; i < 16; i += 4)
            {
                BitConverter.TryWriteBytes(vector[i..], kind < 2 ? (uint)random.NextInt64(1L << 32) : Single(random));
            }
            if (kind >= 6)
            {
                BitConverter.TryWriteBytes(vector, Double(random));
                BitConverter.TryWriteBytes(vector[8..], Double(random));
            }
            if (kind == 9)
            {
                BitConverter.TryWriteBytes(vector, (ulong)random.Next(70));
            }
        }
    }

    /// <summary>Strings of few different characters, so that they have some in common, and lengths for them.</summary>
    public static void FillText(MachineImage* image, Span<byte> memory, Random random)
    {
        if (random.Next(8) == 0)
        {
            return;
        }
        Letters(new Span<byte>(image->Ymm, 512), random);
        Letters(memory, random);
        foreach (int register in new[] { 0, 2 })
        {
            image->Gpr[register] = random.Next(4) switch
            {
                0 => 1UL << random.Next(30, 64),
                1 => (ulong)random.Next(-18, 19),
                _ => (uint)random.Next(-18, 19) | ((ulong)random.Next() << 32),
            };
        }
    }

    private static void Letters(Span<byte> text, Random random)
    {
        ReadOnlySpan<byte> letters = [0x41, 0x42, 0x43, 0x7F, 0x80, 0xFF, 0x41, 0x42];
        for (; text.Length != 0; text = text[16..])
        {
            bool words = random.Next(2) == 0;
            int kinds = random.Next(1, 9);
            int ends = random.Next(3) switch { 0 => 4, 1 => 12, _ => 1000 };
            for (int i = 0; i < 16; i++)
            {
                text[i] = random.Next(ends) == 0 ? (byte)0 : letters[random.Next(kinds)];
                if (words && (i & 1) != 0)
                {
                    text[i] = random.Next(3) == 0 ? (byte)0 : text[i - 1];
                }
            }
        }
    }

    private static uint Single(Random random) => random.Next(7) switch
    {
        0 or 1 => Singles[random.Next(Singles.Length)],
        // Exact and half-way values, near each other in size.
        2 => BitConverter.SingleToUInt32Bits(random.Next(-4096, 4096) / 4f),
        // Around the bottom of the range, and numbers whose products lie there.
        3 => (uint)random.NextInt64(1L << 32) & 0x81FF_FFFF,
        // A few units beside a power of two.
        5 => (uint)((random.Next(0x3E, 0x42) << 23) + random.Next(-3, 4)),
        4 => 0x1F00_0000U + ((uint)random.Next() & 0x81FF_FFFF),
        _ => BitConverter.SingleToUInt32Bits((random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-10, 40))),
    };

    private static ulong Double(Random random) => random.Next(7) switch
    {
        0 or 1 => Doubles[random.Next(Doubles.Length)],
        2 => BitConverter.DoubleToUInt64Bits(random.Next(-4096, 4096) / 4.0),
        3 => (ulong)(random.NextInt64() << 1) & 0x803F_FFFF_FFFF_FFFF,
        5 => (ulong)(((long)random.Next(0x1FE, 0x202) << 52) + random.Next(-3, 4)),
        4 => 0x1FE0_0000_0000_0000 + ((ulong)(random.NextInt64() << 1) & 0x803F_FFFF_FFFF_FFFF),
        _ => BitConverter.DoubleToUInt64Bits((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-160, 160))),
    };
}
