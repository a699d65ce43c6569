using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>
/// A BIOS image: it ends at 4 GiB, where the processor starts after reset, and its last 128 KiB end at 1 MiB too, as the PC's chipset
/// shadows them. Nothing else is loaded: tables and memory map are for the BIOS to make.
/// </summary>
internal static class BiosLoader
{
    private const int Granularity = 0x1_0000;
    private const int Largest = 16 << 20;
    private const int Shadowed = 0x2_0000;

    public static BootState Load(GuestMemory memory, LoadRequest request)
    {
        GuestFile image = request.Kernel;
        ReadOnlySpan<byte> bytes = image.Bytes;
        if (bytes.Length == 0 || bytes.Length % Granularity != 0 || bytes.Length > Largest)
        {
            throw image.Error($"no BIOS image: {bytes.Length} bytes are not whole units of 64 KiB, 16 MiB at most");
        }
        memory.MapRom(bytes);
        ReadOnlySpan<byte> low = bytes[^Math.Min(bytes.Length, Shadowed)..];
        memory.Write(BoardLayout.BiosEnd - (ulong)low.Length, low);
        return EntryStates.AfterReset(GuestKind.Bios, $"BIOS image of {bytes.Length >> 10} KiB, real mode at the reset vector");
    }
}
