using Ringfence.Devices.Interrupts;

namespace Ringfence.Devices.Tests;

public class PicTests
{
    private readonly FakeSink _sink = new();
    private readonly Pic8259 _pic;

    public PicTests() => _pic = new Pic8259(_sink);

    /// <summary>As Linux's init_8259A and most else: vectors 0x30 and 0x38, all unmasked.</summary>
    private void Initialize(byte icw4 = 0x01)
    {
        _pic.Master.Out(1, 0xFF);
        _pic.Master.Out(0, 0x11);
        _pic.Master.Out(1, 0x30);
        _pic.Master.Out(1, 0x04);
        _pic.Master.Out(1, icw4);
        _pic.Slave.Out(0, 0x11);
        _pic.Slave.Out(1, 0x38);
        _pic.Slave.Out(1, 0x02);
        _pic.Slave.Out(1, icw4);
        _pic.Master.Out(1, 0);
        _pic.Slave.Out(1, 0);
    }

    private void Pulse(int irq)
    {
        _pic.SetInput(irq, true);
        _pic.SetInput(irq, false);
    }

    [Fact]
    public void LinuxFindsThePairByItsMask()
    {
        // probe_8259A
        _pic.Slave.Out(1, 0xFF);
        _pic.Master.Out(1, 0xFB);
        Assert.Equal(0xFB, _pic.Master.In(1));
        Initialize();
        Assert.Equal(0, _pic.Master.In(1));
    }

    [Fact]
    public void BeforeInitializationNothingIsRequested()
    {
        _pic.SetInput(0, true);
        Assert.False(_sink.External);
        Assert.Equal(-1, _pic.Acknowledge());
    }

    [Fact]
    public void AnEdgeIsServedOnceAndPrioritiesNest()
    {
        Initialize();
        _pic.SetInput(4, true);
        Assert.True(_sink.External);
        Assert.Equal(0x10, _pic.Master.In(0));
        Assert.Equal(0x34, _pic.Acknowledge());
        Assert.False(_sink.External);
        Assert.Equal(0, _pic.Master.In(0));
        Pulse(5);
        Assert.False(_sink.External);
        Pulse(1);
        Assert.Equal(0x31, _pic.Acknowledge());
        _pic.Master.Out(0, 0x0B);
        Assert.Equal(0x12, _pic.Master.In(0));
        _pic.Master.Out(0, 0x20);
        Assert.Equal(0x10, _pic.Master.In(0));
        Assert.False(_sink.External);
        _pic.Master.Out(0, 0x64);
        Assert.Equal(0x35, _pic.Acknowledge());
        _pic.Master.Out(0, 0x20);
        // IRQ4 is still high: no new edge.
        Assert.False(_sink.External);
    }

    [Fact]
    public void TheSlaveGoesThroughTheCascade()
    {
        Initialize();
        Pulse(12);
        Pulse(8);
        Assert.Equal(0x38, _pic.Acknowledge());
        Assert.False(_sink.External);
        _pic.Slave.Out(0, 0x60);
        Assert.False(_sink.External);
        _pic.Master.Out(0, 0x62);
        Assert.True(_sink.External);
        Assert.Equal(0x3C, _pic.Acknowledge());
        Pulse(0);
        Assert.Equal(0x30, _pic.Acknowledge());
        _pic.Master.Out(0, 0x20);
        _pic.Slave.Out(0, 0x20);
        _pic.Master.Out(0, 0x20);
        _pic.Slave.Out(0, 0x0B);
        Assert.Equal(0, _pic.Slave.In(0));
        Assert.False(_sink.External);
    }

    [Fact]
    public void MaskedRequestsWait()
    {
        Initialize();
        _pic.Master.Out(1, 0xFF);
        Pulse(3);
        Assert.False(_sink.External);
        _pic.Master.Out(1, 0xF7);
        Assert.True(_sink.External);
        _pic.Master.Out(1, 0xFF);
        Assert.False(_sink.External);
        // Linux's check for a real 8259: a request that is gone answers with IR7 and is not in service.
        Assert.Equal(0x37, _pic.Acknowledge());
        _pic.Master.Out(0, 0x0B);
        Assert.Equal(0, _pic.Master.In(0));
    }

    [Fact]
    public void ASpuriousSlaveInterruptLeavesTheMasterInService()
    {
        Initialize();
        _pic.TriggerControl.Out(1, 0x08);
        _pic.SetInput(11, true);
        Assert.Equal(0x3B, _pic.Acknowledge());
        _pic.Slave.Out(0, 0x20);
        _pic.Master.Out(0, 0x20);
        // Still asserted: level-triggered, so once more.
        Assert.Equal(0x3B, _pic.Acknowledge());
        _pic.SetInput(11, false);
        _pic.Slave.Out(0, 0x20);
        _pic.Master.Out(0, 0x20);
        Assert.False(_sink.External);
    }

    [Fact]
    public void TriggerControlKeepsTheTimerAndKeyboardEdgeTriggered()
    {
        _pic.TriggerControl.WritePort(0, 2, 0xFFFF);
        Assert.Equal(0xDEF8u, _pic.TriggerControl.ReadPort(0, 2));
    }

    [Fact]
    public void AutomaticEndLeavesNothingInService()
    {
        Initialize(icw4: 0x03);
        Pulse(9);
        Pulse(10);
        Pulse(1);
        Assert.Equal(0x31, _pic.Acknowledge());
        Assert.Equal(0x39, _pic.Acknowledge());
        Assert.Equal(0x3A, _pic.Acknowledge());
        Assert.False(_sink.External);
        _pic.Master.Out(0, 0x0B);
        Assert.Equal(0, _pic.Master.In(0));
    }

    [Fact]
    public void RotationMovesThePriorities()
    {
        Initialize();
        // Set priority: 4 lowest, so 5 is highest.
        _pic.Master.Out(0, 0xC4);
        Pulse(0);
        Pulse(5);
        Assert.Equal(0x35, _pic.Acknowledge());
        _pic.Master.Out(0, 0xA0);
        // Rotated on EOI: 6 is now the highest, 5 the lowest.
        Pulse(5);
        Assert.Equal(0x30, _pic.Acknowledge());
        _pic.Master.Out(0, 0xE0);
        // 0 is lowest now.
        Pulse(0);
        Assert.Equal(0x35, _pic.Acknowledge());
        _pic.Master.Out(0, 0x20);
        Assert.Equal(0x30, _pic.Acknowledge());
    }

    [Fact]
    public void RotationOnAutomaticEndTakesTurns()
    {
        Initialize(icw4: 0x03);
        _pic.Master.Out(0, 0x80);
        _pic.TriggerControl.Out(0, 0x18);
        _pic.SetInput(3, true);
        _pic.SetInput(4, true);
        Assert.Equal(0x33, _pic.Acknowledge());
        Assert.Equal(0x34, _pic.Acknowledge());
        Assert.Equal(0x33, _pic.Acknowledge());
    }

    [Fact]
    public void SpecialMaskModeLetsLowerPrioritiesThrough()
    {
        Initialize();
        Pulse(1);
        Assert.Equal(0x31, _pic.Acknowledge());
        Pulse(6);
        Assert.False(_sink.External);
        _pic.Master.Out(1, 0x02);
        _pic.Master.Out(0, 0x68);
        Assert.True(_sink.External);
        Assert.Equal(0x36, _pic.Acknowledge());
        // Non-specific EOI passes over the masked one.
        _pic.Master.Out(0, 0x20);
        _pic.Master.Out(0, 0x0B);
        Assert.Equal(0x02, _pic.Master.In(0));
        _pic.Master.Out(0, 0x48);
    }

    [Fact]
    public void SpecialFullyNestedModeLetsTheSlaveNest()
    {
        Initialize(icw4: 0x11);
        Pulse(12);
        Assert.Equal(0x3C, _pic.Acknowledge());
        Pulse(8);
        Assert.True(_sink.External);
        Assert.Equal(0x38, _pic.Acknowledge());
    }

    [Fact]
    public void PollAcknowledges()
    {
        Initialize();
        Pulse(6);
        _pic.Master.Out(0, 0x0C);
        Assert.Equal(0x86, _pic.Master.In(0));
        Assert.False(_sink.External);
        _pic.Master.Out(0, 0x0C);
        Assert.Equal(0x00, _pic.Master.In(0));
        Pulse(14);
        _pic.Slave.Out(0, 0x0C);
        Assert.Equal(0x86, _pic.Slave.In(0));
    }

    [Fact]
    public void ReinitializationForgetsEdgesButNotLevels()
    {
        Initialize();
        _pic.TriggerControl.Out(0, 0x08);
        Pulse(6);
        _pic.SetInput(3, true);
        Initialize();
        Assert.Equal(0x08, _pic.Master.In(0));
    }

    [Fact]
    public void StateRoundTrip()
    {
        Initialize(icw4: 0x11);
        _pic.TriggerControl.Out(1, 0x0E);
        Pulse(4);
        _pic.SetInput(10, true);
        _pic.Acknowledge();
        _pic.Master.Out(0, 0xC2);
        Pic8259State state = Check.Copy(_pic.Save());
        var sink = new FakeSink();
        var other = new Pic8259(sink);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.Equal(_sink.External, sink.External);
        Assert.Equal(_pic.Acknowledge(), other.Acknowledge());
        Check.SameState(_pic.Save(), other.Save());
    }

    [Fact]
    public void Fuzz()
    {
        var random = new Random(3);
        void Stir()
        {
            _pic.SetInput(random.Next(16), random.Next(2) == 0);
            if (random.Next(4) == 0 && _sink.External)
            {
                Assert.InRange(_pic.Acknowledge(), -1, 255);
            }
        }
        Check.Fuzz(_pic.Master, 2, 1, Stir);
        Check.Fuzz(_pic.Slave, 2, 2, Stir);
        Check.Fuzz(_pic.TriggerControl, 2, 3, Stir);
    }
}
