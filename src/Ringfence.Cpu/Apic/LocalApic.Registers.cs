using System.Runtime.CompilerServices;
using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Apic;

/// <summary>How software reaches the registers: the page of xAPIC mode, the MSRs of x2APIC mode, and the MSR that chooses between them.</summary>
public sealed partial class LocalApic
{
    private const ulong BaseBootstrap = 1 << 8;
    private const ulong BaseX2 = 1 << 10;
    private const ulong BaseEnable = 1 << 11;
    private const ulong BaseAddress = ((1UL << Memory.PageWalker.PhysicalBits) - 1) & ~0xFFFUL;

    private const uint IdOffset = 0x20;
    private const uint VersionOffset = 0x30;
    private const uint TaskPriorityOffset = 0x80;
    private const uint ProcessorPriorityOffset = 0xA0;
    private const uint EndOfInterruptOffset = 0xB0;
    private const uint LogicalDestinationOffset = 0xD0;
    private const uint DestinationFormatOffset = 0xE0;
    private const uint SpuriousOffset = 0xF0;
    private const uint ServiceOffset = 0x100;
    private const uint TriggerOffset = 0x180;
    private const uint RequestOffset = 0x200;
    private const uint ErrorStatusOffset = 0x280;
    private const uint CommandOffset = 0x300;
    private const uint CommandHighOffset = 0x310;
    private const uint LvtOffset = 0x320;
    private const uint LvtEnd = 0x370;
    private const uint InitialCountOffset = 0x380;
    private const uint CurrentCountOffset = 0x390;
    private const uint DivideOffset = 0x3E0;
    private const uint SelfOffset = 0x3F0;

    /// <summary>IA32_APIC_BASE (SDM 3A 11.4.4, 11.12.1).</summary>
    internal ulong Base
    {
        get;
        private set
        {
            field = value;
            _processor.CpuidAnswers.Forget();
        }
    }

    /// <summary>As CPUID.1:EDX.APIC shows it (SDM 3A 11.4.3).</summary>
    internal bool Enabled => (Base & BaseEnable) != 0;

    private bool IsX2 => (Base & BaseX2) != 0;

    /// <summary>The logical ID: 8 bits, or cluster and bit of x2APIC mode, which follow from the ID (SDM 3A 11.12.10.2).</summary>
    private uint LogicalId => IsX2 ? ((uint)_id >> 4 << 16) | (1u << (_id & 15)) : _logicalDestination >> 24;

    /// <summary>Writes IA32_APIC_BASE. False, with nothing changed, for reserved bits and for the transitions that SDM 3A figure 11-27
    /// does not have: to x2APIC mode but from xAPIC mode, and from it but to disabled.</summary>
    internal bool TrySetBase(ulong value)
    {
        ulong defined = BaseAddress | BaseEnable | BaseBootstrap | (_processor.Model.Has(CpuFeature.X2Apic) ? BaseX2 : 0);
        bool enables = (value & BaseEnable) != 0;
        bool x2 = (value & BaseX2) != 0;
        if ((value & ~defined) != 0 || (x2 && !enables) || (x2 && !Enabled) || (IsX2 && enables && !x2))
        {
            return false;
        }
        bool disabled = Enabled && !enables;
        bool entered = x2 && !IsX2;
        Base = (value & ~BaseBootstrap) | (Base & BaseBootstrap);
        if (disabled)
        {
            // What is enabled again begins as after power-on. CR8 belongs to the processor and stays.
            _idRegister = (uint)_id << 24;
            Forget();
        }
        else if (entered)
        {
            _commandHigh = 0;
        }
        _processor.NoteInterrupts();
        return true;
    }

    /// <summary>Whether a physical address is in the page of registers, which x2APIC mode has not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool Covers(ulong physical) => (Base & (BaseAddress | BaseEnable | BaseX2)) == ((physical & ~0xFFFUL) | BaseEnable);

    /// <param name="offset">From the start of the page. Registers are 16 bytes apart; only aligned 32-bit accesses are defined.</param>
    internal ulong Read(uint offset, int size)
    {
        if (size == 4 && (offset & 3) == 0)
        {
            return ReadRegister(offset);
        }
        uint value = ReadRegister(offset & ~3u) >> (8 * (int)(offset & 3));
        return size switch
        {
            1 => (byte)value,
            2 => (ushort)value,
            _ => value,
        };
    }

    internal void Write(uint offset, int size, uint value)
    {
        if (size < 4 || (offset & 15) != 0)
        {
            return;
        }
        switch (offset)
        {
            case IdOffset: _idRegister = value & 0xFF00_0000; break;
            case LogicalDestinationOffset: _logicalDestination = value & 0xFF00_0000; break;
            case DestinationFormatOffset: _destinationFormat = value | 0x0FFF_FFFF; break;
            case CommandOffset:
                Command = value | ((ulong)_commandHigh << 32);
                break;
            case CommandHighOffset: _commandHigh = value & 0xFF00_0000; break;
            default:
                if (!WriteCommon(offset, value) && !IsReadOnly(offset))
                {
                    NoteError(IllegalRegister);
                }
                break;
        }
    }

    /// <summary>Reads an MSR from 0x800 on (SDM 3A table 11-6). False for those that there are not, and outside x2APIC mode.</summary>
    internal bool TryReadMsr(uint msr, out ulong value)
    {
        uint offset = (msr & 0xFF) << 4;
        bool there = IsX2 && (msr & 0xF00) == 0x800 && offset is not (DestinationFormatOffset or CommandHighOffset or EndOfInterruptOffset or SelfOffset)
            && (IsWritable(offset) || IsReadOnly(offset) || offset is IdOffset or LogicalDestinationOffset or CommandOffset);
        value = !there ? 0 : offset switch
        {
            IdOffset => (uint)_id,
            LogicalDestinationOffset => LogicalId,
            CommandOffset => Command,
            _ => ReadRegister(offset),
        };
        return there;
    }

    /// <summary>Writes an MSR from 0x800 on. False also for reserved bits.</summary>
    internal bool TryWriteMsr(uint msr, ulong value)
    {
        const ulong CommandDefined = 0xFFFF_FFFF_000C_DFFF;
        uint offset = (msr & 0xFF) << 4;
        if (!IsX2 || (msr & 0xF00) != 0x800)
        {
            return false;
        }
        if (offset == CommandOffset)
        {
            if ((value & ~CommandDefined) != 0)
            {
                return false;
            }
            Command = value;
            return true;
        }
        ulong defined = offset switch
        {
            TaskPriorityOffset or SelfOffset => 0xFF,
            EndOfInterruptOffset or ErrorStatusOffset => 0,
            SpuriousOffset => SpuriousDefined,
            >= LvtOffset and <= LvtEnd => LvtDefined((int)(offset - LvtOffset) >> 4) | DeliveryStatus | RemoteIrr,
            DivideOffset => 0xB,
            _ => uint.MaxValue,
        };
        if ((value & ~defined) != 0)
        {
            return false;
        }
        if (offset == SelfOffset)
        {
            // SDM 3A 11.12.11: as an IPI to itself, fixed and edge-triggered.
            if (value < FirstLegalVector)
            {
                NoteError(SentIllegalVector);
            }
            else
            {
                Accept((byte)value, false);
            }
            return true;
        }
        return WriteCommon(offset, (uint)value);
    }

    private static bool IsWritable(uint offset) =>
        offset is TaskPriorityOffset or EndOfInterruptOffset or SpuriousOffset or ErrorStatusOffset or InitialCountOffset or DivideOffset
            || (offset is >= LvtOffset and <= LvtEnd && (offset & 15) == 0);

    private static bool IsReadOnly(uint offset) =>
        (offset & 15) == 0 && offset is VersionOffset or ProcessorPriorityOffset or (>= ServiceOffset and < ErrorStatusOffset) or CurrentCountOffset;

    private static uint LvtDefined(int index) => index switch
    {
        TimerLvt => 0x700FFu,
        Lint0 or Lint0 + 1 => 0x1A7FFu,
        ErrorLvt => 0x100FFu,
        _ => 0x107FFu,
    };

    private uint ReadRegister(uint offset)
    {
        if ((offset & 15) != 0)
        {
            return 0;
        }
        switch (offset)
        {
            case IdOffset: return _idRegister;
            case VersionOffset: return Version;
            case TaskPriorityOffset: return _taskPriority;
            case ProcessorPriorityOffset: return Priority;
            case EndOfInterruptOffset: return 0;
            case LogicalDestinationOffset: return _logicalDestination;
            case DestinationFormatOffset: return _destinationFormat;
            case SpuriousOffset: return _spurious;
            case >= ServiceOffset and < TriggerOffset: return _service[(offset >> 4) & 7];
            case >= TriggerOffset and < RequestOffset: return _trigger[(offset >> 4) & 7];
            case >= RequestOffset and < ErrorStatusOffset: return _request[(offset >> 4) & 7];
            case ErrorStatusOffset: return _errorStatus;
            case CommandOffset: return _commandLow;
            case CommandHighOffset: return _commandHigh;
            case >= LvtOffset and <= LvtEnd: return _lvt[(offset - LvtOffset) >> 4];
            case InitialCountOffset: return _initialCount;
            case CurrentCountOffset: return CurrentCount();
            case DivideOffset: return _divide;
            default:
                NoteError(IllegalRegister);
                return 0;
        }
    }

    /// <summary>Writes a register that both modes have. False if it is none.</summary>
    private bool WriteCommon(uint offset, uint value)
    {
        switch (offset)
        {
            case TaskPriorityOffset: SetTaskPriority(value & 0xFF); break;
            case EndOfInterruptOffset: EndOfInterrupt(); break;
            case SpuriousOffset: WriteSpurious(value); break;
            case ErrorStatusOffset: _errorStatus = Interlocked.Exchange(ref _errors, 0); break;
            case >= LvtOffset and <= LvtEnd: WriteLvt((int)(offset - LvtOffset) >> 4, value); break;
            case InitialCountOffset: WriteInitialCount(value); break;
            case DivideOffset: WriteDivide(value & 0xB); break;
            default: return false;
        }
        return true;
    }

    private void WriteSpurious(uint value)
    {
        _spurious = value & SpuriousDefined;
        if (!SoftwareEnabled)
        {
            // SDM 3A 11.4.7.2: software disable masks every LVT entry.
            for (int i = 0; i < _lvt.Length; i++)
            {
                Interlocked.Or(ref _lvt[i], Masked);
            }
        }
    }

    private void WriteLvt(int index, uint value)
    {
        uint old = _lvt[index];
        uint entry = (value & LvtDefined(index)) | (SoftwareEnabled ? 0u : Masked);
        if (index == TimerLvt)
        {
            WriteTimerLvt(old, entry);
            return;
        }
        // Remote IRR is kept as long as the entry stays level-triggered.
        _lvt[index] = entry | ((entry & LevelTriggered) != 0 ? old & RemoteIrr : 0);
        if (index == Lint0 && ExternalInterrupt)
        {
            // A level that is there already counts; an edge that has been does not.
            if (Mode(entry) == ModeFixed && (entry & LevelTriggered) != 0)
            {
                SignalLint0();
            }
            _processor.NoteInterrupts();
        }
    }
}
