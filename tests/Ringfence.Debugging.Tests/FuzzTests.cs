using System.Text;

namespace Ringfence.Debugging.Tests;

/// <summary>Whatever comes over the wire, a session answers or ignores it.</summary>
public sealed class FuzzTests
{
    private static readonly string[] s_seeds =
    [
        "?", "g", "G00", "p10", "P1=00", "m1000,10", "x1000,10", "M1000,1:00", "X1000,1:a", "Z0,1000,1", "z0,1000,1", "Z2,1000,8", "Hg1", "Hc-1", "T1", "c", "s", "C05", "S05;1000",
        "vCont?", "vCont;c", "vCont;s:1;c", "vCont;C05:-1", "vMustReplyEmpty", "qSupported:swbreak+", "qXfer:features:read:target.xml:0,100", "qfThreadInfo",
        "qThreadExtraInfo,1", "qAttached", "qSymbol::", "qRcmd,68656c70", "qC", "QStartNoAckMode", "R",
    ];

    [Fact]
    public void NothingThatArrivesMakesASessionThrow()
    {
        Random random = new(3);
        FakeTarget target = new(4);
        GdbSession session = new(target, static _ => { });
        for (int i = 0; i < 100_000; i++)
        {
            session.Receive(Next(random));
            if (random.Next(4) == 0)
            {
                session.Receive([3]);
            }
            if (session.Over)
            {
                session = new GdbSession(target, static _ => { });
            }
        }
    }

    /// <summary>A packet with some of its bytes changed, doubled or gone, or no packet at all; now and then a wrong checksum.</summary>
    internal static byte[] Next(Random random)
    {
        List<byte> body = [.. Encoding.Latin1.GetBytes(s_seeds[random.Next(s_seeds.Length)])];
        for (int changes = random.Next(4); changes > 0; changes--)
        {
            int at = random.Next(body.Count + 1);
            switch (random.Next(3))
            {
                case 0:
                    body.Insert(at, (byte)random.Next(256));
                    break;
                case 1 when at < body.Count:
                    body[at] = (byte)random.Next(256);
                    break;
                case 2 when at < body.Count:
                    body.RemoveAt(at);
                    break;
            }
        }
        byte[] frame = Packets.Frame([.. body]);
        if (random.Next(8) == 0)
        {
            frame[random.Next(frame.Length)] = (byte)random.Next(256);
        }
        return frame;
    }
}
