using Ringfence.Devices.Display;
using Ringfence.Host;

namespace Ringfence.Devices.Tests;

/// <summary>The VGA's text mode: memory, the registers that place text and cursor, and those that only hold what is written.</summary>
public class VgaTextTests
{
    private readonly ManualClock _clock = new();
    private readonly VgaText _vga;

    public VgaTextTests() => _vga = new VgaText(_clock);

    [Fact]
    public void StartsAsTheBiosLeavesIt()
    {
        TextScreen screen = _vga.Read();
        Assert.Equal((25, 80, 0, 0), (screen.Rows, screen.Columns, screen.CursorRow, screen.CursorColumn));
        Assert.All(screen.Lines, line => Assert.Equal(new string(' ', 80), line));
        Assert.Equal(0x67, In(0x3CC));
        Assert.Equal(0x0720UL, _vga.ReadMemory(0, 2));
    }

    [Fact]
    public void TextIsInCodePage437()
    {
        _vga.WriteMemory(0, 8, 0x07DB_0780_07C9_0701);
        _vga.WriteMemory((24 * 80 + 79) * 2, 1, 'x');
        IReadOnlyList<string> lines = _vga.Read().Lines;
        Assert.StartsWith("☺╔Ç█ ", lines[0], StringComparison.Ordinal);
        Assert.EndsWith(" x", lines[24], StringComparison.Ordinal);
        Assert.Equal(25, lines.Count);
    }

    [Fact]
    public void TextAndCursorAreWhereTheCrtcSays()
    {
        _vga.WriteMemory(80 * 2, 1, 'a');
        Crtc(0x0D, 80);
        Crtc(0x0E, 0);
        Crtc(0x0F, 80 + 83);
        TextScreen screen = _vga.Read();
        Assert.StartsWith("a ", screen.Lines[0], StringComparison.Ordinal);
        Assert.Equal((1, 3), (screen.CursorRow, screen.CursorColumn));
        // Text goes on at the beginning of the memory.
        Crtc(0x0C, 0x3F);
        Crtc(0x0D, 0xB0);
        Assert.StartsWith("a ", _vga.Read().Lines[2], StringComparison.Ordinal);
    }

    [Fact]
    public void ACursorMayBeHiddenOrElsewhere()
    {
        Crtc(0x0A, 0x2D);
        Assert.Equal(-1, _vga.Read().CursorRow);
        Crtc(0x0A, 0x0D);
        Crtc(0x0E, 0xFF);
        Assert.Equal(-1, _vga.Read().CursorRow);
    }

    [Fact]
    public void FiftyLinesAndNonsenseCanBeShown()
    {
        Crtc(0x09, 0x47);
        Assert.Equal(50, _vga.Read().Rows);
        for (byte index = 0; index < 0x19; index++)
        {
            Crtc(index, 0xFF);
        }
        Assert.True(_vga.Read().Rows <= TextScreen.MostRows);
    }

    [Fact]
    public void GraphicsAreNotText()
    {
        Out(0x3CE, 6);
        Out(0x3CF, 5);
        Assert.Equal(0, _vga.Read().Rows);
    }

    /// <summary>CRTC 11h bit 7 locks registers 0 to 7, but for the line compare's bit.</summary>
    [Fact]
    public void TheTimingRegistersAreLocked()
    {
        Crtc(1, 0x27);
        Crtc(7, 0x00);
        Assert.Equal(0x4F, Crtc(1));
        Assert.Equal(0x0F, Crtc(7));
        Crtc(0x11, 0x0E);
        Crtc(1, 0x27);
        Assert.Equal(40, _vga.Read().Columns);
    }

    /// <summary>Reading input status 1 makes the attribute port take an index next.</summary>
    [Fact]
    public void TheAttributePortTakesIndexAndValueInTurn()
    {
        In(0x3DA);
        Out(0x3C0, 0x10);
        Out(0x3C0, 0x08);
        Assert.Equal(0x08, In(0x3C1));
        Out(0x3C0, 0x02);
        In(0x3DA);
        Out(0x3C0, 0x30);
        Assert.Equal(0x08, In(0x3C1));
        Assert.Equal(0x30, In(0x3C0));
    }

    [Fact]
    public void ThePaletteIsReadAndWrittenInThrees()
    {
        Out(0x3C8, 5);
        foreach (byte value in (byte[])[1, 2, 0xFF, 4])
        {
            Out(0x3C9, value);
        }
        Assert.Equal(6, In(0x3C8));
        Assert.Equal(0, In(0x3C7));
        Out(0x3C7, 5);
        Assert.Equal(3, In(0x3C7));
        Assert.Equal([1, 2, 0x3F, 4], [In(0x3C9), In(0x3C9), In(0x3C9), In(0x3C9)]);
        Out(0x3C7, 7);
        Assert.Equal([42, 42, 42], [In(0x3C9), In(0x3C9), In(0x3C9)]);
    }

    [Theory]
    [InlineData(0x3C4, 4, 0x06)]
    [InlineData(0x3CE, 8, 0x55)]
    public void OtherRegistersHoldWhatIsWritten(ushort port, byte index, byte value)
    {
        _vga.WritePort((ushort)(port - VgaText.FirstPort), 2, (uint)(index | (value << 8)));
        Assert.Equal(index, In(port));
        Assert.Equal(value, In((ushort)(port + 1)));
        Out(port, 0x40);
        Assert.Equal(0xFF, In((ushort)(port + 1)));
    }

    /// <summary>Miscellaneous output bit 0 moves the CRTC to the monochrome adapter's ports.</summary>
    [Fact]
    public void TheCrtcMovesToTheMonochromePorts()
    {
        Assert.Equal(0xFF, In(0x3B5));
        Out(0x3C2, 0x66);
        Assert.Equal(0xFF, In(0x3D5));
        Out(0x3B4, 1);
        Assert.Equal(0x4F, In(0x3B5));
    }

    [Fact]
    public void TheBeamGoesRoundSeventyTimesASecond()
    {
        int frames = 0;
        bool retrace = false;
        int drawn = 0;
        for (int i = 0; i < 100_000; i++)
        {
            _clock.Advance(10_000);
            byte status = In(0x3DA);
            drawn += 1 - (status & 1);
            bool now = (status & 8) != 0;
            Assert.True(!now || (status & 1) != 0);
            frames += now && !retrace ? 1 : 0;
            retrace = now;
        }
        Assert.InRange(frames, 69, 71);
        Assert.InRange(drawn, 60_000, 80_000);
    }

    [Fact]
    public void StateRoundTrip()
    {
        var random = new Random(1);
        for (int i = 0; i < 5000; i++)
        {
            Out((ushort)(0x3B0 + random.Next(0x30)), (byte)random.Next(256));
            _vga.WriteMemory((ulong)random.Next(VgaText.MemorySize), 4, (ulong)random.NextInt64());
        }
        VgaTextState state = _vga.Save();
        var other = new VgaText(_clock);
        other.Restore(Check.Copy(state));
        Check.SameState(state, other.Save());
        Assert.Equal(_vga.Read().Characters, other.Read().Characters);
    }

    [Fact]
    public void AnyAccessIsHarmless()
    {
        Check.Fuzz((IPortDevice)_vga, VgaText.PortCount, 1, () => _vga.Read());
        Check.Fuzz((IMemoryDevice)_vga, VgaText.MemorySize, 2);
    }

    private byte In(ushort port) => (byte)_vga.ReadPort((ushort)(port - VgaText.FirstPort), 1);

    private void Out(ushort port, byte value) => _vga.WritePort((ushort)(port - VgaText.FirstPort), 1, value);

    private byte Crtc(byte index)
    {
        Out(0x3D4, index);
        return In(0x3D5);
    }

    private void Crtc(byte index, byte value)
    {
        Out(0x3D4, index);
        Out(0x3D5, value);
    }
}
