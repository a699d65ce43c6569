namespace Ringfence.Devices.Interrupts;

/// <summary>
/// The wires between devices and interrupt controllers. Each call makes one device's end of a wire; where several end at the same
/// input, the input is asserted while any of them is. A line keeps no state to save: a restored device drives it again.
/// Thread-safe. The lock order is device, router, controller, sink: a device may set its line with its own lock held, and nothing
/// behind the line ever calls a device.
/// </summary>
public sealed class InterruptRouter
{
    public const int IsaIrqCount = 16;
    /// <summary>Where the timer's IRQ0 arrives at the IOAPIC: the MADT must carry this interrupt source override.</summary>
    public const int TimerGsi = 2;

    private const int Cascade = 2;

    private readonly Lock _lock = new();
    private readonly Pic8259 _pic;
    private readonly IoApic _ioApic;
    private readonly int[] _picSources = new int[IsaIrqCount];
    private readonly int[] _pinSources = new int[IoApic.PinCount];

    public InterruptRouter(Pic8259 pic, IoApic ioApic)
    {
        _pic = pic;
        _ioApic = ioApic;
    }

    /// <summary>A line to ISA interrupt <paramref name="irq"/> of the 8259 pair, 0 to 15 but not 2, and to the IOAPIC pin of the same
    /// number (for IRQ0: pin 2).</summary>
    public IInterruptLine Isa(int irq)
    {
        ArgumentOutOfRangeException.ThrowIfEqual(irq, Cascade);
        ArgumentOutOfRangeException.ThrowIfNegative(irq);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(irq, IsaIrqCount);
        return new Line(this, irq, irq == 0 ? TimerGsi : irq);
    }

    /// <summary>A line to IOAPIC pin <paramref name="gsi"/>, 0 to 23, and, while the guest has not left the 8259 pair, to
    /// <paramref name="picIrq"/> there (-1: to none). PCI INTx wires are such: for instance GSI 16 and IRQ 11.</summary>
    public IInterruptLine Gsi(int gsi, int picIrq = -1)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(gsi);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(gsi, IoApic.PinCount);
        ArgumentOutOfRangeException.ThrowIfLessThan(picIrq, -1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(picIrq, IsaIrqCount);
        return new Line(this, picIrq, gsi);
    }

    private sealed class Line(InterruptRouter router, int picIrq, int pin) : IInterruptLine
    {
        private bool _asserted;

        public void Set(bool asserted)
        {
            lock (router._lock)
            {
                if (asserted == _asserted)
                {
                    return;
                }
                _asserted = asserted;
                int change = asserted ? 1 : -1;
                if (picIrq >= 0 && (router._picSources[picIrq] += change) == (asserted ? 1 : 0))
                {
                    router._pic.SetInput(picIrq, asserted);
                }
                if ((router._pinSources[pin] += change) == (asserted ? 1 : 0))
                {
                    router._ioApic.SetPin(pin, asserted);
                }
            }
        }
    }
}
