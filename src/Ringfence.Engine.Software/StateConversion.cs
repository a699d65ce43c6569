using Ringfence.Cpu.State;

namespace Ringfence.Engine.Software;

/// <summary>Between the engine-neutral state and the processor's own.</summary>
internal static unsafe class StateConversion
{
    public static VcpuState Save(CpuState* s)
    {
        ulong[] registers = new ulong[16];
        for (int i = 0; i < 16; i++)
        {
            registers[i] = s->Gpr[i];
        }
        return new VcpuState
        {
            Registers = registers,
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
            Efer = s->Efer,
        };
    }

    public static void Load(VcpuState state, CpuState* s)
    {
        for (int i = 0; i < 16; i++)
        {
            s->Gpr[i] = state.Registers[i];
        }
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
        // SS.DPL is the CPL, as VMX and SVM have it (SDM 3C 25.4.1).
        s->Cpl = (state.Cr0 & 1) == 0 ? 0 : s->Ss.Dpl;
    }

    private static SegmentState From(in SegmentRegister s) => new((ushort)s.Selector, s.Base, s.Limit, s.Attributes);

    private static SegmentRegister To(SegmentState s) => new() { Selector = s.Selector, Base = s.Base, Limit = s.Limit, Attributes = s.Attributes };
}
