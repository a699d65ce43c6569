using Ringfence.Host;

namespace Ringfence.Firmware.Loading;

/// <summary>
/// The interrupt vector table of a BIOS that has no services: every vector leads to an IRET, those of the interrupt controllers where a PC's
/// BIOS puts them (08h to 0Fh, 70h to 77h) to one after an end of interrupt.
/// </summary>
internal static class RealModeVectors
{
    /// <summary>Where an IBM PC's BIOS has its IRET, and some programs expect it.</summary>
    private const ushort Iret = 0xFF53;
    private const ushort MasterHandler = 0xFF60;
    private const ushort SlaveHandler = 0xFF68;

    public static void Store(GuestMemory memory)
    {
        memory.Write(BoardLayout.BiosBase + Iret, (byte)0xCF);
        // push ax; mov al, 20h; out 20h, al; pop ax; iret
        memory.Write(BoardLayout.BiosBase + MasterHandler, [0x50, 0xB0, 0x20, 0xE6, (byte)BoardLayout.MasterPicPort, 0x58, 0xCF]);
        // The same, to the slave first.
        memory.Write(
            BoardLayout.BiosBase + SlaveHandler,
            [0x50, 0xB0, 0x20, 0xE6, (byte)BoardLayout.SlavePicPort, 0xE6, (byte)BoardLayout.MasterPicPort, 0x58, 0xCF]);
        for (uint vector = 0; vector < 256; vector++)
        {
            ushort handler = vector switch
            {
                >= 0x08 and < 0x10 => MasterHandler,
                >= 0x70 and < 0x78 => SlaveHandler,
                _ => Iret,
            };
            memory.Write(vector * 4, ((uint)(BoardLayout.BiosBase >> 4) << 16) | handler);
        }
    }
}
