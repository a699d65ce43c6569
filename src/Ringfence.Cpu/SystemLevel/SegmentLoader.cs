using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Loads segment registers with all the checks of SDM 3A 5.5 to 5.8, and makes far transfers. False: the fault is recorded, nothing changed.</summary>
internal sealed unsafe class SegmentLoader(Processor processor)
{
    public const uint TypeLdt = 2;
    private const uint TypeAvailableTss = 9;
    private const uint TypeAvailableTss16 = 1;
    private const uint TypeBusy = 2;

    private readonly CpuState* _s = processor.State;

    private bool LongMode
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => (_s->Efer & ControlBits.LongModeActive) != 0;
    }

    private bool RealOrV86 => (_s->Mode & CodeMode.Protected) == 0;

    /// <summary>MOV, POP, LxS to a data segment register or SS. <paramref name="number"/> is in encoding order: ES CS SS DS FS GS.</summary>
    public bool LoadData(int number, ushort selector)
    {
        SegmentRegister* segment = &_s->Es + number;
        if (RealOrV86)
        {
            // Only selector and base change: limits stay, which is what makes "unreal" mode.
            segment->Selector = selector;
            segment->Base = (ulong)selector << 4;
            if ((_s->SystemFlags & Flags.Virtual8086) != 0)
            {
                segment->Limit = 0xFFFF;
                segment->Attributes = 0xF3;
            }
            else
            {
                // A register that protected mode left null is usable again.
                segment->Limit = segment->Usable ? segment->Limit : 0xFFFF;
                segment->Attributes = (segment->Attributes & (SegmentAttributes.Big | SegmentAttributes.Granular)) | 0x93;
            }
            processor.ModeChanged();
            return true;
        }
        uint rpl = selector & 3u;
        bool stack = number == 2;
        if ((selector & ~3) == 0)
        {
            if (stack && !((_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 && _s->Cpl != 3 && rpl == _s->Cpl))
            {
                return Fault(Vectors.GeneralProtection, 0);
            }
            *segment = new SegmentRegister { Selector = selector, Attributes = SegmentAttributes.Unusable | (stack ? _s->Cpl << 5 : 0) };
            processor.ModeChanged();
            return true;
        }
        if (!TryReadDescriptor(selector, Vectors.GeneralProtection, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (stack)
        {
            if (rpl != _s->Cpl || !descriptor.IsWritableData || descriptor.Dpl != _s->Cpl)
            {
                return Fault(Vectors.GeneralProtection, selector);
            }
        }
        else if (!descriptor.IsReadable || (!descriptor.IsConforming && Math.Max(_s->Cpl, rpl) > descriptor.Dpl))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!descriptor.Present)
        {
            return Fault(stack ? Vectors.StackFault : Vectors.SegmentNotPresent, selector);
        }
        if (!MarkAccessed(descriptor, address))
        {
            return false;
        }
        *segment = descriptor.ToSegment(selector);
        segment->Attributes |= SegmentAttributes.Accessed;
        processor.ModeChanged();
        return true;
    }

    public bool LoadLdt(ushort selector)
    {
        if ((selector & ~3) == 0)
        {
            _s->Ldtr = new SegmentRegister { Selector = selector, Attributes = SegmentAttributes.Unusable };
            return true;
        }
        if ((selector & 4) != 0)
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!TryReadSystemDescriptor(selector, out Descriptor descriptor, out _))
        {
            return false;
        }
        if (!descriptor.IsSystem || descriptor.Type != TypeLdt)
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!descriptor.Present)
        {
            return Fault(Vectors.SegmentNotPresent, selector);
        }
        if (LongMode && !LinearAddress.IsCanonicalForRegisters(processor.Model, descriptor.Base64))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        _s->Ldtr = descriptor.ToSegment(selector, LongMode);
        return true;
    }

    public bool LoadTask(ushort selector)
    {
        if ((selector & ~3) == 0 || (selector & 4) != 0)
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!TryReadSystemDescriptor(selector, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (!descriptor.IsSystem || !(descriptor.Type == TypeAvailableTss || (descriptor.Type == TypeAvailableTss16 && !LongMode)))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!descriptor.Present)
        {
            return Fault(Vectors.SegmentNotPresent, selector);
        }
        if (LongMode && !LinearAddress.IsCanonicalForRegisters(processor.Model, descriptor.Base64))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!processor.Mmu.WriteSystem(address + 5, (byte)(descriptor.Attributes | TypeBusy)))
        {
            return false;
        }
        _s->Tr = descriptor.ToSegment(selector, LongMode);
        _s->Tr.Attributes |= TypeBusy;
        return true;
    }

    /// <summary>JMP far. <paramref name="returnIp"/> is where this task would go on.</summary>
    public bool JumpFar(ushort selector, ulong offset, ulong returnIp)
    {
        if (RealOrV86)
        {
            return GoReal(selector, offset);
        }
        if (!TryReadTransfer(selector, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (!descriptor.IsSystem)
        {
            return CheckDirectCode(descriptor, selector) && EnterCode(descriptor, address, (ushort)((selector & ~3u) | _s->Cpl), _s->Cpl, offset);
        }
        if (!LongMode && TaskSwitcher.IsTask(descriptor))
        {
            return processor.Tasks.Transfer(selector, descriptor, TaskTransfer.Jump, returnIp);
        }
        if (!TryReadGate(descriptor, selector, address, out ushort target, out ulong gateOffset, out Descriptor code, out ulong codeAddress))
        {
            return false;
        }
        if (!code.IsCode || (code.IsConforming ? code.Dpl > _s->Cpl : code.Dpl != _s->Cpl))
        {
            return Fault(Vectors.GeneralProtection, target);
        }
        return EnterCode(code, codeAddress, (ushort)((target & ~3u) | _s->Cpl), _s->Cpl, gateOffset);
    }

    /// <summary>CALL far. <paramref name="returnIp"/> is the next instruction's offset, <paramref name="operandSize"/> 2, 4 or 8.</summary>
    public bool CallFar(ushort selector, ulong offset, int operandSize, ulong returnIp)
    {
        StackWriter stack = StackWriter.Current(processor, operandSize);
        if (RealOrV86)
        {
            return stack.Push(_s->Cs.Selector) && stack.Push(returnIp) && GoReal(selector, offset) && stack.Commit();
        }
        if (!TryReadTransfer(selector, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if (!descriptor.IsSystem)
        {
            return CheckDirectCode(descriptor, selector) && stack.Push(_s->Cs.Selector) && stack.Push(returnIp)
                && EnterCode(descriptor, address, (ushort)((selector & ~3u) | _s->Cpl), _s->Cpl, offset) && stack.Commit();
        }
        if (!LongMode && TaskSwitcher.IsTask(descriptor))
        {
            return processor.Tasks.Transfer(selector, descriptor, TaskTransfer.Call, returnIp);
        }
        if (!TryReadGate(descriptor, selector, address, out ushort target, out ulong gateOffset, out Descriptor code, out ulong codeAddress))
        {
            return false;
        }
        int gateSize = LongMode ? 8 : descriptor.Type == 4 ? 2 : 4;
        if (!code.IsCode || code.Dpl > _s->Cpl)
        {
            return Fault(Vectors.GeneralProtection, target);
        }
        if (code.IsConforming || code.Dpl == _s->Cpl)
        {
            stack = StackWriter.Current(processor, gateSize);
            return stack.Push(_s->Cs.Selector) && stack.Push(returnIp)
                && EnterCode(code, codeAddress, (ushort)((target & ~3u) | _s->Cpl), _s->Cpl, gateOffset) && stack.Commit();
        }
        return CallInward(descriptor, target, gateOffset, code, codeAddress, gateSize, returnIp);
    }

    /// <summary>RET far; <paramref name="release"/> bytes of parameters are dropped.</summary>
    public bool ReturnFar(int operandSize, uint release)
    {
        StackReader stack = new(processor, operandSize);
        if (!stack.Pop(out ulong ip) || !stack.Pop(out ulong rawSelector))
        {
            return false;
        }
        ushort selector = (ushort)rawSelector;
        if (RealOrV86)
        {
            return GoReal(selector, ip) && stack.Commit(release);
        }
        return ReturnTo(ref stack, selector, ip, release, false, 0, operandSize);
    }

    /// <summary>IRET. Real mode, protected mode and long mode; a return to virtual-8086 mode, or to the task that this one interrupted.</summary>
    /// <param name="next">Where a task that is left goes on.</param>
    public bool ReturnFromInterrupt(int operandSize, ulong next)
    {
        StackReader stack = new(processor, operandSize);
        if ((_s->SystemFlags & Flags.NestedTask) != 0 && !RealOrV86)
        {
            return LongMode ? Fault(Vectors.GeneralProtection, 0) : processor.Tasks.Return(next);
        }
        bool v86 = (_s->SystemFlags & Flags.Virtual8086) != 0;
        bool virtualFlag = v86 && (_s->SystemFlags & Flags.Iopl) != Flags.Iopl;
        if (virtualFlag && !VirtualInterrupts.HasFlagsImage(_s, operandSize))
        {
            return Fault(Vectors.GeneralProtection, 0);
        }
        if (!stack.Pop(out ulong ip) || !stack.Pop(out ulong rawSelector) || !stack.Pop(out ulong flags))
        {
            return false;
        }
        ushort selector = (ushort)rawSelector;
        if (virtualFlag)
        {
            if (!VirtualInterrupts.MaySet(_s, flags))
            {
                return Fault(Vectors.GeneralProtection, 0);
            }
            if (!GoReal(selector, ip))
            {
                return false;
            }
            VirtualInterrupts.Set(_s, flags);
            return stack.Commit(0);
        }
        if (RealOrV86)
        {
            ulong keep = v86 ? Flags.Iopl | Flags.Virtual8086 | Flags.VirtualInterrupt | Flags.VirtualInterruptPending : 0;
            if (!GoReal(selector, ip))
            {
                return false;
            }
            stack.Commit(0);
            SetFlags(flags, keep, operandSize);
            return true;
        }
        if (!LongMode && operandSize == 4 && (flags & Flags.Virtual8086) != 0 && _s->Cpl == 0)
        {
            return ReturnToVirtual8086(ref stack, selector, ip, flags);
        }
        return ReturnTo(ref stack, selector, ip, 0, true, flags, operandSize);
    }

    /// <summary>Reads a descriptor from the GDT or LDT. A selector beyond its table raises <paramref name="vector"/> with the selector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryReadDescriptor(ushort selector, Vectors vector, out Descriptor descriptor, out ulong address)
    {
        descriptor = default;
        if (!TryLocate(selector, 8, out address))
        {
            return Fault(vector, selector);
        }
        if (!processor.Mmu.ReadSystem(address, out ulong low))
        {
            return false;
        }
        descriptor = new Descriptor(low);
        return true;
    }

    /// <summary>As <see cref="TryReadDescriptor"/>, but no fault for a selector that names nothing: LAR, LSL, VERR, VERW.</summary>
    public bool TryProbe(ushort selector, out Descriptor descriptor, out bool faulted)
    {
        descriptor = default;
        faulted = false;
        if ((selector & ~3) == 0 || !TryLocate(selector, 8, out ulong address))
        {
            return false;
        }
        if (!processor.Mmu.ReadSystem(address, out ulong low))
        {
            faulted = true;
            return false;
        }
        descriptor = new Descriptor(low);
        return true;
    }

    /// <summary>Loads CS with a checked descriptor and goes to an offset.</summary>
    public bool EnterCode(in Descriptor descriptor, ulong address, ushort selector, uint cpl, ulong offset)
    {
        bool code64 = LongMode && descriptor.Long;
        if (LongMode && descriptor.Long && descriptor.Big)
        {
            return Fault(Vectors.GeneralProtection, selector & ~3u);
        }
        if (!descriptor.Present)
        {
            return Fault(Vectors.SegmentNotPresent, selector & ~3u);
        }
        if (code64 ? !LinearAddress.IsCanonical(_s, offset) : (uint)offset > descriptor.Limit)
        {
            return Fault(Vectors.GeneralProtection, 0);
        }
        if (!MarkAccessed(descriptor, address))
        {
            return false;
        }
        _s->Cs = descriptor.ToSegment(selector);
        _s->Cs.Attributes |= SegmentAttributes.Accessed;
        if (code64)
        {
            _s->Cs.Base = 0;
        }
        // Of all that the mode is made of, only CS and the privilege are other ones.
        bool same = code64 && (_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 && cpl == _s->Cpl;
        _s->Cpl = cpl;
        _s->Rip = code64 ? offset : (uint)offset;
        if (!same)
        {
            processor.ModeChanged();
        }
        return true;
    }

    /// <summary>The segments of virtual-8086 mode, in encoding order.</summary>
    public bool LoadVirtual(ReadOnlySpan<ushort> selectors)
    {
        for (int i = 0; i < 6; i++)
        {
            *(&_s->Es + i) = new SegmentRegister { Selector = selectors[i], Base = (ulong)selectors[i] << 4, Limit = 0xFFFF, Attributes = 0xF3 };
        }
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool MarkAccessed(in Descriptor descriptor, ulong address) =>
        descriptor.IsAccessed || processor.Mmu.WriteSystem(address + 5, (byte)(descriptor.Attributes | SegmentAttributes.Accessed));

    public bool Fault(Vectors vector, uint selector)
    {
        Exits.Record(_s, vector, selector & 0xFFFC);
        return false;
    }

    private bool GoReal(ushort selector, ulong offset)
    {
        if ((uint)offset > _s->Cs.Limit)
        {
            return Fault(Vectors.GeneralProtection, 0);
        }
        _s->Cs.Selector = selector;
        _s->Cs.Base = (ulong)selector << 4;
        _s->Rip = (uint)offset;
        processor.ModeChanged();
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryLocate(ushort selector, uint size, out ulong address)
    {
        uint index = selector & ~7u;
        bool local = (selector & 4) != 0;
        ulong tableBase = local ? _s->Ldtr.Base : _s->GdtBase;
        uint limit = local ? _s->Ldtr.Limit : _s->GdtLimit;
        address = tableBase + index;
        return index + size - 1 <= limit && (!local || _s->Ldtr.Usable);
    }

    /// <summary>A descriptor that in long mode is 16 bytes long.</summary>
    private bool TryReadSystemDescriptor(ushort selector, out Descriptor descriptor, out ulong address)
    {
        descriptor = default;
        if (!TryLocate(selector, LongMode ? 16u : 8u, out address))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        ulong high = 0;
        if (!processor.Mmu.ReadSystem(address, out ulong low) || (LongMode && !processor.Mmu.ReadSystem(address + 8, out high)))
        {
            return false;
        }
        descriptor = new Descriptor(low, high);
        return true;
    }

    private bool TryReadTransfer(ushort selector, out Descriptor descriptor, out ulong address)
    {
        descriptor = default;
        address = 0;
        return (selector & ~3) == 0 ? Fault(Vectors.GeneralProtection, 0) : TryReadDescriptor(selector, Vectors.GeneralProtection, out descriptor, out address);
    }

    private bool CheckDirectCode(in Descriptor descriptor, ushort selector)
    {
        uint rpl = selector & 3u;
        bool allowed = descriptor.IsCode && (descriptor.IsConforming ? descriptor.Dpl <= _s->Cpl : rpl <= _s->Cpl && descriptor.Dpl == _s->Cpl);
        return allowed || Fault(Vectors.GeneralProtection, selector);
    }

    /// <summary>Reads a call gate and the code descriptor it names. Task gates and TSSs are not followed: #GP.</summary>
    private bool TryReadGate(in Descriptor gate, ushort selector, ulong address, out ushort target, out ulong offset, out Descriptor code, out ulong codeAddress)
    {
        target = gate.GateSelector;
        offset = gate.GateOffset32;
        code = default;
        codeAddress = 0;
        if (!(gate.Type == 12 || (gate.Type == 4 && !LongMode)) || gate.Dpl < _s->Cpl || gate.Dpl < (selector & 3u))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!gate.Present)
        {
            return Fault(Vectors.SegmentNotPresent, selector);
        }
        if (gate.Type == 4)
        {
            offset &= 0xFFFF;
        }
        if (LongMode)
        {
            if (!TryLocate(selector, 16, out _))
            {
                return Fault(Vectors.GeneralProtection, selector);
            }
            if (!processor.Mmu.ReadSystem(address + 8, out ulong high))
            {
                return false;
            }
            offset |= high << 32;
        }
        if ((target & ~3) == 0)
        {
            return Fault(Vectors.GeneralProtection, 0);
        }
        if (!TryReadDescriptor(target, Vectors.GeneralProtection, out code, out codeAddress))
        {
            return false;
        }
        if (LongMode && (!code.Long || code.Big))
        {
            return Fault(Vectors.GeneralProtection, target);
        }
        return true;
    }

    private bool CallInward(
        in Descriptor gate, ushort target, ulong offset, in Descriptor code, ulong codeAddress, int gateSize, ulong returnIp)
    {
        uint inner = code.Dpl;
        SegmentRegister oldSs = _s->Ss;
        ulong oldSp = _s->Gpr[4];
        uint parameters = LongMode ? 0 : gate.GateCount;
        Span<ulong> copied = stackalloc ulong[31];
        StackReader old = new(processor, gateSize);
        for (int i = 0; i < parameters; i++)
        {
            if (!old.Pop(out copied[i]))
            {
                return false;
            }
        }
        if (!InnerStack.TryFind(processor, inner, 0, out SegmentRegister ss, out ulong sp))
        {
            return false;
        }
        StackWriter stack = new(processor, gateSize, ss, sp, inner, LongMode);
        if (!stack.Push(oldSs.Selector) || !stack.Push(oldSp))
        {
            return false;
        }
        for (int i = (int)parameters - 1; i >= 0; i--)
        {
            if (!stack.Push(copied[i]))
            {
                return false;
            }
        }
        if (!stack.Push(_s->Cs.Selector) || !stack.Push(returnIp)
            || !EnterCode(code, codeAddress, (ushort)((target & ~3u) | inner), inner, offset))
        {
            return false;
        }
        stack.Commit();
        _s->Ss = ss;
        processor.ModeChanged();
        return true;
    }

    /// <summary>The common end of RET far and IRET in protected and long mode (SDM 2 RET, IRET).</summary>
    private bool ReturnTo(ref StackReader stack, ushort selector, ulong ip, uint release, bool interrupt, ulong flags, int operandSize)
    {
        uint rpl = selector & 3u;
        if ((selector & ~3) == 0)
        {
            return Fault(Vectors.GeneralProtection, 0);
        }
        if (!TryReadDescriptor(selector, Vectors.GeneralProtection, out Descriptor code, out ulong address))
        {
            return false;
        }
        if (!code.IsCode || rpl < _s->Cpl || (code.IsConforming ? code.Dpl > rpl : code.Dpl != rpl))
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        uint oldCpl = _s->Cpl;
        bool outward = rpl != oldCpl;
        bool from64 = (_s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        if (!outward && !(interrupt && from64))
        {
            if (!EnterCode(code, address, selector, rpl, ip))
            {
                return false;
            }
            stack.Commit(release);
        }
        else
        {
            stack.Skip(release);
            if (!stack.Pop(out ulong sp) || !stack.Pop(out ulong rawSs))
            {
                return false;
            }
            ushort ssSelector = (ushort)rawSs;
            if (!TryReadReturnStack(ssSelector, rpl, LongMode && code.Long, out SegmentRegister ss) || !EnterCode(code, address, selector, rpl, ip))
            {
                return false;
            }
            _s->Ss = ss;
            bool wide = LongMode && code.Long;
            if (wide)
            {
                _s->Gpr[4] = sp + release;
            }
            else if (ss.Is(SegmentAttributes.Big))
            {
                _s->Gpr[4] = (uint)(sp + release);
            }
            else
            {
                _s->Gpr[4] = (_s->Gpr[4] & ~0xFFFFUL) | (ushort)(sp + release);
            }
            if (outward)
            {
                DropInaccessible(rpl);
            }
            if (!wide)
            {
                processor.ModeChanged();
            }
        }
        if (interrupt)
        {
            uint iopl = (uint)(_s->SystemFlags & Flags.Iopl) >> 12;
            ulong keep = Flags.Virtual8086 | (oldCpl == 0 ? 0 : Flags.Iopl | Flags.VirtualInterrupt | Flags.VirtualInterruptPending)
                | (oldCpl > iopl ? Flags.Interrupt : 0);
            SetFlags(flags, keep, operandSize);
        }
        return true;
    }

    private bool TryReadReturnStack(ushort selector, uint rpl, bool to64, out SegmentRegister ss)
    {
        if ((selector & ~3) == 0)
        {
            ss = new SegmentRegister { Selector = selector, Attributes = SegmentAttributes.Unusable | (rpl << 5) };
            return (to64 && rpl != 3 && (selector & 3u) == rpl) || Fault(Vectors.GeneralProtection, 0);
        }
        ss = default;
        if (!TryReadDescriptor(selector, Vectors.GeneralProtection, out Descriptor descriptor, out ulong address))
        {
            return false;
        }
        if ((selector & 3u) != rpl || !descriptor.IsWritableData || descriptor.Dpl != rpl)
        {
            return Fault(Vectors.GeneralProtection, selector);
        }
        if (!descriptor.Present)
        {
            return Fault(Vectors.StackFault, selector);
        }
        ss = descriptor.ToSegment(selector);
        ss.Attributes |= SegmentAttributes.Accessed;
        return MarkAccessed(descriptor, address);
    }

    /// <summary>After a return outward, data segments that the new CPL may not use become null (SDM 3A 5.8.6).</summary>
    private void DropInaccessible(uint cpl)
    {
        ReadOnlySpan<int> data = [0, 3, 4, 5];
        foreach (int number in data)
        {
            SegmentRegister* segment = &_s->Es + number;
            bool conforming = segment->Is(SegmentAttributes.Code) && segment->Is(SegmentAttributes.Conforming);
            if (segment->Usable && segment->Dpl < cpl && !conforming)
            {
                *segment = new SegmentRegister { Base = LongMode ? segment->Base : 0, Attributes = SegmentAttributes.Unusable };
            }
            else if (segment->Selector <= 3)
            {
                // Null has a DPL of 0: its selector too becomes 0.
                segment->Selector = 0;
            }
        }
    }

    private bool ReturnToVirtual8086(ref StackReader stack, ushort selector, ulong ip, ulong flags)
    {
        Span<ulong> words = stackalloc ulong[6];
        foreach (ref ulong word in words)
        {
            if (!stack.Pop(out word))
            {
                return false;
            }
        }
        Flags.Set(_s, flags);
        _s->Cpl = 3;
        // Pushed as ESP SS ES DS FS GS.
        LoadVirtual([(ushort)words[2], selector, (ushort)words[1], (ushort)words[3], (ushort)words[4], (ushort)words[5]]);
        _s->Gpr[4] = (uint)words[0];
        _s->Rip = (ushort)ip;
        processor.ModeChanged();
        processor.NoteInterrupts();
        return true;
    }

    private void SetFlags(ulong flags, ulong keep, int operandSize)
    {
        ulong old = Flags.Get(_s);
        ulong reach = operandSize == 2 ? 0xFFFF : ulong.MaxValue;
        keep |= ~reach;
        Flags.Set(_s, (flags & ~keep) | (old & keep));
        ulong changed = old ^ _s->SystemFlags;
        if ((changed & Flags.Virtual8086) != 0)
        {
            processor.ModeChanged();
        }
        else if ((changed & Flags.AlignmentCheck) != 0)
        {
            processor.Mmu.SelectTlb();
        }
        processor.NoteInterrupts();
    }
}
