using Ringfence.Host;
using static Ringfence.Firmware.Tests.GuestView;

namespace Ringfence.Firmware.Tests;

public class OtherImageTests
{
    [Fact]
    public void ABootSectorStartsInRealMode()
    {
        using var memory = new GuestMemory(1 << 20);
        BootState state = TestImages.Load(memory, TestImages.BootSector());
        Assert.Equal(GuestKind.BootSector, state.Kind);
        Assert.Equal(BootMode.Real16, state.Mode);
        Assert.Equal(0x7C00UL, state.Rip);
        Assert.Equal(new BootSegment(0, 0, 0xFFFF, 0x9B), state.Cs);
        Assert.Equal(0x80UL, state.Registers[2]);
        Assert.Equal(0x3FF, state.IdtLimit);
        Assert.Equal(0xAA55, memory.Read<ushort>(0x7DFE));
        memory.ExpectVectorsOfABios();
        Assert.Equal(639, memory.Read<ushort>(0x413));
    }

    /// <summary>SDM 3A 10.1.4: the first instruction is 16 bytes below 4 GiB.</summary>
    [Fact]
    public void ABiosEndsAt4GiBAndAt1MiB()
    {
        using var memory = new GuestMemory(1 << 20);
        byte[] rom = new byte[0x4_0000];
        (rom[0], rom[0x2_0000], rom[^16]) = (1, 2, 0xEA);
        BootState state = GuestLoader.Load(memory, new LoadRequest { Kernel = new GuestFile("bios", rom), IsBios = true });
        Assert.Equal((GuestKind.Bios, BootMode.Real16, 0xFFF0UL), (state.Kind, state.Mode, state.Rip));
        Assert.Equal(new BootSegment(0xF000, 0xFFFF_0000, 0xFFFF, 0x9B), state.Cs);
        Assert.Equal((1, 0xEA), (memory.Read<byte>(0xFFFC_0000), memory.Read<byte>(0xFFFF_FFF0)));
        Assert.Equal((2, 0xEA), (memory.Read<byte>(0xE_0000), memory.Read<byte>(0xF_FFF0)));
        foreach (int size in (int[])[0, 0x8000, 0x1_8000, (16 << 20) + 0x1_0000])
        {
            GuestFile odd = new("bios", new byte[size]);
            Assert.Contains("no BIOS image", Assert.Throws<GuestLoadException>(
                () => GuestLoader.Load(memory, new LoadRequest { Kernel = odd, IsBios = true })).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void RefusesWhatIsNoKernel()
    {
        Refuses([], "empty");
        Refuses(new byte[512], "no kernel: neither bzImage, ELF, multiboot nor boot sector");
        Refuses("#!/bin/sh\n"u8.ToArray(), "no kernel");
        Refuses([0x1F, 0x8B, 8, 0], "gzip");
        byte[] rom = new byte[0x1_0000];
        rom[^16] = 0xEA;
        Refuses(rom, "BIOS ROM");
        byte[] huge = TestImages.BootSector();
        Array.Resize(ref huge, 0x9_8001);
        Refuses(huge, "too large for a boot sector");
        Refuses(TestImages.BootSector(), "takes no initrd", modules: new GuestModule(new GuestFile("m", new byte[1])));
        Refuses(TestImages.BootSector(), "takes no command line", commandLine: "x");
        CheckTruncations(TestImages.BootSector(), 511);
    }

    [Fact]
    public void FilesThatCannotBeReadAreNamed()
    {
        string directory = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string path = Path.Combine(directory, "vmlinuz");
            Assert.Equal($"{path}: no such file", Assert.Throws<GuestLoadException>(() => GuestFile.Open(path)).Message);
            Assert.Equal($"{directory}: is a directory", Assert.Throws<GuestLoadException>(() => GuestFile.Open(directory)).Message);
            File.WriteAllBytes(path, []);
            Assert.Contains("empty", Assert.Throws<GuestLoadException>(() => GuestFile.Open(path)).Message, StringComparison.Ordinal);
            Assert.Contains("not a regular file", Assert.Throws<GuestLoadException>(() => GuestFile.Open("/dev/zero")).Message, StringComparison.Ordinal);
            File.WriteAllBytes(path, [1, 2]);
            Assert.Equal(2UL, GuestFile.Open(path).Length);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void AFileIsKeptOnDiskAndMayNotChange()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, new byte[200_000]);
            GuestFile file = GuestFile.Open(path);
            file.Release();
            Assert.Equal(200_000, file.Bytes.Length);
            Assert.Equal(200_000UL, file.Length);
            File.WriteAllBytes(path, new byte[200_001]);
            Assert.Equal(200_000, file.Bytes.Length);
            file.Release();
            Assert.Equal($"{path}: has changed since the machine was started", Assert.Throws<GuestLoadException>(() => { _ = file.Bytes.Length; }).Message);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData(1UL << 20, 3)]
    [InlineData(512UL << 20, 4)]
    [InlineData(3UL << 30, 4)]
    [InlineData(8UL << 30, 5)]
    public void TheMemoryMapIsSortedAndItsRamIsRam(ulong size, int entries)
    {
        using var memory = new GuestMemory(size);
        IReadOnlyList<E820Entry> map = MemoryMap.Build(memory);
        Assert.Equal(entries, map.Count);
        ulong end = 0;
        foreach (E820Entry entry in map)
        {
            Assert.True(entry.Address >= end);
            end = entry.End;
            unsafe
            {
                Assert.True(entry.Type != E820Type.Ram || memory.Pointer(entry.Address, entry.Length) != null);
            }
        }
    }
}
