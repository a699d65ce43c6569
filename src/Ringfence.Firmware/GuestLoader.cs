using Ringfence.Firmware.Acpi;
using Ringfence.Firmware.Loading;
using Ringfence.Host;

namespace Ringfence.Firmware;

/// <summary>Boots guests without firmware, or a firmware: puts the image, what it is told and the ACPI tables into memory.</summary>
public static class GuestLoader
{
    /// <summary>
    /// Recognises the kernel (bzImage, then multiboot, ELF with or without PVH, boot sector), loads it with its modules, command line,
    /// memory map, BIOS data area and ACPI tables, and says how the bootstrap processor starts.
    /// </summary>
    /// <param name="memory">The guest's memory; no vCPU runs yet. After a failure its contents are undefined.</param>
    /// <exception cref="GuestLoadException">The image cannot be booted; the message is one line that names the file and the reason.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The number of vCPUs is not 1 to <see cref="BoardLayout.MaximumVcpus"/>.</exception>
    public static BootState Load(GuestMemory memory, LoadRequest request)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(request);
        ArgumentOutOfRangeException.ThrowIfLessThan(request.Vcpus, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(request.Vcpus, BoardLayout.MaximumVcpus);
        BootState state = request.IsBios ? BiosLoader.Load(memory, request) : LoadWithTables(memory, request);
        // Its files' bytes go with it.
        GC.KeepAlive(request);
        return state;
    }

    private static BootState LoadWithTables(GuestMemory memory, LoadRequest request)
    {
        IReadOnlyList<E820Entry> e820 = request.MemoryMap ?? MemoryMap.Build(memory);
        BootState state = LoadKernel(memory, request, e820);
        BiosDataArea.Store(memory, request.TextScreen);
        AcpiTables.Store(memory, request.Vcpus, request.VirtioDevices, request.TextScreen);
        return state;
    }

    private static BootState LoadKernel(GuestMemory memory, LoadRequest request, IReadOnlyList<E820Entry> e820)
    {
        GuestFile kernel = request.Kernel;
        ReadOnlySpan<byte> bytes = kernel.Bytes;
        var map = new LoadMap(memory, kernel);
        if (bytes.IsEmpty)
        {
            throw kernel.Error("empty");
        }
        if (BzImageLoader.Recognises(bytes))
        {
            return BzImageLoader.Load(map, request, e820);
        }
        int header = MultibootLoader.FindHeader(bytes);
        if (header >= 0)
        {
            return MultibootLoader.Load(map, request, e820, header);
        }
        if (ElfImage.Recognises(bytes))
        {
            return ElfLoader.Load(map, request, e820);
        }
        if (BootSectorLoader.Recognises(bytes))
        {
            // An EFI-stub bzImage cut off in its setup header still has a boot signature.
            if (bytes.StartsWith("MZ"u8))
            {
                throw kernel.Error("no kernel: an EFI program, or a Linux kernel truncated in its setup header");
            }
            return BootSectorLoader.Load(map, request);
        }
        if (BootSectorLoader.IsBiosRom(bytes))
        {
            throw kernel.Error("looks like a BIOS ROM, which --bios starts");
        }
        if (bytes.StartsWith([(byte)0x1F, (byte)0x8B]))
        {
            throw kernel.Error("no kernel: a gzip file; decompress it first");
        }
        throw kernel.Error("no kernel: neither bzImage, ELF, multiboot nor boot sector");
    }
}
