using Ringfence.Devices.Buses;

namespace Ringfence.Devices.Tests;

public class BusTests
{
    private sealed class Echo(byte tag = 0) : IPortDevice, IMemoryDevice
    {
        public List<string> Writes { get; } = [];

        public uint ReadPort(ushort offset, int size)
        {
            uint value = 0;
            for (int i = 0; i < size; i++)
            {
                value |= (uint)(tag + offset + i) << (i * 8);
            }
            return value;
        }

        public void WritePort(ushort offset, int size, uint value) => Writes.Add($"{offset}/{size}={value:x}");

        public ulong ReadMemory(ulong offset, int size) =>
            ReadPort((ushort)offset, Math.Min(size, 4)) | (size == 8 ? (ulong)ReadPort((ushort)(offset + 4), 4) << 32 : 0);

        public void WriteMemory(ulong offset, int size, ulong value) => Writes.Add($"{offset}/{size}={value:x}");
    }

    [Fact]
    public void NothingReadsAsOnes()
    {
        var ports = new PortBus();
        Assert.Equal(0xFFu, ports.Read(0x80, 1));
        Assert.Equal(0xFFFFu, ports.Read(0x80, 2));
        Assert.Equal(uint.MaxValue, ports.Read(0xFFFF, 4));
        ports.Write(0xFFFF, 4, 1);
        var memory = new MemoryBus();
        Assert.Equal(ulong.MaxValue, memory.Read(ulong.MaxValue, 8));
        Assert.Equal(0xFFFFUL, memory.Read(0, 2));
        memory.Write(ulong.MaxValue, 8, 1);
    }

    [Fact]
    public void PortAccessesFindTheirDevice()
    {
        var bus = new PortBus();
        var low = new Echo();
        var high = new Echo(0x40);
        bus.Add(0x60, 1, low);
        bus.Add(0x64, 1, low, deviceOffset: 4);
        bus.Add(0x61, 1, high);
        bus.Add(0xFFF0, 16, high);
        Assert.Equal(4u, bus.Read(0x64, 1));
        Assert.Equal(0x4000u, bus.Read(0x60, 2));
        Assert.Equal(0xFFFF4000u, bus.Read(0x60, 4));
        Assert.Equal(0xFFFFFF4Fu, bus.Read(0xFFFF, 4));
        Assert.Equal(0x4C4Bu, bus.Read(0xFFFB, 2));
        bus.Write(0x60, 2, 0x1234);
        Assert.Equal(["0/1=34"], low.Writes);
        Assert.Equal(["0/1=12"], high.Writes);
        bus.Write(0x5F, 2, 0x5678);
        Assert.Equal("0/1=56", low.Writes[1]);
        bus.Write(0xFFF4, 4, 0xAABBCCDD);
        Assert.Equal("4/4=aabbccdd", high.Writes[1]);
    }

    [Fact]
    public void OverlapsAreErrorsAndRemovalMakesRoom()
    {
        var bus = new PortBus();
        var first = new Echo();
        bus.Add(0x3F8, 8, first);
        Assert.Throws<ArgumentException>(() => bus.Add(0x3F0, 9, new Echo()));
        Assert.Throws<ArgumentOutOfRangeException>(() => bus.Add(0xFFFF, 2, new Echo()));
        Assert.Throws<ArgumentOutOfRangeException>(() => bus.Add(0xFFFF, 0, new Echo()));
        Assert.Equal(0xFFu, bus.Read(0x3F0, 1));
        bus.Remove(first);
        bus.Add(0x3F0, 9, new Echo(0x10));
        Assert.Equal(0x18u, bus.Read(0x3F8, 1));

        var memory = new MemoryBus();
        memory.Add(0xFEC00000, 0x1000, first);
        Assert.Throws<ArgumentException>(() => memory.Add(0xFEC00FFF, 1, first));
        Assert.Throws<ArgumentException>(() => memory.Add(0xFEB00000, 0x1000_0000, first));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Add(ulong.MaxValue, 2, first));
        memory.Add(ulong.MaxValue, 1, first);
        memory.Remove(first);
        memory.Add(0xFEC00FFF, 1, first);
        Assert.Equal(0xFF00UL, memory.Read(0xFEC00FFF, 2));
    }

    [Fact]
    public void AByteOverlayTakesBytesOnly()
    {
        var bus = new PortBus();
        var pci = new Echo();
        var reset = new Echo(0x77);
        bus.AddByteOverlay(0xCF9, reset);
        bus.Add(0xCF8, 8, pci);
        Assert.Equal(0x77u, bus.Read(0xCF9, 1));
        Assert.Equal(0x03020100u, bus.Read(0xCF8, 4));
        Assert.Equal(0u, bus.Read(0xCF8, 1));
        Assert.Throws<ArgumentException>(() => bus.AddByteOverlay(0xCF9, new Echo()));
    }

    [Fact]
    public void MemoryAccessesFindTheirDevice()
    {
        var bus = new MemoryBus();
        var devices = Enumerable.Range(0, 20).Select(i => new Echo((byte)(i * 10))).ToArray();
        foreach (int i in new[] { 7, 3, 19, 0, 11, 12, 1, 2, 4, 5, 6, 8, 9, 10, 13, 14, 15, 16, 17, 18 })
        {
            bus.Add(0xE000_0000 + (ulong)(i * 8), 8, devices[i]);
        }
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal((ulong)(i * 10), bus.Read(0xE000_0000 + (ulong)(i * 8), 1));
        }
        Assert.Equal(0x0B0A_0706UL, bus.Read(0xE000_0006, 4));
        Assert.Equal(0x0706050403020100UL, bus.Read(0xE000_0000, 8));
        bus.Write(0xE000_0007, 2, 0xBBAA);
        Assert.Equal(["7/1=aa"], devices[0].Writes);
        Assert.Equal(["0/1=bb"], devices[1].Writes);
        Assert.Equal(0xFFUL, bus.Read(0xE000_0000 + 160, 1));
        Assert.Equal(0xFFUL, bus.Read(0xDFFF_FFFF, 1));
    }
}
