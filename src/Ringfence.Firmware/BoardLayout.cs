namespace Ringfence.Firmware;

/// <summary>
/// Where things are on the board: guest-physical addresses, ports and interrupt lines that the boot tables promise and the
/// machine's devices must keep. Fixed, not configurable: guests learn all of it from ACPI.
/// </summary>
public static class BoardLayout
{
    /// <summary>Local APIC registers, the same address for every processor (SDM 3A 11.4.1).</summary>
    public const ulong LocalApicBase = 0xFEE0_0000;
    public const ulong IoApicBase = 0xFEC0_0000;
    public const byte IoApicId = 0;
    /// <summary>The first global system interrupt of the IOAPIC's pin 0.</summary>
    public const uint IoApicGsiBase = 0;

    /// <summary>ACPI PM1a event block: status at +0, enable at +2 (ACPI 6.4 §4.8.3.1).</summary>
    public const ushort Pm1aEventPort = 0x600;
    public const byte Pm1EventLength = 4;
    /// <summary>ACPI PM1a control (ACPI 6.4 §4.8.3.2). SCI_EN (bit 0) always reads 1: there is no SMI command to leave ACPI mode with.</summary>
    public const ushort Pm1aControlPort = 0x604;
    public const byte Pm1ControlLength = 2;
    /// <summary>ACPI PM timer, 3.579545 MHz, 32 bits wide (ACPI 6.4 §4.8.3.3).</summary>
    public const ushort PmTimerPort = 0x608;
    public const byte PmTimerLength = 4;
    /// <summary>General-purpose event block 0: status at +0 and +1, enable at +2 and +3.</summary>
    public const ushort Gpe0Port = 0x620;
    public const byte Gpe0Length = 4;
    /// <summary>The SCI's ISA interrupt and GSI: level-triggered, active high.</summary>
    public const byte SciInterrupt = 9;
    /// <summary>SLP_TYPa of \_S5 (soft off): written to PM1a control at bits 10 to 12 together with SLP_EN.</summary>
    public const byte SleepTypeSoftOff = 5;
    /// <summary>PM1 control SLP_EN: bit 13.</summary>
    public const ushort SleepEnable = 1 << 13;

    /// <summary>The reset control register; writing <see cref="ResetValue"/> resets the board.</summary>
    public const ushort ResetPort = 0xCF9;
    public const byte ResetValue = 6;

    public const ushort MasterPicPort = 0x20;
    public const ushort SlavePicPort = 0xA0;
    public const ushort PitPort = 0x40;
    /// <summary>The PIT's channel 0 is ISA IRQ 0, wired to IOAPIC pin 2 (MADT interrupt source override).</summary>
    public const byte PitInterrupt = 0;
    public const byte PitGsi = 2;
    /// <summary>RTC and CMOS: index, and data at +1.</summary>
    public const ushort RtcPort = 0x70;
    public const byte RtcInterrupt = 8;
    /// <summary>CMOS index of the century byte.</summary>
    public const byte RtcCenturyRegister = 0x32;
    /// <summary>The VGA's text mode, where the board has one: 80 by 25 characters of 16 lines, a byte each for character and colours.</summary>
    public const ulong TextMemory = 0xB_8000;
    public const byte TextColumns = 80;
    public const byte TextRows = 25;
    public const byte TextMode = 3;
    public const byte CharacterHeight = 16;
    public const ushort KeyboardDataPort = 0x60;
    public const ushort KeyboardCommandPort = 0x64;
    public const ushort Com1Port = 0x3F8;
    public const byte Com1Interrupt = 4;

    /// <summary>The extended BIOS data area; conventional memory that guests may use ends here.</summary>
    public const ulong EbdaBase = 0x9_FC00;
    /// <summary>The BIOS area: the RSDP is at its start, where guests that scan for it find it, and the other ACPI tables follow.</summary>
    public const ulong BiosBase = 0xF_0000;
    public const ulong BiosEnd = 0x10_0000;
    public const ulong RsdpAddress = BiosBase;
    /// <summary>The most vCPUs that 8-bit APIC IDs name: 0 to 254 (255 is broadcast).</summary>
    public const int MaximumVcpus = 255;
}
