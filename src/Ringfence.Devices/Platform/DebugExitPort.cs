namespace Ringfence.Devices.Platform;

/// <summary>A port, at 0xF4 or 0x501 or where a test guest wants it, through which a guest ends its machine: writing V asks for exit
/// code (V &lt;&lt; 1) | 1, which is never 0. It has no state. Thread-safe.</summary>
public sealed class DebugExitPort : IPortDevice
{
    /// <summary>Ports it decodes.</summary>
    public const int PortCount = 4;

    /// <summary>The guest ends its machine with this exit code. Raised on its vCPU's thread.</summary>
    public event Action<int>? ExitRequested;

    public uint ReadPort(ushort offset, int size) => 0;

    public void WritePort(ushort offset, int size, uint value) => ExitRequested?.Invoke((int)((value << 1) | 1));
}
