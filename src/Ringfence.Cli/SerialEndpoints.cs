using System.Text;
using Ringfence.Host;
using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>The first serial line on standard input and output.</summary>
internal sealed class StdioSerial : ISerialEndpoint, IDisposable
{
    private readonly SerialInputQueue _queue;
    private readonly Terminal _terminal;

    /// <param name="commanded">Called with what the user asks of us with Ctrl-A. It must not block.</param>
    public StdioSerial(Action<TerminalKey> commanded)
    {
        _queue = new SerialInputQueue(holdsUp: !Terminal.IsAtHand);
        _terminal = new Terminal(data => _queue.Offer(data.Span), commanded);
    }

    public void Connect(SerialReceiver receive) => _queue.Attach(data => receive(data));

    public void Transmit(byte value) => _terminal.Write([value]);

    public void RoomAvailable() => _queue.Pump();

    /// <summary>A line of ours among what the guest writes.</summary>
    public void Say(string line) => _terminal.Write(Encoding.ASCII.GetBytes($"\r\n{line}\r\n"));

    public void Dispose()
    {
        _queue.Close();
        _terminal.Dispose();
    }
}

/// <summary>The first serial line into a file, which nothing is read from.</summary>
internal sealed class FileSerial(FileStream file) : ISerialEndpoint, IDisposable
{
    private readonly TerminalOutput _output = new((int)file.SafeFileHandle.DangerousGetHandle());

    public void Connect(SerialReceiver receive)
    {
    }

    public void Transmit(byte value) => _output.Write(value);

    public void RoomAvailable()
    {
    }

    public void Dispose()
    {
        _output.Dispose();
        file.Dispose();
    }
}

/// <summary>A serial line with nobody at its other end.</summary>
internal sealed class NoSerial : ISerialEndpoint, IDisposable
{
    public void Connect(SerialReceiver receive)
    {
    }

    public void Transmit(byte value)
    {
    }

    public void RoomAvailable()
    {
    }

    public void Dispose()
    {
    }
}

/// <summary>The endpoint that --serial asks for, and what has to be disposed of with it.</summary>
internal sealed class SerialLine : IDisposable
{
    private readonly IDisposable _resource;

    /// <exception cref="HostFileException">The file cannot be written.</exception>
    public SerialLine(RunOptions options, Action<TerminalKey> commanded)
    {
        switch (options.Serial)
        {
            case SerialKind.Stdio:
                var stdio = new StdioSerial(commanded);
                (Endpoint, _resource) = (stdio, stdio);
                break;
            case SerialKind.File:
                var file = new FileSerial(HostFile.Create("--serial", options.SerialFile!));
                (Endpoint, _resource) = (file, file);
                break;
            default:
                var none = new NoSerial();
                (Endpoint, _resource) = (none, none);
                break;
        }
    }

    public ISerialEndpoint Endpoint { get; }

    /// <summary>Tells whoever sits at a terminal.</summary>
    public void Say(string line) => (Endpoint as StdioSerial)?.Say(line);

    public void Dispose() => _resource.Dispose();
}
