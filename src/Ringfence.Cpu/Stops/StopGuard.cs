using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Stops;

/// <summary>Not an instruction: stands before one that may be a place to stop at, and knows at which address it has been reached.</summary>
internal static unsafe class StopGuard
{
    public static Op* Check(CpuState* s, Op* o)
    {
        if (Processor.Of(s).Stops is { } stops && stops.StopsAt((s->Rip + o->IpOffset + s->Cs.Base) & s->LinearMask))
        {
            s->Event = ExitEvent.Stop;
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }
}
