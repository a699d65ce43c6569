using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Random numbers, segment bases, processor ID, cache lines, performance counters: small instructions that came with features of their own.</summary>
internal static unsafe class StateInstructions
{
    private const ulong LineSize = 64;
    private const uint FsBase = 0xC000_0100;
    private const uint GsBase = 0xC000_0101;

    /// <summary>RDRAND and RDSEED: always something to give, so CF is set and the other flags are clear.</summary>
    public static Op* Random<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, o->Destination, HostRandom.Next());
        Flags.SetArithmetic(s, Flags.Carry);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>RDPID: no more than IA32_TSC_AUX.</summary>
    public static Op* Rdpid(CpuState* s, Op* o)
    {
        Width.Set<ulong>(s, o->Destination, (uint)s->TscAux);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>RDFSBASE and RDGSBASE; <see cref="Op.Extra"/> is 1 for GS.</summary>
    public static Op* ReadBase<T>(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.FsGsBase) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        Width.Set<T>(s, o->Destination, o->Extra == 0 ? s->Fs.Base : s->Gs.Base);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>WRFSBASE and WRGSBASE. They refuse what the MSRs refuse.</summary>
    public static Op* WriteBase<T>(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.FsGsBase) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (!Processor.Of(s).Msrs.Write(o->Extra == 0 ? FsBase : GsBase, Width.Get<T>(s, o->Destination)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>CLZERO (APM 3): zeroes the line that the operand, rAX, lies in.</summary>
    public static Op* Clzero(CpuState* s, Op* o)
    {
        if (!ClearLine(s, Wide.Linear(s, o) & ~(LineSize - 1)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>RDPMC (SDM 2): there are no counters, so every number is #GP, whatever CR4.PCE says.</summary>
    public static Op* Rdpmc(CpuState* s, Op* o) => Exits.Fault(s, o, Vectors.GeneralProtection);

    /// <summary>MONITOR: <see cref="Op"/>'s operand is rAX. Extensions in rCX there are none, hints in rDX are for nothing.</summary>
    public static Op* Monitor(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if ((uint)s->Gpr[1] != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.Read(s, linear, out byte _) || !Processor.Of(s).Monitor.Arm(linear))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MWAIT. Bit 0 of ECX: masked interrupts end it too.</summary>
    public static Op* Mwait(CpuState* s, Op* o)
    {
        if (s->Cpl != 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        if (((uint)s->Gpr[1] & ~1u) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (Processor.Of(s).Monitor.Wait((s->Gpr[1] & 1) != 0))
        {
            s->Event = ExitEvent.Wait;
        }
        return Exits.After(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool ClearLine(CpuState* s, ulong linear)
    {
        for (ulong at = 0; at < LineSize; at += sizeof(ulong))
        {
            if (!GuestAccess.Write(s, linear + at, 0UL))
            {
                return false;
            }
        }
        return true;
    }
}
