using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Ringfence.Debugging.Tests;

/// <summary>A debugger that knows nothing but packets.</summary>
internal sealed class GdbClient : IDisposable
{
    private readonly TcpClient _client = new();
    private readonly NetworkStream _stream;
    private readonly Packets.Reader _reader = new();
    private readonly Queue<string> _packets = new();

    public GdbClient(IPEndPoint where)
    {
        _client.NoDelay = true;
        _client.Connect(where);
        _client.ReceiveTimeout = 60_000;
        _stream = _client.GetStream();
        Assert.Equal("OK", Ask("QStartNoAckMode"));
        Ask("qSupported:swbreak+;hwbreak+");
    }

    public ulong Rip => Register(16);

    public string Ask(string packet)
    {
        Tell(packet);
        return Read();
    }

    public void Tell(string packet) => Send(Packets.Frame(Encoding.Latin1.GetBytes(packet)));

    public void Send(byte[] bytes) => _stream.Write(bytes);

    /// <summary>The next packet, or null when the other side has closed the connection.</summary>
    public string? TryRead()
    {
        byte[] buffer = new byte[4096];
        while (_packets.Count == 0)
        {
            int count = _stream.Read(buffer);
            if (count == 0)
            {
                return null;
            }
            foreach (byte value in buffer.AsSpan(0, count))
            {
                if (_reader.Read(value) is { Kind: IncomingKind.Packet } incoming)
                {
                    _packets.Enqueue(Encoding.Latin1.GetString(incoming.Body));
                }
            }
        }
        return _packets.Dequeue();
    }

    public string Read() => TryRead() ?? throw new EndOfStreamException("the connection was closed");

    /// <summary>In gdb's numbers.</summary>
    public ulong Register(int number, int thread = 0)
    {
        if (thread != 0)
        {
            Assert.Equal("OK", Ask($"Hg{thread:x}"));
        }
        return GdbRegister.Take(Convert.FromHexString(Ask($"p{number:x}")));
    }

    public ulong Memory(ulong address, int bytes) =>
        GdbRegister.Take(Convert.FromHexString(Ask(string.Create(CultureInfo.InvariantCulture, $"m{address:x},{bytes:x}"))));

    /// <summary>Inserts or removes a breakpoint or watchpoint.</summary>
    public void Point(string kind, ulong address, int length = 1) =>
        Assert.Equal("OK", Ask(string.Create(CultureInfo.InvariantCulture, $"{kind},{address:x},{length:x}")));

    /// <summary>Steps one vCPU, the others stopped, and returns where it is then.</summary>
    public ulong Step(int thread = 1)
    {
        Assert.StartsWith($"T05thread:{thread:x};", Ask($"vCont;s:{thread:x}"), StringComparison.Ordinal);
        return Rip;
    }

    /// <summary>Runs to an address, all vCPUs.</summary>
    public void RunTo(ulong address)
    {
        Point("Z1", address);
        Assert.Contains("hwbreak", Ask("vCont;c"), StringComparison.Ordinal);
        Point("z1", address);
        Assert.Equal(address, Rip);
    }

    public string Interrupt()
    {
        Send([3]);
        return Read();
    }

    /// <summary>Waits, the machine running, until something holds.</summary>
    public static void Await(Func<bool> holds)
    {
        var time = Stopwatch.StartNew();
        while (!holds())
        {
            Assert.True(time.Elapsed < TimeSpan.FromSeconds(60), "it did not come about");
            Thread.Sleep(1);
        }
    }

    public void Dispose() => _client.Dispose();
}
