using System.Runtime.CompilerServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Ways out of a block. All return null: back to the outer loop.</summary>
internal static unsafe class Exits
{
    /// <summary>A fault already recorded in the state: leaves with RIP at this instruction.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Abort(CpuState* s, Op* o)
    {
        s->Rip += o->IpOffset;
        s->Retired += o->Ordinal;
        s->LinkSlot = null;
        return null;
    }

    /// <summary>Between two iterations of a repeated string instruction. RF lets it go on past a breakpoint on it (SDM 3B 18.3.1.1).</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Between(CpuState* s, Op* o)
    {
        s->SystemFlags |= Flags.Resume;
        return Abort(s, o);
    }

    /// <summary>Raises an exception with RIP at this instruction.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* Fault(CpuState* s, Op* o, Vectors vector, uint error = 0)
    {
        Record(s, vector, error);
        return Abort(s, o);
    }

    /// <summary>Records an exception without leaving yet.</summary>
    public static void Record(CpuState* s, Vectors vector, uint error = 0)
    {
        s->Event = ExitEvent.Fault;
        s->FaultVector = (uint)vector;
        s->FaultError = error;
    }

    /// <summary>Done with this instruction: leaves with RIP at the next one.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static Op* After(CpuState* s, Op* o)
    {
        s->Rip += (ulong)o->IpOffset + o->Length;
        s->Retired += o->Ordinal + 1;
        s->LinkSlot = null;
        return null;
    }
}

/// <summary>Exception vectors (SDM 3A 6.3.1).</summary>
public enum Vectors : uint
{
    DivideError = 0,
    Debug = 1,
    Nmi = 2,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    MathFault = 16,
    AlignmentCheck = 17,
    MachineCheck = 18,
    SimdException = 19,
}
