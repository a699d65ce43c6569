using Ringfence.Devices.Buses;

namespace Ringfence.Devices.Interrupts;

/// <summary>The registers of the pair.</summary>
public sealed record Pic8259State(PicChipState Master, PicChipState Slave);

/// <summary>
/// The PC's two 8259A interrupt controllers, the second at IR2 of the first, with the edge/level control registers of the chipset.
/// Thread-safe. It calls the sink with its lock held: the order is device, router, controller, sink, and a sink never calls back.
/// </summary>
public sealed class Pic8259
{
    private const int CascadeInput = 2;
    private const int SpuriousInput = 7;

    private readonly Lock _lock = new();
    private readonly IInterruptSink _sink;
    private readonly PicChip _slave = new(levelCapable: 0xDE);
    private readonly PicChip _master;
    private bool _output;
    /// <summary>Does the work in our place while it is not null: told of the inputs.</summary>
    private Action<int, bool>? _elsewhere;

    public Pic8259(IInterruptSink sink)
    {
        _sink = sink;
        _master = new PicChip(levelCapable: 0xF8) { CascadeInput = 1 << CascadeInput, Cascade = () => _slave.Interrupts };
        Master = new ByteRegisters((offset) => Read(_master, offset), (offset, value) => Write(_master, offset, value));
        Slave = new ByteRegisters((offset) => Read(_slave, offset), (offset, value) => Write(_slave, offset, value));
        TriggerControl = new ByteRegisters(ReadTrigger, WriteTrigger);
    }

    /// <summary>Two ports, at 0x20.</summary>
    public IPortDevice Master { get; }

    /// <summary>Two ports, at 0xA0.</summary>
    public IPortDevice Slave { get; }

    /// <summary>ELCR1 and ELCR2, two ports, at 0x4D0: a set bit makes the IRQ level-triggered.</summary>
    public IPortDevice TriggerControl { get; }

    /// <summary>The level of an input, 0 to 15. Input 2 is the cascade and is ignored.</summary>
    public void SetInput(int irq, bool asserted)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(irq);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(irq, 15);
        if (irq == CascadeInput)
        {
            return;
        }
        lock (_lock)
        {
            (irq < 8 ? _master : _slave).SetInput(irq & 7, asserted);
            if (_elsewhere is not null)
            {
                _elsewhere(irq, asserted);
                return;
            }
            UpdateOutput();
        }
    }

    /// <summary>The INTA cycle: the vector of the highest request, which becomes in service. If the request is gone, the vector of
    /// the spurious IR7 of the chip that was asked, with nothing in service there; -1 before the guest has set the pair up.</summary>
    public int Acknowledge()
    {
        lock (_lock)
        {
            if (!_master.Ready)
            {
                return -1;
            }
            int vector;
            int input = _master.Highest();
            if (input == CascadeInput)
            {
                int slaveInput = _slave.Highest();
                _master.Acknowledge(CascadeInput);
                if (slaveInput >= 0)
                {
                    _slave.Acknowledge(slaveInput);
                }
                vector = _slave.VectorBase + (slaveInput >= 0 ? slaveInput : SpuriousInput);
            }
            else
            {
                if (input >= 0)
                {
                    _master.Acknowledge(input);
                }
                vector = _master.VectorBase + (input >= 0 ? input : SpuriousInput);
            }
            UpdateOutput();
            return vector;
        }
    }

    public Pic8259State Save()
    {
        lock (_lock)
        {
            return new Pic8259State(_master.Save(), _slave.Save());
        }
    }

    public void Restore(Pic8259State state)
    {
        lock (_lock)
        {
            _master.Restore(state.Master);
            _slave.Restore(state.Slave);
            UpdateOutput();
        }
    }

    /// <summary>From now on someone else is the pair, who takes it as it is and is told of its inputs. It is not accessed meanwhile.</summary>
    /// <param name="take">Called, as <paramref name="input"/>, with our lock held.</param>
    public void HandOver(Action<Pic8259State> take, Action<int, bool> input)
    {
        lock (_lock)
        {
            take(new Pic8259State(_master.Save(), _slave.Save()));
            _elsewhere = input;
            if (_output)
            {
                _output = false;
                _sink.SetExternalInterrupt(false);
            }
        }
    }

    /// <summary>The pair is here again, as <paramref name="give"/> says that it is; its inputs we know.</summary>
    public void TakeBack(Func<Pic8259State> give)
    {
        lock (_lock)
        {
            Pic8259State now = give();
            _elsewhere = null;
            _master.Restore(now.Master with { Inputs = _master.Save().Inputs });
            _slave.Restore(now.Slave with { Inputs = _slave.Save().Inputs });
            UpdateOutput();
        }
    }

    private byte Read(PicChip chip, ushort offset)
    {
        if (offset > 1)
        {
            return 0xFF;
        }
        lock (_lock)
        {
            byte value = chip.Read(offset == 1);
            // A read in poll mode acknowledges.
            UpdateOutput();
            return value;
        }
    }

    private void Write(PicChip chip, ushort offset, byte value)
    {
        if (offset > 1)
        {
            return;
        }
        lock (_lock)
        {
            chip.Write(offset == 1, value);
            UpdateOutput();
        }
    }

    private byte ReadTrigger(ushort offset)
    {
        lock (_lock)
        {
            return offset switch
            {
                0 => _master.LevelTriggered,
                1 => _slave.LevelTriggered,
                _ => 0xFF,
            };
        }
    }

    private void WriteTrigger(ushort offset, byte value)
    {
        lock (_lock)
        {
            if (offset == 0)
            {
                _master.LevelTriggered = value;
            }
            else if (offset == 1)
            {
                _slave.LevelTriggered = value;
            }
            UpdateOutput();
        }
    }

    private void UpdateOutput()
    {
        bool output = _master.Interrupts;
        if (output != _output)
        {
            _output = output;
            _sink.SetExternalInterrupt(output);
        }
    }
}
