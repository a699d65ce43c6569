using System.Numerics;

namespace Ringfence.Devices.Interrupts;

/// <summary>The registers of one 8259A.</summary>
public sealed record PicChipState
{
    /// <summary>IRR: requests, one bit per input.</summary>
    public byte Requests { get; init; }
    /// <summary>IMR.</summary>
    public byte Mask { get; init; }
    /// <summary>ISR.</summary>
    public byte InService { get; init; }
    /// <summary>The level of the inputs.</summary>
    public byte Inputs { get; init; }
    /// <summary>ELCR: 1 is level-triggered.</summary>
    public byte LevelTriggered { get; init; }
    /// <summary>The input with the highest priority: 0 unless rotated.</summary>
    public byte HighestPriority { get; init; }
    public byte VectorBase { get; init; }
    public byte Icw1 { get; init; }
    public byte Icw4 { get; init; }
    /// <summary>The ICW expected next, 2 to 4; 0 when ready; 1 before the first ICW1.</summary>
    public byte Expects { get; init; }
    public bool ReadsInService { get; init; }
    public bool Poll { get; init; }
    public bool SpecialMask { get; init; }
    public bool RotatesOnAutoEoi { get; init; }
}

/// <summary>
/// One 8259A (Intel 231468-003), without lock or wiring. A request that was seen by its edge stays latched until acknowledged even
/// where the line falls before (the part itself would then answer with a spurious IR7): a device that pulses its line is served.
/// </summary>
internal sealed class PicChip(byte levelCapable)
{
    private const byte AutoEoi = 0x02;
    private const byte SpecialFullyNested = 0x10;
    private const byte WholeChipLevel = 0x08;
    private const byte Single = 0x02;
    private const byte HasIcw4 = 0x01;

    private byte _requests;
    private byte _mask;
    private byte _inService;
    private byte _inputs;
    private byte _levelTriggered;
    private byte _highest;
    private byte _vectorBase;
    private byte _icw1;
    private byte _icw4;
    private byte _expects = 1;
    private bool _readsInService;
    private bool _poll;
    private bool _specialMask;
    private bool _rotatesOnAutoEoi;

    /// <summary>The cascade: the input that another chip's INT output is wired to, and that output. It is sensed by level.</summary>
    public byte CascadeInput { get; init; }

    public Func<bool>? Cascade { get; init; }

    public byte VectorBase => _vectorBase;

    /// <summary>Whether ICW1 and what it asks for have been written: before, the chip requests nothing.</summary>
    public bool Ready => _expects == 0;

    public bool Interrupts => Highest() >= 0;

    public byte LevelTriggered
    {
        get => _levelTriggered;
        set => _levelTriggered = (byte)(value & levelCapable);
    }

    private byte Requests => (byte)(_requests | (Cascade != null && Cascade() ? CascadeInput : 0));

    private byte LevelInputs => (_icw1 & WholeChipLevel) != 0 ? (byte)0xFF : _levelTriggered;

    public void SetInput(int input, bool asserted)
    {
        byte bit = (byte)(1 << input);
        if (asserted)
        {
            if ((_inputs & bit) == 0 || (LevelInputs & bit) != 0)
            {
                _requests |= bit;
            }
            _inputs |= bit;
        }
        else
        {
            _inputs &= (byte)~bit;
            if ((LevelInputs & bit) != 0)
            {
                _requests &= (byte)~bit;
            }
        }
    }

    /// <summary>The input to serve now, or -1: the highest request that is not masked and beats everything in service.</summary>
    public int Highest()
    {
        int requests = Requests & ~_mask;
        if (requests == 0 || !Ready)
        {
            return -1;
        }
        int blocking = _specialMask ? _inService & ~_mask : _inService;
        if ((_icw4 & SpecialFullyNested) != 0)
        {
            blocking &= ~CascadeInput;
        }
        int request = Priority(requests);
        return request < Priority(blocking) ? (request + _highest) & 7 : -1;
    }

    /// <summary>INTA: the input becomes in service.</summary>
    public void Acknowledge(int input)
    {
        byte bit = (byte)(1 << input);
        if ((LevelInputs & bit) == 0)
        {
            _requests &= (byte)~bit;
        }
        if ((_icw4 & AutoEoi) == 0)
        {
            _inService |= bit;
        }
        else if (_rotatesOnAutoEoi)
        {
            _highest = (byte)((input + 1) & 7);
        }
    }

    public byte Read(bool odd)
    {
        if (_poll)
        {
            _poll = false;
            int input = Highest();
            if (input < 0)
            {
                return 0;
            }
            Acknowledge(input);
            return (byte)(0x80 | input);
        }
        return odd ? _mask : _readsInService ? _inService : Requests;
    }

    public void Write(bool odd, byte value)
    {
        if (odd)
        {
            WriteOdd(value);
        }
        else if ((value & 0x10) != 0)
        {
            Initialize(value);
        }
        else if ((value & 0x08) != 0)
        {
            WriteOcw3(value);
        }
        else
        {
            WriteOcw2(value);
        }
    }

    public PicChipState Save() => new()
    {
        Requests = _requests,
        Mask = _mask,
        InService = _inService,
        Inputs = _inputs,
        LevelTriggered = _levelTriggered,
        HighestPriority = _highest,
        VectorBase = _vectorBase,
        Icw1 = _icw1,
        Icw4 = _icw4,
        Expects = _expects,
        ReadsInService = _readsInService,
        Poll = _poll,
        SpecialMask = _specialMask,
        RotatesOnAutoEoi = _rotatesOnAutoEoi,
    };

    public void Restore(PicChipState state)
    {
        _requests = state.Requests;
        _mask = state.Mask;
        _inService = state.InService;
        _inputs = state.Inputs;
        LevelTriggered = state.LevelTriggered;
        _highest = (byte)(state.HighestPriority & 7);
        _vectorBase = (byte)(state.VectorBase & 0xF8);
        _icw1 = state.Icw1;
        _icw4 = state.Icw4;
        _expects = state.Expects;
        _readsInService = state.ReadsInService;
        _poll = state.Poll;
        _specialMask = state.SpecialMask;
        _rotatesOnAutoEoi = state.RotatesOnAutoEoi;
    }

    private void Initialize(byte icw1)
    {
        _icw1 = icw1;
        // The edge sense is reset: an input must fall and rise again to be a request.
        _requests = (byte)(_inputs & LevelInputs);
        _mask = 0;
        _inService = 0;
        _highest = 0;
        _readsInService = false;
        _poll = false;
        _specialMask = false;
        _rotatesOnAutoEoi = false;
        _icw4 = 0;
        _expects = 2;
    }

    private void WriteOdd(byte value)
    {
        switch (_expects)
        {
            case 2:
                _vectorBase = (byte)(value & 0xF8);
                _expects = (byte)((_icw1 & Single) == 0 ? 3 : AfterIcw3());
                break;
            case 3:
                _expects = AfterIcw3();
                break;
            case 4:
                _icw4 = value;
                _expects = 0;
                break;
            default:
                _mask = value;
                break;
        }
    }

    private byte AfterIcw3() => (byte)((_icw1 & HasIcw4) != 0 ? 4 : 0);

    private void WriteOcw2(byte value)
    {
        int input = value & 7;
        switch (value >> 5)
        {
            case 0:
                _rotatesOnAutoEoi = false;
                break;
            case 4:
                _rotatesOnAutoEoi = true;
                break;
            case 1:
                _ = EndHighest();
                break;
            case 5:
                input = EndHighest();
                if (input >= 0)
                {
                    _highest = (byte)((input + 1) & 7);
                }
                break;
            case 3:
                _inService &= (byte)~(1 << input);
                break;
            case 6:
                _highest = (byte)((input + 1) & 7);
                break;
            case 7:
                _inService &= (byte)~(1 << input);
                _highest = (byte)((input + 1) & 7);
                break;
            default:
                break;
        }
    }

    /// <summary>Non-specific EOI. In special mask mode it passes over what is masked.</summary>
    private int EndHighest()
    {
        int candidates = _specialMask ? _inService & ~_mask : _inService;
        if (candidates == 0)
        {
            return -1;
        }
        int input = (Priority(candidates) + _highest) & 7;
        _inService &= (byte)~(1 << input);
        return input;
    }

    private void WriteOcw3(byte value)
    {
        _poll = (value & 0x04) != 0;
        if ((value & 0x02) != 0)
        {
            _readsInService = (value & 0x01) != 0;
        }
        if ((value & 0x40) != 0)
        {
            _specialMask = (value & 0x20) != 0;
        }
    }

    /// <summary>The priority of the highest bit, 0 best; 8 if there is none.</summary>
    private int Priority(int bits)
    {
        int rotated = ((bits | (bits << 8)) >> _highest) & 0xFF;
        return rotated == 0 ? 8 : BitOperations.TrailingZeroCount(rotated);
    }
}
