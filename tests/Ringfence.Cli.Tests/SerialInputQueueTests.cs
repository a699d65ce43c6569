using System.Text;

namespace Ringfence.Cli.Tests;

public sealed class SerialInputQueueTests
{
    [Fact]
    public void WaitsForRoomAndKeepsOrder()
    {
        var queue = new SerialInputQueue(holdsUp: false);
        var got = new StringBuilder();
        int room = 0;
        queue.Offer("early "u8);
        queue.Attach(Receive);
        Assert.Equal("", got.ToString());
        for (int i = 0; i < 4; i++)
        {
            room = 3;
            queue.Pump();
        }
        queue.Offer("late"u8);
        room = 100;
        queue.Pump();
        Assert.Equal("early late", got.ToString());

        int Receive(ReadOnlySpan<byte> data)
        {
            int taken = Math.Min(room, data.Length);
            got.Append(Encoding.ASCII.GetString(data[..taken]));
            room -= taken;
            return taken;
        }
    }

    [Fact]
    public void ATerminalIsNeverHeldUp()
    {
        var queue = new SerialInputQueue(holdsUp: false);
        queue.Offer(new byte[SerialInputQueue.Limit * 2]);
        long total = 0;
        queue.Attach(data =>
        {
            total += data.Length;
            return data.Length;
        });
        Assert.Equal(SerialInputQueue.Limit, total);
    }

    [Fact]
    public void APipeIsHeldUpAndLosesNothing()
    {
        var queue = new SerialInputQueue(holdsUp: true);
        byte[] sent = new byte[(SerialInputQueue.Limit * 3) + 17];
        new Random(1).NextBytes(sent);
        var got = new MemoryStream();
        queue.Attach(_ => 0);
        var writer = new Thread(() => queue.Offer(sent));
        writer.Start();
        Assert.False(writer.Join(50));
        queue.Attach(data =>
        {
            int taken = Math.Min(16, data.Length);
            got.Write(data[..taken]);
            return taken;
        });
        while (got.Length < sent.Length)
        {
            queue.Pump();
        }
        writer.Join();
        Assert.Equal(sent, got.ToArray());
    }

    [Fact]
    public void ClosingLetsTheReaderGo()
    {
        var queue = new SerialInputQueue(holdsUp: true);
        var writer = new Thread(() => queue.Offer(new byte[SerialInputQueue.Limit + 1]));
        writer.Start();
        Assert.False(writer.Join(50));
        queue.Close();
        Assert.True(writer.Join(5000));
    }
}
