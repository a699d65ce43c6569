namespace Ringfence.Devices.Buses;

/// <summary>Byte-wide registers on the port bus: wider accesses are made of bytes at consecutive offsets, lowest first, as the
/// chipset splits them. The functions see offsets; those they do not know are theirs to answer (0xFF).</summary>
internal sealed class ByteRegisters(Func<ushort, byte> read, Action<ushort, byte> write) : IPortDevice
{
    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (uint)read((ushort)(offset + i)) << (i * 8);
        }
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
        {
            write((ushort)(offset + i), (byte)(value >> (i * 8)));
        }
    }
}
