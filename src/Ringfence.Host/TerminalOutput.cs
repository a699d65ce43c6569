namespace Ringfence.Host;

/// <summary>
/// Writes bytes to a descriptor as they come, without a system call for each: a line is written at its end, anything else
/// within <see cref="Delay"/> of its first byte. A reader that does not read holds the writer up; one that is gone is forgotten.
/// Thread-safe.
/// </summary>
public sealed class TerminalOutput : IDisposable
{
    private const int BufferSize = 4096;

    private readonly object _lock = new();
    private readonly int _descriptor;
    private readonly byte[] _buffer = new byte[BufferSize];
    private readonly Thread _thread;
    private int _count;
    private bool _idle;
    private bool _broken;
    private bool _disposed;

    /// <param name="descriptor">An open file descriptor; 1 is standard output. It is not closed.</param>
    public TerminalOutput(int descriptor)
    {
        _descriptor = descriptor;
        _thread = new Thread(FlushLate) { IsBackground = true, Name = "terminal output" };
        _thread.Start();
    }

    /// <summary>How long a byte waits for others to be written with: 2 ms.</summary>
    public static TimeSpan Delay { get; } = TimeSpan.FromMilliseconds(2);

    /// <summary>Appends one byte.</summary>
    public void Write(byte value) => Write([value]);

    /// <summary>Appends bytes. Nothing is written after <see cref="Dispose"/>.</summary>
    public void Write(ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }
            while (data.Length > 0)
            {
                int part = Math.Min(data.Length, BufferSize - _count);
                data[..part].CopyTo(_buffer.AsSpan(_count));
                bool line = data[..part].Contains((byte)'\n');
                _count += part;
                data = data[part..];
                if (line || _count == BufferSize)
                {
                    FlushLocked();
                }
            }
            if (_count > 0 && _idle)
            {
                _idle = false;
                Monitor.Pulse(_lock);
            }
        }
    }

    /// <summary>Writes what is waiting.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            FlushLocked();
        }
    }

    /// <summary>Writes what is waiting and ends the thread.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }
            FlushLocked();
            _disposed = true;
            Monitor.Pulse(_lock);
        }
        _thread.Join();
    }

    private void FlushLocked()
    {
        if (_count > 0 && !_broken)
        {
            _broken = !TerminalLibC.WriteAll(_descriptor, _buffer.AsSpan(0, _count));
        }
        _count = 0;
    }

    private void FlushLate()
    {
        while (true)
        {
            lock (_lock)
            {
                FlushLocked();
                while (_count == 0)
                {
                    if (_disposed)
                    {
                        return;
                    }
                    _idle = true;
                    Monitor.Wait(_lock);
                }
            }
            Thread.Sleep(Delay);
        }
    }
}
