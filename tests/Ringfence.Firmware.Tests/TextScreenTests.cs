using Ringfence.Host;

namespace Ringfence.Firmware.Tests;

/// <summary>Guests are told of a text screen when there is one, and not otherwise.</summary>
public class TextScreenTests
{
    /// <summary>Linux's screen_info (Documentation/arch/x86/zero-page.rst): mode, columns, EGA, rows, VGA, height.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void LinuxIsTold(bool screen)
    {
        using var memory = new GuestMemory(64 << 20);
        ulong info = Load(memory, TestImages.BzImage(), screen).Registers[6];
        byte[] expected = screen ? [3, 80, 0, 0, 3, 0, 0, 0, 25, 1, 16, 0] : new byte[12];
        Assert.Equal(expected, memory.Bytes(info + 6, 12));
    }

    /// <summary>Multiboot Specification 0.6.96, 3.3: a framebuffer of type 2 is text.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void MultibootKernelsAreTold(bool screen)
    {
        using var memory = new GuestMemory(64 << 20);
        ulong info = Load(memory, TestImages.FlatMultiboot(), screen).Registers[3];
        Assert.Equal(screen, (memory.Read<uint>(info) & (1 << 12)) != 0);
        byte[] expected = screen ? [0, 0x80, 0x0B, 0, 0, 0, 0, 0, 160, 0, 0, 0, 80, 0, 0, 0, 25, 0, 0, 0, 16, 2] : new byte[22];
        Assert.Equal(expected, memory.Bytes(info + 88, 22));
    }

    /// <summary>The BIOS data area, and the FADT's "VGA not present" (ACPI 6.4 table 5.10).</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheBiosDataAreaAndAcpiTell(bool screen)
    {
        using var memory = new GuestMemory(64 << 20);
        Load(memory, TestImages.BzImage(), screen);
        Assert.Equal(screen ? 3 : 0, memory.Read<byte>(0x449));
        Assert.Equal(screen ? 0x3D4 : 0, memory.Read<ushort>(0x463));
        ulong xsdt = memory.Read<ulong>(BoardLayout.RsdpAddress + 24);
        ulong fadt = memory.Read<ulong>(xsdt + 36);
        Assert.Equal("FACP"u8, memory.Bytes(fadt, 4));
        Assert.Equal(screen ? 3 : 7, memory.Read<ushort>(fadt + 109));
    }

    private static BootState Load(GuestMemory memory, byte[] image, bool screen) =>
        GuestLoader.Load(memory, new LoadRequest { Kernel = new GuestFile("kernel", image), TextScreen = screen });
}
