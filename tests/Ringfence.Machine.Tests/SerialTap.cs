using System.Diagnostics;
using System.Text;

namespace Ringfence.Machine.Tests;

/// <summary>A host's end of a serial line that keeps what the guest sends, and types as fast as the guest takes it.</summary>
internal sealed class SerialTap : ISerialEndpoint
{
    private readonly Lock _typing = new();
    private readonly Lock _reading = new();
    private readonly List<byte> _sent = [];
    private SerialReceiver? _receive;
    private byte[] _input = [];
    private int _typed;

    /// <summary>All bytes that the guest has sent.</summary>
    public byte[] Bytes
    {
        get
        {
            lock (_reading)
            {
                return [.. _sent];
            }
        }
    }

    public string Text => Encoding.Latin1.GetString(Bytes);

    public void Connect(SerialReceiver receive) => _receive = receive;

    public void Transmit(byte value)
    {
        lock (_reading)
        {
            _sent.Add(value);
        }
    }

    public void RoomAvailable() => Pump();

    public void Type(string text) => Type(Encoding.Latin1.GetBytes(text));

    public void Type(ReadOnlySpan<byte> bytes)
    {
        lock (_typing)
        {
            _input = [.. _input.AsSpan(_typed), .. bytes];
            _typed = 0;
        }
        Pump();
    }

    /// <summary>Waits until the guest has sent a text.</summary>
    public void WaitFor(string text)
    {
        var time = Stopwatch.StartNew();
        while (!Text.Contains(text, StringComparison.Ordinal))
        {
            Assert.True(time.Elapsed < TestLimits.Patience, $"no '{text}' in: {Text}");
            Thread.Sleep(1);
        }
    }

    private void Pump()
    {
        lock (_typing)
        {
            while (_typed < _input.Length)
            {
                int taken = _receive!(_input.AsSpan(_typed));
                if (taken == 0)
                {
                    // RoomAvailable calls again.
                    return;
                }
                _typed += taken;
            }
        }
    }
}
