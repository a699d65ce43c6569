using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>CMPXCHG16B (SDM 2 CMPXCHG8B/CMPXCHG16B): atomic with LOCK or without.</summary>
internal static unsafe class WideCompare
{
    public static Op* Cmpxchg16B(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        if ((linear & 15) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        if (!Exchange(s, linear))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Exchange(CpuState* s, ulong linear)
    {
        UInt128 expected = new(s->Gpr[2], s->Gpr[0]);
        UInt128 replacement = new(s->Gpr[1], s->Gpr[3]);
        UInt128* p = (UInt128*)SlowAccess.Locate(s, linear, sizeof(UInt128));
        UInt128 old;
        if (p == s->Scratch)
        {
            // All other processors stand still.
            old = *p;
            *p = old == expected ? replacement : old;
            GuestAccess.Settle(s);
        }
        else if (p != null)
        {
            old = WideExchange.CompareExchange(p, replacement, expected);
            GuestAccess.Settle(s);
        }
        else
        {
            if (s->Event != ExitEvent.None || !GuestAccess.ReadForWrite(s, linear, out old))
            {
                return false;
            }
            GuestAccess.Write(s, linear, old == expected ? replacement : old);
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (old == expected ? Flags.Zero : 0));
        if (old != expected)
        {
            s->Gpr[0] = (ulong)old;
            s->Gpr[2] = (ulong)(old >> 64);
        }
        return true;
    }
}
