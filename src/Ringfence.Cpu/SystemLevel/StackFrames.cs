using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Pushes a frame on the present or a new stack; the stack pointer moves only at <see cref="Commit"/>, so a fault leaves it alone.</summary>
internal unsafe ref struct StackWriter
{
    /// <summary>The largest frame but that of virtual-8086 mode: five words and an error code.</summary>
    private const int Words = 6;

    private readonly Processor _processor;
    private readonly int _size;
    private readonly ulong _base;
    private readonly ulong _mask;
    private readonly bool _user;
    private readonly bool _current;
    private readonly SegmentRegister _segment;
    /// <summary>The host address of what lies above the room that was found at once, and how many bytes of it are left.</summary>
    private readonly byte* _top;
    private int _room;
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
        int room = Words * size;
        ulong bottom = (pointer & _mask) - (ulong)room;
        if ((pointer & _mask) >= (ulong)room && (wide || IsInside(bottom, room)))
        {
            byte* host = IsImplicit ? processor.Mmu.SystemRoom(LinearOf(bottom), room) : processor.Mmu.Room(LinearOf(bottom), room);
            _top = host + room;
            _room = host == null ? 0 : room;
        }
    }

    /// <summary>The stack as SS:rSP is now.</summary>
    public static StackWriter Current(Processor processor, int size)
    {
        CpuState* s = processor.State;
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        return new StackWriter(processor, size, s->Ss, s->Gpr[4], s->Cpl, wide, true);
    }

    /// <summary>So many words of 8 bytes in one piece on a stack of 64-bit mode, the last to be pushed first. Null: they are to be pushed one by one.</summary>
    public ulong* Reserve(int words)
    {
        int bytes = words * sizeof(ulong);
        if (_room < bytes)
        {
            return null;
        }
        _room -= bytes;
        _pointer -= (ulong)bytes;
        return (ulong*)(_top - ((Words * sizeof(ulong)) - _room));
    }

    public bool Push(ulong value)
    {
        CpuState* s = _processor.State;
        ulong pointer = (_pointer - (ulong)_size) & _mask;
        bool done;
        if (_room != 0)
        {
            _room -= _size;
            Store(_top - ((Words * _size) - _room), value);
            done = true;
        }
        else if (!IsInside(pointer, _size))
        {
            return _processor.Segments.Fault(Vectors.StackFault, _current || _mask == ulong.MaxValue ? 0 : _segment.Selector);
        }
        else if (!IsImplicit)
        {
            *(ulong*)s->Scratch = value;
            done = _processor.Mmu.Access(LinearOf(pointer), _size, AccessKind.Write, AccessKind.Write, s->Scratch);
        }
        else
        {
            done = _size switch
            {
                2 => _processor.Mmu.WriteSystem(LinearOf(pointer), (ushort)value),
                4 => _processor.Mmu.WriteSystem(LinearOf(pointer), (uint)value),
                _ => _processor.Mmu.WriteSystem(LinearOf(pointer), value),
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

    private readonly ulong LinearOf(ulong pointer) => _mask == ulong.MaxValue ? pointer : (uint)(_base + pointer);

    private readonly void Store(byte* host, ulong value)
    {
        switch (_size)
        {
            case 2: *(ushort*)host = (ushort)value; break;
            case 4: *(uint*)host = (uint)value; break;
            default: *(ulong*)host = value; break;
        }
    }

    private readonly bool IsInside(ulong pointer, int size)
    {
        if (_mask == ulong.MaxValue)
        {
            CpuState* s = _processor.State;
            return LinearAddress.IsCanonical(s, IsImplicit ? pointer : LinearAddress.Unmask(s, pointer));
        }
        fixed (SegmentRegister* segment = &_segment)
        {
            return SegmentGuard.Permits(_processor.State, segment, pointer, (ulong)size, true);
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
    /// <summary>What IRET pops.</summary>
    private const int Words = 5;

    private readonly Processor _processor;
    private readonly int _size;
    private readonly ulong _mask;
    /// <summary>The words that were found at once, or null.</summary>
    private readonly byte* _words;
    private ulong _offset;

    public StackReader(Processor processor, int size)
    {
        _processor = processor;
        _size = size;
        CpuState* s = processor.State;
        _mask = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? ulong.MaxValue : s->Ss.Is(SegmentAttributes.Big) ? uint.MaxValue : ushort.MaxValue;
        ulong start = s->Gpr[4] & _mask;
        if (start + Bytes - 1 <= _mask && (_mask == ulong.MaxValue || SegmentGuard.Permits(s, &s->Ss, start, Bytes, false)))
        {
            _words = processor.Mmu.Readable(_mask == ulong.MaxValue ? start : (uint)(s->Ss.Base + start), (int)Bytes);
        }
    }

    private readonly ulong Bytes => (ulong)(Words * _size);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Pop(out ulong value)
    {
        if (_words != null && _offset + (ulong)_size <= Bytes)
        {
            value = Load(_words + _offset);
            _offset += (ulong)_size;
            return true;
        }
        return PopSlowly(out value);
    }

    private bool PopSlowly(out ulong value)
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
        value = Load(s->Scratch);
        _offset += (ulong)_size;
        return done;
    }

    public void Skip(uint bytes) => _offset += bytes;

    private readonly ulong Load(byte* from) => _size switch
    {
        2 => *(ushort*)from,
        4 => *(uint*)from,
        _ => *(ulong*)from,
    };

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
