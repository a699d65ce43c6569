using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>The few words of the BIOS data area and the EBDA that operating systems read without asking a BIOS.</summary>
internal static class BiosDataArea
{
    public static void Store(GuestMemory memory, bool textScreen)
    {
        const ulong Com1Address = 0x400;
        const ulong EbdaSegment = 0x40E;
        const ulong BaseMemory = 0x413;
        memory.Write(Com1Address, BoardLayout.Com1Port);
        memory.Write(EbdaSegment, (ushort)(BoardLayout.EbdaBase >> 4));
        memory.Write(BaseMemory, (ushort)(BoardLayout.EbdaBase >> 10));
        // The EBDA's first byte is its size in KiB.
        memory.Write(BoardLayout.EbdaBase, (byte)1);
        if (textScreen)
        {
            StoreTextScreen(memory);
        }
    }

    private static void StoreTextScreen(GuestMemory memory)
    {
        const ulong Mode = 0x449;
        const ulong Columns = 0x44A;
        const ulong PageSize = 0x44C;
        const ulong CursorShape = 0x460;
        const ulong CrtcPort = 0x463;
        const ulong LastRow = 0x484;
        const ulong CharacterHeight = 0x485;
        memory.Write(Mode, BoardLayout.TextMode);
        memory.Write(Columns, (ushort)BoardLayout.TextColumns);
        memory.Write(PageSize, (ushort)4096);
        memory.Write(CursorShape, (ushort)0x0D0E);
        memory.Write(CrtcPort, (ushort)0x3D4);
        memory.Write(LastRow, (byte)(BoardLayout.TextRows - 1));
        memory.Write(CharacterHeight, (ushort)BoardLayout.CharacterHeight);
    }
}
