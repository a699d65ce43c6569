using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Ringfence.Engine;

namespace Ringfence.Debugging;

/// <summary>
/// Listens for a debugger and lets it debug a machine, one at a time: another that connects meanwhile is turned away. When one has gone the
/// machine goes on, and the next may come. Whoever can connect can do anything with the guest: it listens nowhere but where it is told.
/// </summary>
public sealed class GdbServer : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly Socket _listener;
    private Thread? _thread;
    private readonly Lock _lock = new();
    private Connection? _connection;
    private bool _disposed;

    /// <summary>Takes the address. Who connects waits until <see cref="Serve"/>.</summary>
    /// <param name="where">Port 0 takes any that is free.</param>
    /// <exception cref="SocketException">Nobody can listen there.</exception>
    public GdbServer(IPEndPoint where)
    {
        _listener = new Socket(where.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            _listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            _listener.Bind(where);
            _listener.Listen(1);
            EndPoint = (IPEndPoint)_listener.LocalEndPoint!;
        }
        catch
        {
            _listener.Dispose();
            throw;
        }
    }

    /// <summary>Where it listens.</summary>
    public IPEndPoint EndPoint { get; }

    /// <summary>From here on debuggers are let in. The machine must outlive this object. Once only.</summary>
    public void Serve(IRunControl control)
    {
        _thread = new Thread(() => Accept(control)) { IsBackground = true, Name = "ringfence-gdb" };
        _thread.Start();
    }

    /// <summary>Ends the conversation, after its last words, and listens no more.</summary>
    public void Dispose()
    {
        Connection? last;
        lock (_lock)
        {
            _disposed = true;
            last = _connection;
        }
        _listener.Dispose();
        _thread?.Join();
        last?.Finish(s_patience);
    }

    private void Accept(IRunControl control)
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = _listener.Accept();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                lock (_lock)
                {
                    if (_disposed)
                    {
                        return;
                    }
                }
                // One that gave up before it was accepted.
                Thread.Sleep(10);
                continue;
            }
            lock (_lock)
            {
                if (_disposed || _connection is not null)
                {
                    socket.Dispose();
                }
                else
                {
                    _connection = new Connection(socket, control, Closed);
                }
            }
        }
    }

    private void Closed()
    {
        lock (_lock)
        {
            _connection = null;
        }
    }

    /// <summary>A debugger's connection: one thread reads, another talks to the machine.</summary>
    private sealed class Connection
    {
        private readonly Socket _socket;
        private readonly Channel<Event> _events = Channel.CreateUnbounded<Event>();
        private readonly Thread _talker;
        private readonly MachineTarget _target;
        private readonly Action _closed;

        public Connection(Socket socket, IRunControl control, Action closed)
        {
            _socket = socket;
            _socket.NoDelay = true;
            _socket.SendTimeout = 10_000;
            _closed = closed;
            _target = new MachineTarget(control, () => Post(EventKind.Stopped), () => Post(EventKind.Ended));
            new Thread(Listen) { IsBackground = true, Name = "ringfence-gdb-in" }.Start();
            _talker = new Thread(Talk) { IsBackground = true, Name = "ringfence-gdb-out" };
            _talker.Start();
        }

        private enum EventKind
        {
            Bytes,
            Gone,
            Stopped,
            Ended,
        }

        private readonly record struct Event(EventKind Kind, byte[]? Bytes);

        public void Finish(TimeSpan patience)
        {
            Post(EventKind.Ended);
            _talker.Join(patience);
            _socket.Dispose();
        }

        private void Listen()
        {
            byte[] buffer = new byte[4096];
            try
            {
                for (int count = _socket.Receive(buffer); count > 0; count = _socket.Receive(buffer))
                {
                    Post(EventKind.Bytes, buffer[..count]);
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // It is gone all the same.
            }
            Post(EventKind.Gone);
        }

        private void Talk()
        {
            GdbSession? session = null;
            try
            {
                _target.Attach();
                session = new GdbSession(_target, Send);
                while (!session.Over)
                {
                    Event next = _events.Reader.ReadAsync().AsTask().GetAwaiter().GetResult();
                    switch (next.Kind)
                    {
                        case EventKind.Bytes:
                            session.Receive(next.Bytes);
                            break;
                        case EventKind.Stopped:
                            session.TargetStopped();
                            break;
                        case EventKind.Ended:
                            session.TargetEnded();
                            break;
                        case EventKind.Gone:
                            return;
                    }
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // As if it had left.
            }
            finally
            {
                if (session is not { Over: true })
                {
                    _target.Detach();
                }
                try
                {
                    _socket.Shutdown(SocketShutdown.Both);
                }
                catch (Exception e) when (e is SocketException or ObjectDisposedException)
                {
                    // Nothing left to shut down.
                }
                _socket.Dispose();
                _closed();
            }
        }

        /// <summary>Any thread.</summary>
        private void Post(EventKind kind, byte[]? bytes = null) => _events.Writer.TryWrite(new Event(kind, bytes));

        private void Send(byte[] bytes)
        {
            for (int sent = 0; sent < bytes.Length;)
            {
                sent += _socket.Send(bytes, sent, bytes.Length - sent, SocketFlags.None);
            }
        }
    }
}
