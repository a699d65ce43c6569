using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Pushes a frame on the present or a new stack; the stack pointer moves only at <see cref="Commit"/>, so a fault leaves it alone.</summary>
internal unsafe ref struct StackWriter
{
    private readonly Processor _processor;
    private readonly int _size;
    private readonly ulong _base;
    private readonly ulong _mask;
    private readonly bool _user;
    private readonly bool _current;
    private readonly SegmentRegister _segment;
    private ulong _pointer;

    public StackWriter(Processor processor, int size, in SegmentRegister ss, ulong pointer, uint cpl, bool wide)
        : this(processor, size, ss, pointer, cpl, wide, false)
    {
    }

    private StackWriter(Processor processor, int size, in SegmentRegister ss, ulong pointer, uint cpl, bool wide, bool current)
    {
        _processor = processor;
        _size = size;
        _base = wide ? 0 : ss.Base;
        _mask = wide ? ulong.MaxValue : ss.Is(SegmentAttributes.Big) ? uint.MaxValue : ushort.MaxValue;
        _pointer = pointer;
        _user = cpl == 3;
        _current = current;
        _segment = ss;
    }

    /// <summary>The stack as SS:rSP is now.</summary>
    public static StackWriter Current(Processor processor, int size)
    {
        CpuState* s = processor.State;
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        return new StackWriter(processor, size, s->Ss, s->Gpr[4], s->Cpl, wide, true);
    }

    public bool Push(ulong value)
    {
        CpuState* s = _processor.State;
        ulong pointer = (_pointer - (ulong)_size) & _mask;
        ulong linear = _mask == ulong.MaxValue ? pointer : (uint)(_base + pointer);
        if (!IsInside(pointer))
        {
            return _processor.Segments.Fault(Vectors.StackFault, _current || _mask == ulong.MaxValue ? 0 : _segment.Selector);
        }
        bool done;
        if (!IsImplicit)
        {
            *(ulong*)s->Scratch = value;
            done = _processor.Mmu.Access(linear, _size, AccessKind.Write, AccessKind.Write, s->Scratch);
        }
        else
        {
            done = _size switch
            {
                2 => _processor.Mmu.WriteSystem(linear, (ushort)value),
                4 => _processor.Mmu.WriteSystem(linear, (uint)value),
                _ => _processor.Mmu.WriteSystem(linear, value),
            };
        }
        if (done)
        {
            _pointer = (_pointer & ~_mask) | pointer;
        }
        return done;
    }

    /// <summary>Pushes of user code on the stack of a more privileged level: with supervisor rights, and not subject to what RFLAGS.AC and
    /// masking grant to the code's own accesses.</summary>
    private readonly bool IsImplicit => _processor.State->Cpl == 3 && !_user;

    private readonly bool IsInside(ulong pointer)
    {
        if (_mask == ulong.MaxValue)
        {
            CpuState* s = _processor.State;
            return LinearAddress.IsCanonical(s, IsImplicit ? pointer : LinearAddress.Unmask(s, pointer));
        }
        fixed (SegmentRegister* segment = &_segment)
        {
            return SegmentGuard.Permits(_processor.State, segment, pointer, (ulong)_size, true);
        }
    }

    public readonly bool Commit()
    {
        _processor.State->Gpr[4] = _mask == uint.MaxValue ? (uint)_pointer : _pointer;
        return true;
    }
}

/// <summary>Pops from the present stack; the stack pointer moves only at <see cref="Commit"/>.</summary>
internal unsafe ref struct StackReader
{
    private readonly Processor _processor;
    private readonly int _size;
    private readonly ulong _mask;
    private ulong _offset;

    public StackReader(Processor processor, int size)
    {
        _processor = processor;
        _size = size;
        CpuState* s = processor.State;
        _mask = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? ulong.MaxValue : s->Ss.Is(SegmentAttributes.Big) ? uint.MaxValue : ushort.MaxValue;
    }

    public bool Pop(out ulong value)
    {
        CpuState* s = _processor.State;
        ulong pointer = (s->Gpr[4] + _offset) & _mask;
        ulong linear = _mask == ulong.MaxValue ? pointer : (uint)(s->Ss.Base + pointer);
        bool inside = _mask == ulong.MaxValue
            ? LinearAddress.IsCanonical(s, LinearAddress.Unmask(s, linear)) : SegmentGuard.Permits(s, &s->Ss, pointer, (ulong)_size, false);
        if (!inside)
        {
            value = 0;
            return _processor.Segments.Fault(Vectors.StackFault, 0);
        }
        bool done = _processor.Mmu.Access(linear, _size, AccessKind.Read, AccessKind.Read, s->Scratch);
        value = _size switch
        {
            2 => *(ushort*)s->Scratch,
            4 => *(uint*)s->Scratch,
            _ => *(ulong*)s->Scratch,
        };
        _offset += (ulong)_size;
        return done;
    }

    public void Skip(uint bytes) => _offset += bytes;

    public readonly bool Commit(uint release)
    {
        CpuState* s = _processor.State;
        ulong pointer = s->Gpr[4] + _offset + release;
        s->Gpr[4] = _mask == ushort.MaxValue ? (s->Gpr[4] & ~_mask) | (ushort)pointer : pointer & _mask;
        return true;
    }
}

/// <summary>Finds the stack for a more privileged level in the task-state segment (SDM 3A 8.2.1, 8.7).</summary>
internal static unsafe class InnerStack
{
    /// <param name="ist">Interrupt-stack-table entry, 1 to 7, or 0. Only long mode has them.</param>
    public static bool TryFind(Processor processor, uint cpl, uint ist, out SegmentRegister ss, out ulong sp)
    {
        CpuState* s = processor.State;
        ss = default;
        sp = 0;
        if ((s->Efer & ControlBits.LongModeActive) != 0)
        {
            uint offset = ist != 0 ? 0x24 + ((ist - 1) * 8) : 4 + (cpl * 8);
            if (offset + 7 > s->Tr.Limit)
            {
                return processor.Segments.Fault(Vectors.InvalidTss, s->Tr.Selector);
            }
            ss = new SegmentRegister { Selector = cpl, Attributes = SegmentAttributes.Unusable | (cpl << 5) };
            return processor.Mmu.ReadSystem(s->Tr.Base + offset, out sp);
        }
        bool wide = (s->Tr.Attributes & 8) != 0;
        uint at = wide ? 4 + (cpl * 8) : 2 + (cpl * 4);
        if (at + (wide ? 5u : 3u) > s->Tr.Limit)
        {
            return processor.Segments.Fault(Vectors.InvalidTss, s->Tr.Selector);
        }
        ushort selector;
        if (wide)
        {
            if (!processor.Mmu.ReadSystem(s->Tr.Base + at, out uint sp32) || !processor.Mmu.ReadSystem(s->Tr.Base + at + 4, out selector))
            {
                return false;
            }
            sp = sp32;
        }
        else
        {
            if (!processor.Mmu.ReadSystem(s->Tr.Base + at, out ushort sp16) || !processor.Mmu.ReadSystem(s->Tr.Base + at + 2, out selector))
            {
                return false;
            }
            sp = sp16;
        }
        if ((selector & ~3) == 0)
        {
            return processor.Segments.Fault(Vectors.InvalidTss, 0);
        }
        if (!processor.Segments.TryReadDescriptor(selector, Vectors.InvalidTss, out Descriptor descriptor, out _))
        {
            return false;
        }
        if ((selector & 3u) != cpl || descriptor.Dpl != cpl || !descriptor.IsWritableData)
        {
            return processor.Segments.Fault(Vectors.InvalidTss, selector);
        }
        if (!descriptor.Present)
        {
            return processor.Segments.Fault(Vectors.StackFault, selector);
        }
        ss = descriptor.ToSegment(selector);
        return true;
    }
}
