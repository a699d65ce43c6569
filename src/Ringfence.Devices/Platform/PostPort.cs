namespace Ringfence.Devices.Platform;

/// <param name="Code">The last code written.</param>
public sealed record PostPortState(byte Code);

/// <summary>The diagnostic port, one port, at 0x80: it remembers the last code. Linux writes to it only to pass time. Thread-safe.</summary>
public sealed class PostPort : IPortDevice
{
    private volatile byte _code;

    /// <summary>The last code written; 0 if none.</summary>
    public byte Code => _code;

    public uint ReadPort(ushort offset, int size) => _code;

    public void WritePort(ushort offset, int size, uint value) => _code = (byte)value;

    public PostPortState Save() => new(_code);

    public void Restore(PostPortState state) => _code = state.Code;
}
