using Ringfence.Firmware.Monitor;
using Ringfence.Tests;

namespace Ringfence.Firmware.Tests;

/// <summary>Images of every kind, changed at random. Each follows from the seed and its number alone.</summary>
internal static class SpoiledImages
{
    public static byte[][] Seeds { get; } =
    [
        TestImages.BzImage(), TestImages.BzImage(entry64: false, version: 0x20B), TestImages.Elf(true), TestImages.Elf(false),
        TestImages.Elf(true, pvh: true), TestImages.Elf(false, pvh: true), TestImages.Elf(false, multiboot: true),
        TestImages.Elf(true, multiboot: true), TestImages.FlatMultiboot(), TestImages.BootSector(), EmbeddedGuest.Build(),
    ];

    /// <summary>The one that takes no modules.</summary>
    public const int BootSector = 9;

    public static FuzzRandom RandomOf(long number) => new((FuzzOptions.Seed << 40) ^ (ulong)number);

    public static byte[] Make(long number, FuzzRandom random) => Spoil(Seeds[number % Seeds.Length], random);

    public static byte[] Spoil(byte[] seed, FuzzRandom random)
    {
        byte[] image = (byte[])seed.Clone();
        for (int changes = 1 + random.Next(4); changes > 0; changes--)
        {
            // Headers are where parsers go wrong: most changes go to the first 1 KiB and to the notes.
            int at = random.Next(4) switch
            {
                0 => random.Next(image.Length),
                1 => 0x800 + random.Next(0x20),
                2 => random.Next(Math.Min(160, image.Length)),
                _ => 0x1F0 + random.Next(0x80),
            };
            at = Math.Min(at, image.Length - 8);
            Span<byte> field = image.AsSpan(at);
            switch (random.Next(5))
            {
                case 0:
                    field[0] = (byte)random.Next(256);
                    break;
                case 1:
                    field[0] ^= (byte)(1 << random.Next(8));
                    break;
                case 2:
                    BitConverter.TryWriteBytes(field, uint.MaxValue - (uint)random.Next(16));
                    break;
                case 3:
                    BitConverter.TryWriteBytes(field, ulong.MaxValue >> random.Next(64));
                    break;
                default:
                    BitConverter.TryWriteBytes(field, (int)(random.Next() >> 33));
                    break;
            }
        }
        return random.Once(8) ? image[..random.Next(image.Length)] : image;
    }
}
