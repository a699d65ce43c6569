using Ringfence.Firmware.Monitor;
using Ringfence.Host;

namespace Ringfence.Firmware.Tests;

public class FuzzTests
{
    private const int Images = 20_000;

    /// <summary>Spoiled images load or are refused in one line; nothing else happens. Writes outside RAM cannot hide: the loader's only way
    /// to memory throws for them.</summary>
    [Fact]
    public void SpoiledImagesLoadOrAreRefused()
    {
        byte[][] seeds =
        [
            TestImages.BzImage(), TestImages.BzImage(entry64: false, version: 0x20B), TestImages.Elf(true), TestImages.Elf(false),
            TestImages.Elf(true, pvh: true), TestImages.Elf(false, pvh: true), TestImages.Elf(false, multiboot: true),
            TestImages.Elf(true, multiboot: true), TestImages.FlatMultiboot(), TestImages.BootSector(), EmbeddedGuest.Build(),
        ];
        var random = new Random(20_25);
        using var memory = new GuestMemory(32 << 20);
        int loaded = 0;
        for (int i = 0; i < Images; i++)
        {
            byte[] image = Spoil(seeds[i % seeds.Length], random);
            var request = new LoadRequest
            {
                Kernel = new GuestFile("image", image),
                CommandLine = "a=b",
                Modules = i % 2 == 0 && i % seeds.Length != 9 ? [new GuestModule(new GuestFile("module", new byte[100]), "c=d")] : [],
            };
            try
            {
                BootState state = GuestLoader.Load(memory, request);
                unsafe
                {
                    Assert.True(memory.Pointer(state.Rip) != null, $"image {i} starts at 0x{state.Rip:x}, outside memory");
                }
                loaded++;
            }
            catch (GuestLoadException e)
            {
                Assert.StartsWith("image: ", e.Message.Replace("module: ", "image: ", StringComparison.Ordinal), StringComparison.Ordinal);
                Assert.DoesNotContain('\n', e.Message);
            }
        }
        Assert.InRange(loaded, Images / 10, Images - Images / 10);
    }

    private static byte[] Spoil(byte[] seed, Random random)
    {
        byte[] image = (byte[])seed.Clone();
        for (int changes = random.Next(1, 5); changes > 0; changes--)
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
                    BitConverter.TryWriteBytes(field, random.Next());
                    break;
            }
        }
        return random.Next(8) == 0 ? image[..random.Next(image.Length)] : image;
    }
}
