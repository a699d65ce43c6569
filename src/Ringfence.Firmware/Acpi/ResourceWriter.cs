namespace Ringfence.Firmware.Acpi;

/// <summary>Writes resource descriptors (ACPI 6.4 §6.4).</summary>
internal sealed class ResourceWriter
{
    private readonly List<byte> _bytes = [];

    /// <summary>Fixed ports, 16-bit decode.</summary>
    public ResourceWriter Ports(ushort first, byte count)
    {
        _bytes.AddRange([0x47, 0x01, (byte)first, (byte)(first >> 8), (byte)first, (byte)(first >> 8), 1, count]);
        return this;
    }

    /// <summary>An ISA interrupt: edge-triggered, active high, exclusive.</summary>
    public ResourceWriter Irq(byte line)
    {
        int mask = 1 << line;
        _bytes.AddRange([0x22, (byte)mask, (byte)(mask >> 8)]);
        return this;
    }

    /// <summary>A fixed, writable range of memory below 4 GiB.</summary>
    public ResourceWriter Memory(uint address, uint length)
    {
        _bytes.AddRange([0x86, 9, 0, 1, .. BitConverter.GetBytes(address), .. BitConverter.GetBytes(length)]);
        return this;
    }

    /// <summary>A global system interrupt, active high, exclusive.</summary>
    public ResourceWriter Interrupt(uint gsi, bool edgeTriggered)
    {
        const byte Consumer = 1;
        const byte Edge = 2;
        _bytes.AddRange([0x89, 6, 0, (byte)(Consumer | (edgeTriggered ? Edge : 0)), 1, .. BitConverter.GetBytes(gsi)]);
        return this;
    }

    /// <summary>The end tag; checksum 0 says there is none.</summary>
    public byte[] Finish() => [.. _bytes, 0x79, 0];
}
