using Ringfence.Devices.Buses;
using Ringfence.Devices.Input;
using Ringfence.Devices.Interrupts;
using Ringfence.Devices.Platform;
using Ringfence.Devices.Serial;
using Ringfence.Devices.Timers;
using Ringfence.Host;

namespace Ringfence.Devices.Tests;

/// <summary>The devices together, as a PC wires them, under the host's real clock and several threads.</summary>
public class BoardTests
{
    private sealed class CountingSink : IInterruptSink
    {
        private int _delivered;
        private volatile bool _external;

        public int Delivered => Volatile.Read(ref _delivered);

        public bool External => _external;

        public void Deliver(InterruptMessage message) => Interlocked.Increment(ref _delivered);

        public void SetExternalInterrupt(bool asserted) => _external = asserted;
    }

    private sealed class Board : IDisposable
    {
        private readonly IDisposable[] _owned;

        public Board(IClock clock)
        {
            Pic = new Pic8259(Sink);
            IoApic = new IoApic(Sink);
            var router = new InterruptRouter(Pic, IoApic);
            var pit = new Pit8254(clock, router.Isa(0));
            var rtc = new Rtc(clock, router.Isa(8));
            var pm = new AcpiPm(clock, router.Isa(9));
            Uart = new Uart16550(router.Isa(4), _ => { });
            var keyboard = new I8042(router.Isa(1), router.Isa(12));
            _owned = [pit, rtc, pm];
            Ports.Add(0x20, 2, Pic.Master);
            Ports.Add(0xA0, 2, Pic.Slave);
            Ports.Add(0x4D0, 2, Pic.TriggerControl);
            Ports.Add(0x40, 4, pit);
            Ports.Add(0x61, 1, pit.SystemControl);
            Ports.Add(0x60, 1, keyboard);
            Ports.Add(0x64, 1, keyboard, deviceOffset: 4);
            Ports.Add(0x92, 1, keyboard.Port92);
            Ports.Add(0x70, 2, rtc);
            Ports.Add(0x3F8, Uart16550.PortCount, Uart);
            Ports.Add(0x600, AcpiPm.PortCount, pm);
            Ports.Add(0xB2, 2, pm.SmiCommandPort);
            Ports.Add(0x80, 1, new PostPort());
            Ports.Add(0x8900, 1, new ShutdownPort());
            Ports.AddByteOverlay(0xCF9, new ResetRegister());
            Memory.Add(0xFEC00000, IoApic.Length, IoApic);
        }

        public CountingSink Sink { get; } = new();

        public PortBus Ports { get; } = new();

        public MemoryBus Memory { get; } = new();

        public Pic8259 Pic { get; }

        public IoApic IoApic { get; }

        public Uart16550 Uart { get; }

        public void Out(ushort port, byte value) => Ports.Write(port, 1, value);

        public void WriteIoApic(uint register, uint value)
        {
            Memory.Write(0xFEC00000, 4, register);
            Memory.Write(0xFEC00010, 4, value);
        }

        public void Dispose() => Array.ForEach(_owned, device => device.Dispose());
    }

    [Fact]
    public void AHundredTicksTakeATenthOfASecondThroughThePic()
    {
        using var clock = new HostClock();
        using var board = new Board(clock);
        board.Out(0x20, 0x11);
        board.Out(0x21, 0x30);
        board.Out(0x21, 0x04);
        board.Out(0x21, 0x01);
        board.Out(0x21, 0xFE);
        board.Out(0x43, 0x34);
        board.Out(0x40, 1193 & 0xFF);
        board.Out(0x40, 1193 >> 8);
        long start = clock.Now;
        int ticks = 0;
        while (clock.Now - start < 10_000_000_000 && ticks < 100)
        {
            if (board.Sink.External)
            {
                Assert.Equal(0x30, board.Pic.Acknowledge());
                board.Out(0x20, 0x20);
                ticks++;
            }
            else
            {
                Thread.Yield();
            }
        }
        Assert.Equal(100, ticks);
        // The first may be the rise of OUT at the start; none comes early.
        Assert.True(clock.Now - start >= 98_000_000);
    }

    [Fact]
    public void ProcessorsTimersAndHostNeverWaitForEachOther()
    {
        using var clock = new HostClock();
        using var board = new Board(clock);
        for (uint pin = 0; pin < IoApic.PinCount; pin++)
        {
            board.WriteIoApic(0x10 + (pin * 2), 0x30 + pin + (pin % 2 * 0x8000));
        }
        ushort[] ports = [0x20, 0x21, 0xA0, 0xA1, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x3F8, 0x3F9, 0x3FA, 0x3FC, 0x600, 0x602, 0x622];
        void Guest(int seed)
        {
            var random = new Random(seed);
            for (int i = 0; i < 30_000; i++)
            {
                ushort port = ports[random.Next(ports.Length)];
                if (random.Next(2) == 0)
                {
                    board.Ports.Read(port, 1);
                }
                else
                {
                    board.Out(port, (byte)random.Next(256));
                }
                if (board.Sink.External)
                {
                    board.Pic.Acknowledge();
                }
                if (i % 8 == 0)
                {
                    board.IoApic.EndOfInterrupt((byte)(0x30 + random.Next(24)));
                }
            }
        }
        void Host()
        {
            for (int i = 0; i < 30_000; i++)
            {
                board.Uart.Receive([(byte)i, 0]);
            }
        }
        Thread[] threads = [new(() => Guest(1)), new(() => Guest(2)), new(Host)];
        Array.ForEach(threads, thread => thread.Start());
        Assert.All(threads, thread => Assert.True(thread.Join(30_000), "deadlock"));
        Assert.True(board.Sink.Delivered > 0);
    }
}
