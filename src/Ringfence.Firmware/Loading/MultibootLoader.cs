using System.Buffers.Binary;

namespace Ringfence.Firmware.Loading;

/// <summary>Multiboot 1 (Multiboot Specification 0.6.96): ELF32, ELF64, or any file whose header has the address fields.</summary>
internal static class MultibootLoader
{
    private const uint HeaderMagic = 0x1BAD_B002;
    private const uint Header2Magic = 0xE852_50D6;
    private const uint LoaderMagic = 0x2BAD_B002;
    private const int SearchLength = 8192;
    private const uint HasAddressFields = 1 << 16;
    // Page-aligned modules, memory fields, video mode. A text-only loader may ignore the last; the others always hold here.
    private const uint UnderstoodRequirements = 7;
    private const string HeaderName = "the multiboot header";

    /// <summary>The header's offset in the file, or -1: 4-byte aligned, magic + flags + checksum = 0, wholly in the first 8192 bytes.</summary>
    public static int FindHeader(ReadOnlySpan<byte> image)
    {
        int end = Math.Min(image.Length, SearchLength) - 12;
        for (int at = 0; at <= end; at += 4)
        {
            uint magic = BinaryPrimitives.ReadUInt32LittleEndian(image[at..]);
            if (magic == HeaderMagic
                && magic + BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 4)..])
                    + BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 8)..]) == 0)
            {
                return at;
            }
        }
        return -1;
    }

    public static bool HasMultiboot2Header(ReadOnlySpan<byte> image)
    {
        int end = Math.Min(image.Length, 32768) - 16;
        for (int at = 0; at <= end; at += 8)
        {
            if (BinaryPrimitives.ReadUInt32LittleEndian(image[at..]) == Header2Magic
                && Header2Magic + BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 4)..])
                    + BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 8)..])
                    + BinaryPrimitives.ReadUInt32LittleEndian(image[(at + 12)..]) == 0)
            {
                return true;
            }
        }
        return false;
    }

    public static BootState Load(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820, int header)
    {
        GuestFile kernel = request.Kernel;
        var reader = new ImageReader(kernel);
        uint flags = reader.U32((ulong)header + 4, HeaderName);
        uint unknown = flags & 0xFFFF & ~UnderstoodRequirements;
        if (unknown != 0)
        {
            throw kernel.Error($"the multiboot header requires features that do not exist (flags 0x{unknown:x})");
        }
        string format;
        ulong entry;
        ulong end;
        if ((flags & HasAddressFields) != 0)
        {
            format = "flat";
            (entry, end) = StoreFlat(map, kernel, reader, (ulong)header);
        }
        else if (ElfImage.Recognises(kernel.Bytes))
        {
            ElfImage elf = ElfImage.Parse(kernel);
            elf.Store(map, kernel);
            format = elf.Is64 ? "ELF64" : "ELF32";
            entry = elf.PhysicalEntry(kernel);
            end = elf.End;
            if (entry > uint.MaxValue)
            {
                throw kernel.Error($"the entry point 0x{entry:x} lies above 4 GiB");
            }
        }
        else
        {
            throw kernel.Error("the multiboot header has no address fields and the file is not ELF");
        }
        ulong info = StoreInfo(map, request, e820, end);
        // For those that go back to real mode.
        RealModeVectors.Store(map.Memory);
        return EntryStates.Protected32(map, GuestKind.Multiboot, $"multiboot kernel ({format})", entry, registers =>
        {
            registers[0] = LoaderMagic;
            registers[3] = info;
        });
    }

    private static (ulong Entry, ulong End) StoreFlat(LoadMap map, GuestFile kernel, ImageReader reader, ulong header)
    {
        uint headerAddress = reader.U32(header + 12, HeaderName);
        uint loadAddress = reader.U32(header + 16, HeaderName);
        uint loadEnd = reader.U32(header + 20, HeaderName);
        uint bssEnd = reader.U32(header + 24, HeaderName);
        uint entry = reader.U32(header + 28, HeaderName);
        // -1 asks for the file from its beginning.
        ulong fileOffset = 0;
        if (loadAddress == uint.MaxValue)
        {
            if (headerAddress < header)
            {
                throw kernel.Error($"the multiboot header's address 0x{headerAddress:x} puts the file's beginning below 0");
            }
            loadAddress = headerAddress - (uint)header;
        }
        else
        {
            if (headerAddress < loadAddress || headerAddress - loadAddress > header)
            {
                throw kernel.Error($"the multiboot header's addresses contradict its place in the file (0x{header:x})");
            }
            fileOffset = header - (headerAddress - loadAddress);
        }
        if (loadEnd != 0 && loadEnd < loadAddress)
        {
            throw kernel.Error("the multiboot header ends loading before its start");
        }
        ulong length = loadEnd == 0 ? reader.Length - fileOffset : loadEnd - loadAddress;
        ReadOnlySpan<byte> content = reader.Slice(fileOffset, length, "the kernel");
        ulong end = Math.Max(loadAddress + length, bssEnd);
        map.Claim(kernel, "the kernel", loadAddress, end - loadAddress);
        if (entry < loadAddress || entry >= end)
        {
            throw kernel.Error($"the entry point 0x{entry:x} lies outside the kernel");
        }
        map.Memory.Write(loadAddress, content);
        map.Clear(loadAddress + length, end - loadAddress - length);
        return (entry, end);
    }

    private static ulong StoreInfo(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820, ulong kernelEnd)
    {
        // Memory, boot device, command line, modules, memory map, loader name.
        const uint Flags = 1 | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9);
        byte[] modules = new byte[request.Modules.Count * 16];
        for (int i = 0; i < request.Modules.Count; i++)
        {
            GuestModule module = request.Modules[i];
            ulong address = map.PlaceModule(module.File, kernelEnd);
            map.Memory.Write(address, module.File.Bytes);
            Put32(modules, i * 16, address);
            Put32(modules, i * 16 + 4, address + module.File.Length);
            Put32(modules, i * 16 + 8, map.PlaceString("a module's arguments", Join(module.File.Name, module.Arguments)));
        }
        byte[] memory = new byte[e820.Count * 24];
        for (int i = 0; i < e820.Count; i++)
        {
            // The size field does not count itself.
            Put32(memory, i * 24, 20);
            BinaryPrimitives.WriteUInt64LittleEndian(memory.AsSpan(i * 24 + 4), e820[i].Address);
            BinaryPrimitives.WriteUInt64LittleEndian(memory.AsSpan(i * 24 + 12), e820[i].Length);
            Put32(memory, i * 24 + 20, (uint)e820[i].Type);
        }
        const uint FramebufferFlag = 1 << 12;
        byte[] info = new byte[120];
        Put32(info, 0, Flags | (request.TextScreen ? FramebufferFlag : 0));
        Put32(info, 4, BoardLayout.EbdaBase >> 10);
        Put32(info, 8, (map.LowEnd - BoardLayout.BiosEnd) >> 10);
        Put32(info, 12, 0x8000_FFFF);
        Put32(info, 16, map.PlaceString("the command line", Join(request.Kernel.Name, request.CommandLine)));
        Put32(info, 20, (ulong)request.Modules.Count);
        Put32(info, 24, modules.Length == 0 ? 0 : map.PlaceData("the module list", modules));
        Put32(info, 44, (ulong)memory.Length);
        Put32(info, 48, map.PlaceData("the memory map", memory));
        Put32(info, 64, map.PlaceString("the loader's name", "ringfence"));
        if (request.TextScreen)
        {
            PutTextScreen(info);
        }
        return map.PlaceData("the multiboot information", info);
    }

    /// <summary>The framebuffer fields for text: sizes in characters, two bytes each (Multiboot Specification 0.6.96, 3.3).</summary>
    private static void PutTextScreen(byte[] info)
    {
        const byte EgaText = 2;
        Put32(info, 88, BoardLayout.TextMemory);
        Put32(info, 96, BoardLayout.TextColumns * 2);
        Put32(info, 100, BoardLayout.TextColumns);
        Put32(info, 104, BoardLayout.TextRows);
        info[108] = 16;
        info[109] = EgaText;
    }

    private static string Join(string name, string arguments) => arguments.Length == 0 ? name : $"{name} {arguments}";

    private static void Put32(byte[] bytes, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), (uint)value);
}
