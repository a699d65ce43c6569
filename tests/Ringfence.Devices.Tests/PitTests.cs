using Ringfence.Devices.Timers;
using Ringfence.Host;

namespace Ringfence.Devices.Tests;

public sealed class PitTests : IDisposable
{
    private readonly ManualClock _clock = new();
    private readonly FakeLine _irq = new();
    private readonly Pit8254 _pit;
    private long _tick;

    public PitTests() => _pit = new Pit8254(_clock, _irq);

    public void Dispose() => _pit.Dispose();

    /// <summary>The first nanosecond of a tick.</summary>
    private static long At(long tick) => (long)(((Int128)tick * 1_000_000_000 + Pit8254.Frequency - 1) / Pit8254.Frequency);

    private void Ticks(long count)
    {
        _tick += count;
        _clock.Advance(At(_tick) - _clock.Now);
    }

    private void Start(int channel, int mode, int count, bool bcd = false)
    {
        _pit.Out(3, (byte)((channel << 6) | 0x30 | (mode << 1) | (bcd ? 1 : 0)));
        _pit.Out((ushort)channel, (byte)count);
        _pit.Out((ushort)channel, (byte)(count >> 8));
    }

    private int Count(int channel)
    {
        _pit.Out(3, (byte)(channel << 6));
        int low = _pit.In((ushort)channel);
        return low | (_pit.In((ushort)channel) << 8);
    }

    private bool Out2 => (_pit.SystemControl.In(0) & 0x20) != 0;

    [Fact]
    public void LinuxCalibratesThroughCounterTwo()
    {
        // pit_calibrate_tsc: 10 ms in mode 0, speaker off, gate on; out2 rises exactly when the count is over.
        _pit.SystemControl.Out(0, (byte)((_pit.SystemControl.In(0) & ~0x02) | 0x01));
        const int Latch = 11931;
        Start(2, 0, Latch);
        Assert.False(Out2);
        Ticks(Latch);
        Assert.False(Out2);
        _clock.Advance(At(Latch + 1) - 1 - _clock.Now);
        Assert.False(Out2);
        _clock.Advance(1);
        Assert.True(Out2);
    }

    [Fact]
    public void LinuxCalibratesQuicklyByTheHighByte()
    {
        // quick_pit_calibrate reads low and high bytes without latching.
        _pit.SystemControl.Out(0, 1);
        _pit.Out(3, 0xB0);
        _pit.Out(2, 0xFF);
        _pit.Out(2, 0xFF);
        Ticks(1);
        int last = 0x10000;
        for (int i = 0; i < 100; i++)
        {
            int value = _pit.In(2) | (_pit.In(2) << 8);
            Assert.Equal(0xFFFF - (i * 37), value);
            Assert.True(value < last);
            last = value;
            Ticks(37);
        }
    }

    [Fact]
    public void TheTimerInterruptKeepsItsPhaseForAnHour()
    {
        Start(0, 2, 11932);
        int before = _irq.Rises;
        _clock.Advance(3600L * 1_000_000_000);
        Assert.Equal(3600L * Pit8254.Frequency / 11932, _irq.Rises - before);
        long next = _clock.NextDeadline!.Value;
        Assert.Equal(At(1 + (11932L * (_irq.Rises - before + 1))), next);
    }

    [Fact]
    public void ALateHostMergesInterruptsAndKeepsThePhase()
    {
        Start(0, 2, 1000);
        int before = _irq.Rises;
        _clock.AdvanceLate(At(10_501));
        Assert.Equal(1, _irq.Rises - before);
        Assert.Equal(At(11_001), _clock.NextDeadline);
    }

    [Theory]
    [InlineData(2, 100)]
    [InlineData(3, 100)]
    [InlineData(3, 101)]
    public void PeriodicModesCountAndShapeTheOutput(int mode, int count)
    {
        _pit.SystemControl.Out(0, 1);
        Start(2, mode, count);
        Assert.True(Out2);
        Ticks(1);
        for (int tick = 0; tick < 3 * count; tick++)
        {
            int phase = tick % count;
            int half = (count + 1) / 2;
            Assert.Equal(mode == 2 ? phase != count - 1 : phase < half, Out2);
            Assert.Equal(mode == 2 ? count - phase : (count & ~1) - (2 * (phase < half ? phase : phase - half)), Count(2));
            Ticks(1);
        }
    }

    [Fact]
    public void ANewCountWaitsForThePeriod()
    {
        Start(0, 2, 1000);
        Ticks(501);
        _pit.Out(0, 0xD0);
        _pit.Out(0, 0x07);
        Assert.Equal(500, Count(0));
        Assert.Equal(At(1001), _clock.NextDeadline);
        Ticks(500);
        Assert.Equal(2000, Count(0));
        Assert.Equal(At(3001), _clock.NextDeadline);
    }

    [Fact]
    public void ANewCountOfASquareWaitsForTheHalf()
    {
        Start(0, 3, 1000);
        Ticks(201);
        _pit.Out(0, 200);
        _pit.Out(0, 0);
        // Falls at 501, then half of 200 low.
        Assert.Equal(At(601), _clock.NextDeadline);
        int before = _irq.Rises;
        Ticks(401);
        Assert.Equal(1, _irq.Rises - before);
        Assert.Equal(At(801), _clock.NextDeadline);
    }

    [Fact]
    public void ModeZeroRaisesOnceAndItsCountGoesOn()
    {
        Start(0, 0, 50);
        Assert.False(_irq.Asserted);
        Ticks(51);
        Assert.True(_irq.Asserted);
        Assert.Equal(0, Count(0));
        Ticks(1);
        Assert.Equal(0xFFFF, Count(0));
        Assert.Null(_clock.NextDeadline);
        // The first byte of a new count lowers it.
        _pit.Out(0, 100);
        Assert.False(_irq.Asserted);
        Ticks(1000);
        Assert.False(_irq.Asserted);
        _pit.Out(0, 0);
        Ticks(101);
        Assert.True(_irq.Asserted);
    }

    [Fact]
    public void ModeFourStrobesOnceAsLinuxOneshotWants()
    {
        Start(0, 4, 500);
        int before = _irq.Rises;
        Ticks(501);
        Assert.Equal(0, _irq.Rises - before);
        Ticks(1);
        Assert.Equal(1, _irq.Rises - before);
        Ticks(100_000);
        Assert.Equal(1, _irq.Rises - before);
        // The next event is a new count alone.
        _pit.Out(0, 0xE8);
        _pit.Out(0, 0x03);
        Ticks(1002);
        Assert.Equal(2, _irq.Rises - before);
    }

    [Fact]
    public void TheGateStopsAndTriggers()
    {
        Start(2, 0, 100);
        Ticks(1000);
        Assert.False(Out2);
        _pit.SystemControl.Out(0, 1);
        Ticks(40);
        _pit.SystemControl.Out(0, 0);
        Ticks(1000);
        Assert.Equal(60, Count(2));
        _pit.SystemControl.Out(0, 1);
        Ticks(59);
        Assert.False(Out2);
        Ticks(1);
        Assert.True(Out2);

        _pit.SystemControl.Out(0, 0);
        Start(2, 1, 10);
        Ticks(100);
        Assert.True(Out2);
        _pit.SystemControl.Out(0, 1);
        Ticks(1);
        Assert.False(Out2);
        Ticks(9);
        Assert.False(Out2);
        Ticks(1);
        Assert.True(Out2);

        _pit.SystemControl.Out(0, 0);
        Start(2, 5, 10);
        _pit.SystemControl.Out(0, 1);
        Ticks(10);
        Assert.True(Out2);
        Ticks(1);
        Assert.False(Out2);
        Ticks(1);
        Assert.True(Out2);
    }

    [Fact]
    public void LatchesHoldAndReadBackTells()
    {
        Start(0, 2, 0);
        _pit.Out(3, 0xE2);
        Assert.Equal(0xF4, _pit.In(0));
        Ticks(101);
        _pit.Out(3, 0xE2);
        Assert.Equal(0xB4, _pit.In(0));
        // Count and status of counter 0: status first.
        _pit.Out(3, 0xC2);
        Ticks(5);
        _pit.Out(3, 0x00);
        Assert.Equal(0xB4, _pit.In(0));
        Assert.Equal((0x10000 - 100) & 0xFF, _pit.In(0));
        Assert.Equal(0xFF, _pit.In(0));
        Assert.Equal(0x10000 - 105, Count(0));
        Assert.Equal(0xFF, _pit.In(3));
    }

    [Fact]
    public void CountsMayBeDecimal()
    {
        Start(0, 2, 0x1234, bcd: true);
        Ticks(101);
        Assert.Equal(0x1134, Count(0));
        Start(0, 0, 0, bcd: true);
        Ticks(2);
        Assert.Equal(0x9999, Count(0));
    }

    [Fact]
    public void OneByteCounts()
    {
        _pit.Out(3, 0x14);
        _pit.Out(0, 200);
        Ticks(51);
        Assert.Equal(150, _pit.In(0));
        Assert.Equal(150, _pit.In(0));
        _pit.Out(3, 0x24);
        _pit.Out(0, 2);
        Ticks(2);
        Assert.Equal(1, _pit.In(0));
    }

    [Fact]
    public void TheRefreshBitToggles()
    {
        int toggles = 0;
        int last = -1;
        for (int i = 0; i < 1000; i++)
        {
            int bit = _pit.SystemControl.In(0) & 0x10;
            toggles += bit != last && last >= 0 ? 1 : 0;
            last = bit;
            _clock.Advance(1_000);
        }
        Assert.InRange(toggles, 65, 67);
        _pit.SystemControl.Out(0, 0xFF);
        Assert.Equal(0x0F, _pit.SystemControl.In(0) & 0xCF);
    }

    [Fact]
    public void AnAbsurdRateDoesNotStopTheWorld()
    {
        Start(0, 2, 1);
        int before = _irq.Rises;
        _clock.Advance(10_000_000);
        Assert.InRange(_irq.Rises - before, 400, 510);
    }

    [Fact]
    public void StateRoundTrip()
    {
        Start(0, 3, 1000);
        Start(1, 2, 18);
        _pit.SystemControl.Out(0, 3);
        Start(2, 0, 5000);
        Ticks(333);
        _pit.Out(3, 0xC8);
        _pit.Out(2, 7);
        Pit8254State state = Check.Copy(_pit.Save());
        var line = new FakeLine();
        using var other = new Pit8254(_clock, line);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.Equal(_irq.Asserted, line.Asserted);
        int before = _irq.Rises - line.Rises;
        Ticks(100_000);
        Assert.Equal(before, _irq.Rises - line.Rises);
        Check.SameState(_pit.Save(), other.Save());
        Assert.Throws<ArgumentException>(() => other.Restore(new Pit8254State()));
    }

    [Fact]
    public void Fuzz()
    {
        var random = new Random(9);
        void Stir()
        {
            if (random.Next(10) == 0)
            {
                _clock.Advance(random.Next(1_000_000));
            }
        }
        Check.Fuzz(_pit, 4, 1, Stir);
        Check.Fuzz(_pit.SystemControl, 1, 2, Stir);
        Check.Fuzz(_pit, 4, 3, Stir);
    }
}
