namespace Ringfence.Devices.Platform;

/// <summary>
/// Ports where a wide access is one access to nothing: all ones, and writes are lost. PCI's configuration ports (0xCF8 to 0xCFF) on
/// a board without PCI must be such, or a 32-bit write there would be split and its second byte reset the machine. It has no state.
/// </summary>
public sealed class EmptyPorts : IPortDevice
{
    public uint ReadPort(ushort offset, int size) => uint.MaxValue;

    public void WritePort(ushort offset, int size, uint value)
    {
    }
}
