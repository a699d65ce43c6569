using System.Diagnostics;
using System.IO.Pipes;
using System.Text;
using Ringfence.Host;

namespace Ringfence.Cli.Tests;

public sealed class TerminalTests
{
    [Theory]
    [InlineData("abc\r", "abc\r", "")]
    [InlineData("\x03\x04\x1a\x1b[A", "\x03\x04\x1a\x1b[A", "")]
    [InlineData("a\u0001xb", "ab", "Leave")]
    [InlineData("a\u0001Xb", "ab", "Leave")]
    [InlineData("\u0001h\u0001H\u0001?", "", "Help Help Help")]
    [InlineData("a\u0001eb\u0001E", "ab", "Engine Engine")]
    [InlineData("a\u0001\u0001b", "a\u0001b", "")]
    [InlineData("\u0001\u0001x", "\u0001x", "")]
    [InlineData("\u0001zx", "x", "")]
    [InlineData("x\u0001", "x", "")]
    public void EscapesAreQemus(string typed, string passed, string commands)
    {
        var filter = new TerminalEscapeFilter();
        var sent = new StringBuilder();
        var seen = new List<TerminalKey>();
        foreach (char character in typed)
        {
            TerminalKey key = filter.Next((byte)character);
            if (key == TerminalKey.Pass)
            {
                sent.Append(character);
            }
            else if (key != TerminalKey.Swallow)
            {
                seen.Add(key);
            }
        }
        Assert.Equal(passed, sent.ToString());
        Assert.Equal(commands, string.Join(' ', seen));
    }

    [Fact]
    public void OutputArrivesWithoutALineEnd()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        using var output = new TerminalOutput((int)pipe.ClientSafePipeHandle.DangerousGetHandle());
        byte[] got = new byte[16];
        output.Write((byte)'#');
        output.Write((byte)' ');
        var time = Stopwatch.StartNew();
        int count = 0;
        while (count < 2)
        {
            count += pipe.Read(got, count, got.Length - count);
        }
        Assert.True(time.Elapsed < TimeSpan.FromSeconds(2), $"took {time.Elapsed}");
        Assert.Equal("# ", Encoding.ASCII.GetString(got, 0, count));
    }

    [Fact]
    public void OutputKeepsOrderAndLosesNothing()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        var expected = new StringBuilder();
        for (int i = 0; i < 20_000; i++)
        {
            expected.Append(i).Append(i % 7 == 0 ? '\n' : ' ');
        }
        byte[] all = Encoding.ASCII.GetBytes(expected.ToString());
        var got = new MemoryStream();
        var reader = new Thread(() => pipe.CopyTo(got));
        reader.Start();
        var output = new TerminalOutput((int)pipe.ClientSafePipeHandle.DangerousGetHandle());
        foreach (byte value in all)
        {
            output.Write(value);
        }
        output.Dispose();
        pipe.DisposeLocalCopyOfClientHandle();
        reader.Join();
        Assert.Equal(all, got.ToArray());
    }

    [Fact]
    public void AReaderThatIsGoneIsForgotten()
    {
        var pipe = new AnonymousPipeServerStream(PipeDirection.In);
        using var client = new AnonymousPipeClientStream(PipeDirection.Out, pipe.ClientSafePipeHandle);
        pipe.Dispose();
        using var output = new TerminalOutput((int)client.SafePipeHandle.DangerousGetHandle());
        output.Write("into the void\n"u8);
        output.Flush();
    }

    [Fact]
    public void InputStopsWhileItWaits()
    {
        using var pipe = new AnonymousPipeServerStream(PipeDirection.Out);
        using var got = new BlockingCollectionOfBytes();
        var input = new TerminalInput((int)pipe.ClientSafePipeHandle.DangerousGetHandle(), got.Add);
        pipe.Write("hello"u8);
        Assert.Equal("hello", got.Take(5));
        var time = Stopwatch.StartNew();
        input.Dispose();
        input.Dispose();
        Assert.True(time.Elapsed < TimeSpan.FromSeconds(0.9), $"took {time.Elapsed}");
    }

    private sealed class BlockingCollectionOfBytes : IDisposable
    {
        private readonly System.Collections.Concurrent.BlockingCollection<byte> _bytes = [];

        public void Add(ReadOnlyMemory<byte> data)
        {
            foreach (byte value in data.Span)
            {
                _bytes.Add(value);
            }
        }

        public string Take(int count)
        {
            var text = new StringBuilder();
            while (text.Length < count && _bytes.TryTake(out byte value, TimeSpan.FromSeconds(5)))
            {
                text.Append((char)value);
            }
            return text.ToString();
        }

        public void Dispose() => _bytes.Dispose();
    }
}
