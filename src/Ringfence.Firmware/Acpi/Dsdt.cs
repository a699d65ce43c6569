using System.Globalization;

namespace Ringfence.Firmware.Acpi;

/// <summary>The DSDT's definition block: the board's fixed devices, its processors, and soft off.</summary>
internal static class Dsdt
{
    public static byte[] Build(int vcpus, IReadOnlyList<VirtioMmioDevice> virtio)
    {
        var aml = new AmlWriter();
        aml.Scope("\\_SB", scope =>
        {
            Board(scope);
            for (int i = 0; i < vcpus; i++)
            {
                int uid = i;
                scope.Device(Numbered('C', i), device =>
                {
                    device.Name("_HID", "ACPI0007");
                    device.Name("_UID", (ulong)uid);
                });
            }
            for (int i = 0; i < virtio.Count; i++)
            {
                int uid = i;
                VirtioMmioDevice transport = virtio[i];
                scope.Device(Numbered('V', i), device =>
                {
                    device.Name("_HID", "LNRO0005");
                    device.Name("_UID", (ulong)uid);
                    device.Name("_CCA", 1);
                    device.Resources(r => r.Memory(transport.Address, transport.Length).Interrupt(transport.Gsi, transport.EdgeTriggered));
                });
            }
        });
        aml.Package("\\_S5", BoardLayout.SleepTypeSoftOff, BoardLayout.SleepTypeSoftOff, 0, 0);
        return aml.ToArray();
    }

    private static void Board(AmlWriter scope)
    {
        Device(scope, "PIC", "PNP0000", r => r.Ports(BoardLayout.MasterPicPort, 2).Ports(BoardLayout.SlavePicPort, 2).Irq(2));
        Device(scope, "TIMR", "PNP0100", r => r.Ports(BoardLayout.PitPort, 4).Irq(BoardLayout.PitInterrupt));
        Device(scope, "RTC", "PNP0B00", r => r.Ports(BoardLayout.RtcPort, 2).Irq(BoardLayout.RtcInterrupt));
        Device(scope, "COM1", "PNP0501", r => r.Ports(BoardLayout.Com1Port, 8).Irq(BoardLayout.Com1Interrupt));
        // Ports that no driver may take: the power management blocks and the reset register.
        Device(scope, "SYSR", "PNP0C02", r => r
            .Ports(BoardLayout.Pm1aEventPort, BoardLayout.Pm1EventLength)
            .Ports(BoardLayout.Pm1aControlPort, BoardLayout.Pm1ControlLength)
            .Ports(BoardLayout.PmTimerPort, BoardLayout.PmTimerLength)
            .Ports(BoardLayout.Gpe0Port, BoardLayout.Gpe0Length)
            .Ports(BoardLayout.ResetPort, 1));
    }

    private static void Device(AmlWriter scope, string name, string id, Action<ResourceWriter> resources) => scope.Device(name, device =>
    {
        device.EisaId("_HID", id);
        device.Name("_UID", 0);
        device.Name("_STA", 0xF);
        device.Resources(resources);
    });

    private static string Numbered(char letter, int number) => letter + number.ToString("X3", CultureInfo.InvariantCulture);
}
