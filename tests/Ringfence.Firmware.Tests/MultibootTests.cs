using Ringfence.Host;
using static Ringfence.Firmware.Tests.GuestView;

namespace Ringfence.Firmware.Tests;

public class MultibootTests
{
    [Theory]
    [InlineData("flat", 0x10_0080UL)]
    [InlineData("ELF32", TestImages.ElfPhysical + 0x10)]
    [InlineData("ELF64", TestImages.ElfPhysical + 0x10)]
    public void IsEnteredInProtectedModeWithItsInformation(string format, ulong entry)
    {
        byte[] image = format == "flat" ? TestImages.FlatMultiboot() : TestImages.Elf(format == "ELF64", pvh: true, multiboot: true);
        using var memory = new GuestMemory(32 << 20);
        BootState state = TestImages.Load(
            memory, image, "a b", new GuestModule(new GuestFile("m1", new byte[5000]), "x y"), new GuestModule(new GuestFile("m2", new byte[] { 7 })));
        Assert.Equal(GuestKind.Multiboot, state.Kind);
        Assert.Equal(BootMode.Protected32, state.Mode);
        Assert.Equal($"multiboot kernel ({format})", state.Description);
        Assert.Equal(entry, state.Rip);
        Assert.Equal(0xF4, memory.Read<byte>(entry));
        Assert.Equal(0x2BAD_B002UL, state.Registers[0]);

        ulong info = state.Registers[3];
        Assert.Equal(0x24Fu, memory.Read<uint>(info));
        Assert.Equal(639u, memory.Read<uint>(info + 4));
        Assert.Equal(31u << 10, memory.Read<uint>(info + 8));
        Assert.Equal("kernel a b", memory.Text(memory.Read<uint>(info + 16)));
        Assert.Equal(2u, memory.Read<uint>(info + 20));
        Assert.Equal("ringfence", memory.Text(memory.Read<uint>(info + 64)));
        uint modules = memory.Read<uint>(info + 24);
        uint first = memory.Read<uint>(modules);
        uint second = memory.Read<uint>(modules + 16);
        Assert.Equal(0u, first % 4096);
        Assert.Equal(0u, second % 4096);
        Assert.True(first > entry);
        Assert.Equal(first + 5000, memory.Read<uint>(modules + 4));
        Assert.Equal("m1 x y", memory.Text(memory.Read<uint>(modules + 8)));
        Assert.Equal("m2", memory.Text(memory.Read<uint>(modules + 24)));
        Assert.Equal(7, memory.Read<byte>(second));

        uint length = memory.Read<uint>(info + 44);
        uint map = memory.Read<uint>(info + 48);
        IReadOnlyList<E820Entry> expected = MemoryMap.Build(memory);
        Assert.Equal((uint)expected.Count * 24, length);
        for (int i = 0; i < expected.Count; i++)
        {
            ulong at = map + (ulong)i * 24;
            Assert.Equal(20u, memory.Read<uint>(at));
            Assert.Equal(expected[i], new E820Entry(memory.Read<ulong>(at + 4), memory.Read<ulong>(at + 12), (E820Type)memory.Read<uint>(at + 20)));
        }
    }

    /// <summary>For kernels that go back to real mode with interrupts on.</summary>
    [Fact]
    public void FindsTheInterruptVectorsOfABios()
    {
        using var memory = new GuestMemory(2 << 20);
        TestImages.Load(memory, TestImages.FlatMultiboot());
        memory.ExpectVectorsOfABios();
    }

    [Fact]
    public void TheBssOfAFlatImageIsCleared()
    {
        using var memory = new GuestMemory(2 << 20);
        memory.Write(0x10_1FFF, (byte)1);
        memory.Write(0x10_2000, (byte)1);
        TestImages.Load(memory, TestImages.FlatMultiboot());
        Assert.Equal(0, memory.Read<byte>(0x10_1FFF));
        Assert.Equal(1, memory.Read<byte>(0x10_2000));
    }

    [Fact]
    public void LoadAddressMinusOneTakesTheWholeFile()
    {
        byte[] image = TestImages.FlatMultiboot();
        TestImages.Put(image, 0x50, uint.MaxValue);
        TestImages.Put(image, 0x54, 0);
        using var memory = new GuestMemory(2 << 20);
        Assert.Equal(0x10_0080UL, TestImages.Load(memory, image).Rip);
        Assert.Equal(0x1BAD_B002u, memory.Read<uint>(0x10_0040));
    }

    [Fact]
    public void TheHeaderMustLieInTheFirst8192Bytes()
    {
        byte[] image = new byte[16384];
        TestImages.MultibootHeader(image, 8192 - 12, 0);
        Refuses(image, "no address fields");
        TestImages.Put(image, 8192 - 12, 0);
        TestImages.MultibootHeader(image, 8192, 0);
        Refuses(image, "no kernel");
        byte[] checksum = TestImages.FlatMultiboot();
        checksum[0x48]++;
        Refuses(checksum, "no kernel");
    }

    [Fact]
    public void RefusesWhatCannotBoot()
    {
        Refuses(With(0x4C, 0x0F_FFF0), "contradict");
        Refuses(With(0x4C, 0x10_0000 + 0x80), "contradict");
        Refuses(With(0x54, 0x0F_0000), "ends loading before its start");
        Refuses(With(0x54, 0x10_2000), "truncated");
        Refuses(With(0x58, 0xF000_0000), "outside guest memory");
        Refuses(With(0x5C, 0x20_0000), "outside the kernel");
        byte[] required = TestImages.FlatMultiboot();
        TestImages.MultibootHeader(required, 0x40, 0x1_0009);
        Refuses(required, "features that do not exist");
        Refuses(TestImages.FlatMultiboot(), "big: 1800000 bytes do not fit", megabytes: 2,
            modules: new GuestModule(new GuestFile("big", new byte[1_800_000])));
    }

    [Fact]
    public void TruncatedImagesAreRefused()
    {
        CheckTruncations(TestImages.FlatMultiboot(), 0xFFF);
        byte[] elf = TestImages.Elf(false, multiboot: true);
        CheckTruncations(elf, elf.Length - 1);
    }

    private static byte[] With(int offset, uint value)
    {
        byte[] image = TestImages.FlatMultiboot();
        TestImages.Put(image, offset, value);
        return image;
    }
}
