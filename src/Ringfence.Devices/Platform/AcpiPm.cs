using Ringfence.Devices.Buses;
using Ringfence.Devices.Timers;
using Ringfence.Host;

namespace Ringfence.Devices.Platform;

/// <summary>The registers of an <see cref="AcpiPm"/>.</summary>
public sealed record AcpiPmState
{
    /// <summary>PM1_STS without the timer's bit.</summary>
    public ushort Status { get; init; }
    public ushort Enable { get; init; }
    public ushort Control { get; init; }
    public ushort GpeStatus { get; init; }
    public ushort GpeEnable { get; init; }
    /// <summary>How often the timer's highest bit had changed when the guest last cleared TMR_STS.</summary>
    public long SeenCarries { get; init; }
    public byte SmiCommand { get; init; }
    public byte SmiData { get; init; }
}

/// <summary>
/// ACPI's fixed power management hardware (ACPI 6.5 §4.8), one block of <see cref="PortCount"/> ports, at 0x600: PM1_STS at 0,
/// PM1_EN at 2, PM1_CNT at 4, PM_TMR at 8, GPE0_STS at 0x20 and GPE0_EN at 0x22 (16 events). There is no SMM: the SMI command port
/// only turns ACPI mode on and off.
/// Thread-safe. It sets the SCI with its lock held and raises <see cref="PowerOffRequested"/> without.
/// </summary>
public sealed class AcpiPm : IPortDevice, IDisposable
{
    public const int PortCount = 0x40;
    public const int ControlOffset = 4;
    public const int TimerOffset = 8;
    public const int GpeOffset = 0x20;
    /// <summary>GPE0_BLK_LEN: status and enable, two bytes each.</summary>
    public const int GpeLength = 4;
    /// <summary>Of the PM timer, Hz.</summary>
    public const long TimerFrequency = 3_579_545;
    /// <summary>ACPI_ENABLE and ACPI_DISABLE of the FADT.</summary>
    public const byte EnableCommand = 2;
    public const byte DisableCommand = 3;

    private const int TimerStatus = 0x0001;
    private const int PowerButton = 0x0100;
    /// <summary>Timer, global lock, power button, sleep button, RTC.</summary>
    private const int EventBits = 0x0721;
    private const int SciEnable = 0x0001;
    private const int SleepEnable = 0x2000;
    private const int SleepTypeShift = 10;

    private readonly Lock _lock = new();
    private readonly IClock _clock;
    private readonly IInterruptLine _sci;
    private readonly ITimer _timer;
    private readonly TickRate _rate = new(TimerFrequency);
    private readonly int _timerBits;
    private readonly byte _powerOffType;
    private int _status;
    private int _enable;
    private int _control;
    private int _gpeStatus;
    private int _gpeEnable;
    private long _seenCarries;
    private byte _smiCommand;
    private byte _smiData;

    /// <param name="sci">The system control interrupt, IRQ9 on a PC: level-triggered and shared.</param>
    /// <param name="powerOffType">SLP_TYP of S5, 0 to 7, as the DSDT's \_S5 says.</param>
    /// <param name="wideTimer">A timer of 32 bits (TMR_VAL_EXT in the FADT) instead of 24.</param>
    /// <param name="acpiMode">Whether SCI_EN is set from the start: it must be where the FADT has no SMI command port.</param>
    public AcpiPm(IClock clock, IInterruptLine sci, byte powerOffType = 5, bool wideTimer = true, bool acpiMode = true)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(powerOffType, 7);
        _clock = clock;
        _sci = sci;
        _powerOffType = powerOffType;
        _timerBits = wideTimer ? 32 : 24;
        _control = acpiMode ? SciEnable : 0;
        _timer = clock.CreateTimer(Expired);
        SmiCommandPort = new ByteRegisters(ReadSmi, WriteSmi);
    }

    /// <summary>The guest entered S5. Raised on its vCPU's thread.</summary>
    public event Action? PowerOffRequested;

    /// <summary>APM control and status, two ports, at 0xB2. Without it on the bus, leave SMI_CMD 0 in the FADT.</summary>
    public IPortDevice SmiCommandPort { get; }

    /// <summary>The user presses the power button.</summary>
    public void PressPowerButton()
    {
        lock (_lock)
        {
            _status |= PowerButton;
            Update();
        }
    }

    /// <summary>A general-purpose event, 0 to 15, happens.</summary>
    public void RaiseGpe(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, 15);
        lock (_lock)
        {
            _gpeStatus |= 1 << index;
            Update();
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            long ticks = _rate.Ticks(_clock.Now);
            ulong low = (uint)Status(ticks) | ((ulong)(uint)_enable << 16) | ((ulong)(uint)_control << 32);
            uint timer = (uint)(ticks & ((1L << _timerBits) - 1));
            uint gpe = (uint)(_gpeStatus | (_gpeEnable << 16));
            uint value = 0;
            for (int i = 0; i < size; i++)
            {
                int register = offset + i;
                ulong part = register switch
                {
                    < TimerOffset => low >> (register * 8),
                    < TimerOffset + 4 => timer >> ((register - TimerOffset) * 8),
                    >= GpeOffset and < GpeOffset + GpeLength => gpe >> ((register - GpeOffset) * 8),
                    _ => 0,
                };
                value |= (uint)(byte)part << (i * 8);
            }
            return value;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        bool off = false;
        lock (_lock)
        {
            for (int i = 0; i < size; i++)
            {
                off |= Write(offset + i, (int)((value >> (i * 8)) & 0xFF));
            }
            Update();
        }
        if (off)
        {
            PowerOffRequested?.Invoke();
        }
    }

    public AcpiPmState Save()
    {
        lock (_lock)
        {
            return new AcpiPmState
            {
                Status = (ushort)_status,
                Enable = (ushort)_enable,
                Control = (ushort)_control,
                GpeStatus = (ushort)_gpeStatus,
                GpeEnable = (ushort)_gpeEnable,
                SeenCarries = _seenCarries,
                SmiCommand = _smiCommand,
                SmiData = _smiData,
            };
        }
    }

    public void Restore(AcpiPmState state)
    {
        lock (_lock)
        {
            _status = state.Status;
            _enable = state.Enable;
            _control = state.Control;
            _gpeStatus = state.GpeStatus;
            _gpeEnable = state.GpeEnable;
            _seenCarries = state.SeenCarries;
            _smiCommand = state.SmiCommand;
            _smiData = state.SmiData;
            Update();
        }
    }

    public void Dispose() => _timer.Dispose();

    /// <summary>PM1_STS. TMR_STS is set each time the timer's highest bit changes, either way.</summary>
    private int Status(long ticks) => _status | (Carries(ticks) != _seenCarries ? TimerStatus : 0);

    private long Carries(long ticks) => ticks >> (_timerBits - 1);

    private bool Write(int register, int value)
    {
        int shift = register % 2 * 8;
        int written = value << shift;
        int kept = 0xFF00 >> shift;
        switch (register & ~1)
        {
            case 0:
                _status &= ~written;
                if ((written & TimerStatus) != 0)
                {
                    _seenCarries = Carries(_rate.Ticks(_clock.Now));
                }
                break;
            case 2:
                _enable = (_enable & kept) | (written & EventBits);
                break;
            case ControlOffset:
                // SCI_EN is the SMI handler's to change; SLP_EN reads as 0.
                _control = (_control & (kept | SciEnable)) | (written & ~(SciEnable | SleepEnable));
                return (written & SleepEnable) != 0 && ((_control >> SleepTypeShift) & 7) == _powerOffType;
            case GpeOffset:
                _gpeStatus &= ~written;
                break;
            case GpeOffset + 2:
                _gpeEnable = (_gpeEnable & kept) | written;
                break;
            default:
                break;
        }
        return false;
    }

    private void Expired()
    {
        lock (_lock)
        {
            Update();
        }
    }

    private void Update()
    {
        long ticks = _rate.Ticks(_clock.Now);
        int events = (Status(ticks) & _enable & EventBits) | (_gpeStatus & _gpeEnable);
        _sci.Set(events != 0 && (_control & SciEnable) != 0);
        if ((_enable & TimerStatus) != 0)
        {
            _timer.Arm(_rate.Nanoseconds((Carries(ticks) + 1) << (_timerBits - 1)));
        }
        else
        {
            _timer.Disarm();
        }
    }

    private byte ReadSmi(ushort offset)
    {
        lock (_lock)
        {
            return offset switch
            {
                0 => _smiCommand,
                1 => _smiData,
                _ => 0xFF,
            };
        }
    }

    private void WriteSmi(ushort offset, byte value)
    {
        lock (_lock)
        {
            if (offset == 1)
            {
                _smiData = value;
            }
            else if (offset == 0)
            {
                _smiCommand = value;
                _control = value switch
                {
                    EnableCommand => _control | SciEnable,
                    DisableCommand => _control & ~SciEnable,
                    _ => _control,
                };
                Update();
            }
        }
    }
}
