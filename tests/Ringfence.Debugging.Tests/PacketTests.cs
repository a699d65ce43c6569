using System.Text;

namespace Ringfence.Debugging.Tests;

/// <summary>Frames of the remote serial protocol (GDB manual E.1).</summary>
public sealed class PacketTests
{
    [Theory]
    [InlineData("OK", "$OK#9a")]
    [InlineData("", "$#00")]
    [InlineData("a}b", "$a}]b#9d")]
    [InlineData("$#*", "$}\u0004}\u0003}\n#88")]
    public void FramesAndEscapes(string body, string frame)
    {
        Assert.Equal(Encoding.Latin1.GetBytes(frame), Packets.Frame(Encoding.Latin1.GetBytes(body)));
        Incoming incoming = Assert.Single(Read(Encoding.Latin1.GetBytes(frame)));
        Assert.Equal(IncomingKind.Packet, incoming.Kind);
        Assert.Equal(body, Encoding.Latin1.GetString(incoming.Body));
    }

    [Fact]
    public void EveryBodyComesBackWhateverItsBytes()
    {
        Random random = new(1);
        for (int i = 0; i < 200; i++)
        {
            byte[] body = new byte[random.Next(300)];
            random.NextBytes(body);
            Incoming incoming = Assert.Single(Read(Packets.Frame(body)));
            Assert.Equal(body, incoming.Body);
        }
    }

    [Theory]
    [InlineData("$OK#9b")]
    [InlineData("$OK#zz")]
    [InlineData("$OK#9")]
    public void AWrongChecksumIsNoPacket(string frame) =>
        Assert.DoesNotContain(Read(Encoding.Latin1.GetBytes(frame)), i => i.Kind == IncomingKind.Packet);

    [Fact]
    public void WhatIsOutsidePacketsHasMeaningsOfItsOwn() =>
        Assert.Equal(
            [IncomingKind.Acknowledged, IncomingKind.Interrupt, IncomingKind.Refused, IncomingKind.Packet],
            Read("+ab\u0003-$?#3f"u8.ToArray()).Select(i => i.Kind));

    [Fact]
    public void APacketThatBeginsAnewForgetsItsBeginning() =>
        Assert.Equal("?"u8.ToArray(), Assert.Single(Read("$vCo$?#3f"u8.ToArray())).Body);

    [Fact]
    public void APacketThatIsTooLongIsRefusedAndTheNextOneTaken()
    {
        byte[] body = new byte[Packets.MaximumBody + 1];
        Array.Fill(body, (byte)'a');
        Assert.Equal([IncomingKind.Broken, IncomingKind.Packet], Read([.. Packets.Frame(body), .. "$?#3f"u8]).Select(i => i.Kind));
    }

    private static List<Incoming> Read(ReadOnlySpan<byte> bytes)
    {
        Packets.Reader reader = new();
        List<Incoming> all = [];
        foreach (byte value in bytes)
        {
            if (reader.Read(value) is { } incoming)
            {
                all.Add(incoming);
            }
        }
        return all;
    }
}
