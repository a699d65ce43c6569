using Ringfence.Host;
using Ringfence.Tests;

namespace Ringfence.Firmware.Tests;

public class FuzzTests
{
    private const int Images = 20_000;

    /// <summary>Spoiled images load or are refused in one line; nothing else happens. Writes outside RAM cannot hide: the loader's only way
    /// to memory throws for them. RINGFENCE_FUZZ_IMAGES says how many, RINGFENCE_SEED which.</summary>
    [Fact]
    public void SpoiledImagesLoadOrAreRefused()
    {
        long images = FuzzOptions.Count(FuzzOptions.Images, Images);
        var progress = new FuzzProgress("images loaded");
        using var memory = new GuestMemory(32 << 20);
        long loaded = 0;
        for (long i = 0; i < images; i++)
        {
            try
            {
                loaded += Loads(memory, i) ? 1 : 0;
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {FuzzOptions.Seed}, image {i}: {e}");
            }
            progress.Done(1, $"image {i}");
        }
        Assert.InRange(loaded, images / 10, images - (images / 10));
    }

    private static unsafe bool Loads(GuestMemory memory, long number)
    {
        byte[] image = SpoiledImages.Make(number, SpoiledImages.RandomOf(number));
        bool module = number % 2 == 0 && number % SpoiledImages.Seeds.Length != SpoiledImages.BootSector;
        var request = new LoadRequest
        {
            Kernel = new GuestFile("image", image),
            CommandLine = "a=b",
            Modules = module ? [new GuestModule(new GuestFile("module", new byte[100]), "c=d")] : [],
        };
        try
        {
            BootState state = GuestLoader.Load(memory, request);
            Assert.True(memory.Pointer(state.Rip) != null, $"it starts at 0x{state.Rip:x}, outside memory");
            return true;
        }
        catch (GuestLoadException e)
        {
            Assert.StartsWith("image: ", e.Message.Replace("module: ", "image: ", StringComparison.Ordinal), StringComparison.Ordinal);
            Assert.DoesNotContain('\n', e.Message);
            return false;
        }
    }
}
