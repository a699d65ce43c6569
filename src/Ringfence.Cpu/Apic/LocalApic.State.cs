namespace Ringfence.Cpu.Apic;

/// <summary>A local APIC's registers, as they are read, and its timer.</summary>
/// <param name="Command">The interrupt command register.</param>
/// <param name="TimerStart">When the count began, nanoseconds of the clock.</param>
/// <param name="TimerArmed">The count has not come to its end.</param>
/// <param name="ExternalInterrupt">The level of the INTR wire.</param>
public sealed record LocalApicState(
    ulong Base, uint Id, uint TaskPriority, uint LogicalDestination, uint DestinationFormat, uint Spurious, uint ErrorStatus, ulong Command,
    uint[] Request, uint[] Service, uint[] Trigger, uint[] LocalVectors, uint DivideConfiguration, uint InitialCount, long TimerStart,
    bool TimerArmed, ulong TscDeadline, bool ExternalInterrupt);

public sealed partial class LocalApic
{
    /// <summary>Only while the processor does not run.</summary>
    public LocalApicState Save()
    {
        lock (_timerLock)
        {
            return new LocalApicState(
                _base, _idRegister, _taskPriority, _logicalDestination, _destinationFormat, _spurious, _errorStatus,
                _commandLow | ((ulong)_commandHigh << 32), [.. _request], [.. _service], [.. _trigger], [.. _lvt], _divide, _initialCount, _timerStart,
                _counting, TscDeadline, ExternalInterrupt);
        }
    }

    /// <summary>Only while the processor does not run. The time-stamp counter's offset must be there already.</summary>
    public void Restore(LocalApicState state)
    {
        lock (_timerLock)
        {
            _timer.Disarm();
            Base = state.Base;
            _idRegister = state.Id;
            _taskPriority = state.TaskPriority;
            _logicalDestination = state.LogicalDestination;
            _destinationFormat = state.DestinationFormat;
            _spurious = state.Spurious;
            _errorStatus = state.ErrorStatus;
            _commandLow = (uint)state.Command;
            _commandHigh = (uint)(state.Command >> 32);
            state.Request.CopyTo(_request, 0);
            state.Service.CopyTo(_service, 0);
            state.Trigger.CopyTo(_trigger, 0);
            state.LocalVectors.CopyTo(_lvt, 0);
            _divide = state.DivideConfiguration;
            _initialCount = state.InitialCount;
            _timerStart = state.TimerStart;
            _counting = state.TimerArmed && _initialCount != 0;
            _tscDeadline = state.TscDeadline;
            ExternalInterrupt = state.ExternalInterrupt;
            if (TimerMode == 2)
            {
                if (_tscDeadline != 0)
                {
                    ArmDeadline();
                }
            }
            else if (_counting)
            {
                // One that is periodic and shorter than it may be is late already.
                long first = _timerStart + TimerPeriod;
                _timer.Arm(TimerMode == 1 && first <= _clock.Now ? _timerStart + Math.Max(TimerPeriod, ShortestPeriod) : first);
            }
        }
    }

    /// <summary>The counter counts nanoseconds of the clock from its offset on.</summary>
    private unsafe void ArmDeadline() => _timer.Arm((long)(_tscDeadline - _processor.State->TscOffset));
}
