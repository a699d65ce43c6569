namespace Ringfence.Engine.Kvm.Native;

/// <summary>The interrupt chips of a virtual machine that are in the kernel, and the eventfds that can stand for lines and addresses.</summary>
internal sealed unsafe partial class KvmVmDescriptor
{
    private const uint Deassign = 1;
    private const uint IsPort = 2;
    private const uint DeassignAddress = 4;

    /// <summary>The 8259 pair, the IOAPIC and the local APICs. Before there is a vCPU.</summary>
    public void CreateIrqChip() => Ask(KvmRequest.CreateIrqChip, 0, "create the interrupt chips");

    public void SetLine(uint line, bool asserted) =>
        Write(KvmRequest.IrqLine, new KvmIrqLevel { Line = line, Level = asserted ? 1u : 0u }, $"{(asserted ? "raise" : "lower")} interrupt line {line}");

    /// <summary>Sends an interrupt message to the local APICs.</summary>
    public void SignalMessage(in KvmMessage message) => Write(KvmRequest.SignalMsi, message, $"deliver the interrupt message 0x{message.Data:x} to 0x{message.AddressLow:x}");

    /// <summary>Where lines lead, in place of what was said before.</summary>
    public void SetRoutes(ReadOnlySpan<KvmRoute> routes)
    {
        const int Header = 8;
        byte[] table = new byte[Header + (routes.Length * sizeof(KvmRoute))];
        fixed (byte* list = table)
        {
            *(uint*)list = (uint)routes.Length;
            routes.CopyTo(new Span<KvmRoute>(list + Header, routes.Length));
            Ask(KvmRequest.SetGsiRouting, (nuint)list, $"route {routes.Length} interrupt lines");
        }
    }

    public KvmIrqChip ReadChip(KvmIrqChipNumber number)
    {
        KvmIrqChip chip = new() { Number = number };
        Ask(KvmRequest.GetIrqChip, (nuint)(&chip), $"tell the state of its {number} interrupt chip");
        return chip;
    }

    public void WriteChip(in KvmIrqChip chip) => Write(KvmRequest.SetIrqChip, chip, $"take a state of its {chip.Number} interrupt chip");

    /// <summary>Each count that is added to an eventfd is an edge of a line from now on, or no longer.</summary>
    public void ConnectLine(int eventDescriptor, uint line, bool connected) =>
        Write(
            KvmRequest.IrqFd, new KvmIrqFd { Descriptor = (uint)eventDescriptor, Line = line, Flags = connected ? 0 : Deassign },
            $"{(connected ? "connect" : "disconnect")} an eventfd and interrupt line {line}");

    /// <summary>A write to a port adds to an eventfd from now on and does not come out, or no longer.</summary>
    /// <param name="size">1, 2 or 4 bytes; 0 for any.</param>
    public void ConnectPort(int eventDescriptor, ushort port, uint size, bool connected) =>
        Write(
            KvmRequest.IoEventFd, new KvmIoEventFd { Descriptor = eventDescriptor, Address = port, Length = size, Flags = IsPort | (connected ? 0 : DeassignAddress) },
            $"{(connected ? "connect" : "disconnect")} an eventfd and port 0x{port:x}");
}
