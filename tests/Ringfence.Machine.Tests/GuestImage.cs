using System.Buffers.Binary;
using Iced.Intel;

namespace Ringfence.Machine.Tests;

/// <summary>A guest assembled by a test, as a file, since that is what machines are made from. Deleted with the object.</summary>
internal sealed class GuestImage : IDisposable
{
    public const ushort DebugExitPort = 0xF4;
    private const uint LoadAddress = 0x10_0000;
    private const int HeaderLength = 32;
    private const int SectorLength = 512;

    public GuestImage(ReadOnlySpan<byte> bytes)
    {
        Path = System.IO.Path.GetTempFileName();
        File.WriteAllBytes(Path, bytes);
    }

    public string Path { get; }

    /// <summary>Real mode at 0:7C00.</summary>
    public static GuestImage BootSector(Action<Assembler> code)
    {
        byte[] assembled = Assemble(16, 0x7C00, code);
        byte[] image = new byte[Math.Max(SectorLength, assembled.Length)];
        assembled.CopyTo(image, 0);
        if (assembled.Length > SectorLength - 2)
        {
            throw new ArgumentException("the code leaves no room for the boot signature", nameof(code));
        }
        image[SectorLength - 2] = 0x55;
        image[SectorLength - 1] = 0xAA;
        return new GuestImage(image);
    }

    /// <summary>Flat protected mode at 1 MiB, paging off, through multiboot's address fields. 64 KiB of zeroes follow the code.</summary>
    public static GuestImage Multiboot(Action<Assembler> code)
    {
        const uint Magic = 0x1BAD_B002;
        const uint AddressFields = 1 << 16;
        byte[] assembled = Assemble(32, LoadAddress + HeaderLength, code);
        byte[] image = new byte[HeaderLength + assembled.Length];
        uint end = LoadAddress + (uint)image.Length;
        ReadOnlySpan<uint> header =
            [Magic, AddressFields, unchecked(0 - (Magic + AddressFields)), LoadAddress, LoadAddress, end, end + 0x1_0000, LoadAddress + HeaderLength];
        for (int i = 0; i < header.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(i * 4), header[i]);
        }
        assembled.CopyTo(image, HeaderLength);
        return new GuestImage(image);
    }

    /// <summary>Long mode at 1 MiB, the first 4 GiB mapped, through an ELF64 header. 64 KiB of zeroes follow the code.</summary>
    public static GuestImage LongMode(Action<Assembler> code)
    {
        const int FileHeader = 64;
        const int ProgramHeader = 56;
        const int Headers = FileHeader + ProgramHeader;
        byte[] assembled = Assemble(64, LoadAddress + Headers, code);
        byte[] image = new byte[Headers + assembled.Length];
        "\u007fELF"u8.CopyTo(image);
        void Put(int offset, ulong value, int size) => BitConverter.GetBytes(value).AsSpan(0, size).CopyTo(image.AsSpan(offset));
        // 64-bit, little-endian, version 1; an executable for x86-64.
        Put(4, 0x01_01_02, 3);
        Put(16, 2, 2);
        Put(18, 62, 2);
        Put(20, 1, 4);
        Put(24, LoadAddress + Headers, 8);
        Put(32, FileHeader, 8);
        Put(52, FileHeader, 2);
        Put(54, ProgramHeader, 2);
        Put(56, 1, 2);
        // One segment: the whole file, readable, writable, executable.
        Put(FileHeader, 1, 4);
        Put(FileHeader + 4, 7, 4);
        Put(FileHeader + 16, LoadAddress, 8);
        Put(FileHeader + 24, LoadAddress, 8);
        Put(FileHeader + 32, (ulong)image.Length, 8);
        Put(FileHeader + 40, (ulong)image.Length + 0x1_0000, 8);
        assembled.CopyTo(image, Headers);
        return new GuestImage(image);
    }

    public MachineSpec Spec(ISerialEndpoint? serial = null) =>
        new() { Kernel = Path, Memory = 2 << 20, Serial = serial, DebugExitPort = DebugExitPort, NoReboot = true };

    public void Dispose() => File.Delete(Path);

    private static byte[] Assemble(int bits, ulong address, Action<Assembler> code)
    {
        var assembler = new Assembler(bits);
        code(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }
}
