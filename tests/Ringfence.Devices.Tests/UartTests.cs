using Ringfence.Devices.Serial;

namespace Ringfence.Devices.Tests;

public class UartTests
{
    private readonly FakeLine _line = new();
    private readonly List<byte> _sent = [];
    private readonly Uart16550 _uart;

    public UartTests() => _uart = new Uart16550(_line, _sent.Add);

    [Fact]
    public void LinuxAutoconfigFindsA16550A()
    {
        // 8250_port.c, autoconfig.
        _uart.Out(1, 0);
        Assert.Equal(0, _uart.In(1) & 0x0F);
        _uart.Out(1, 0x0F);
        Assert.Equal(0x0F, _uart.In(1) & 0x0F);
        _uart.Out(1, 0);
        _uart.Out(4, 0x10 | 0x0A);
        Assert.Equal(0x90, _uart.In(6) & 0xF0);
        _uart.Out(4, 0);
        _uart.Out(3, 0xBF);
        _uart.Out(2, 0);
        _uart.Out(3, 0);
        _uart.Out(2, 0x01);
        Assert.Equal(3, _uart.In(2) >> 6);
        // autoconfig_16550a: not a 16650 (EFR), not a 16750 (64-byte FIFO), not an XScale (UUE).
        _uart.Out(3, 0x80);
        Assert.NotEqual(0, _uart.In(2));
        _uart.Out(3, 0xBF);
        Assert.NotEqual(0, _uart.In(2));
        _uart.Out(3, 0);
        _uart.Out(2, 0x01);
        int first = _uart.In(2) >> 5;
        _uart.Out(2, 0x01);
        _uart.Out(3, 0x80);
        _uart.Out(2, 0x21);
        int second = _uart.In(2) >> 5;
        Assert.Equal((6, 6), (first, second));
        _uart.Out(3, 0);
        _uart.Out(1, 0x40);
        Assert.Equal(0, _uart.In(1));
        _uart.Out(7, 0xA5);
        Assert.Equal(0xA5, _uart.In(7));
    }

    [Fact]
    public void LinuxStartupSeesTheTransmitterInterruptComeBack()
    {
        // serial8250_THRE_test and the TXEN test in serial8250_do_startup.
        _uart.Out(1, 0x02);
        Assert.Equal(0x02, _uart.In(2));
        Assert.Equal(0x01, _uart.In(2));
        _uart.Out(1, 0);
        _uart.Out(1, 0x02);
        Assert.Equal(0x02, _uart.In(2));
        _uart.Out(1, 0);
        _uart.Out(1, 0x02);
        Assert.Equal(0x60, _uart.In(5));
        Assert.Equal(0, _uart.In(2) & 1);
        _uart.Out(1, 0);
        Assert.Equal(1, _uart.In(2));
    }

    [Fact]
    public void SendingInterruptsAfterEveryByte()
    {
        _uart.Out(4, 0x08);
        _uart.Out(1, 0x02);
        Assert.True(_line.Asserted);
        Assert.Equal(0x02, _uart.In(2));
        Assert.False(_line.Asserted);
        int rises = _line.Rises;
        _uart.Out(0, (byte)'a');
        _uart.Out(0, (byte)'b');
        Assert.True(_line.Asserted);
        Assert.Equal(2, _line.Rises - rises);
        Assert.Equal("ab"u8.ToArray(), _sent);
        // Without OUT2 the interrupt does not reach the bus.
        _uart.Out(4, 0);
        Assert.False(_line.Asserted);
        Assert.Equal(0x02, _uart.In(2));
    }

    [Fact]
    public void TheDivisorHidesDataAndInterruptEnable()
    {
        _uart.Out(3, 0x83);
        _uart.Out(0, 0x34);
        _uart.Out(1, 0x12);
        Assert.Equal(0x1234u, _uart.ReadPort(0, 2));
        _uart.Out(3, 0x03);
        Assert.Equal(0, _uart.In(1));
        Assert.Empty(_sent);
        Assert.Equal(0x1234, _uart.Save().Divisor);
    }

    [Fact]
    public void ReceivingFillsTheFifoAndTellsOfRoom()
    {
        int told = 0;
        _uart.RoomAvailable += () => told++;
        _uart.Out(4, 0x08);
        _uart.Out(2, 0x81);
        _uart.Out(1, 0x01);
        Assert.Equal(16, _uart.Receive("0123456789abcdefgh"u8));
        Assert.True(_line.Asserted);
        Assert.Equal(0xC4, _uart.In(2));
        Assert.Equal(0x61, _uart.In(5));
        Assert.Equal((byte)'0', _uart.In(0));
        Assert.Equal(1, told);
        for (int i = 1; i < 9; i++)
        {
            _uart.In(0);
        }
        // Below the trigger of 8: timed out.
        Assert.Equal(0xCC, _uart.In(2));
        Assert.True(_line.Asserted);
        for (int i = 9; i < 16; i++)
        {
            Assert.Equal((byte)"0123456789abcdef"[i], _uart.In(0));
        }
        Assert.False(_line.Asserted);
        Assert.Equal(0x60, _uart.In(5));
        Assert.Equal(1, told);
        Assert.Equal(2, _uart.Receive("gh"u8));
        _uart.Out(2, 0x83);
        Assert.Equal(0x60, _uart.In(5));
    }

    [Fact]
    public void WithoutFifoThereIsRoomForOne()
    {
        Assert.Equal(1, _uart.Receive("xy"u8));
        Assert.Equal(0, _uart.Receive("y"u8));
        _uart.Out(1, 0x01);
        Assert.Equal(0x04, _uart.In(2));
        Assert.Equal((byte)'x', _uart.In(0));
        Assert.Equal(1, _uart.Receive("y"u8));
    }

    [Fact]
    public void AHostMayFeedFromTheRoomEvent()
    {
        byte[] text = [.. Enumerable.Range(0, 100).Select(i => (byte)i)];
        int next = 0;
        void Feed() => next += _uart.Receive(text.AsSpan(next));
        _uart.RoomAvailable += Feed;
        _uart.Out(2, 0x01);
        Feed();
        var read = new List<byte>();
        while ((_uart.In(5) & 1) != 0)
        {
            read.Add(_uart.In(0));
        }
        Assert.Equal(text, read);
    }

    [Fact]
    public void ABreakComesInItsTurn()
    {
        _uart.Out(2, 0x01);
        _uart.Out(1, 0x04);
        _uart.Receive("a"u8);
        Assert.True(_uart.ReceiveBreak());
        Assert.Equal(0xE1, _uart.In(5));
        Assert.Equal((byte)'a', _uart.In(0));
        Assert.Equal(0xC6, _uart.In(2));
        Assert.Equal(0xF1, _uart.In(5));
        Assert.Equal(0xE1, _uart.In(5));
        Assert.Equal(0, _uart.In(0));
        Assert.Equal(0x60, _uart.In(5));
    }

    [Fact]
    public void LoopbackComesBackAndOverruns()
    {
        int told = 0;
        _uart.RoomAvailable += () => told++;
        _uart.Out(4, 0x1F);
        Assert.Equal(0xF0, _uart.In(6) & 0xF0);
        _uart.Out(0, 0x5A);
        _uart.Out(0, 0xA5);
        Assert.Equal(0x63, _uart.In(5));
        Assert.Equal(0x5A, _uart.In(0));
        Assert.Empty(_sent);
        Assert.Equal(0, _uart.Receive("x"u8));
        _uart.Out(4, 0x0B);
        Assert.Equal(1, told);
        Assert.Equal(0xB4, _uart.In(6));
        Assert.Equal(0xB0, _uart.In(6));
    }

    [Fact]
    public void ModemChangesInterrupt()
    {
        _uart.Out(1, 0x08);
        Assert.Equal(0x01, _uart.In(2));
        _uart.Out(4, 0x18);
        Assert.Equal(0x00, _uart.In(2));
        Assert.Equal(0x83, _uart.In(6));
        Assert.Equal(0x01, _uart.In(2));
    }

    [Fact]
    public void StateRoundTrip()
    {
        _uart.Out(2, 0x41);
        _uart.Out(1, 0x0F);
        _uart.Out(4, 0x0B);
        _uart.Out(3, 0x03);
        _uart.Receive("hello"u8);
        _uart.In(0);
        _uart.ReceiveBreak();
        Uart16550State state = Check.Copy(_uart.Save());
        var line = new FakeLine();
        var other = new Uart16550(line, _ => { });
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.Equal(_line.Asserted, line.Asserted);
        Assert.Equal((byte)'e', other.In(0));
        Assert.Throws<ArgumentException>(() => other.Restore(state with { Received = new ushort[17] }));
    }

    [Fact]
    public void Fuzz()
    {
        var random = new Random(5);
        Check.Fuzz(_uart, 8, 4, () =>
        {
            if (random.Next(8) == 0)
            {
                _ = _uart.Receive(new byte[random.Next(20)]);
            }
        });
    }

    [Fact]
    public void TwoEndsMayTalkFromTwoThreads()
    {
        Uart16550 left = null!;
        Uart16550 right = null!;
        int received = 0;
        left = new Uart16550(new FakeLine(), value => right.Receive([value]));
        right = new Uart16550(new FakeLine(), value => received += left.Receive([value]));
        var threads = new[] { left, right }.Select(uart => new Thread(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                uart.Out(0, (byte)i);
                uart.In(0);
            }
        })).ToArray();
        Array.ForEach(threads, thread => thread.Start());
        Assert.All(threads, thread => Assert.True(thread.Join(10_000)));
        Assert.True(received > 0);
    }
}
