using Ringfence.Devices.Buses;
using Ringfence.Devices.Platform;
using Ringfence.Host;

namespace Ringfence.Devices.Tests;

public class PlatformTests
{
    private readonly ManualClock _clock = new();
    private readonly FakeLine _sci = new();

    [Fact]
    public void ThePmTimerIsExact()
    {
        using var narrow = new AcpiPm(_clock, _sci, wideTimer: false);
        using var wide = new AcpiPm(_clock, _sci);
        _clock.Advance(1_000_000_000);
        Assert.Equal(3_579_545u, wide.ReadPort(8, 4));
        _clock.Advance(99_000_000_000);
        Assert.Equal(357_954_500u, wide.ReadPort(8, 4));
        Assert.Equal(357_954_500u & 0xFFFFFF, narrow.ReadPort(8, 4));
        Assert.Equal((357_954_500u >> 8) & 0xFFFF, wide.ReadPort(9, 2));
        wide.WritePort(8, 4, 0);
        Assert.Equal(357_954_500u, wide.ReadPort(8, 4));
    }

    [Fact]
    public void TheTimerCarryInterrupts()
    {
        using var pm = new AcpiPm(_clock, _sci, wideTimer: false);
        pm.WritePort(2, 2, 1);
        // Half of 2^24 ticks.
        long half = ((1L << 23) * 1_000_000_000 / AcpiPm.TimerFrequency) + 1;
        _clock.Advance(half - 10);
        Assert.False(_sci.Asserted);
        _clock.Advance(10);
        Assert.True(_sci.Asserted);
        Assert.Equal(1u, pm.ReadPort(0, 2));
        pm.WritePort(0, 2, 1);
        Assert.False(_sci.Asserted);
        _clock.Advance(half);
        Assert.True(_sci.Asserted);
    }

    [Fact]
    public void PowerButtonEventsAndSleep()
    {
        using var pm = new AcpiPm(_clock, _sci, powerOffType: 5, acpiMode: false);
        int off = 0;
        pm.PowerOffRequested += () => off++;
        pm.WritePort(2, 2, 0x100);
        pm.PressPowerButton();
        Assert.False(_sci.Asserted);
        pm.SmiCommandPort.Out(0, AcpiPm.EnableCommand);
        Assert.Equal(1u, pm.ReadPort(4, 2));
        Assert.True(_sci.Asserted);
        Assert.Equal(0x0100_0100u, pm.ReadPort(0, 4));
        pm.WritePort(0, 2, 0x100);
        Assert.False(_sci.Asserted);

        pm.WritePort(0x22, 2, 0x8001);
        pm.RaiseGpe(15);
        pm.RaiseGpe(3);
        Assert.True(_sci.Asserted);
        Assert.Equal(0x8001_8008u, pm.ReadPort(0x20, 4));
        pm.WritePort(0x21, 1, 0x80);
        Assert.False(_sci.Asserted);
        Assert.Equal(0x0008u, pm.ReadPort(0x20, 2));

        // acpi_hw_legacy_sleep: the type, then the type with SLP_EN.
        pm.WritePort(4, 2, 0x1401);
        pm.WritePort(4, 2, 0x3001);
        Assert.Equal(0, off);
        pm.WritePort(4, 2, 0x3401);
        Assert.Equal(1, off);
        Assert.Equal(0x1401u, pm.ReadPort(4, 2));
        pm.SmiCommandPort.Out(0, AcpiPm.DisableCommand);
        Assert.Equal(0x1400u, pm.ReadPort(4, 2));
    }

    [Fact]
    public void PmStateRoundTrip()
    {
        using var pm = new AcpiPm(_clock, _sci);
        pm.WritePort(2, 2, 0x101);
        pm.WritePort(0x22, 2, 2);
        pm.RaiseGpe(1);
        _clock.Advance(3_000_000_000_000);
        pm.WritePort(0, 2, 1);
        pm.SmiCommandPort.Out(1, 9);
        AcpiPmState state = Check.Copy(pm.Save());
        var sci = new FakeLine();
        using var other = new AcpiPm(_clock, sci);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.True(sci.Asserted);
        Assert.Equal(pm.ReadPort(0, 4), other.ReadPort(0, 4));
    }

    [Fact]
    public void ResetPostExitShutdownAndConsole()
    {
        var events = new List<string>();
        var reset = new ResetRegister();
        reset.ResetRequested += () => events.Add("reset");
        // Linux's native reset by 0xCF9.
        reset.Out(0, 0x02);
        Assert.Empty(events);
        Assert.Equal(2, reset.In(0));
        reset.Out(0, 0x06);
        reset.Out(0, 0x0E);
        Assert.Equal(["reset", "reset"], events);
        Assert.Equal(0x0A, reset.In(0));

        var post = new PostPort();
        post.Out(0, 0x55);
        Assert.Equal(0x55, post.Code);
        Assert.Equal(0x55, post.In(0));

        var exit = new DebugExitPort();
        exit.ExitRequested += code => events.Add($"exit {code}");
        exit.WritePort(0, 4, 0x10);
        exit.Out(0, 0);
        Assert.Equal(["exit 33", "exit 1"], events[2..]);

        var shutdown = new ShutdownPort();
        shutdown.PowerOffRequested += () => events.Add("off");
        foreach (byte character in "ShutShutdownShutdow"u8)
        {
            shutdown.Out(0, character);
        }
        Assert.Equal(["off"], events[4..]);
        var text = new List<byte>();
        var console = new DebugConsole(text.Add);
        Assert.Equal(0xE9, console.In(0));
        console.Out(0, (byte)'x');
        Assert.Equal([(byte)'x'], text);

        var resetCopy = new ResetRegister();
        resetCopy.Restore(Check.Copy(reset.Save()));
        Assert.Equal(reset.Save(), resetCopy.Save());
        var postCopy = new PostPort();
        postCopy.Restore(Check.Copy(post.Save()));
        Assert.Equal(post.Save(), postCopy.Save());
        var shutdownCopy = new ShutdownPort();
        shutdownCopy.PowerOffRequested += () => events.Add("copy off");
        shutdownCopy.Restore(Check.Copy(shutdown.Save()));
        Assert.Equal(shutdown.Save(), shutdownCopy.Save());
        shutdownCopy.Out(0, (byte)'n');
        Assert.Equal("copy off", events[^1]);
    }

    [Fact]
    public void TheResetRegisterLiesInPciConfigurationSpace()
    {
        var bus = new PortBus();
        var reset = new ResetRegister();
        int resets = 0;
        reset.ResetRequested += () => resets++;
        bus.Add(0xCF8, 8, new PostPort());
        bus.AddByteOverlay(0xCF9, reset);
        bus.Write(0xCF8, 4, 0x8000_FFFF);
        Assert.Equal(0, resets);
        bus.Write(0xCF9, 1, 6);
        Assert.Equal(1, resets);
    }

    [Fact]
    public void Fuzz()
    {
        var random = new Random(1);
        using var pm = new AcpiPm(_clock, _sci);
        Check.Fuzz(pm, AcpiPm.PortCount, 1, () => _clock.Advance(random.Next(1_000_000)));
        Check.Fuzz(pm.SmiCommandPort, 2, 1);
        Check.Fuzz(new ResetRegister(), 1, 2);
        Check.Fuzz(new PostPort(), 1, 3);
        Check.Fuzz(new DebugExitPort(), 4, 4);
        Check.Fuzz(new ShutdownPort(), 1, 5);
        Check.Fuzz(new DebugConsole(_ => { }), 1, 6);
    }
}
