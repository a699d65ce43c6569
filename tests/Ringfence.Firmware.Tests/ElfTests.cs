using Ringfence.Host;
using static Ringfence.Firmware.Tests.GuestView;

namespace Ringfence.Firmware.Tests;

public class ElfTests
{
    [Theory]
    [InlineData(true, BootMode.Long64)]
    [InlineData(false, BootMode.Protected32)]
    public void PlainElfIsEnteredInItsOwnMode(bool is64, BootMode mode)
    {
        using var memory = new GuestMemory(16 << 20);
        memory.Write(TestImages.ElfPhysical + 0x3FF, (byte)0xEE);
        BootState state = TestImages.Load(
            memory, TestImages.Elf(is64), "quiet", new GuestModule(new GuestFile("initrd", new byte[] { 9 })));
        Assert.Equal(GuestKind.Elf, state.Kind);
        Assert.Equal(mode, state.Mode);
        Assert.Equal(TestImages.ElfPhysical + 0x10, state.Rip);
        Assert.Equal(0xF4, memory.Read<byte>(TestImages.ElfPhysical + 0xFF));
        Assert.Equal(0, memory.Read<byte>(TestImages.ElfPhysical + 0x3FF));
        ulong zeroPage = state.Registers[6];
        Assert.Equal("quiet", memory.Text(memory.Read<uint>(zeroPage + 0x228)));
        Assert.Equal(9, memory.Read<byte>(memory.Read<uint>(zeroPage + 0x218)));
        Assert.NotEqual(0UL, state.Registers[4]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AVirtualEntryPointIsTranslated(bool is64)
    {
        using var memory = new GuestMemory(16 << 20);
        Assert.Equal(TestImages.ElfPhysical + 0x10, TestImages.Load(memory, TestImages.Elf(is64, virtualEntry: true)).Rip);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void PvhIsEnteredInProtectedModeWithStartInfo(bool is64)
    {
        using var memory = new GuestMemory(5UL << 30);
        BootState state = TestImages.Load(
            memory, TestImages.Elf(is64, pvh: true), "root=/dev/vda", new GuestModule(new GuestFile("initrd", new byte[] { 9, 8 }), "args"));
        Assert.Equal(GuestKind.Pvh, state.Kind);
        Assert.Equal(BootMode.Protected32, state.Mode);
        Assert.Equal(TestImages.ElfPhysical + 0x20, state.Rip);
        ulong info = state.Registers[3];
        Assert.Equal(0x336E_C578u, memory.Read<uint>(info));
        Assert.Equal(1u, memory.Read<uint>(info + 4));
        Assert.Equal(1u, memory.Read<uint>(info + 12));
        ulong modules = memory.Read<ulong>(info + 16);
        Assert.Equal([9, 8], memory.Bytes(memory.Read<ulong>(modules), 2));
        Assert.Equal(2UL, memory.Read<ulong>(modules + 8));
        Assert.Equal("args", memory.Text(memory.Read<ulong>(modules + 16)));
        Assert.Equal("root=/dev/vda", memory.Text(memory.Read<ulong>(info + 24)));
        Assert.Equal(BoardLayout.RsdpAddress, memory.Read<ulong>(info + 32));
        ulong map = memory.Read<ulong>(info + 40);
        uint entries = memory.Read<uint>(info + 48);
        Assert.Equal(5u, entries);
        Assert.Equal(0x1_0000_0000UL, memory.Read<ulong>(map + 4 * 24));
        Assert.Equal(2UL << 30, memory.Read<ulong>(map + 4 * 24 + 8));
    }

    [Fact]
    public void RefusesWhatCannotBoot()
    {
        byte[] machine = TestImages.Elf(true);
        machine[18] = 0xB7;
        Refuses(machine, "machine 183 is not x86");
        byte[] type = TestImages.Elf(true);
        type[16] = 1;
        Refuses(type, "not an executable");
        byte[] bigEndian = TestImages.Elf(true);
        bigEndian[5] = 2;
        Refuses(bigEndian, "little-endian");
        byte[] noEntry = TestImages.Elf(false);
        TestImages.Put(noEntry, 24, 0x1234);
        Refuses(noEntry, "lies in no segment");
        byte[] vga = TestImages.Elf(true);
        TestImages.Put64(vga, 88, 0x9_F000);
        TestImages.Put64(vga, 104, 0x2000);
        Refuses(vga, "outside guest memory");
        byte[] low = TestImages.Elf(true);
        TestImages.Put64(low, 88, 0x400);
        Refuses(low, "overlaps the BIOS data area");
        byte[] wraps = TestImages.Elf(true);
        TestImages.Put64(wraps, 104, ulong.MaxValue);
        Refuses(wraps, "outside guest memory");
        byte[] shrinks = TestImages.Elf(true);
        TestImages.Put64(shrinks, 104, 0x80);
        Refuses(shrinks, "larger in the file");
        byte[] empty = TestImages.Elf(true);
        TestImages.Put(empty, 64, 6);
        Refuses(empty, "no loadable segment");
        byte[] overlapping = TestImages.Elf(true);
        overlapping[56] = 2;
        overlapping.AsSpan(64, 56).CopyTo(overlapping.AsSpan(120));
        Refuses(overlapping, "overlaps a kernel segment");
        byte[] multiboot2 = TestImages.Elf(true);
        TestImages.Put(multiboot2, 0x200, 0xE852_50D6);
        TestImages.Put(multiboot2, 0x208, 16);
        TestImages.Put(multiboot2, 0x20C, unchecked(0 - (0xE852_50D6 + 16)));
        Refuses(multiboot2, "multiboot 2");
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void TruncatedImagesAreRefused(bool is64, bool pvh)
    {
        byte[] image = TestImages.Elf(is64, pvh);
        CheckTruncations(image, image.Length - 1);
    }
}
