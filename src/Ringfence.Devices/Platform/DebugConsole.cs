namespace Ringfence.Devices.Platform;

/// <summary>The Bochs debug console, one port, at 0xE9: bytes written go to the host; reading gives 0xE9, by which a guest knows it is
/// there. It has no state. As thread-safe as <paramref name="output"/>, which runs on the writing vCPU's thread.</summary>
public sealed class DebugConsole(Action<byte> output) : IPortDevice
{
    private const byte Signature = 0xE9;

    public uint ReadPort(ushort offset, int size) => Signature;

    public void WritePort(ushort offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
        {
            output((byte)(value >> (i * 8)));
        }
    }
}
