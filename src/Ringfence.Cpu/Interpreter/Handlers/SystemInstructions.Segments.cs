using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Segment registers, descriptor tables, and what asks about descriptors.</summary>
internal static unsafe partial class SystemInstructions
{
    /// <summary>SMSW, SLDT, STR to a register: <see cref="Op.Extra"/> says which.</summary>
    public static Op* StoreSystemR<T>(CpuState* s, Op* o)
    {
        if (IsBarredFromUsers(s))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Width.Set<T>(s, o->Destination, SystemWord(s, o));
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreSystemM(CpuState* s, Op* o)
    {
        if (IsBarredFromUsers(s))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)SystemWord(s, o)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>LGDT (<see cref="Op.Extra"/> 0) and LIDT (1). The operand is 6 bytes, 10 in 64-bit mode; with a 16-bit operand size 24 bits of base count.</summary>
    public static Op* LoadTable(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong linear = Wide.Linear(s, o);
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        ulong tableBase;
        if (!GuestAccess.Read(s, linear, out ushort limit))
        {
            return Exits.Abort(s, o);
        }
        if (wide)
        {
            if (!GuestAccess.Read(s, linear + 2, out tableBase))
            {
                return Exits.Abort(s, o);
            }
            if (!LinearAddress.IsCanonicalForRegisters(Processor.Of(s).Model, tableBase))
            {
                return Exits.Fault(s, o, Vectors.GeneralProtection);
            }
        }
        else
        {
            if (!GuestAccess.Read(s, (linear + 2) & s->LinearMask, out uint narrow))
            {
                return Exits.Abort(s, o);
            }
            tableBase = o->Immediate == 2 ? narrow & 0xFF_FFFF : narrow;
        }
        if (o->Extra == 0)
        {
            s->GdtBase = tableBase;
            s->GdtLimit = limit;
        }
        else
        {
            s->IdtBase = tableBase;
            s->IdtLimit = limit;
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreTable(CpuState* s, Op* o)
    {
        if (IsBarredFromUsers(s))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong linear = Wide.Linear(s, o);
        ulong tableBase = o->Extra == 0 ? s->GdtBase : s->IdtBase;
        ushort limit = (ushort)(o->Extra == 0 ? s->GdtLimit : s->IdtLimit);
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        bool done = GuestAccess.Write(s, linear, limit)
            && (wide ? GuestAccess.Write(s, linear + 2, tableBase) : GuestAccess.Write(s, (linear + 2) & s->LinearMask, (uint)tableBase));
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>LLDT (<see cref="Op.Extra"/> 0) and LTR (1).</summary>
    public static Op* LoadSystemSegment<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong selector))
        {
            return Exits.Abort(s, o);
        }
        SegmentLoader loader = Processor.Of(s).Segments;
        bool done = o->Extra == 0 ? loader.LoadLdt((ushort)selector) : loader.LoadTask((ushort)selector);
        if (!done)
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MOV to a segment register, whose number is <see cref="Op.Extra"/>.</summary>
    public static Op* MovToSegment<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<ushort>(s, o, out ulong selector) || !Processor.Of(s).Segments.LoadData(o->Extra, (ushort)selector))
        {
            return Exits.Abort(s, o);
        }
        s->InterruptShadow = o->Extra == 2 ? InterruptShadow.MovSs : InterruptShadow.None;
        return Exits.After(s, o);
    }

    public static Op* MovFromSegmentR<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, o->Destination, (&s->Es + o->Extra)->Selector);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovFromSegmentM(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)(&s->Es + o->Extra)->Selector))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PushSegment<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!Stack.TryPush<TStack, T>(s, (&s->Es + o->Extra)->Selector))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* PopSegment<TStack, T>(CpuState* s, Op* o)
        where TStack : struct, IStack
    {
        if (!Stack.TryPeek<TStack, T>(s, 0, out ulong selector) || !Processor.Of(s).Segments.LoadData(o->Extra, (ushort)selector))
        {
            return Exits.Abort(s, o);
        }
        TStack.Set(s, TStack.Get(s) + (ulong)sizeof(T));
        s->InterruptShadow = o->Extra == 2 ? InterruptShadow.MovSs : InterruptShadow.None;
        return Exits.After(s, o);
    }

    /// <summary>LDS, LES, LFS, LGS, LSS: <see cref="Op.Extra"/> is the segment register.</summary>
    public static Op* LoadPointer<T>(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.Read(s, linear, out T offset) || !GuestAccess.Read(s, (linear + (ulong)sizeof(T)) & s->LinearMask, out ushort selector)
            || !Processor.Of(s).Segments.LoadData(o->Extra, selector))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, Width.From(offset));
        return Exits.After(s, o);
    }

    public static Op* Swapgs(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        (s->Gs.Base, s->KernelGsBase) = (s->KernelGsBase, s->Gs.Base);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>VERR, VERW, LAR, LSL: <see cref="Op.Extra"/> 0 to 3.</summary>
    public static Op* Probe<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong raw))
        {
            return Exits.Abort(s, o);
        }
        ushort selector = (ushort)raw;
        bool found = Processor.Of(s).Segments.TryProbe(selector, out Descriptor descriptor, out bool faulted);
        if (faulted)
        {
            return Exits.Abort(s, o);
        }
        bool visible = found && (descriptor.IsConforming || Math.Max(s->Cpl, selector & 3u) <= descriptor.Dpl);
        bool longMode = (s->Efer & ControlBits.LongModeActive) != 0;
        // Which system descriptors LAR and LSL accept: SDM 2 LAR, LSL.
        uint accepted = o->Extra == 2 ? (longMode ? 0x1A04u : 0x1A3Eu) : longMode ? 0xA04u : 0xA0Eu;
        bool ok = visible && o->Extra switch
        {
            0 => descriptor.IsReadable,
            1 => descriptor.IsWritableData,
            _ => !descriptor.IsSystem || ((accepted >> (int)descriptor.Type) & 1) != 0,
        };
        if (ok && o->Extra >= 2)
        {
            Width.Set<T>(s, o->Destination, o->Extra == 2 ? (descriptor.Attributes & 0xF0FFu) << 8 : descriptor.Limit);
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (ok ? Flags.Zero : 0));
        o++;
        return o->Handler(s, o);
    }

    public static Op* Arpl<TOperand>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if ((s->Mode & CodeMode.Protected) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (!TOperand.Get<ushort>(s, o, out ulong selector))
        {
            return Exits.Abort(s, o);
        }
        ulong rpl = Width.Get<ushort>(s, o->Source) & 3;
        bool raise = (selector & 3) < rpl;
        if (raise)
        {
            selector = (selector & ~3UL) | rpl;
            if (typeof(TOperand) == typeof(MemoryValue))
            {
                if (o->Segment != Slots.Zero
                    && !SegmentGuard.Permits(s, (SegmentRegister*)((byte*)s + o->Segment), Plain.Linear(s, o) & o->AddressMask, sizeof(ushort), true))
                {
                    return Exits.Fault(s, o, o->Segment == Slots.Segment(2) ? Vectors.StackFault : Vectors.GeneralProtection);
                }
                if (!GuestAccess.Write(s, Wide.Linear(s, o), (ushort)selector))
                {
                    return Exits.Abort(s, o);
                }
            }
            else
            {
                Width.Set<ushort>(s, o->Destination, selector);
            }
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (raise ? Flags.Zero : 0));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>User-mode instruction prevention (SDM 3A 2.5): SGDT, SIDT, SLDT, SMSW and STR tell users nothing.</summary>
    private static bool IsBarredFromUsers(CpuState* s) => s->Cpl != 0 && (s->Cr4 & ControlBits.Umip) != 0;

    private static ulong SystemWord(CpuState* s, Op* o) => o->Extra switch
    {
        0 => s->Ldtr.Selector,
        1 => s->Tr.Selector,
        _ => s->Cr0,
    };
}
