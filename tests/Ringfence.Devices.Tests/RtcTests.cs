using Ringfence.Devices.Timers;
using Ringfence.Host;

namespace Ringfence.Devices.Tests;

public sealed class RtcTests : IDisposable
{
    private const long Second = 1_000_000_000;

    private readonly ManualClock _clock = new(new DateTime(2023, 12, 31, 23, 59, 57));
    private readonly FakeLine _irq = new();
    private readonly Rtc _rtc;

    public RtcTests() => _rtc = new Rtc(_clock, _irq);

    public void Dispose() => _rtc.Dispose();

    private byte Read(byte index)
    {
        _rtc.Out(0, index);
        return _rtc.In(1);
    }

    private void Write(byte index, byte value)
    {
        _rtc.Out(0, index);
        _rtc.Out(1, value);
    }

    private string Time() => string.Join(' ', new byte[] { 0x32, 9, 8, 7, 6, 4, 2, 0 }.Select(i => Read(i).ToString("x2", null)));

    [Fact]
    public void TellsUtcInEveryFormat()
    {
        Assert.Equal("20 23 12 31 01 23 59 57", Time());
        _clock.Advance(3 * Second);
        Assert.Equal("20 24 01 01 02 00 00 00", Time());
        Write(11, 0x00);
        Assert.Equal(0x12, Read(4));
        _clock.Advance(13 * 3600 * Second);
        Assert.Equal(0x81, Read(4));
        Write(11, 0x04);
        Assert.Equal("14 18 01 01 02 81 00 00", Time());
        Write(11, 0x06);
        Assert.Equal(13, Read(4));
        Assert.Equal(0x80, Read(13));
        Assert.Equal(0xFF, _rtc.In(0));
        Assert.Equal(13, Read(0x84));
    }

    [Fact]
    public void AnUpdateIsAnnounced()
    {
        Assert.Equal(0x26, Read(10));
        _clock.Advance(Second - 245_000);
        Assert.Equal(0x26, Read(10));
        _clock.Advance(1_000);
        Assert.Equal(0xA6, Read(10));
        _clock.Advance(244_000);
        Assert.Equal(0x26, Read(10));
        Assert.Equal(0x58, Read(0));
    }

    [Fact]
    public void LinuxSetsTheTime()
    {
        // mc146818_set_time.
        _clock.Advance(Second / 4);
        byte control = Read(11);
        Write(11, (byte)(control | 0x80));
        byte frequency = Read(10);
        Write(10, (byte)(frequency | 0x70));
        Write(9, 0x30);
        Write(8, 0x02);
        Write(7, 0x28);
        Write(4, 0x23);
        Write(2, 0x59);
        Write(0, 0x59);
        Write(0x32, 0x20);
        _clock.Advance(5 * Second);
        Assert.Equal(0x59, Read(0));
        Write(11, control);
        Write(10, frequency);
        Assert.Equal("20 30 02 28 05 23 59 59", Time());
        // The next second comes half a second after the divider starts.
        _clock.Advance((Second / 2) - 1000);
        Assert.Equal(0x59, Read(0));
        _clock.Advance(1000);
        Assert.Equal("20 30 03 01 06 00 00 00", Time());
    }

    [Fact]
    public void ARunningClockMayBeSetToo()
    {
        Write(4, 0x05);
        Assert.Equal("20 23 12 31 01 05 59 57", Time());
        _clock.Advance(3 * Second);
        Assert.Equal("20 23 12 31 01 06 00 00", Time());
        Write(8, 0x02);
        Assert.Equal(0x28, Read(7));
        Write(8, 0xFF);
        Assert.Equal(0x12, Read(8));
    }

    [Fact]
    public void ThePeriodicInterruptKeepsItsRate()
    {
        Write(10, 0x2F);
        Write(11, 0x42);
        int seen = 0;
        for (int i = 0; i < 1000; i++)
        {
            _clock.Advance(10_000_000);
            if (_irq.Asserted)
            {
                seen++;
                Assert.Equal(0xC0, Read(12) & 0xC0);
                Assert.False(_irq.Asserted);
            }
        }
        Assert.Equal(20, seen);
        Write(10, 0x26);
        Read(12);
        int rises = _irq.Rises;
        for (int i = 0; i < 100_000; i++)
        {
            _clock.Advance(10_000);
            if (_irq.Asserted)
            {
                Read(12);
            }
        }
        Assert.Equal(1024, _irq.Rises - rises);
    }

    [Fact]
    public void TheUpdateEndedInterruptComesWithTheSecond()
    {
        _clock.Advance(Second / 3);
        Read(12);
        Write(11, 0x12);
        _clock.Advance(Second / 3);
        Assert.False(_irq.Asserted);
        // Wall-clock time is told in 100 ns.
        _clock.Advance((Second / 3) + 100);
        Assert.True(_irq.Asserted);
        Assert.Equal(0x90, Read(12) & 0xB0);
        Assert.Equal(0, Read(12) & 0x90);
        // Setting the time turns it off.
        Write(11, 0x92);
        Assert.Equal(0x82, Read(11));
        _clock.Advance(10 * Second);
        Assert.False(_irq.Asserted);
    }

    [Fact]
    public void TheAlarmRingsWhenDue()
    {
        Write(1, 0x30);
        Write(3, 0x00);
        Write(5, 0x00);
        Write(11, 0x22);
        _clock.Advance(32 * Second);
        Assert.False(_irq.Asserted);
        _clock.Advance(Second);
        Assert.True(_irq.Asserted);
        Assert.Equal(0xA0, Read(12) & 0xA0);
        Write(5, 0xFF);
        Write(3, 0xC0);
        _clock.Advance(60 * Second);
        Assert.Equal(0xA0, Read(12) & 0xA0);
        // Without its interrupt the flag is found all the same.
        Write(11, 0x02);
        _clock.Advance(60 * Second);
        Assert.Equal(0x20, Read(12) & 0xA0);
    }

    [Fact]
    public void MemorySizesAreWhereFirmwareLooks()
    {
        _rtc.SetMemorySize(3UL << 30, 5UL << 30);
        int Word(byte index) => Read(index) | (Read((byte)(index + 1)) << 8);
        Assert.Equal(640, Word(0x15));
        Assert.Equal(0xFFFF, Word(0x17));
        Assert.Equal(0xFFFF, Word(0x30));
        Assert.Equal((3072 - 16) * 16, Word(0x34));
        Assert.Equal(5 * 1024 * 16, Word(0x5B) | (Read(0x5D) << 16));
        _rtc.SetMemorySize(8UL << 20);
        Assert.Equal(7 * 1024, Word(0x30));
        Assert.Equal(0, Word(0x34));
        _rtc.SetByte(0x0F, 5);
        Assert.Equal(5, Read(0x0F));
        Assert.Throws<ArgumentOutOfRangeException>(() => _rtc.SetByte(10, 5));
    }

    [Fact]
    public void StateRoundTrip()
    {
        Write(4, 0x01);
        Write(0x40, 0x77);
        Write(10, 0x29);
        Write(11, 0x72);
        _clock.Advance(Second + 12345);
        RtcState state = Check.Copy(_rtc.Save());
        var line = new FakeLine();
        using var other = new Rtc(_clock, line);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.Equal(_irq.Asserted, line.Asserted);
        _clock.Advance(Second);
        Read(0);
        other.Out(0, 0);
        other.In(1);
        Check.SameState(_rtc.Save(), other.Save());
        Assert.Throws<ArgumentException>(() => other.Restore(new RtcState()));
    }

    [Fact]
    public void Fuzz()
    {
        var random = new Random(11);
        Check.Fuzz(_rtc, 2, 7, () => _clock.Advance(random.Next(1_000_000)));
        for (int i = 0; i < 30_000; i++)
        {
            Write((byte)random.Next(16), (byte)random.Next(256));
            Read((byte)random.Next(256));
            _clock.Advance(random.Next(10_000_000));
        }
    }
}
