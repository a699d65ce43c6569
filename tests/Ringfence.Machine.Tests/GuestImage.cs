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

    public MachineSpec Spec(ISerialEndpoint? serial = null) =>
        new() { Kernel = Path, Memory = 2 << 20, Serial = serial, DebugExitPort = DebugExitPort };

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
