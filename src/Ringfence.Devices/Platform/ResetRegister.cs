namespace Ringfence.Devices.Platform;

/// <param name="Value">What was written last, without the bit that resets.</param>
public sealed record ResetRegisterState(byte Value);

/// <summary>The chipset's reset control register, one port, at 0xCF9 (an overlay of PCI's address register there). Raising bit 2
/// resets; bits 1 and 3 say how thoroughly. Thread-safe.</summary>
public sealed class ResetRegister : IPortDevice
{
    private const byte ResetProcessor = 0x04;

    private volatile byte _value;

    /// <summary>The guest asks for a reset. Raised on its vCPU's thread.</summary>
    public event Action? ResetRequested;

    public uint ReadPort(ushort offset, int size) => _value;

    public void WritePort(ushort offset, int size, uint value)
    {
        // The reset clears the bit again.
        _value = (byte)(value & 0xFF & ~ResetProcessor);
        if ((value & ResetProcessor) != 0)
        {
            ResetRequested?.Invoke();
        }
    }

    public ResetRegisterState Save() => new(_value);

    public void Restore(ResetRegisterState state) => _value = state.Value;
}
