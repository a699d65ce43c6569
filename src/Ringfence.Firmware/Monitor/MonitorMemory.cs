namespace Ringfence.Firmware.Monitor;

/// <summary>The monitor's guest-physical layout. Everything after the image is zero at the start (multiboot clears it).</summary>
internal static class MonitorMemory
{
    public const ulong Image = 0x10_0000;
    /// <summary>Page tables: six pages.</summary>
    public const ulong Tables = 0x10_8000;
    public const ulong InterruptTable = 0x10_E000;
    public const ulong InterruptTablePointer = 0x10_F000;
    public const ulong BootInformation = 0x10_F010;
    public const ulong Ticks = 0x10_F018;
    /// <summary>Where received bytes go in next, and where they come out next: dwords, modulo <see cref="RingSize"/>.</summary>
    public const ulong RingHead = 0x10_F020;
    public const ulong RingTail = 0x10_F024;
    /// <summary>The byte before the current one, to take CR LF as one line end.</summary>
    public const ulong LastByte = 0x10_F028;
    public const ulong Ring = 0x10_F100;
    public const uint RingSize = 256;
    public const ulong Line = 0x10_F200;
    /// <summary>The most characters of a line, NUL not counted.</summary>
    public const int LineLength = 200;
    public const ulong StackTop = 0x11_2000;
    public const ulong End = StackTop;
}
