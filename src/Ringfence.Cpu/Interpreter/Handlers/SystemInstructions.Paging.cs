using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>What concerns translations and the rights to pages.</summary>
internal static unsafe partial class SystemInstructions
{
    public static Op* Invlpg(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor.Of(s).Mmu.FlushPage(Wide.Linear(s, o));
        return ControlFlow.GoOn(s, o);
    }

    /// <summary>INVPCID: the kind in <see cref="Op.Destination"/>, of T's width; the descriptor in memory is a PCID and an address.</summary>
    public static Op* Invpcid<T>(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong scope = Width.Get<T>(s, o->Destination);
        if (scope > (ulong)InvalidationScope.AllButGlobal)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.Read(s, linear, out ulong pcid) || !GuestAccess.Read(s, (linear + 8) & s->LinearMask, out ulong address))
        {
            return Exits.Abort(s, o);
        }
        Processor processor = Processor.Of(s);
        bool names = scope <= (ulong)InvalidationScope.Context;
        if (pcid > ControlBits.PcidMask || (names && pcid != 0 && (s->Cr4 & ControlBits.Pcid) == 0)
            || (scope == (ulong)InvalidationScope.Address && !LinearAddress.IsCanonicalForRegisters(processor.Model, address)))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        processor.Mmu.Invalidate((InvalidationScope)scope, (uint)pcid, address);
        return ControlFlow.GoOn(s, o);
    }

    /// <summary>STAC.</summary>
    public static Op* SetAc(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        s->SystemFlags |= Flags.AlignmentCheck;
        s->Tlb = s->TlbSupervisorAc;
        o++;
        return o->Handler(s, o);
    }

    /// <summary>CLAC.</summary>
    public static Op* ClearAc(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        s->SystemFlags &= ~(ulong)Flags.AlignmentCheck;
        s->Tlb = (s->Cr4 & ControlBits.Smap) != 0 ? s->TlbSupervisor : s->TlbSupervisorAc;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Rdpkru(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.ProtectionKeys) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((uint)s->Gpr[1] != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Gpr[0] = s->Pkru;
        s->Gpr[2] = 0;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Wrpkru(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.ProtectionKeys) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((uint)s->Gpr[1] != 0 || (uint)s->Gpr[2] != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        Processor.Of(s).Registers.WritePkru((uint)s->Gpr[0]);
        o++;
        return o->Handler(s, o);
    }
}
