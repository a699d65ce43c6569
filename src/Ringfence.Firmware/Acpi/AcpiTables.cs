using System.Text;
using Ringfence.Host;

namespace Ringfence.Firmware.Acpi;

/// <summary>RSDP, RSDT, XSDT, FADT, FACS, MADT and DSDT (ACPI 6.4 §5.2), in the BIOS area.</summary>
public static class AcpiTables
{
    // The tables follow the RSDP.
    private const ulong FirstTable = BoardLayout.RsdpAddress + 64;
    private const ulong TablesEnd = BoardLayout.BiosBase + 0xFF00;

    /// <summary>Writes the tables for APIC IDs 0 to <paramref name="vcpus"/> - 1. The RSDP is at <see cref="BoardLayout.RsdpAddress"/>.</summary>
    /// <exception cref="ArgumentException">The devices are so many that the tables do not fit in the BIOS area.</exception>
    public static void Store(GuestMemory memory, int vcpus, IReadOnlyList<VirtioMmioDevice> virtioDevices, bool textScreen = false)
    {
        ulong next = FirstTable;
        ulong Put(byte[] table)
        {
            ulong address = (next + 63) & ~63UL;
            if (address + (ulong)table.Length > TablesEnd)
            {
                throw new ArgumentException("the ACPI tables do not fit in the BIOS area", nameof(virtioDevices));
            }
            memory.Write(address, table);
            next = address + (ulong)table.Length;
            return address;
        }

        ulong facs = Put(Facs());
        ulong dsdt = Put(new TableBuilder("DSDT", 2).Bytes(Dsdt.Build(vcpus, virtioDevices)).Finish());
        ulong fadt = Put(Fadt(facs, dsdt, textScreen));
        ulong madt = Put(Madt(vcpus));
        ulong rsdt = Put(new TableBuilder("RSDT", 1).U32((uint)fadt).U32((uint)madt).Finish());
        ulong xsdt = Put(new TableBuilder("XSDT", 1).U64(fadt).U64(madt).Finish());
        memory.Write(BoardLayout.RsdpAddress, Rsdp(rsdt, xsdt));
    }

    private static byte[] Rsdp(ulong rsdt, ulong xsdt)
    {
        byte[] rsdp = new byte[36];
        Encoding.ASCII.GetBytes("RSD PTR ").CopyTo(rsdp, 0);
        Encoding.ASCII.GetBytes("RNGFNC").CopyTo(rsdp, 9);
        rsdp[15] = 2;
        BitConverter.TryWriteBytes(rsdp.AsSpan(16), (uint)rsdt);
        BitConverter.TryWriteBytes(rsdp.AsSpan(20), rsdp.Length);
        BitConverter.TryWriteBytes(rsdp.AsSpan(24), xsdt);
        // The first checksum covers what ACPI 1.0 had, the second everything.
        rsdp[8] = TableBuilder.Checksum(rsdp.AsSpan(0, 20));
        rsdp[32] = TableBuilder.Checksum(rsdp);
        return rsdp;
    }

    /// <summary>64 bytes, version 2, no waking vector. It has no checksum.</summary>
    private static byte[] Facs()
    {
        byte[] facs = new byte[64];
        Encoding.ASCII.GetBytes("FACS").CopyTo(facs, 0);
        BitConverter.TryWriteBytes(facs.AsSpan(4), facs.Length);
        facs[32] = 2;
        return facs;
    }

    /// <summary>Revision 6 (ACPI 6.4 §5.2.9). No SMI command: the board is always in ACPI mode.</summary>
    private static byte[] Fadt(ulong facs, ulong dsdt, bool textScreen)
    {
        // WBINVD works; C1 on all processors; the power button is fixed hardware, a sleep button does not exist; 32-bit PM timer; reset register.
        const uint Flags = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 8) | (1 << 10);
        // Legacy devices, 8042.
        const ushort BootArchitecture = (1 << 0) | (1 << 1);
        const ushort NoVga = 1 << 2;
        const byte Desktop = 1;
        const ushort NoC2 = 101;
        const ushort NoC3 = 1001;
        return new TableBuilder("FACP", 6)
            .U32((uint)facs).U32((uint)dsdt).U8(0).U8(Desktop).U16(BoardLayout.SciInterrupt)
            .U32(0).U8(0).U8(0).U8(0).U8(0) // SMI command, ACPI enable and disable, S4BIOS, P-state control
            .U32(BoardLayout.Pm1aEventPort).U32(0).U32(BoardLayout.Pm1aControlPort).U32(0).U32(0)
            .U32(BoardLayout.PmTimerPort).U32(BoardLayout.Gpe0Port).U32(0)
            .U8(BoardLayout.Pm1EventLength).U8(BoardLayout.Pm1ControlLength).U8(0).U8(BoardLayout.PmTimerLength)
            .U8(BoardLayout.Gpe0Length).U8(0).U8(0).U8(0) // GPE1 length and base, C-state control
            .U16(NoC2).U16(NoC3).U16(0).U16(0).U8(0).U8(0) // latencies, flush size and stride, duty offset and width
            .U8(0).U8(0).U8(BoardLayout.RtcCenturyRegister).U16((ushort)(BootArchitecture | (textScreen ? 0 : NoVga))).U8(0)
            .U32(Flags).PortRegister(BoardLayout.ResetPort, 8, 1).U8(BoardLayout.ResetValue).U16(0).U8(4)
            // A table that sets X_FIRMWARE_CTRL must leave FIRMWARE_CTRL at 0 (ACPI 6.4 table 5.9): only the latter is used.
            .U64(0).U64(dsdt)
            .PortRegister(BoardLayout.Pm1aEventPort, 32, 2).Zero(12)
            .PortRegister(BoardLayout.Pm1aControlPort, 16, 2).Zero(12).Zero(12)
            .PortRegister(BoardLayout.PmTimerPort, 32, 3)
            .PortRegister(BoardLayout.Gpe0Port, (byte)(8 * BoardLayout.Gpe0Length), 1).Zero(12)
            .Zero(12).Zero(12).U64(0) // sleep control and status, hypervisor identity
            .Finish();
    }

    /// <summary>Local APICs, the IOAPIC, and where ISA interrupts do not go straight (ACPI 6.4 §5.2.12).</summary>
    private static byte[] Madt(int vcpus)
    {
        const uint PcatCompatible = 1;
        const ushort BusDefault = 0;
        const ushort ActiveHighLevel = 0xD;
        TableBuilder madt = new TableBuilder("APIC", 5).U32((uint)BoardLayout.LocalApicBase).U32(PcatCompatible);
        for (int i = 0; i < vcpus; i++)
        {
            madt.U8(0).U8(8).U8((byte)i).U8((byte)i).U32(1);
        }
        madt.U8(1).U8(12).U8(BoardLayout.IoApicId).U8(0).U32((uint)BoardLayout.IoApicBase).U32(BoardLayout.IoApicGsiBase);
        Override(BoardLayout.PitInterrupt, BoardLayout.PitGsi, BusDefault);
        Override(BoardLayout.SciInterrupt, BoardLayout.SciInterrupt, ActiveHighLevel);
        // NMI at LINT1 of every processor.
        return madt.U8(4).U8(6).U8(0xFF).U16(BusDefault).U8(1).Finish();

        void Override(byte irq, uint gsi, ushort flags) => madt.U8(2).U8(10).U8(0).U8(irq).U32(gsi).U16(flags);
    }
}
