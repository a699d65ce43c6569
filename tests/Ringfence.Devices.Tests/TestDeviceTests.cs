using Ringfence.Devices.Platform;

namespace Ringfence.Devices.Tests;

/// <summary>The device that test suites know as pc-testdev.</summary>
public sealed class TestDeviceTests
{
    private readonly FakeLine[] _lines = [.. Enumerable.Range(0, 24).Select(_ => new FakeLine())];
    private readonly TestDevice _device;

    public TestDeviceTests() => _device = new TestDevice(_lines);

    [Fact]
    public void ThePortsEchoInEverySize()
    {
        _device.WritePort(0, 4, 0x1234_5678);
        Assert.Equal(0x1234_5678u, _device.ReadPort(0, 4));
        _device.WritePort(0, 2, 0x9ABC);
        _device.WritePort(3, 1, 0xDE);
        Assert.Equal(0xDE34_9ABCu, _device.ReadPort(0, 4));
        Assert.Equal(0xDEu, _device.ReadPort(11, 1));
        // A write that asks the host to drop a page's mapping changes nothing that a guest sees.
        _device.WritePort(4, 4, 0);
        Assert.Equal(0xDE34_9ABCu, _device.ReadPort(8, 4));
    }

    [Fact]
    public void APortForEachLine()
    {
        _device.Interrupts.Out(14, 1);
        Assert.True(_lines[14].Asserted);
        Assert.Equal(1, _device.Interrupts.In(14));
        Assert.False(_lines[13].Asserted);
        _device.Interrupts.Out(14, 0);
        Assert.False(_lines[14].Asserted);
        _device.Interrupts.Out(24, 1);
    }

    [Fact]
    public void MemoryKeepsWhatIsWritten()
    {
        _device.WriteMemory(0xFFF8, 8, 0x0123_4567_89AB_CDEF);
        Assert.Equal(0x0123_4567u, _device.ReadMemory(0xFFFC, 4));
        Assert.Equal(0xEFu, _device.ReadMemory(0xFFF8, 1));
    }

    [Fact]
    public void StateRoundTrip()
    {
        _device.WritePort(0, 4, 0x55);
        _device.Interrupts.Out(3, 1);
        _device.WriteMemory(5, 1, 6);
        TestDeviceState state = Check.Copy(_device.Save());
        FakeLine[] lines = [.. Enumerable.Range(0, 24).Select(_ => new FakeLine())];
        var other = new TestDevice(lines);
        other.Restore(state);
        Check.SameState(state, other.Save());
        Assert.True(lines[3].Asserted);
        Assert.Throws<ArgumentException>(() => other.Restore(new TestDeviceState()));
    }

    [Fact]
    public void Fuzz()
    {
        Check.Fuzz((IPortDevice)_device, TestDevice.PortCount, 1);
        Check.Fuzz(_device.Interrupts, 24, 2);
        Check.Fuzz((IMemoryDevice)_device, TestDevice.MemoryLength, 3);
    }
}
