namespace Ringfence.Tests;

/// <summary>Random bytes as code: some quite at random, most of them after the opcode maps, so that they mean something.</summary>
internal static class FuzzCode
{
    private static ReadOnlySpan<byte> Prefixes => [0x66, 0x66, 0xF2, 0xF3, 0xF3, 0x67, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65];

    /// <summary>One-byte opcodes with more to say than others: groups, x87, transfers, segments, strings.</summary>
    private static ReadOnlySpan<byte> Rich =>
    [
        0x80, 0x81, 0x83, 0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3, 0xF6, 0xF7, 0xFE, 0xFF, 0x8E, 0x8C, 0x9D, 0x9C, 0xC8, 0xC9, 0xCF, 0xCA, 0xCB, 0xC4,
        0xC5, 0x62, 0x63, 0x9A, 0xEA, 0x8F, 0xCC, 0xCD, 0xCE, 0xF1, 0xA4, 0xA5, 0xA6, 0xAA, 0xAB, 0xAC, 0xAF, 0x6C, 0x6F, 0xE4, 0xED, 0xEE, 0xFA, 0xFB,
        0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xD9, 0xDB, 0xE2, 0xE3, 0x60, 0x61, 0x17, 0x1F, 0x27, 0xD4, 0xD5, 0xD7,
    ];

    /// <summary>Opcodes after 0F that systems are made of.</summary>
    private static ReadOnlySpan<byte> System =>
    [
        0x00, 0x01, 0x01, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0D, 0x18, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35,
        0xA0, 0xA1, 0xA2, 0xA9, 0xAA, 0xAE, 0xAE, 0xAE, 0xB2, 0xB4, 0xB5, 0xBA, 0xC7, 0xC7, 0xC7, 0xFF, 0x77,
    ];

    public static void Fill(FuzzRandom random, Span<byte> code, int bits)
    {
        random.Fill(code);
        if (random.Once(4))
        {
            return;
        }
        Span<byte> instruction = stackalloc byte[24];
        for (int at = 0; at < code.Length;)
        {
            int length = Instruction(random, instruction, bits);
            length = Math.Min(length, code.Length - at);
            instruction[..length].CopyTo(code[at..]);
            at += length;
        }
    }

    private static int Instruction(FuzzRandom random, Span<byte> code, int bits)
    {
        int n = 0;
        while (random.Once(3) && n < 4)
        {
            code[n++] = random.Of(Prefixes);
        }
        int map = random.Next(10);
        if (bits == 64 && map < 7 && random.Once(2))
        {
            code[n++] = (byte)(0x40 + random.Next(16));
        }
        bool immediate = random.Once(4);
        switch (map)
        {
            case 0:
                code[n++] = (byte)random.Next(256);
                break;
            case 1:
                code[n++] = random.Of(Rich);
                break;
            case 2 or 3:
                code[n++] = 0x0F;
                code[n++] = (byte)random.Next(256);
                break;
            case 4:
                code[n++] = 0x0F;
                code[n++] = random.Of(System);
                break;
            case 5:
                code[n++] = 0x0F;
                code[n++] = 0x38;
                code[n++] = (byte)random.Next(256);
                break;
            case 6:
                code[n++] = 0x0F;
                code[n++] = 0x3A;
                code[n++] = (byte)random.Next(0x64);
                immediate = true;
                break;
            case 7:
                // VEX of two bytes: inverted R and vvvv, L, pp. Outside 64-bit mode the upper bits tell it from LDS.
                code[n++] = 0xC5;
                code[n++] = (byte)(random.Next(256) | (bits == 64 ? 0 : 0xC0));
                code[n++] = (byte)random.Next(256);
                break;
            default:
                code[n++] = 0xC4;
                int opcodes = random.Once(16) ? random.Next(32) : 1 + random.Next(3);
                code[n++] = (byte)((random.Next(8) << 5) | (bits == 64 ? 0 : 0xC0) | opcodes);
                code[n++] = (byte)(random.Once(2) ? random.Next(256) | 0x78 : random.Next(256));
                code[n++] = (byte)random.Next(256);
                immediate |= opcodes == 3;
                break;
        }
        n += Operand(random, code[n..], bits);
        if (immediate)
        {
            code[n++] = (byte)random.Next(256);
        }
        return n;
    }

    /// <summary>ModRM with what belongs to it; displacements are small.</summary>
    private static int Operand(FuzzRandom random, Span<byte> code, int bits)
    {
        byte modRm = (byte)(random.Next(256) | (random.Once(2) ? 0xC0 : 0));
        int n = 0;
        code[n++] = modRm;
        int mod = modRm >> 6;
        int rm = modRm & 7;
        if (mod == 3)
        {
            return n;
        }
        int wide = bits == 16 ? 2 : 4;
        if (bits != 16 && rm == 4)
        {
            code[n++] = (byte)random.Next(256);
        }
        int displacement = mod == 1 ? 1 : mod == 2 || rm == (bits == 16 ? 6 : 5) ? wide : 0;
        code.Slice(n, displacement).Clear();
        for (int i = 0; i < Math.Min(displacement, 2); i++)
        {
            code[n + i] = (byte)random.Next(256);
        }
        return n + displacement;
    }
}
