using System.Globalization;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Delivers exceptions and interrupts through the IVT or IDT (SDM 3A chapter 6), with double and triple faults.</summary>
internal sealed unsafe class EventDelivery(Processor processor)
{
    private readonly CpuState* _s = processor.State;
    /// <summary>The faults that may yet end in a shutdown, oldest first.</summary>
    private readonly List<Met> _path = [];

    private enum Source
    {
        Exception,
        External,
        Software,
    }

    /// <summary>So many faults, each met while the one before was delivered, are seen to at once.</summary>
    private const int MaximumInTurn = 8;

    /// <summary>An NMI is being handled: further ones wait for IRET.</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>The instruction that runs began with TF set: #DB follows it, unless an event is delivered first.</summary>
    public bool TrapPending { get; set; }

    public string? ShutdownReport { get; private set; }

    /// <summary>Delivers the fault recorded in the state, and what goes wrong on the way. At worst the state's event is shutdown, or a fault
    /// that is still to be delivered.</summary>
    public void DeliverFault()
    {
        Vectors vector = (Vectors)_s->FaultVector;
        uint error = _s->FaultError;
        _path.Clear();
        for (int inTurn = 0; ; inTurn++)
        {
            if (inTurn == MaximumInTurn)
            {
                // It may go on forever: #AC at level 3 on a stack that is not aligned. The outer loop looks whether someone waits.
                processor.Mmu.MetNonCanonical = false;
                (_s->Event, _s->FaultVector, _s->FaultError) = (ExitEvent.Fault, (uint)vector, error);
                return;
            }
            processor.Tasks.TakeSwitched();
            _path.Add(new Met(vector, error, _s->Cs.Selector, _s->Rip, _s->FaultAddress, false));
            if (vector == Vectors.PageFault)
            {
                _s->Cr2 = _s->FaultAddress;
            }
            if (Deliver((byte)vector, Source.Exception, HasErrorCode(vector), error))
            {
                return;
            }
            // Delivering it faulted: a second fault, a double fault, or the end (SDM 3A table 6-5).
            Vectors second = (Vectors)_s->FaultVector;
            _s->Event = ExitEvent.None;
            if (vector == Vectors.DoubleFault)
            {
                ShutdownReport = string.Join(", then ", _path.Select(Describe).Append($"{Mnemonic(second)} while delivering #DF"));
                _s->Event = ExitEvent.Shutdown;
                return;
            }
            if (second == Vectors.PageFault)
            {
                _s->Cr2 = _s->FaultAddress;
            }
            if ((IsContributory(vector) && IsContributory(second)) || (vector == Vectors.PageFault && (IsContributory(second) || second == Vectors.PageFault)))
            {
                _path.Add(new Met(second, 0, 0, 0, 0, true));
                vector = Vectors.DoubleFault;
                error = 0;
            }
            else
            {
                vector = second;
                error = _s->FaultError;
            }
        }
    }

    public void DeliverInterrupt(byte vector) => DeliverOrFault(vector, Source.External);

    public void DeliverNmi()
    {
        NmiBlocked = true;
        DeliverOrFault((byte)Vectors.Nmi, Source.External);
    }

    /// <summary>#DB after an instruction: it ran with TF set, met breakpoints, or switched to a task that asks for it.</summary>
    public void DeliverDebugTrap()
    {
        processor.Debugging.Pending |= TrapPending ? DebugBits.SingleStep : 0;
        processor.Debugging.TakePending();
        DeliverOrFault((byte)Vectors.Debug, Source.External);
    }

    /// <summary>INT n, INT3, INTO: RIP is past the instruction. A fault on the way is recorded, with RIP put back by the caller.</summary>
    /// <param name="privileged">The gate's privilege level is not looked at: INT1.</param>
    public bool TrySoftwareInterrupt(byte vector, bool privileged)
    {
        if (!Deliver(vector, privileged ? Source.External : Source.Software, false, 0))
        {
            return false;
        }
        if (privileged)
        {
            // INT1 is a debug exception: what was held back for one comes with it.
            processor.Debugging.TakePending();
        }
        return true;
    }

    private static bool HasErrorCode(Vectors vector) => vector is Vectors.DoubleFault or Vectors.InvalidTss or Vectors.SegmentNotPresent
        or Vectors.StackFault or Vectors.GeneralProtection or Vectors.PageFault or Vectors.AlignmentCheck;

    private static bool IsContributory(Vectors vector) => vector is Vectors.DivideError or Vectors.InvalidTss or Vectors.SegmentNotPresent
        or Vectors.StackFault or Vectors.GeneralProtection;

    private static string Describe(Met met) => met.Second ? Mnemonic(met.Vector)
        : string.Create(CultureInfo.InvariantCulture, $"{Mnemonic(met.Vector)}({met.Error:x}) at {met.Cs:x}:{met.Rip:x}")
            + (met.Vector == Vectors.PageFault ? string.Create(CultureInfo.InvariantCulture, $" cr2={met.Address:x}") : "");

    private static string Mnemonic(Vectors vector) => vector switch
    {
        Vectors.DivideError => "#DE",
        Vectors.Debug => "#DB",
        Vectors.Breakpoint => "#BP",
        Vectors.InvalidOpcode => "#UD",
        Vectors.DeviceNotAvailable => "#NM",
        Vectors.DoubleFault => "#DF",
        Vectors.InvalidTss => "#TS",
        Vectors.SegmentNotPresent => "#NP",
        Vectors.StackFault => "#SS",
        Vectors.GeneralProtection => "#GP",
        Vectors.PageFault => "#PF",
        Vectors.MathFault => "#MF",
        Vectors.SimdException => "#XM",
        _ => string.Create(CultureInfo.InvariantCulture, $"vector {(uint)vector}"),
    };

    private void DeliverOrFault(byte vector, Source source)
    {
        if (!Deliver(vector, source, false, 0))
        {
            _s->Event = ExitEvent.None;
            DeliverFault();
        }
    }

    private bool Deliver(byte vector, Source source, bool hasError, uint error)
    {
        // What runs next is the handler, not what the last block wanted to be linked to.
        _s->LinkSlot = null;
        // RF makes a fault's instruction begin past its breakpoint; the breakpoint's own handler sees to that itself (SDM 3B 18.3.1.1).
        bool resumes = source == Source.Exception && !(vector == (byte)Vectors.Debug && processor.Debugging.AtCode);
        ulong flags = Flags.Get(_s) | (resumes ? Flags.Resume : 0);
        bool delivered = (_s->Cr0 & ControlBits.ProtectedMode) == 0 ? DeliverReal(vector)
            : (_s->Efer & ControlBits.LongModeActive) != 0 ? DeliverLong(vector, source, flags, hasError, error)
            : DeliverProtected(vector, source, flags, hasError, error);
        if (delivered)
        {
            TrapPending = false;
            processor.Debugging.AtCode = false;
            if (vector == (byte)Vectors.Debug && source != Source.Software)
            {
                _s->Dr[7] &= ~DebugBits.GeneralDetect;
            }
        }
        else if (source != Source.Software && (Vectors)_s->FaultVector is Vectors.InvalidTss or Vectors.SegmentNotPresent or Vectors.StackFault
            or Vectors.GeneralProtection)
        {
            // The EXT flag: what the error code names was reached through an event, not by the program (SDM 3A 6.13).
            _s->FaultError |= 1;
        }
        return delivered;
    }

    private bool DeliverReal(byte vector)
    {
        uint at = vector * 4u;
        if (at + 3 > _s->IdtLimit)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, 0);
        }
        if (!processor.Mmu.ReadSystem(_s->IdtBase + at, out uint entry))
        {
            return false;
        }
        StackWriter stack = StackWriter.Current(processor, 2);
        if (!stack.Push(Flags.Get(_s)) || !stack.Push(_s->Cs.Selector) || !stack.Push(_s->Rip))
        {
            return false;
        }
        stack.Commit();
        _s->SystemFlags &= ~(ulong)(Flags.Interrupt | Flags.Trap | Flags.AlignmentCheck | Flags.Resume);
        _s->Cs.Selector = entry >> 16;
        _s->Cs.Base = (ulong)(entry >> 16) << 4;
        _s->Rip = entry & 0xFFFF;
        processor.ModeChanged();
        return true;
    }

    /// <summary>Error codes that name an IDT entry (SDM 3A 6.13).</summary>
    private bool GateFault(Vectors fault, byte vector)
    {
        Exits.Record(_s, fault, (vector * 8u) + 2);
        return false;
    }

    private bool DeliverLong(byte vector, Source source, ulong flags, bool hasError, uint error)
    {
        uint at = vector * 16u;
        if (at + 15 > _s->IdtLimit)
        {
            return GateFault(Vectors.GeneralProtection, vector);
        }
        if (!processor.Mmu.ReadSystem(_s->IdtBase + at, out DoubleQuadword entry))
        {
            return false;
        }
        Descriptor gate = new(entry.Low, entry.High);
        if (!gate.IsSystem || gate.Type is not (14 or 15) || (source == Source.Software && gate.Dpl < _s->Cpl))
        {
            return GateFault(Vectors.GeneralProtection, vector);
        }
        if (!gate.Present)
        {
            return GateFault(Vectors.SegmentNotPresent, vector);
        }
        ushort selector = gate.GateSelector;
        if (!TryReadHandlerCode(selector, true, out Descriptor code, out ulong address))
        {
            return false;
        }
        uint cpl = code.IsConforming ? _s->Cpl : code.Dpl;
        bool inward = cpl < _s->Cpl;
        ulong sp = _s->Gpr[4];
        if ((inward || gate.GateIst != 0) && !InnerStack.TryFind(processor, cpl, gate.GateIst, out _, out sp))
        {
            return false;
        }
        // 64-bit mode aligns the frame (SDM 3A 6.14.2), and asks nothing of SS.
        StackWriter stack = new(processor, 8, _s->Ss, sp & ~15UL, cpl, true);
        ulong* frame = stack.Reserve(hasError ? 6 : 5);
        if (frame != null)
        {
            *frame = error;
            frame += hasError ? 1 : 0;
            frame[0] = _s->Rip;
            frame[1] = _s->Cs.Selector;
            frame[2] = flags;
            frame[3] = _s->Gpr[4];
            frame[4] = _s->Ss.Selector;
        }
        else if (!stack.Push(_s->Ss.Selector) || !stack.Push(_s->Gpr[4]) || !stack.Push(flags) || !stack.Push(_s->Cs.Selector)
            || !stack.Push(_s->Rip) || (hasError && !stack.Push(error)))
        {
            return false;
        }
        if (!processor.Segments.EnterCode(code, address, (ushort)((selector & ~3u) | cpl), cpl, gate.GateOffset64))
        {
            return false;
        }
        stack.Commit();
        if (inward)
        {
            _s->Ss = new SegmentRegister { Selector = cpl, Attributes = SegmentAttributes.Unusable | (cpl << 5) };
        }
        EnterHandler(gate.Type == 14);
        return true;
    }

    private bool DeliverProtected(byte vector, Source source, ulong flags, bool hasError, uint error)
    {
        uint at = vector * 8u;
        if (at + 7 > _s->IdtLimit)
        {
            return GateFault(Vectors.GeneralProtection, vector);
        }
        if (!processor.Mmu.ReadSystem(_s->IdtBase + at, out ulong low))
        {
            return false;
        }
        Descriptor gate = new(low);
        if (!gate.IsSystem || gate.Type is not (5 or 6 or 7 or 14 or 15) || (source == Source.Software && gate.Dpl < _s->Cpl))
        {
            return GateFault(Vectors.GeneralProtection, vector);
        }
        if (!gate.Present)
        {
            return GateFault(Vectors.SegmentNotPresent, vector);
        }
        if (gate.Type == 5)
        {
            return processor.Tasks.Interrupt(gate, flags, hasError, error);
        }
        bool wide = gate.Type >= 14;
        int size = wide ? 4 : 2;
        ushort selector = gate.GateSelector;
        if (!TryReadHandlerCode(selector, false, out Descriptor code, out ulong address))
        {
            return false;
        }
        bool v86 = (_s->SystemFlags & Flags.Virtual8086) != 0;
        uint cpl = code.IsConforming ? _s->Cpl : code.Dpl;
        if (v86 && cpl != 0)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, selector);
        }
        SegmentRegister ss = _s->Ss;
        ulong sp = _s->Gpr[4];
        bool inward = cpl < _s->Cpl;
        if (inward && !InnerStack.TryFind(processor, cpl, 0, out ss, out sp))
        {
            return false;
        }
        StackWriter stack = inward ? new(processor, size, ss, sp, cpl, false) : StackWriter.Current(processor, size);
        if (v86 && !(stack.Push(_s->Gs.Selector) && stack.Push(_s->Fs.Selector) && stack.Push(_s->Ds.Selector) && stack.Push(_s->Es.Selector)))
        {
            return false;
        }
        if ((inward && !(stack.Push(_s->Ss.Selector) && stack.Push(_s->Gpr[4])))
            || !stack.Push(flags) || !stack.Push(_s->Cs.Selector) || !stack.Push(_s->Rip) || (hasError && !stack.Push(error)))
        {
            return false;
        }
        ulong offset = wide ? gate.GateOffset32 : gate.GateOffset32 & 0xFFFF;
        if (offset > code.Limit)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, 0);
        }
        // Code of the handler is not virtual-8086 code, whatever was interrupted.
        _s->SystemFlags &= ~(ulong)Flags.Virtual8086;
        if (!processor.Segments.EnterCode(code, address, (ushort)((selector & ~3u) | cpl), cpl, offset))
        {
            _s->SystemFlags |= v86 ? Flags.Virtual8086 : 0;
            return false;
        }
        stack.Commit();
        _s->Ss = ss;
        if (v86)
        {
            _s->Es = _s->Ds = _s->Fs = _s->Gs = new SegmentRegister { Attributes = SegmentAttributes.Unusable };
        }
        EnterHandler(gate.Type is 6 or 14);
        processor.ModeChanged();
        return true;
    }

    private bool TryReadHandlerCode(ushort selector, bool mustBeLong, out Descriptor code, out ulong address)
    {
        code = default;
        address = 0;
        if ((selector & ~3) == 0)
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, 0);
        }
        if (!processor.Segments.TryReadDescriptor(selector, Vectors.GeneralProtection, out code, out address))
        {
            return false;
        }
        if (!code.IsCode || code.Dpl > _s->Cpl || (mustBeLong && (!code.Long || code.Big)))
        {
            return processor.Segments.Fault(Vectors.GeneralProtection, selector);
        }
        return code.Present || processor.Segments.Fault(Vectors.SegmentNotPresent, selector);
    }

    private void EnterHandler(bool interruptGate)
    {
        ulong cleared = Flags.Trap | Flags.NestedTask | Flags.Resume | Flags.Virtual8086 | (interruptGate ? Flags.Interrupt : 0u);
        _s->SystemFlags &= ~cleared;
    }

    /// <param name="Second">Met while the one before was delivered: with that it made a double fault.</param>
    private readonly record struct Met(Vectors Vector, uint Error, uint Cs, ulong Rip, ulong Address, bool Second);
}
