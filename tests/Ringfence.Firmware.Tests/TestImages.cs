using System.Buffers.Binary;
using System.Text;

namespace Ringfence.Firmware.Tests;

/// <summary>Well-formed images of every kind, small, for tests to load, cut and spoil.</summary>
internal static class TestImages
{
    public const ulong ElfPhysical = 0x20_0000;
    public const ulong ElfVirtual = 0xFFFF_FFFF_8020_0000;
    public const int ElfCodeOffset = 0x1000;

    public static GuestFile File(byte[] bytes, string name = "kernel") => new(name, bytes);

    public static BootState Load(Host.GuestMemory memory, byte[] image, string commandLine = "", params GuestModule[] modules) =>
        GuestLoader.Load(memory, new LoadRequest { Kernel = File(image), CommandLine = commandLine, Modules = modules });

    /// <summary>Protocol 2.15, four setup sectors, a kernel of 0x2000 bytes that prefers 16 MiB.</summary>
    public static byte[] BzImage(ushort version = 0x20F, bool entry64 = true, uint initSize = 0x10_0000)
    {
        const int Setup = 5 * 512;
        byte[] image = new byte[Setup + 0x2000];
        "MZ"u8.CopyTo(image);
        image[0x1F1] = 4;
        Put(image, 0x1F4, 0x200);
        image[0x1FE] = 0x55;
        image[0x1FF] = 0xAA;
        image[0x200] = 0xEB;
        image[0x201] = 0x6A;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x206), version);
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(0x20E), 0x100);
        Encoding.ASCII.GetBytes("6.1.0-test (someone) #1\0").CopyTo(image, 0x300);
        image[0x211] = 1;
        Put(image, 0x214, 0x10_0000);
        Put(image, 0x22C, 0x7FFF_FFFF);
        Put(image, 0x230, 0x20_0000);
        image[0x234] = 1;
        image[0x236] = (byte)(entry64 ? 1 : 0);
        Put(image, 0x238, 100);
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(0x258), 0x100_0000);
        Put(image, 0x260, initSize);
        image.AsSpan(Setup).Fill(0x90);
        return image;
    }

    /// <summary>One segment of 0x100 bytes at <see cref="ElfPhysical"/> with 0x300 more of BSS.</summary>
    public static byte[] Elf(bool is64, bool pvh = false, bool multiboot = false, bool virtualEntry = false)
    {
        byte[] image = new byte[ElfCodeOffset + 0x100];
        "\u007fELF"u8.CopyTo(image);
        image[4] = (byte)(is64 ? 2 : 1);
        image[5] = 1;
        image[6] = 1;
        image[16] = 2;
        image[18] = (byte)(is64 ? 62 : 3);
        ulong address = virtualEntry ? (is64 ? ElfVirtual : unchecked((uint)ElfVirtual)) : ElfPhysical;
        ulong virtualAddress = is64 ? ElfVirtual : unchecked((uint)ElfVirtual);
        ulong entry = address + 0x10;
        int count = pvh ? 2 : 1;
        if (is64)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(24), entry);
            image[32] = 64;
            image[54] = 56;
            image[56] = (byte)count;
            Put(image, 64, 1);
            Put64(image, 72, ElfCodeOffset);
            Put64(image, 80, virtualAddress);
            Put64(image, 88, ElfPhysical);
            Put64(image, 96, 0x100);
            Put64(image, 104, 0x400);
            Put(image, 120, 4);
            Put64(image, 128, 0x800);
            Put64(image, 152, 20);
            Put64(image, 160, 20);
            Put64(image, 168, 4);
        }
        else
        {
            Put(image, 24, (uint)entry);
            image[28] = 52;
            image[42] = 32;
            image[44] = (byte)count;
            Put(image, 52, 1);
            Put(image, 56, ElfCodeOffset);
            Put(image, 60, (uint)virtualAddress);
            Put(image, 64, (uint)ElfPhysical);
            Put(image, 68, 0x100);
            Put(image, 72, 0x400);
            Put(image, 84, 4);
            Put(image, 88, 0x800);
            Put(image, 100, 20);
            Put(image, 104, 20);
            Put(image, 112, 4);
        }
        if (pvh)
        {
            Put(image, 0x800, 4);
            Put(image, 0x804, 4);
            Put(image, 0x808, 18);
            "Xen\0"u8.CopyTo(image.AsSpan(0x80C));
            Put(image, 0x810, (uint)ElfPhysical + 0x20);
        }
        if (multiboot)
        {
            MultibootHeader(image, 0x900, 3);
        }
        image.AsSpan(ElfCodeOffset).Fill(0xF4);
        return image;
    }

    /// <summary>A flat multiboot image of 0x1000 bytes for 1 MiB, header at 0x40, BSS to 0x102000.</summary>
    public static byte[] FlatMultiboot()
    {
        byte[] image = new byte[0x1000];
        image.AsSpan(0x80).Fill(0xF4);
        MultibootHeader(image, 0x40, 0x1_0003);
        Put(image, 0x4C, 0x10_0040);
        Put(image, 0x50, 0x10_0000);
        Put(image, 0x54, 0x10_1000);
        Put(image, 0x58, 0x10_2000);
        Put(image, 0x5C, 0x10_0080);
        return image;
    }

    public static byte[] BootSector()
    {
        byte[] image = new byte[1024];
        image.AsSpan(0, 510).Fill(0xF4);
        image[510] = 0x55;
        image[511] = 0xAA;
        return image;
    }

    public static void MultibootHeader(byte[] image, int offset, uint flags)
    {
        Put(image, offset, 0x1BAD_B002);
        Put(image, offset + 4, flags);
        Put(image, offset + 8, 0 - (0x1BAD_B002 + flags));
    }

    public static void Put(byte[] image, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset), value);

    public static void Put64(byte[] image, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(offset), value);
}
