using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>How a task is left for another.</summary>
internal enum TaskTransfer
{
    Jump,
    Call,
    Return,
    /// <summary>An interrupt or exception through a task gate.</summary>
    Event,
}

/// <summary>
/// Task switches by the processor (SDM 3A 8.3). What can fault in the old task is tried before anything changes; from then on faults are
/// the new task's, with its registers loaded and its segments as far as they were.
/// </summary>
internal sealed unsafe class TaskSwitcher(Processor processor)
{
    private const uint Tss16 = 1;
    private const uint Busy = 2;
    private const uint Tss32 = 9;
    private const uint BusyTss16 = Tss16 | Busy;
    private const uint BusyTss32 = Tss32 | Busy;
    private const uint TaskGate = 5;

    private readonly CpuState* _s = processor.State;
    private readonly uint[] _registers = new uint[8];
    private readonly ushort[] _selectors = new ushort[6];

    /// <summary>The last switch failed in the new task: RIP is its, and not to be put back.</summary>
    private bool _switched;

    private SegmentLoader Segments => processor.Segments;

    private bool OldIsWide => (_s->Tr.Attributes & 8) != 0;

    /// <summary>Whether a system descriptor leads to another task.</summary>
    public static bool IsTask(in Descriptor descriptor) =>
        descriptor.IsSystem && descriptor.Type is Tss16 or BusyTss16 or Tss32 or BusyTss32 or TaskGate;

    /// <summary>After a transfer that failed: whether it did so in a new task already. Forgets it.</summary>
    public bool TakeSwitched()
    {
        bool switched = _switched;
        _switched = false;
        return switched;
    }

    /// <summary>JMP or CALL to a TSS or a task gate. <paramref name="next"/> is where the old task goes on.</summary>
    public bool Transfer(ushort selector, in Descriptor target, TaskTransfer transfer, ulong next)
    {
        if (target.Dpl < _s->Cpl || target.Dpl < (selector & 3u))
        {
            return Segments.Fault(Vectors.GeneralProtection, selector);
        }
        if (target.Type != TaskGate)
        {
            return ToAvailable(selector, transfer, next, Flags.Get(_s));
        }
        return target.Present
            ? ToAvailable(target.GateSelector, transfer, next, Flags.Get(_s))
            : Segments.Fault(Vectors.SegmentNotPresent, selector);
    }

    /// <summary>An event through a task gate of the IDT, whose rights and presence are checked. The error code goes onto the new task's stack.</summary>
    /// <param name="flags">RFLAGS as the old task is to find them.</param>
    public bool Interrupt(in Descriptor gate, ulong flags, bool hasError, uint error)
    {
        if (!ToAvailable(gate.GateSelector, TaskTransfer.Event, _s->Rip, flags))
        {
            return false;
        }
        if (!hasError)
        {
            return true;
        }
        _switched = true;
        StackWriter stack = StackWriter.Current(processor, OldIsWide ? 4 : 2);
        _switched = !(stack.Push(error) && stack.Commit());
        return !_switched;
    }

    /// <summary>IRET with NT: to the task that the link names (SDM 3A 8.4).</summary>
    public bool Return(ulong next)
    {
        if (!processor.Mmu.ReadSystem(_s->Tr.Base, out ushort link))
        {
            return false;
        }
        if ((link & ~3) == 0 || (link & 4) != 0)
        {
            return Segments.Fault(Vectors.InvalidTss, link);
        }
        if (!Segments.TryReadDescriptor(link, Vectors.InvalidTss, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (!descriptor.IsSystem || descriptor.Type is not (BusyTss16 or BusyTss32))
        {
            return Segments.Fault(Vectors.InvalidTss, link);
        }
        if (!descriptor.Present)
        {
            return Segments.Fault(Vectors.SegmentNotPresent, link);
        }
        return Switch(link, descriptor, address, TaskTransfer.Return, next, Flags.Get(_s) & ~(ulong)Flags.NestedTask);
    }

    private bool ToAvailable(ushort selector, TaskTransfer transfer, ulong next, ulong flags)
    {
        if ((selector & ~3) == 0 || (selector & 4) != 0)
        {
            return Segments.Fault(Vectors.GeneralProtection, selector);
        }
        if (!Segments.TryReadDescriptor(selector, Vectors.GeneralProtection, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (!descriptor.IsSystem || descriptor.Type is not (Tss16 or Tss32))
        {
            return Segments.Fault(Vectors.GeneralProtection, selector);
        }
        if (!descriptor.Present)
        {
            return Segments.Fault(Vectors.SegmentNotPresent, selector);
        }
        return Switch(selector, descriptor, address, transfer, next, flags);
    }

    private bool Switch(ushort selector, in Descriptor descriptor, ulong address, TaskTransfer transfer, ulong next, ulong flags)
    {
        bool wide = (descriptor.Type & 8) != 0;
        if (descriptor.Limit < (wide ? 103u : 43u))
        {
            return Segments.Fault(Vectors.InvalidTss, selector);
        }
        bool nests = transfer is TaskTransfer.Call or TaskTransfer.Event;
        ulong oldDescriptor = _s->GdtBase + (_s->Tr.Selector & ~7u);
        if (!TryRead(descriptor.Base32, wide, out _)
            || !CanWrite(_s->Tr.Base + (OldIsWide ? 0x20u : 0x0E), OldIsWide ? 0x40 : 0x1C)
            || !CanWrite(address + 5, 1) || !CanWrite(oldDescriptor + 5, 1) || (nests && !CanWrite(descriptor.Base32, 2)))
        {
            return false;
        }
        Save((uint)next, (uint)flags);
        if (!nests)
        {
            MarkBusy(oldDescriptor, false);
        }
        else
        {
            processor.Mmu.WriteSystem(descriptor.Base32, (ushort)_s->Tr.Selector);
        }
        if (transfer != TaskTransfer.Return)
        {
            MarkBusy(address, true);
        }
        TryRead(descriptor.Base32, wide, out TaskImage image);
        _s->Tr = descriptor.ToSegment(selector);
        _s->Tr.Attributes |= Busy;
        _switched = true;
        _switched = !Enter(image, wide, nests);
        return !_switched;
    }

    /// <summary>Everything after the point of no return.</summary>
    private bool Enter(in TaskImage image, bool wide, bool nests)
    {
        _s->Cr0 |= ControlBits.TaskSwitched;
        _s->Rip = image.Ip;
        Flags.Set(_s, image.Flags | (nests ? Flags.NestedTask : 0));
        for (int i = 0; i < 8; i++)
        {
            _s->Gpr[i] = _registers[i];
        }
        bool v86 = (image.Flags & Flags.Virtual8086) != 0;
        _s->Cpl = v86 ? 3 : _selectors[1] & 3u;
        _s->Ldtr = new SegmentRegister { Selector = image.Ldt, Attributes = SegmentAttributes.Unusable };
        for (int i = 0; i < 6; i++)
        {
            *(&_s->Es + i) = new SegmentRegister { Selector = _selectors[i], Attributes = SegmentAttributes.Unusable };
        }
        _s->Dr[7] &= ~DebugBits.Local;
        processor.Debugging.Update();
        processor.Delivery.TrapPending = false;
        if (wide && (_s->Cr0 & ControlBits.Paging) != 0 && !processor.Registers.WriteCr3(image.Cr3))
        {
            return false;
        }
        if (!LoadLdt(image.Ldt) || !(v86 ? Segments.LoadVirtual(_selectors) : LoadSegments()))
        {
            return false;
        }
        processor.ModeChanged();
        if ((uint)_s->Rip > _s->Cs.Limit)
        {
            return Segments.Fault(Vectors.GeneralProtection, 0);
        }
        processor.Debugging.Pending |= image.Traps ? DebugBits.TaskSwitch : 0;
        processor.NoteInterrupts();
        return true;
    }

    private bool CanWrite(ulong linear, int size) => processor.Mmu.ProbeSystemWrite(linear, size);

    private void MarkBusy(ulong descriptor, bool busy)
    {
        processor.Mmu.ReadSystem(descriptor + 5, out byte type);
        processor.Mmu.WriteSystem(descriptor + 5, (byte)(busy ? type | Busy : type & ~Busy));
    }

    private void Save(uint ip, uint flags)
    {
        ulong at = _s->Tr.Base;
        if (OldIsWide)
        {
            processor.Mmu.WriteSystem(at + 0x20, ip);
            processor.Mmu.WriteSystem(at + 0x24, flags);
        }
        else
        {
            processor.Mmu.WriteSystem(at + 0x0E, (ushort)ip);
            processor.Mmu.WriteSystem(at + 0x10, (ushort)flags);
        }
        for (uint i = 0; i < 8; i++)
        {
            if (OldIsWide)
            {
                processor.Mmu.WriteSystem(at + 0x28 + (i * 4), (uint)_s->Gpr[i]);
            }
            else
            {
                processor.Mmu.WriteSystem(at + 0x12 + (i * 2), (ushort)_s->Gpr[i]);
            }
        }
        for (uint i = 0; i < (OldIsWide ? 6 : 4); i++)
        {
            processor.Mmu.WriteSystem(at + (OldIsWide ? 0x48 + (i * 4) : 0x22 + (i * 2)), (ushort)(&_s->Es + i)->Selector);
        }
    }

    /// <summary>Reads a TSS: registers and selectors into our arrays, the rest into <paramref name="image"/> (SDM 3A figures 8-2, 8-10).</summary>
    private bool TryRead(ulong at, bool wide, out TaskImage image)
    {
        image = default;
        Memory.Mmu mmu = processor.Mmu;
        if (!wide)
        {
            bool done = mmu.ReadSystem(at + 0x0E, out ushort ip) & mmu.ReadSystem(at + 0x10, out ushort flags) & mmu.ReadSystem(at + 0x2A, out ushort ldt);
            for (uint i = 0; i < 8 && done; i++)
            {
                done = mmu.ReadSystem(at + 0x12 + (i * 2), out ushort register);
                // The upper halves are undefined.
                _registers[i] = 0xFFFF_0000u | register;
            }
            for (uint i = 0; i < 6 && done; i++)
            {
                _selectors[i] = 0;
                done = i >= 4 || mmu.ReadSystem(at + 0x22 + (i * 2), out _selectors[i]);
            }
            image = new TaskImage(ip, flags, 0, ldt, false);
            return done;
        }
        if (!mmu.ReadSystem(at + 0x1C, out uint cr3) || !mmu.ReadSystem(at + 0x20, out uint eip) || !mmu.ReadSystem(at + 0x24, out uint eflags)
            || !mmu.ReadSystem(at + 0x60, out ushort table) || !mmu.ReadSystem(at + 0x64, out ushort trap))
        {
            return false;
        }
        for (uint i = 0; i < 8; i++)
        {
            if (!mmu.ReadSystem(at + 0x28 + (i * 4), out _registers[i]))
            {
                return false;
            }
        }
        for (uint i = 0; i < 6; i++)
        {
            if (!mmu.ReadSystem(at + 0x48 + (i * 4), out _selectors[i]))
            {
                return false;
            }
        }
        image = new TaskImage(eip, eflags, cr3, table, (trap & 1) != 0);
        return true;
    }

    private bool LoadLdt(ushort selector)
    {
        if ((selector & ~3) == 0)
        {
            return true;
        }
        if ((selector & 4) != 0)
        {
            return Segments.Fault(Vectors.InvalidTss, selector);
        }
        if (!Segments.TryReadDescriptor(selector, Vectors.InvalidTss, out Descriptor descriptor, out _))
        {
            return false;
        }
        if (!descriptor.IsSystem || descriptor.Type != SegmentLoader.TypeLdt || !descriptor.Present)
        {
            return Segments.Fault(Vectors.InvalidTss, selector);
        }
        _s->Ldtr = descriptor.ToSegment(selector);
        return true;
    }

    /// <summary>The checks of SDM 3A table 8-1. Every one that fails names its selector, #TS unless the segment is only not present.</summary>
    private bool LoadSegments()
    {
        uint cpl = _s->Cpl;
        if (!TryReadSegment(1, out Descriptor code, out ulong address))
        {
            return false;
        }
        if (!code.IsCode || (code.IsConforming ? code.Dpl > cpl : code.Dpl != cpl))
        {
            return Segments.Fault(Vectors.InvalidTss, _selectors[1]);
        }
        if (!Load(1, code, address, Vectors.SegmentNotPresent) || !TryReadSegment(2, out Descriptor stack, out address))
        {
            return false;
        }
        if (!stack.IsWritableData || stack.Dpl != cpl || (_selectors[2] & 3u) != cpl)
        {
            return Segments.Fault(Vectors.InvalidTss, _selectors[2]);
        }
        if (!Load(2, stack, address, Vectors.StackFault))
        {
            return false;
        }
        ReadOnlySpan<int> data = [0, 3, 4, 5];
        foreach (int number in data)
        {
            ushort selector = _selectors[number];
            if ((selector & ~3) == 0)
            {
                continue;
            }
            if (!TryReadSegment(number, out Descriptor descriptor, out address))
            {
                return false;
            }
            if (!descriptor.IsReadable || (!descriptor.IsConforming && Math.Max(cpl, selector & 3u) > descriptor.Dpl))
            {
                return Segments.Fault(Vectors.InvalidTss, selector);
            }
            if (!Load(number, descriptor, address, Vectors.SegmentNotPresent))
            {
                return false;
            }
        }
        return true;
    }

    private bool TryReadSegment(int number, out Descriptor descriptor, out ulong address)
    {
        descriptor = default;
        address = 0;
        return (_selectors[number] & ~3) == 0
            ? Segments.Fault(Vectors.InvalidTss, _selectors[number])
            : Segments.TryReadDescriptor(_selectors[number], Vectors.InvalidTss, out descriptor, out address);
    }

    private bool Load(int number, in Descriptor descriptor, ulong address, Vectors absent)
    {
        if (!descriptor.Present)
        {
            return Segments.Fault(absent, _selectors[number]);
        }
        if (!Segments.MarkAccessed(descriptor, address))
        {
            return false;
        }
        SegmentRegister* segment = &_s->Es + number;
        *segment = descriptor.ToSegment(_selectors[number]);
        segment->Attributes |= SegmentAttributes.Accessed;
        return true;
    }

    private readonly record struct TaskImage(uint Ip, uint Flags, uint Cr3, ushort Ldt, bool Traps);
}
