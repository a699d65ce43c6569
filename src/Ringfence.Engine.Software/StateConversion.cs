using Ringfence.Cpu;
using Ringfence.Cpu.Apic;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Engine.Software;

/// <summary>Between the engine-neutral state and the processor's own.</summary>
internal static unsafe class StateConversion
{
    private const int PaePointers = 4;

    /// <summary>Everything but <see cref="VcpuState.Events"/>, part of which the vCPU keeps.</summary>
    public static VcpuState Save(Processor processor)
    {
        CpuState* s = processor.State;
        return new VcpuState
        {
            Registers = [.. new ReadOnlySpan<ulong>(s->Gpr, 16)],
            Rip = s->Rip,
            Rflags = Flags.Get(s),
            Es = From(s->Es),
            Cs = From(s->Cs),
            Ss = From(s->Ss),
            Ds = From(s->Ds),
            Fs = From(s->Fs),
            Gs = From(s->Gs),
            Ldtr = From(s->Ldtr),
            Tr = From(s->Tr),
            GdtBase = s->GdtBase,
            GdtLimit = (ushort)s->GdtLimit,
            IdtBase = s->IdtBase,
            IdtLimit = (ushort)s->IdtLimit,
            Cr0 = s->Cr0,
            Cr2 = s->Cr2,
            Cr3 = s->Cr3,
            Cr4 = s->Cr4,
            PaePointers = HoldsPointers(s) ? [.. new ReadOnlySpan<ulong>(s->Pdpte, PaePointers)] : null,
            Efer = s->Efer,
            TscOffset = s->TscOffset,
            Fpu = SaveFpu(s),
            Debug = new DebugRegisterState { Addresses = [s->Dr[0], s->Dr[1], s->Dr[2], s->Dr[3]], Status = s->Dr[6], Control = s->Dr[7] },
            Msrs = new MsrState { Values = processor.SaveMsrs() },
            Apic = From(processor.Apic.Save()),
            Paravirtual = processor.SaveParavirtual() is { } p
                ? new ParavirtualRegisters { TimeOffset = p.TimeOffset, Values = p.Registers, TimerExpiries = p.TimerExpiries } : new ParavirtualRegisters(),
        };
    }

    public static InterruptShadowKind Shadow(Processor processor) => (InterruptShadowKind)processor.State->InterruptShadow;

    /// <exception cref="ArgumentException">No such processor could be in that state.</exception>
    public static void Load(VcpuState state, Processor processor)
    {
        CpuState* s = processor.State;
        Check(state);
        processor.LoadMsrs(state.Msrs.Values);
        state.Registers.CopyTo(new Span<ulong>(s->Gpr, 16));
        s->Rip = state.Rip;
        Flags.Set(s, state.Rflags);
        s->Es = To(state.Es);
        s->Cs = To(state.Cs);
        s->Ss = To(state.Ss);
        s->Ds = To(state.Ds);
        s->Fs = To(state.Fs);
        s->Gs = To(state.Gs);
        s->Ldtr = To(state.Ldtr);
        s->Tr = To(state.Tr);
        s->GdtBase = state.GdtBase;
        s->GdtLimit = state.GdtLimit;
        s->IdtBase = state.IdtBase;
        s->IdtLimit = state.IdtLimit;
        s->Cr0 = state.Cr0;
        s->Cr2 = state.Cr2;
        s->Cr3 = state.Cr3;
        s->Cr4 = state.Cr4;
        s->Efer = state.Efer;
        s->TscOffset = state.TscOffset;
        // SS.DPL is the CPL, as VMX and SVM have it (SDM 3C 25.4.1).
        s->Cpl = (state.Cr0 & 1) == 0 ? 0 : s->Ss.Dpl;
        LoadFpu(state.Fpu, s);
        state.Debug.Addresses.CopyTo(new Span<ulong>(s->Dr, 4));
        s->Dr[6] = state.Debug.Status;
        s->Dr[7] = state.Debug.Control;
        s->InterruptShadow = (uint)state.Events.Shadow;
        processor.Apic.Restore(To(state.Apic));
        ParavirtualRegisters p = state.Paravirtual;
        processor.LoadParavirtual(new ParavirtualState(p.TimeOffset, p.Values, p.TimerExpiries));
    }

    /// <summary>What loading CR3 would have made of memory is replaced by what the processor held. To be called last.</summary>
    public static void LoadPointers(VcpuState state, Processor processor)
    {
        CpuState* s = processor.State;
        if (state.PaePointers is { } pointers && HoldsPointers(s))
        {
            pointers.CopyTo(new Span<ulong>(s->Pdpte, PaePointers));
        }
    }

    /// <summary>PAE paging is on (SDM 3A 4.4.1).</summary>
    private static bool HoldsPointers(CpuState* s)
    {
        const ulong Paging = 1UL << 31;
        const ulong Pae = 1 << 5;
        const ulong LongModeActive = 1 << 10;
        return (s->Cr0 & Paging) != 0 && (s->Cr4 & Pae) != 0 && (s->Efer & LongModeActive) == 0;
    }

    private static void Check(VcpuState state)
    {
        ApicState apic = state.Apic;
        bool whole = state.Registers.Length == 16 && state.Fpu.Stack.Length == 8 && state.Fpu.Vectors.Length == FpuState.VectorRegisters * FpuState.VectorBytes
            && state.Fpu.Opmasks.Length == 8 && state.Debug.Addresses.Length == 4 && apic.Request.Length == 8 && apic.Service.Length == 8 && apic.Trigger.Length == 8
            && apic.LocalVectors.Length == 6 && (state.PaePointers is null or { Length: PaePointers }) && state.Paravirtual.TimerExpiries.Length == ParavirtualRegisters.Timers;
        if (!whole || !Enum.IsDefined(state.Events.Activity) || !Enum.IsDefined(state.Events.Shadow))
        {
            throw new ArgumentException("the state is not one that a vCPU has saved", nameof(state));
        }
    }

    private static FpuState SaveFpu(CpuState* s)
    {
        X87State x87 = s->X87;
        X87Register[] stack = new X87Register[8];
        for (int i = 0; i < 8; i++)
        {
            Float80 value = x87.GetPhysical(x87.Top + i);
            stack[i] = new X87Register(value.Significand, value.SignExponent);
        }
        return new FpuState
        {
            Stack = stack,
            ControlWord = x87.ControlWord,
            StatusWord = x87.StatusWord,
            Tags = x87.Tags,
            Opcode = x87.Opcode,
            InstructionPointer = x87.InstructionPointer,
            InstructionSelector = x87.InstructionSelector,
            DataPointer = x87.DataPointer,
            DataSelector = x87.DataSelector,
            Mxcsr = s->Mxcsr,
            Vectors = [.. new ReadOnlySpan<byte>(s->Vectors, FpuState.VectorRegisters * FpuState.VectorBytes)],
            Opmasks = [.. new ReadOnlySpan<ulong>(s->Opmasks, 8)],
            Xcr0 = s->Xcr0,
            Pkru = s->Pkru,
        };
    }

    private static void LoadFpu(FpuState fpu, CpuState* s)
    {
        X87State x87 = default;
        x87.ControlWord = fpu.ControlWord;
        x87.StatusWord = fpu.StatusWord;
        x87.Tags = fpu.Tags;
        x87.Opcode = fpu.Opcode;
        x87.InstructionPointer = fpu.InstructionPointer;
        x87.InstructionSelector = fpu.InstructionSelector;
        x87.DataPointer = fpu.DataPointer;
        x87.DataSelector = fpu.DataSelector;
        for (int i = 0; i < 8; i++)
        {
            x87.SetPhysical(x87.Top + i, new Float80(fpu.Stack[i].Significand, fpu.Stack[i].SignExponent));
        }
        s->X87 = x87;
        s->Mxcsr = fpu.Mxcsr;
        fpu.Vectors.CopyTo(new Span<byte>(s->Vectors, FpuState.VectorRegisters * FpuState.VectorBytes));
        fpu.Opmasks.CopyTo(new Span<ulong>(s->Opmasks, 8));
        s->Xcr0 = fpu.Xcr0;
        s->Pkru = fpu.Pkru;
    }

    private static ApicState From(LocalApicState a) => new()
    {
        Base = a.Base,
        Id = a.Id,
        TaskPriority = a.TaskPriority,
        LogicalDestination = a.LogicalDestination,
        DestinationFormat = a.DestinationFormat,
        Spurious = a.Spurious,
        ErrorStatus = a.ErrorStatus,
        Errors = a.Errors,
        Command = a.Command,
        Request = a.Request,
        Service = a.Service,
        Trigger = a.Trigger,
        LocalVectors = a.LocalVectors,
        DivideConfiguration = a.DivideConfiguration,
        InitialCount = a.InitialCount,
        TimerStart = a.TimerStart,
        TimerArmed = a.TimerArmed,
        TscDeadline = a.TscDeadline,
        ExternalInterrupt = a.ExternalInterrupt,
        ExternalMessage = a.ExternalMessage,
    };

    private static LocalApicState To(ApicState a) => new(
        a.Base, a.Id, a.TaskPriority, a.LogicalDestination, a.DestinationFormat, a.Spurious, a.ErrorStatus, a.Errors, a.Command, a.Request, a.Service, a.Trigger,
        a.LocalVectors, a.DivideConfiguration, a.InitialCount, a.TimerStart, a.TimerArmed, a.TscDeadline, a.ExternalInterrupt, a.ExternalMessage);

    private static SegmentState From(in SegmentRegister s) => new((ushort)s.Selector, s.Base, s.Limit, s.Attributes);

    private static SegmentRegister To(SegmentState s) => new() { Selector = s.Selector, Base = s.Base, Limit = s.Limit, Attributes = s.Attributes };
}
