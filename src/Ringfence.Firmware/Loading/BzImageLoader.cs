using System.Text;
using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>Linux bzImage, boot protocol 2.06 and later (Documentation/arch/x86/boot.rst), by its 64-bit or 32-bit entry.</summary>
internal static class BzImageLoader
{
    /// <summary>"HdrS" at 0x202.</summary>
    public const uint HeaderMagic = 0x5372_6448;
    private const ulong MagicOffset = 0x202;
    private const ushort OldestVersion = 0x206;
    private const ulong DefaultAddress = 0x10_0000;
    private const ulong Entry64Offset = 0x200;
    private const string HeaderName = "the setup header";

    private readonly record struct Header(
        ushort Version, ulong SetupLength, ulong KernelLength, ulong LoadAddress, ulong InitSize, uint CommandLineSize, ulong InitrdMax,
        bool Has64BitEntry);

    public static bool Recognises(ReadOnlySpan<byte> image) =>
        image.Length >= (int)MagicOffset + 4 && image.Slice((int)MagicOffset, 4).SequenceEqual("HdrS"u8);

    public static BootState Load(LoadMap map, LoadRequest request, IReadOnlyList<E820Entry> e820)
    {
        GuestFile kernel = request.Kernel;
        var reader = new ImageReader(kernel);
        Header header = Parse(kernel, reader);

        // While it unpacks itself the kernel uses init_size bytes from its load address.
        map.Claim(kernel, "the kernel", header.LoadAddress, Math.Max(header.InitSize, header.KernelLength));
        map.Memory.Write(header.LoadAddress, reader.Slice(header.SetupLength, header.KernelLength, "the kernel"));

        byte[] commandLine = LoadMap.EncodeString(kernel, "the command line", request.CommandLine);
        if ((ulong)commandLine.Length - 1 > header.CommandLineSize)
        {
            throw kernel.Error($"the command line has {commandLine.Length - 1} bytes, this kernel takes {header.CommandLineSize}");
        }

        var zeroPage = new ZeroPage();
        int headerEnd = Math.Min(0x202 + reader.U8(0x201, HeaderName), ZeroPage.HeaderLimit);
        zeroPage.CopyHeader(reader.Slice(ZeroPage.HeaderStart, (ulong)Math.Max(headerEnd - ZeroPage.HeaderStart, 0), HeaderName));
        zeroPage.SetLoader();
        zeroPage.SetCode32Start(header.LoadAddress);
        zeroPage.SetMemoryMap(kernel, e820);
        if (request.TextScreen)
        {
            zeroPage.SetTextScreen();
        }
        if (header.Version >= 0x20E)
        {
            zeroPage.SetRsdp(BoardLayout.RsdpAddress);
        }
        (ulong initrd, ulong initrdLength) = PlaceInitrds(map, request.Modules, Math.Min(header.InitrdMax, uint.MaxValue) + 1);
        zeroPage.SetRamdisk(initrd, initrdLength);
        zeroPage.SetCommandLine(map.PlaceData("the command line", commandLine));
        ulong bootParameters = zeroPage.Store(map);

        string name = $"Linux {KernelVersion(reader)} bzImage (protocol {header.Version >> 8}.{header.Version & 0xFF:00})";
        void Registers(ulong[] registers) => registers[6] = bootParameters;
        return header.Has64BitEntry
            ? EntryStates.Long64(map, GuestKind.LinuxBzImage, name + ", 64-bit entry", header.LoadAddress + Entry64Offset, Registers)
            : EntryStates.Protected32(map, GuestKind.LinuxBzImage, name + ", 32-bit entry", header.LoadAddress, Registers);
    }

    /// <summary>Puts all initrds one after the other, each 4-byte aligned as the kernel's cpio reader wants, as high as allowed.</summary>
    public static (ulong Address, ulong Length) PlaceInitrds(LoadMap map, IReadOnlyList<GuestModule> modules, ulong limit)
    {
        if (modules.Count == 0)
        {
            return (0, 0);
        }
        ulong total = 0;
        foreach (GuestModule module in modules)
        {
            map.CheckModule(module.File);
            total = ((total + 3) & ~3UL) + module.File.Length;
        }
        GuestFile first = modules[0].File;
        ulong address = map.TryPlace(
                "the initrd", total, GuestMemory.PageSize, BoardLayout.BiosEnd, Math.Min(map.LowEnd, limit), fromTop: true)
            ?? throw first.Error($"the initrd's {total} bytes do not fit in guest memory ({map.Memory.Size >> 20} MiB) beside the kernel");
        map.Clear(address, total);
        ulong offset = 0;
        foreach (GuestModule module in modules)
        {
            offset = (offset + 3) & ~3UL;
            map.Memory.Write(address + offset, module.File.Bytes);
            offset += module.File.Length;
        }
        return (address, total);
    }

    private static Header Parse(GuestFile kernel, ImageReader reader)
    {
        const byte LoadedHigh = 1;
        const ushort Kernel64 = 1;
        ushort version = reader.U16(0x206, HeaderName);
        if (version < OldestVersion)
        {
            throw kernel.Error($"boot protocol {version >> 8}.{version & 0xFF:00} is too old: 2.06 or later is needed");
        }
        if ((reader.U8(0x211, HeaderName) & LoadedHigh) == 0)
        {
            throw kernel.Error("a zImage, which loads below 1 MiB, is not supported: only bzImage is");
        }
        byte sectors = reader.U8(0x1F1, HeaderName);
        ulong setupLength = ((ulong)(sectors == 0 ? 4 : sectors) + 1) * 512;
        // The size is in paragraphs and rounded up. What follows it in the file (a signature) is not loaded.
        ulong size = (ulong)reader.U32(0x1F4, HeaderName) * 16;
        if (size == 0 || setupLength >= reader.Length)
        {
            throw kernel.Error("truncated: there is no protected-mode kernel behind the setup code");
        }
        ulong present = reader.Length - setupLength;
        if (present + 15 < size)
        {
            throw kernel.Error($"truncated: the kernel has {size} bytes, the file has {present} of them");
        }

        ulong loadAddress = DefaultAddress;
        ulong initSize = 0;
        if (version >= 0x20A)
        {
            ulong alignment = reader.U32(0x230, HeaderName);
            ulong preferred = reader.U64(0x258, HeaderName);
            initSize = reader.U32(0x260, HeaderName);
            if (preferred != 0)
            {
                loadAddress = preferred;
            }
            if (alignment != 0 && (!ulong.IsPow2(alignment) || (loadAddress & (alignment - 1)) != 0))
            {
                throw kernel.Error($"the preferred address 0x{loadAddress:x} is not aligned to 0x{alignment:x}, as the kernel wants");
            }
        }
        if (loadAddress < DefaultAddress || loadAddress >= GuestMemory.LowLimit)
        {
            throw kernel.Error($"the preferred address 0x{loadAddress:x} is not from 1 MiB to 3 GiB");
        }
        bool has64 = version >= 0x20C && (reader.U16(0x236, HeaderName) & Kernel64) != 0;
        ulong length = Math.Min(size, present);
        if (has64 && length <= Entry64Offset)
        {
            throw kernel.Error("truncated: the 64-bit entry lies outside the kernel");
        }
        ulong needed = loadAddress + Math.Max(initSize, length);
        if (needed > GuestMemory.LowLimit)
        {
            throw kernel.Error($"the kernel's 0x{Math.Max(initSize, length):x} bytes at 0x{loadAddress:x} do not fit below 3 GiB");
        }
        return new Header(
            version, setupLength, length, loadAddress, initSize, reader.U32(0x238, HeaderName), reader.U32(0x22C, HeaderName), has64);
    }

    /// <summary>The version string that kernel_version points at, up to its first space; printable ASCII only.</summary>
    private static string KernelVersion(ImageReader reader)
    {
        ushort pointer = reader.U16(0x20E, HeaderName);
        ulong start = pointer + 0x200UL;
        var text = new StringBuilder();
        for (ulong at = start; pointer != 0 && at < reader.Length && text.Length < 64; at++)
        {
            byte b = reader.U8(at, "the kernel's version");
            if (b is <= 0x20 or >= 0x7F)
            {
                break;
            }
            text.Append((char)b);
        }
        return text.Length == 0 ? "of unknown version" : text.ToString();
    }
}
