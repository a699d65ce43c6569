using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>The few words of the BIOS data area and the EBDA that operating systems read without asking a BIOS.</summary>
internal static class BiosDataArea
{
    public static void Store(GuestMemory memory)
    {
        const ulong Com1Address = 0x400;
        const ulong EbdaSegment = 0x40E;
        const ulong BaseMemory = 0x413;
        memory.Write(Com1Address, BoardLayout.Com1Port);
        memory.Write(EbdaSegment, (ushort)(BoardLayout.EbdaBase >> 4));
        memory.Write(BaseMemory, (ushort)(BoardLayout.EbdaBase >> 10));
        // The EBDA's first byte is its size in KiB.
        memory.Write(BoardLayout.EbdaBase, (byte)1);
    }
}
