using System.Buffers.Binary;

namespace Ringfence.Firmware.Loading;

/// <summary>ELF kernels: by their PVH entry (Xen docs/misc/pvh.pandoc) if they have one, else by e_entry.</summary>
internal static class ElfLoader
{
    private const uint StartInfoMagic = 0x336E_C578;

    public static BootState Load(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820)
    {
        GuestFile kernel = request.Kernel;
        ElfImage elf = ElfImage.Parse(kernel);
        if (elf.PvhEntry is null && MultibootLoader.HasMultiboot2Header(kernel.Bytes))
        {
            throw kernel.Error("a multiboot 2 kernel: only multiboot 1 is supported");
        }
        elf.Store(map, kernel);
        return elf.PvhEntry is { } entry ? LoadPvh(map, request, e820, elf, entry) : LoadPlain(map, request, e820, elf);
    }

    private static BootState LoadPvh(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820, ElfImage elf, ulong entry)
    {
        if (!elf.Contains(entry) || entry > uint.MaxValue)
        {
            throw request.Kernel.Error($"the PVH entry point 0x{entry:x} lies in no segment below 4 GiB");
        }
        byte[] modules = new byte[request.Modules.Count * 32];
        for (int i = 0; i < request.Modules.Count; i++)
        {
            GuestModule module = request.Modules[i];
            ulong address = map.PlaceModule(module.File, elf.End);
            map.Memory.Write(address, module.File.Bytes);
            Put64(modules, i * 32, address);
            Put64(modules, i * 32 + 8, module.File.Length);
            Put64(modules, i * 32 + 16, module.Arguments.Length == 0 ? 0 : map.PlaceString("a module's arguments", module.Arguments));
        }
        byte[] memory = new byte[e820.Count * 24];
        for (int i = 0; i < e820.Count; i++)
        {
            Put64(memory, i * 24, e820[i].Address);
            Put64(memory, i * 24 + 8, e820[i].Length);
            Put32(memory, i * 24 + 16, (uint)e820[i].Type);
        }
        byte[] info = new byte[56];
        Put32(info, 0, StartInfoMagic);
        Put32(info, 4, 1);
        Put32(info, 12, (uint)request.Modules.Count);
        Put64(info, 16, modules.Length == 0 ? 0 : map.PlaceData("the module list", modules));
        Put64(info, 24, map.PlaceString("the command line", request.CommandLine));
        Put64(info, 32, BoardLayout.RsdpAddress);
        Put64(info, 40, map.PlaceData("the memory map", memory));
        Put32(info, 48, (uint)e820.Count);
        ulong startInfo = map.PlaceData("the PVH start info", info);
        string description = $"{(elf.Is64 ? "ELF64" : "ELF32")} kernel, PVH entry";
        return EntryStates.Protected32(map, GuestKind.Pvh, description, entry, registers => registers[3] = startInfo);
    }

    /// <summary>RSI points to a Linux zero page, so that a vmlinux without a PVH note starts too; other kernels may ignore it.</summary>
    private static BootState LoadPlain(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820, ElfImage elf)
    {
        GuestFile kernel = request.Kernel;
        ulong entry = elf.PhysicalEntry(kernel);
        ulong limit = 1UL << 32;
        if (entry >= limit)
        {
            throw kernel.Error($"the entry point 0x{entry:x} lies above 4 GiB");
        }
        var zeroPage = new ZeroPage();
        zeroPage.MakeHeader();
        zeroPage.SetLoader();
        zeroPage.SetMemoryMap(kernel, e820);
        if (request.TextScreen)
        {
            zeroPage.SetTextScreen();
        }
        zeroPage.SetRsdp(BoardLayout.RsdpAddress);
        (ulong initrd, ulong initrdLength) = BzImageLoader.PlaceInitrds(map, request.Modules, limit);
        zeroPage.SetRamdisk(initrd, initrdLength);
        zeroPage.SetCommandLine(map.PlaceString("the command line", request.CommandLine));
        ulong bootParameters = zeroPage.Store(map);
        void Registers(ulong[] registers) => registers[6] = bootParameters;
        return elf.Is64
            ? EntryStates.Long64(map, GuestKind.Elf, "ELF64 kernel, entered in long mode", entry, Registers)
            : EntryStates.Protected32(map, GuestKind.Elf, "ELF32 kernel, entered in protected mode", entry, Registers);
    }

    private static void Put32(byte[] bytes, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), value);

    private static void Put64(byte[] bytes, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
}
