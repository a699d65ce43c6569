namespace Ringfence.Host;

/// <summary>Reads a descriptor on a thread of its own until the end of the file or until disposed of.</summary>
public sealed class TerminalInput : IDisposable
{
    private const int BufferSize = 4096;

    private readonly int _descriptor;
    private readonly int _stop;
    private readonly Action<ReadOnlyMemory<byte>> _received;
    private readonly Thread _thread;
    private bool _disposed;

    /// <param name="descriptor">An open file descriptor; 0 is standard input. It is not closed.</param>
    /// <param name="received">Called on the reader's thread with what was read, valid during the call. While it blocks nothing is read,
    /// so that a slow guest slows a fast pipe. It is not told of the end of the file.</param>
    public TerminalInput(int descriptor, Action<ReadOnlyMemory<byte>> received)
    {
        _descriptor = descriptor;
        _received = received;
        _stop = TerminalLibC.CreateEvent();
        _thread = new Thread(Read) { IsBackground = true, Name = "terminal input" };
        _thread.Start();
    }

    /// <summary>Stops reading and waits for the reader, unless called on its own thread.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }
        _disposed = true;
        TerminalLibC.Signal(_stop);
        // A receiver that blocks for good must not keep the process: the thread is a background one, and then leaks its descriptor.
        if (Thread.CurrentThread != _thread && _thread.Join(TimeSpan.FromSeconds(1)))
        {
            TerminalLibC.Close(_stop);
        }
    }

    private void Read()
    {
        byte[] buffer = new byte[BufferSize];
        Span<TerminalLibC.PollDescriptor> wait = stackalloc TerminalLibC.PollDescriptor[2];
        while (true)
        {
            wait[0] = new TerminalLibC.PollDescriptor { Descriptor = _stop, Events = TerminalLibC.PollIn };
            wait[1] = new TerminalLibC.PollDescriptor { Descriptor = _descriptor, Events = TerminalLibC.PollIn };
            if (!TerminalLibC.Poll(wait) || wait[0].Returned != 0)
            {
                return;
            }
            int count = TerminalLibC.Read(_descriptor, buffer);
            if (count < 0 && System.Runtime.InteropServices.Marshal.GetLastPInvokeError() == TerminalLibC.TryAgain)
            {
                continue;
            }
            if (count <= 0)
            {
                return;
            }
            _received(buffer.AsMemory(0, count));
        }
    }
}
