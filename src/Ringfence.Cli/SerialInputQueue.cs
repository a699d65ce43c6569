namespace Ringfence.Cli;

/// <summary>
/// Holds what was typed until the guest's receiver has room for it. From a terminal everything is taken at once, so that Ctrl-A X is
/// seen even when the guest does not read; from a pipe the reader is held up once <see cref="Limit"/> bytes wait. Thread-safe.
/// </summary>
/// <param name="holdsUp">Whether <see cref="Offer"/> may block.</param>
internal sealed class SerialInputQueue(bool holdsUp)
{
    /// <summary>Bytes that may wait: 64 KiB. A terminal's bytes beyond it are dropped.</summary>
    public const int Limit = 65536;

    private readonly object _lock = new();
    private readonly byte[] _bytes = new byte[Limit];
    private ReceiveBytes? _receive;
    private int _first;
    private int _count;
    private bool _closed;

    /// <summary>Takes bytes as far as there is room and returns how many it took.</summary>
    public delegate int ReceiveBytes(ReadOnlySpan<byte> data);

    /// <summary>Says where bytes go. <see cref="Pump"/> must be called whenever there is room again.</summary>
    public void Attach(ReceiveBytes receive)
    {
        lock (_lock)
        {
            _receive = receive;
            PumpLocked();
        }
    }

    /// <summary>Adds bytes and hands on what the guest takes.</summary>
    public void Offer(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            while (data.Length > 0 && !_closed)
            {
                if (_count == Limit)
                {
                    if (!holdsUp)
                    {
                        return;
                    }
                    Monitor.Wait(_lock);
                    continue;
                }
                int end = (_first + _count) % Limit;
                int part = Math.Min(data.Length, Math.Min(Limit - _count, Limit - end));
                data[..part].CopyTo(_bytes.AsSpan(end));
                _count += part;
                data = data[part..];
                PumpLocked();
            }
        }
    }

    /// <summary>Hands on what the guest takes: to be called when its receiver has room. Not with the receiver's lock held.</summary>
    public void Pump()
    {
        lock (_lock)
        {
            PumpLocked();
        }
    }

    /// <summary>Lets a blocked <see cref="Offer"/> go; nothing is taken any more.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _closed = true;
            Monitor.PulseAll(_lock);
        }
    }

    private void PumpLocked()
    {
        while (_count > 0 && _receive is not null)
        {
            int part = Math.Min(_count, Limit - _first);
            int taken = _receive(_bytes.AsSpan(_first, part));
            _first = (_first + taken) % Limit;
            _count -= taken;
            if (taken > 0)
            {
                Monitor.PulseAll(_lock);
            }
            if (taken < part)
            {
                return;
            }
        }
    }
}
