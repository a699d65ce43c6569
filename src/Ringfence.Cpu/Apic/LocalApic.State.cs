namespace Ringfence.Cpu.Apic;

/// <summary>A local APIC's registers, as they are read, and its timer.</summary>
/// <param name="Errors">Those that the error status register does not show yet.</param>
/// <param name="Command">The interrupt command register.</param>
/// <param name="TimerStart">When the count began, nanoseconds of the clock.</param>
/// <param name="TimerArmed">The count has not come to its end.</param>
/// <param name="ExternalInterrupt">The level of the INTR wire.</param>
/// <param name="ExternalMessage">A message of delivery mode ExtINT has come.</param>
public sealed record LocalApicState(
    ulong Base, uint Id, uint TaskPriority, uint LogicalDestination, uint DestinationFormat, uint Spurious, uint ErrorStatus, uint Errors, ulong Command,
    uint[] Request, uint[] Service, uint[] Trigger, uint[] LocalVectors, uint DivideConfiguration, uint InitialCount, long TimerStart,
    bool TimerArmed, ulong TscDeadline, bool ExternalInterrupt, bool ExternalMessage);

public sealed partial class LocalApic
{
    /// <summary>Only while the processor does not run.</summary>
    public LocalApicState Save()
    {
        FireIfDue();
        lock (_timerLock)
        {
            return new LocalApicState(
                Base, _idRegister, _taskPriority, _logicalDestination, _destinationFormat, _spurious, _errorStatus, _errors,
                Command, [.. _request], [.. _service], [.. _trigger], [.. _lvt], _divide, _initialCount, _timerStart,
                _counting, TimerMode == Deadline ? _tscDeadline : 0, ExternalInterrupt, _externalMessage != 0);
        }
    }

    /// <summary>The present, as <see cref="LocalApicState.TimerStart"/> tells time.</summary>
    public long TimerNow => _counted.Now;

    /// <summary>Only while the processor does not run. The time-stamp counter's offset must be there already.</summary>
    public void Restore(LocalApicState state)
    {
        lock (_timerLock)
        {
            Disarm();
            Base = state.Base;
            _idRegister = state.Id;
            _taskPriority = state.TaskPriority;
            _logicalDestination = state.LogicalDestination;
            _destinationFormat = state.DestinationFormat;
            _spurious = state.Spurious;
            _errorStatus = state.ErrorStatus;
            _errors = state.Errors;
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
            _externalMessage = state.ExternalMessage ? 1 : 0;
            ArmDeadline();
            if (_counting && TimerMode != Deadline)
            {
                _timer.Arm(_timerStart + ExpiryPeriod);
            }
        }
    }
}
