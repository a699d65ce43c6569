using Ringfence.Devices;
using Ringfence.Devices.Buses;
using Ringfence.Devices.Display;
using Ringfence.Devices.Input;
using Ringfence.Devices.Interrupts;
using Ringfence.Devices.Platform;
using Ringfence.Devices.Serial;
using Ringfence.Devices.Timers;
using Ringfence.Engine;
using Ringfence.Firmware;
using Ringfence.Host;

namespace Ringfence.Machine;

/// <summary>The PC's devices, wired to their addresses (<see cref="BoardLayout"/>) and interrupt lines. It is the bus that vCPUs see.</summary>
internal sealed class Board : IVcpuBus, IDisposable
{
    private readonly PortBus _ports = new();
    private readonly MemoryBus _memory = new();
    private readonly Pic8259 _pic;
    private readonly IoApic _ioApic;
    private readonly Pit8254 _pit;
    private readonly Rtc _rtc;
    private readonly AcpiPm _pm;

    /// <param name="sink">The processors.</param>
    /// <param name="dma">Guest memory, for devices.</param>
    /// <param name="battery">The state of the battery-backed clock before a reset; null at power-on.</param>
    /// <param name="ended">Told, on a vCPU's thread, that the guest asked for the machine to end.</param>
    /// <exception cref="MachineSpecException">The debug exit port is not free.</exception>
    public Board(MachineSpec spec, IClock clock, IInterruptSink sink, IGuestMemoryBus dma, RtcState? battery, Action<MachineEnd> ended)
    {
        _pic = new Pic8259(sink);
        _ioApic = new IoApic(sink, BoardLayout.IoApicId);
        Chips = new BoardChips(_pic, _ioApic);
        InterruptRouter router = new(_pic, _ioApic);
        _pit = new Pit8254(clock, router.Isa(BoardLayout.PitInterrupt));
        _rtc = new Rtc(clock, router.Isa(BoardLayout.RtcInterrupt));
        if (battery is not null)
        {
            _rtc.Restore(battery);
        }
        _rtc.SetMemorySize(Math.Min(spec.Memory, GuestMemory.LowLimit), spec.Memory > GuestMemory.LowLimit ? spec.Memory - GuestMemory.LowLimit : 0);
        _pm = new AcpiPm(clock, router.Isa(BoardLayout.SciInterrupt), BoardLayout.SleepTypeSoftOff);
        I8042 keyboard = new(router.Isa(1), router.Isa(12));
        ResetRegister reset = new();
        ShutdownPort shutdown = new();
        FirmwareConfig config = new(dma);
        config.AddNumber(FirmwareConfig.RamSizeKey, spec.Memory, sizeof(ulong));
        config.AddNumber(FirmwareConfig.ProcessorCountKey, (ulong)spec.Cpus, sizeof(ushort));
        config.AddNumber(FirmwareConfig.MaximumProcessorsKey, (ulong)spec.Cpus, sizeof(ushort));
        Serial = new Uart16550(router.Isa(BoardLayout.Com1Interrupt), spec.Serial is { } endpoint ? endpoint.Transmit : static _ => { });

        _ports.Add(BoardLayout.MasterPicPort, 2, _pic.Master);
        _ports.Add(BoardLayout.SlavePicPort, 2, _pic.Slave);
        _ports.Add(0x4D0, 2, _pic.TriggerControl);
        _ports.Add(BoardLayout.PitPort, 4, _pit);
        _ports.Add(0x61, 1, _pit.SystemControl);
        _ports.Add(BoardLayout.KeyboardDataPort, 1, keyboard);
        _ports.Add(BoardLayout.KeyboardCommandPort, 1, keyboard, deviceOffset: 4);
        _ports.Add(0x92, 1, keyboard.Port92);
        _ports.Add(BoardLayout.RtcPort, 2, _rtc);
        _ports.Add(0x80, 1, new PostPort());
        _ports.Add(BoardLayout.Com1Port, Uart16550.PortCount, Serial);
        _ports.Add(BoardLayout.Pm1aEventPort, AcpiPm.PortCount, _pm);
        _ports.Add(0x8900, 1, shutdown);
        _ports.Add(0x510, FirmwareConfig.PortCount, config);
        _ports.Add(0xCF8, 8, new EmptyPorts());
        _ports.AddByteOverlay(BoardLayout.ResetPort, reset);
        _memory.Add(BoardLayout.IoApicBase, IoApic.Length, _ioApic);
        if (spec.Screen == ScreenKind.Text)
        {
            Screen = new VgaText(clock);
            _ports.Add(VgaText.FirstPort, VgaText.PortCount, Screen);
            _memory.Add(BoardLayout.TextMemory, VgaText.MemorySize, Screen);
        }
        if (spec.TestDevice)
        {
            // IRQ 2 is the cascade; lines from 16 on have no ISA interrupt.
            IInterruptLine[] lines = [.. Enumerable.Range(0, IoApic.PinCount).Select(n => n is 2 or >= 16 ? router.Gsi(n) : router.Isa(n))];
            TestDevice test = new(lines);
            _ports.Add(0xE0, TestDevice.PortCount, test);
            _ports.Add(0x2000, lines.Length, test.Interrupts);
            _memory.Add(0xFF00_0000, TestDevice.MemoryLength, test);
        }
        if (spec.DebugExitPort is { } port)
        {
            DebugExitPort debugExit = new();
            AddDebugExit(port, debugExit);
            debugExit.ExitRequested += code => ended(new MachineEnd(MachineEndKind.DebugExit, code));
        }
        _pm.PowerOffRequested += () => ended(new MachineEnd(MachineEndKind.PoweredOff));
        shutdown.PowerOffRequested += () => ended(new MachineEnd(MachineEndKind.PoweredOff));
        reset.ResetRequested += () => ended(new MachineEnd(MachineEndKind.Reset));
        keyboard.ResetRequested += () => ended(new MachineEnd(MachineEndKind.Reset));
    }

    /// <summary>The interrupt chips, for an engine that can hold them.</summary>
    public IBoardChips Chips { get; }

    /// <summary>The first serial line.</summary>
    public Uart16550 Serial { get; }

    /// <summary>Null without a display.</summary>
    public VgaText? Screen { get; }

    /// <summary>Resets what of the board outlives a reset, and returns it. Its clock is to begin anew.</summary>
    public RtcState TakeBattery()
    {
        _rtc.Reset();
        return _rtc.Save() with { SeenCycle = 0 };
    }

    /// <summary>As a PC's BIOS leaves interrupt controllers and timer to a multiboot kernel: vectors 08h and 70h, IRQ 0 to 2 let through, a tick
    /// 18.2 times a second.</summary>
    public void EnterBiosState()
    {
        ReadOnlySpan<(ushort Port, byte Value)> writes =
        [
            (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xF8),
            (0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0xFF),
            (0x43, 0x34), (0x40, 0x00), (0x40, 0x00),
        ];
        foreach ((ushort port, byte value) in writes)
        {
            WritePort(port, 1, value);
        }
    }

    public uint ReadPort(ushort port, int size) => _ports.Read(port, size);

    public void WritePort(ushort port, int size, uint value) => _ports.Write(port, size, value);

    public ulong ReadMemory(ulong address, int size) => _memory.Read(address, size);

    public void WriteMemory(ulong address, int size, ulong value) => _memory.Write(address, size, value);

    public int AcknowledgeExternalInterrupt() => _pic.Acknowledge();

    public void EndOfInterrupt(byte vector) => _ioApic.EndOfInterrupt(vector);

    public void Dispose()
    {
        _pit.Dispose();
        _rtc.Dispose();
        _pm.Dispose();
    }

    private void AddDebugExit(ushort port, DebugExitPort debugExit)
    {
        const int LastPort = ushort.MaxValue;
        if (port > LastPort - DebugExitPort.PortCount + 1)
        {
            throw new MachineSpecException($"debug exit port 0x{port:x}: it decodes {DebugExitPort.PortCount} ports, and the last there is is 0x{LastPort:x}");
        }
        try
        {
            _ports.Add(port, DebugExitPort.PortCount, debugExit);
        }
        catch (ArgumentException e)
        {
            throw new MachineSpecException(
                $"debug exit port 0x{port:x}: it decodes {DebugExitPort.PortCount} ports, and a device of the board has one of them", e);
        }
    }
}
