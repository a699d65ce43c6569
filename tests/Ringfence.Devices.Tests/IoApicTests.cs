using Ringfence.Devices.Interrupts;

namespace Ringfence.Devices.Tests;

public class IoApicTests
{
    private readonly FakeSink _sink = new();
    private readonly IoApic _ioApic;

    public IoApicTests() => _ioApic = new IoApic(_sink, id: 2);

    private uint Read(byte register)
    {
        _ioApic.WriteMemory(0x00, 4, register);
        return (uint)_ioApic.ReadMemory(0x10, 4);
    }

    private void Write(byte register, uint value)
    {
        _ioApic.WriteMemory(0x00, 4, register);
        _ioApic.WriteMemory(0x10, 4, value);
    }

    private void SetEntry(int pin, ulong value)
    {
        Write((byte)(0x11 + (pin * 2)), (uint)(value >> 32));
        Write((byte)(0x10 + (pin * 2)), (uint)value);
    }

    private uint Low(int pin) => Read((byte)(0x10 + (pin * 2)));

    [Fact]
    public void RegistersAsLinuxReadsThem()
    {
        Assert.Equal(0x02000000u, Read(0));
        Assert.Equal(0x00170020u, Read(1));
        Assert.Equal(0x02000000u, Read(2));
        Write(0, 0xFF000000);
        Assert.Equal(0x0F000000u, Read(0));
        for (int pin = 0; pin < 24; pin++)
        {
            Assert.Equal(0x10000u, Low(pin));
        }
        Assert.Equal(0x00170011UL, ReadVersion(0x11));
        Assert.Equal(0u, Read(0x40));
        Assert.Equal(0u, Read(0xFF));
    }

    private static ulong ReadVersion(byte version)
    {
        var ioApic = new IoApic(new FakeSink(), version: version);
        ioApic.WriteMemory(0, 1, 1);
        return ioApic.ReadMemory(0x10, 4);
    }

    [Fact]
    public void EntriesKeepWhatIsWritable()
    {
        SetEntry(5, ulong.MaxValue);
        Assert.Equal(0x1AFFFu, Low(5));
        Assert.Equal(0xFF000000u, Read(0x1B));
    }

    [Fact]
    public void AnEdgeIsSentOnce()
    {
        SetEntry(2, 0x0100_0000_0000_0830);
        _ioApic.SetPin(2, true);
        _ioApic.SetPin(2, true);
        Assert.Equal([new InterruptMessage(0x30, 0, true, 1, false)], _sink.Messages);
        _ioApic.SetPin(2, false);
        _ioApic.SetPin(2, true);
        Assert.Equal(2, _sink.Messages.Count);
        Assert.Equal(0x830u, Low(2));
    }

    [Fact]
    public void AnEdgeAtAMaskedPinIsLost()
    {
        SetEntry(4, 0x10031);
        _ioApic.SetPin(4, true);
        SetEntry(4, 0x31);
        Assert.Empty(_sink.Messages);
    }

    [Fact]
    public void ALevelIsSentAgainAfterItsEndWhileAsserted()
    {
        SetEntry(16, 0x0300_0000_0000_A150);
        _ioApic.SetPin(16, true);
        Assert.Equal([new InterruptMessage(0x50, 1, false, 3, true)], _sink.Messages);
        Assert.Equal(0xE150u, Low(16));
        _ioApic.EndOfInterrupt(0x51);
        Assert.Single(_sink.Messages);
        _ioApic.EndOfInterrupt(0x50);
        Assert.Equal(2, _sink.Messages.Count);
        _ioApic.SetPin(16, false);
        Assert.Equal(0xE150u, Low(16));
        _ioApic.WriteMemory(0x40, 4, 0x50);
        Assert.Equal(0xA150u, Low(16));
        Assert.Equal(2, _sink.Messages.Count);
    }

    [Fact]
    public void AMaskedLevelIsSentWhenUnmasked()
    {
        SetEntry(17, 0x18060);
        _ioApic.SetPin(17, true);
        Assert.Empty(_sink.Messages);
        Write(0x32, 0x8060);
        Assert.Single(_sink.Messages);
        // Masking and ending while masked: sent once more when unmasked.
        Write(0x32, 0x18060);
        _ioApic.EndOfInterrupt(0x60);
        Assert.Single(_sink.Messages);
        Write(0x32, 0x8060);
        Assert.Equal(2, _sink.Messages.Count);
    }

    [Fact]
    public void PassingThroughEdgeModeClearsRemoteIrr()
    {
        // Linux's __eoi_ioapic_pin and clear_IO_APIC_pin, for versions without an EOI register.
        SetEntry(9, 0x8040);
        _ioApic.SetPin(9, true);
        Assert.Equal(0xC040u, Low(9));
        _ioApic.SetPin(9, false);
        Write(0x22, 0x10040);
        Write(0x22, 0x18040);
        Assert.Equal(0x18040u, Low(9));
    }

    [Fact]
    public void TheOldVersionHasNoEndRegister()
    {
        var ioApic = new IoApic(_sink, version: 0x11);
        ioApic.WriteMemory(0, 4, 0x10);
        ioApic.WriteMemory(0x10, 4, 0x8040);
        ioApic.SetPin(0, true);
        ioApic.WriteMemory(0x40, 4, 0x40);
        Assert.Single(_sink.Messages);
        Assert.Equal(0xC040UL, ioApic.ReadMemory(0x10, 4));
    }

    [Fact]
    public void RoutedLinesReachBothControllersAndAreShared()
    {
        var pic = new Pic8259(_sink);
        foreach (byte icw in new byte[] { 0x30, 4, 1, 0 })
        {
            if (icw == 0x30)
            {
                pic.Master.Out(0, 0x11);
                pic.Slave.Out(0, 0x11);
            }
            pic.Master.Out(1, icw);
            pic.Slave.Out(1, icw == 0x30 ? (byte)0x38 : icw);
        }
        pic.TriggerControl.Out(1, 0x08);
        var router = new InterruptRouter(pic, _ioApic);
        SetEntry(2, 0x90);
        IInterruptLine timer = router.Isa(0);
        timer.Set(true);
        Assert.Equal(0x90, _sink.Messages[^1].Vector);
        Assert.Equal(0x30, pic.Acknowledge());
        pic.Master.Out(0, 0x20);

        SetEntry(19, 0xA091);
        IInterruptLine first = router.Gsi(19, 11);
        IInterruptLine second = router.Gsi(19, 11);
        first.Set(true);
        second.Set(true);
        second.Set(true);
        Assert.Equal(2, _sink.Messages.Count);
        Assert.Equal(0x3B, pic.Acknowledge());
        first.Set(false);
        pic.Slave.Out(0, 0x20);
        pic.Master.Out(0, 0x20);
        Assert.True(_sink.External);
        _ioApic.EndOfInterrupt(0x91);
        Assert.Equal(3, _sink.Messages.Count);
        second.Set(false);
        Assert.False(_sink.External);
        _ioApic.EndOfInterrupt(0x91);
        Assert.Equal(3, _sink.Messages.Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => router.Isa(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => router.Gsi(24));
    }

    [Fact]
    public void StateRoundTrip()
    {
        SetEntry(16, 0x0300_0000_0000_A150);
        _ioApic.SetPin(16, true);
        _ioApic.SetPin(3, true);
        IoApicState state = Check.Copy(_ioApic.Save());
        var sink = new FakeSink();
        var other = new IoApic(sink);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.Empty(sink.Messages);
        other.SetPin(16, true);
        Assert.Empty(sink.Messages);
        other.EndOfInterrupt(0x50);
        Assert.Single(sink.Messages);
        Assert.Throws<ArgumentException>(() => other.Restore(state with { Entries = [] }));
    }

    [Fact]
    public void Fuzz()
    {
        Check.Fuzz(_ioApic, 0x1000, 1);
        Check.Fuzz(_ioApic, 0x20, 2);
    }
}
