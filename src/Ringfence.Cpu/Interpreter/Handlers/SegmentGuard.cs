using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// Ops that are no instructions: they stand before one whose memory operands must be checked against their segments' limits and rights
/// (SDM 3A 5.3, 5.5), and go on to it or raise its #GP(0) or #SS(0). Flat and 64-bit code has none of them.
/// </summary>
internal static unsafe class SegmentGuard
{
    /// <summary>Bits of <see cref="Op.Extra"/>.</summary>
    public const byte Writes = 1;
    /// <summary>The instruction has a repeat prefix.</summary>
    public const byte Repeats = 2;
    /// <summary>A debug exception may follow any iteration: one at a time.</summary>
    public const byte OneByOne = 4;
    /// <summary>The destination of a string instruction is written.</summary>
    public const byte WritesDestination = 8;

    /// <summary>Whether <paramref name="size"/> bytes at <paramref name="offset"/> lie in the segment and may be accessed so.</summary>
    public static bool Permits(CpuState* s, SegmentRegister* segment, ulong offset, ulong size, bool write)
    {
        uint attributes = segment->Attributes;
        bool expandDown = false;
        if ((s->Mode & CodeMode.Protected) != 0)
        {
            bool code = (attributes & SegmentAttributes.Code) != 0;
            bool capable = write ? !code && (attributes & SegmentAttributes.Writable) != 0 : !code || (attributes & SegmentAttributes.Writable) != 0;
            if ((attributes & SegmentAttributes.Unusable) != 0 || !capable)
            {
                return false;
            }
            expandDown = !code && (attributes & SegmentAttributes.ExpandDown) != 0;
        }
        ulong last = offset + size - 1;
        return expandDown
            ? offset > segment->Limit && last <= ((attributes & SegmentAttributes.Big) != 0 ? uint.MaxValue : ushort.MaxValue)
            : last <= segment->Limit;
    }

    /// <summary>An explicit memory operand: addressing fields as in the instruction's op, its size in <see cref="Op.Immediate"/>.</summary>
    public static Op* Operand(CpuState* s, Op* o)
    {
        ulong offset = (Memory.Plain.Linear(s, o) & o->AddressMask);
        return Check(s, o, offset);
    }

    /// <summary>XLAT: the base register plus AL.</summary>
    public static Op* Table(CpuState* s, Op* o) => Check(s, o, (Width.Get<ulong>(s, o->Base) + (byte)s->Gpr[0]) & o->AddressMask);

    /// <summary>A bit string addressed by a register, <see cref="Op.Source"/>; the operand size is the immediate.</summary>
    public static Op* BitString(CpuState* s, Op* o)
    {
        long index = o->Immediate switch
        {
            2 => (short)Width.Get<ushort>(s, o->Source) >> 4 << 1,
            4 => (int)Width.Get<uint>(s, o->Source) >> 5 << 2,
            _ => (long)Width.Get<ulong>(s, o->Source) >> 6 << 3,
        };
        return Check(s, o, (Memory.Plain.Linear(s, o) + (ulong)index) & o->AddressMask);
    }

    /// <summary>Pushes: <see cref="Op.Immediate"/> elements of <see cref="Op.Displacement"/> bytes below the stack pointer.</summary>
    public static Op* Push(CpuState* s, Op* o)
    {
        ulong mask = StackMask(s);
        for (ulong i = 1; i <= o->Immediate; i++)
        {
            if (!Permits(s, &s->Ss, (s->Gpr[4] - (i * (ulong)o->Displacement)) & mask, (ulong)o->Displacement, true))
            {
                return Exits.Fault(s, o, Vectors.StackFault);
            }
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Pops, likewise, above the stack pointer; or above rBP when <see cref="Op.Base"/> says so.</summary>
    public static Op* Pop(CpuState* s, Op* o)
    {
        ulong mask = StackMask(s);
        for (ulong i = 0; i < o->Immediate; i++)
        {
            if (!Permits(s, &s->Ss, (Width.Get<ulong>(s, o->Base) + (i * (ulong)o->Displacement)) & mask, (ulong)o->Displacement, false))
            {
                return Exits.Fault(s, o, Vectors.StackFault);
            }
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>ENTER's reads of the older frames' pointers: <see cref="Op.Immediate"/> of them below rBP.</summary>
    public static Op* Display(CpuState* s, Op* o)
    {
        ulong mask = StackMask(s);
        for (ulong i = 1; i <= o->Immediate; i++)
        {
            if (!Permits(s, &s->Ss, (s->Gpr[5] - (i * (ulong)o->Displacement)) & mask, (ulong)o->Displacement, false))
            {
                return Exits.Fault(s, o, Vectors.StackFault);
            }
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>
    /// A string instruction: <see cref="Op.Segment"/> and <see cref="Op.Source"/> are source and destination segments or
    /// <see cref="Slots.Zero"/>, <see cref="Op.Displacement"/> is the element size, <see cref="Op.AddressMask"/> the address size. If not all
    /// iterations may be made, the count is cut to those that may; <see cref="EndOfString"/> gives the rest back, and the instruction
    /// begins again, to fault with its registers as they then are.
    /// </summary>
    public static Op* String(CpuState* s, Op* o)
    {
        ulong count = (o->Extra & Repeats) != 0 ? s->Gpr[1] & o->AddressMask : 1;
        ulong possible = count;
        if (count != 0 && o->Segment != Slots.Zero)
        {
            ulong elements = Elements(s, (SegmentRegister*)((byte*)s + o->Segment), s->Gpr[6] & o->AddressMask, o, false);
            if (elements == 0)
            {
                return Refuse(s, o);
            }
            possible = Math.Min(possible, elements);
        }
        if (count != 0 && o->Source != Slots.Zero)
        {
            ulong elements = Elements(s, &s->Es, s->Gpr[7] & o->AddressMask, o, (o->Extra & WritesDestination) != 0);
            if (elements == 0)
            {
                return Exits.Fault(s, o, Vectors.GeneralProtection);
            }
            possible = Math.Min(possible, elements);
        }
        if ((o->Extra & OneByOne) != 0)
        {
            possible = Math.Min(possible, 1);
        }
        if (possible < count)
        {
            s->RepeatRest = count - possible;
            s->Gpr[1] -= s->RepeatRest;
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Stands after a string instruction with a repeat prefix whose guard may have cut its count. Its <see cref="Op.IpOffset"/> is
    /// the instruction's own, so that leaving here repeats it; <see cref="Op.Extra"/> is the kind of comparison, 0 if none.</summary>
    public static Op* EndOfString(CpuState* s, Op* o)
    {
        if (s->RepeatRest == 0)
        {
            o++;
            return o->Handler(s, o);
        }
        bool ended = (s->Gpr[1] & o->AddressMask) != 0 || (o->Extra != 0 && Flags.IsZero(s) != (o->Extra == Strings.RepeatWhileEqual));
        s->Gpr[1] += s->RepeatRest;
        s->RepeatRest = 0;
        if (!ended)
        {
            bool traps = (s->SystemFlags & Flags.Trap) != 0 || Processor.Of(s).Debugging.Pending != 0;
            return traps ? Exits.Between(s, o) : Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>How many elements a string instruction may do from an offset on, 0 if the first is refused already.</summary>
    private static ulong Elements(CpuState* s, SegmentRegister* segment, ulong offset, Op* o, bool write)
    {
        ulong size = (ulong)o->Displacement;
        if (!Permits(s, segment, offset, size, write))
        {
            return 0;
        }
        bool expandDown = (s->Mode & CodeMode.Protected) != 0 && (segment->Attributes & (SegmentAttributes.Code | SegmentAttributes.ExpandDown)) == SegmentAttributes.ExpandDown;
        ulong room;
        if ((s->SystemFlags & Flags.Direction) != 0)
        {
            ulong bottom = expandDown ? segment->Limit + 1UL : 0;
            room = offset - bottom + size;
        }
        else
        {
            ulong top = expandDown ? segment->Is(SegmentAttributes.Big) ? uint.MaxValue : ushort.MaxValue : segment->Limit;
            room = Math.Min(top, o->AddressMask) - offset + 1;
        }
        // The address size may wrap in the middle of an element that the limit permits.
        return Math.Max(room / size, 1);
    }

    private static Op* Check(CpuState* s, Op* o, ulong offset)
    {
        if (Permits(s, (SegmentRegister*)((byte*)s + o->Segment), offset, o->Immediate, (o->Extra & Writes) != 0))
        {
            o++;
            return o->Handler(s, o);
        }
        return Refuse(s, o);
    }

    /// <summary>Records the exception for an access that <see cref="Permits"/> denies.</summary>
    public static void RecordRefusal(CpuState* s, Op* o) =>
        Exits.Record(s, o->Segment == Slots.Segment(2) ? Vectors.StackFault : Vectors.GeneralProtection);

    private static Op* Refuse(CpuState* s, Op* o)
    {
        RecordRefusal(s, o);
        return Exits.Abort(s, o);
    }

    private static ulong StackMask(CpuState* s) => (s->Mode & CodeMode.Stack32) != 0 ? uint.MaxValue : ushort.MaxValue;
}
