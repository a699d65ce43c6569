namespace Ringfence.Firmware.Loading;

/// <summary>
/// A boot sector, alone or with what follows it: the whole file at 0x7C00, real mode, DL = 0x80. There is no BIOS behind it, only its
/// interrupt vectors (<see cref="RealModeVectors"/>).
/// </summary>
internal static class BootSectorLoader
{
    private const ulong Address = 0x7C00;
    private const ulong SignatureOffset = 510;
    private const int RomGranularity = 0x1_0000;

    public static bool Recognises(ReadOnlySpan<byte> image) =>
        image.Length >= 512 && image[(int)SignatureOffset] == 0x55 && image[(int)SignatureOffset + 1] == 0xAA;

    /// <summary>Whole 64 KiB units with a jump where the processor starts after reset: 16 bytes before the end.</summary>
    public static bool IsBiosRom(ReadOnlySpan<byte> image) =>
        image.Length != 0 && image.Length % RomGranularity == 0 && image[^16] is 0xEA or 0xE9 or 0xEB;

    public static BootState Load(LoadMap map, LoadRequest request)
    {
        GuestFile kernel = request.Kernel;
        if (request.Modules.Count != 0)
        {
            throw kernel.Error("a boot sector takes no initrd or module");
        }
        if (request.CommandLine.Length != 0)
        {
            throw kernel.Error("a boot sector takes no command line");
        }
        if (kernel.Length > BoardLayout.EbdaBase - Address)
        {
            throw kernel.Error(
                $"{kernel.Length} bytes are too large for a boot sector image: {BoardLayout.EbdaBase - Address} fit in conventional memory");
        }
        map.Claim(kernel, "the boot sector image", Address, kernel.Length);
        map.Memory.Write(Address, kernel.Bytes);
        RealModeVectors.Store(map.Memory);
        ulong[] registers = new ulong[16];
        registers[2] = 0x80;
        registers[4] = Address;
        return EntryStates.Real16(GuestKind.BootSector, "boot sector, real mode", (ushort)Address, registers);
    }
}
