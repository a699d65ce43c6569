namespace Ringfence.Devices.Platform;

/// <param name="Matched">How many characters of the word have been seen, 0 to 7.</param>
public sealed record ShutdownPortState(int Matched);

/// <summary>The Bochs way to power off, one port, at 0x8900: the word "Shutdown", byte by byte. Thread-safe.</summary>
public sealed class ShutdownPort : IPortDevice
{
    private readonly Lock _lock = new();
    private int _matched;

    /// <summary>The guest powers off. Raised on its vCPU's thread.</summary>
    public event Action? PowerOffRequested;

    private static ReadOnlySpan<byte> Word => "Shutdown"u8;

    public uint ReadPort(ushort offset, int size) => 0;

    public void WritePort(ushort offset, int size, uint value)
    {
        bool complete = false;
        lock (_lock)
        {
            for (int i = 0; i < size; i++)
            {
                byte character = (byte)(value >> (i * 8));
                _matched = character == Word[_matched] ? _matched + 1 : character == Word[0] ? 1 : 0;
                if (_matched == Word.Length)
                {
                    _matched = 0;
                    complete = true;
                }
            }
        }
        if (complete)
        {
            PowerOffRequested?.Invoke();
        }
    }

    public ShutdownPortState Save()
    {
        lock (_lock)
        {
            return new ShutdownPortState(_matched);
        }
    }

    public void Restore(ShutdownPortState state)
    {
        lock (_lock)
        {
            _matched = Math.Clamp(state.Matched, 0, Word.Length - 1);
        }
    }
}
