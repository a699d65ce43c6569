using Ringfence.Host;
using static Ringfence.Firmware.Tests.GuestView;

namespace Ringfence.Firmware.Tests;

public class BzImageTests
{
    [Fact]
    public void EntersInLongModeWithEverythingTheProtocolAsksFor()
    {
        using var memory = new GuestMemory(64 << 20);
        byte[] first = [1, 2, 3, 4, 5];
        byte[] second = [6, 7];
        BootState state = TestImages.Load(
            memory, TestImages.BzImage(), "console=ttyS0", new GuestModule(new GuestFile("a", first)), new GuestModule(new GuestFile("b", second)));

        Assert.Equal(GuestKind.LinuxBzImage, state.Kind);
        Assert.Equal(BootMode.Long64, state.Mode);
        Assert.Equal("Linux 6.1.0-test bzImage (protocol 2.15), 64-bit entry", state.Description);
        Assert.Equal(0x100_0200UL, state.Rip);
        Assert.Equal(0x90, memory.Read<byte>(0x100_1FFF));
        Assert.Equal(0x8000_0011UL, state.Cr0);
        Assert.Equal(0x20UL, state.Cr4);
        Assert.Equal(0x500UL, state.Efer);
        Assert.Equal(new BootSegment(0x10, 0, 0xFFFF_FFFF, 0xA09B), state.Cs);
        Assert.Equal(new BootSegment(0x18, 0, 0xFFFF_FFFF, 0xC093), state.Ds);
        Assert.Equal(0x00AF_9B00_0000_FFFFUL, memory.Read<ulong>(state.GdtBase + 0x10));
        Assert.Equal(0x00CF_9300_0000_FFFFUL, memory.Read<ulong>(state.GdtBase + 0x18));

        ulong zeroPage = state.Registers[6];
        Assert.Equal(0x5372_6448u, memory.Read<uint>(zeroPage + 0x202));
        Assert.Equal(0xFF, memory.Read<byte>(zeroPage + 0x210));
        Assert.Equal(0x81, memory.Read<byte>(zeroPage + 0x211));
        Assert.Equal(0x100_0000u, memory.Read<uint>(zeroPage + 0x214));
        Assert.Equal("console=ttyS0", memory.Text(memory.Read<uint>(zeroPage + 0x228)));
        Assert.Equal(BoardLayout.RsdpAddress, memory.Read<ulong>(zeroPage + 0x70));
        uint initrd = memory.Read<uint>(zeroPage + 0x218);
        Assert.Equal(0x3FF_F000u, initrd);
        Assert.Equal(10u, memory.Read<uint>(zeroPage + 0x21C));
        Assert.Equal([1, 2, 3, 4, 5, 0, 0, 0, 6, 7], memory.Bytes(initrd, 10));

        byte entries = memory.Read<byte>(zeroPage + 0x1E8);
        IReadOnlyList<E820Entry> map = MemoryMap.Build(memory);
        Assert.Equal(map.Count, entries);
        for (int i = 0; i < entries; i++)
        {
            ulong at = zeroPage + 0x2D0 + (ulong)i * 20;
            Assert.Equal(map[i], new E820Entry(memory.Read<ulong>(at), memory.Read<ulong>(at + 8), (E820Type)memory.Read<uint>(at + 16)));
        }
    }

    [Fact]
    public void PageTablesMapTheFirstFourGigabytesToThemselves()
    {
        using var memory = new GuestMemory(64 << 20);
        BootState state = TestImages.Load(memory, TestImages.BzImage());
        const ulong AddressMask = 0x000F_FFFF_FFFF_F000;
        for (ulong address = 0; address < 1UL << 32; address += 0x20_0000)
        {
            ulong pml4 = memory.Read<ulong>(state.Cr3);
            ulong pdpt = memory.Read<ulong>((pml4 & AddressMask) + (address >> 30) * 8);
            ulong pd = memory.Read<ulong>((pdpt & AddressMask) + ((address >> 21) & 511) * 8);
            Assert.Equal(address | 0x83, pd);
        }
    }

    [Fact]
    public void EntersInProtectedModeWithoutA64BitEntry()
    {
        using var memory = new GuestMemory(64 << 20);
        BootState state = TestImages.Load(memory, TestImages.BzImage(entry64: false));
        Assert.Equal(BootMode.Protected32, state.Mode);
        Assert.Equal(0x100_0000UL, state.Rip);
        Assert.Equal(0x11UL, state.Cr0);
        Assert.Equal(new BootSegment(0x10, 0, 0xFFFF_FFFF, 0xC09B), state.Cs);
        Assert.Equal(0UL, state.Cr3);
        Assert.NotEqual(0UL, state.Registers[6]);
    }

    [Fact]
    public void OldProtocolsLoadAtOneMegabyte()
    {
        using var memory = new GuestMemory(8 << 20);
        BootState state = TestImages.Load(memory, TestImages.BzImage(version: 0x206));
        Assert.Equal(0x10_0000UL, state.Rip);
        Assert.Equal(0UL, memory.Read<ulong>(state.Registers[6] + 0x70));
    }

    [Fact]
    public void TheInitrdStaysBelowItsLimit()
    {
        using var memory = new GuestMemory(64 << 20);
        byte[] image = TestImages.BzImage();
        TestImages.Put(image, 0x22C, 0x1FF_FFFF);
        BootState state = TestImages.Load(memory, image, "", new GuestModule(new GuestFile("i", new byte[0x1001])));
        Assert.Equal(0x1FF_E000u, memory.Read<uint>(state.Registers[6] + 0x218));
    }

    [Fact]
    public void RefusesWhatCannotBoot()
    {
        Refuses(TestImages.BzImage(version: 0x205), "2.05 is too old");
        Refuses(TestImages.BzImage(), "outside guest memory", megabytes: 8);
        Refuses(TestImages.BzImage(initSize: 60 << 20), "outside guest memory");
        Refuses(TestImages.BzImage(initSize: uint.MaxValue), "do not fit below 3 GiB");
        Refuses(TestImages.BzImage(), "the command line has 101 bytes, this kernel takes 100", commandLine: new string('x', 101));
        Refuses(TestImages.BzImage(), "NUL", commandLine: "a\0b");
        Refuses(TestImages.BzImage(), "initrd.img: larger", modules: new GuestModule(new GuestFile("initrd.img", new byte[65 << 20])));
        Refuses(TestImages.BzImage(), "initrd.img: the initrd's", modules: new GuestModule(new GuestFile("initrd.img", new byte[50 << 20])));
        Refuses(TestImages.BzImage(), "initrd.img: empty", modules: new GuestModule(new GuestFile("initrd.img", ReadOnlyMemory<byte>.Empty)));
        byte[] low = TestImages.BzImage();
        low[0x211] = 0;
        Refuses(low, "zImage");
        byte[] misaligned = TestImages.BzImage();
        TestImages.Put(misaligned, 0x258, 0x110_0000);
        Refuses(misaligned, "not aligned");
    }

    [Fact]
    public void TruncatedImagesAreRefused()
    {
        byte[] image = TestImages.BzImage();
        CheckTruncations(image, image.Length - 16);
        Refuses(image[..0x800], "truncated");
        Refuses(image[..0x2000], "truncated: the kernel has 8192 bytes, the file has 5632 of them");
    }

    [Fact]
    public void ARealKernelLoads()
    {
        string? path = Environment.GetEnvironmentVariable("RINGFENCE_KERNEL");
        Assert.SkipWhen(string.IsNullOrEmpty(path), "RINGFENCE_KERNEL names no Linux bzImage");
        using var memory = new GuestMemory(512 << 20);
        GuestFile kernel = GuestFile.Open(path!);
        BootState state = GuestLoader.Load(memory, new LoadRequest { Kernel = kernel, CommandLine = "console=ttyS0" });
        Assert.Equal(GuestKind.LinuxBzImage, state.Kind);
        Assert.Equal(BootMode.Long64, state.Mode);
        TestContext.Current.TestOutputHelper?.WriteLine(state.Description);
    }
}
