namespace Ringfence.Cli.Tests;

public sealed class QuantitiesTests
{
    [Theory]
    [InlineData("512M", 512UL << 20)]
    [InlineData("1G", 1UL << 30)]
    [InlineData("64MiB", 64UL << 20)]
    [InlineData("64mb", 64UL << 20)]
    [InlineData("4096k", 4UL << 20)]
    [InlineData("1.5G", 3UL << 29)]
    [InlineData("256", 256UL << 20)]
    [InlineData("8192B", 8192UL)]
    [InlineData("1T", 1UL << 40)]
    public void Sizes(string text, ulong bytes)
    {
        Assert.True(Quantities.TryParseSize(text, out ulong parsed));
        Assert.Equal(bytes, parsed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("M")]
    [InlineData("3X")]
    [InlineData("-1M")]
    [InlineData("1 G")]
    [InlineData("1.2.3G")]
    [InlineData("999999999999999T")]
    [InlineData("99999999999999999999")]
    [InlineData("0.3B")]
    [InlineData("0x10M")]
    public void NoSizes(string text) => Assert.False(Quantities.TryParseSize(text, out _));

    [Theory]
    [InlineData("60s", 60_000)]
    [InlineData("2m", 120_000)]
    [InlineData("500ms", 500)]
    [InlineData("90", 90_000)]
    [InlineData("1.5h", 5_400_000)]
    [InlineData("0.25", 250)]
    public void Durations(string text, long milliseconds)
    {
        Assert.True(Quantities.TryParseDuration(text, out TimeSpan parsed));
        Assert.Equal(TimeSpan.FromMilliseconds(milliseconds), parsed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0")]
    [InlineData("-5s")]
    [InlineData("5 s")]
    [InlineData("5d")]
    [InlineData("0.1ms")]
    [InlineData("99999999h")]
    public void NoDurations(string text) => Assert.False(Quantities.TryParseDuration(text, out _));

    [Theory]
    [InlineData("0xf4", 0xf4)]
    [InlineData("0X0501", 0x501)]
    [InlineData("65535", 65535)]
    public void Ports(string text, int port)
    {
        Assert.True(Quantities.TryParsePort(text, out ushort parsed));
        Assert.Equal(port, parsed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0x")]
    [InlineData("0x10000")]
    [InlineData("65536")]
    [InlineData("f4")]
    [InlineData("-1")]
    public void NoPorts(string text) => Assert.False(Quantities.TryParsePort(text, out _));

    [Theory]
    [InlineData("127.0.0.1:1234", "127.0.0.1:1234")]
    [InlineData("0.0.0.0:0", "0.0.0.0:0")]
    [InlineData("[::1]:65535", "[::1]:65535")]
    [InlineData("localhost:1", "127.0.0.1:1")]
    public void EndPoints(string text, string where)
    {
        Assert.True(Quantities.TryParseEndPoint(text, out System.Net.IPEndPoint? parsed));
        Assert.Equal(where, parsed.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("1234")]
    [InlineData(":1234")]
    [InlineData("127.0.0.1:")]
    [InlineData("127.0.0.1:65536")]
    [InlineData("127.0.0.1:-1")]
    [InlineData("::1:1234")]
    [InlineData("[127.0.0.1]:1")]
    [InlineData("no.such.host.invalid:1")]
    public void NoEndPoints(string text) => Assert.False(Quantities.TryParseEndPoint(text, out _));
}
