using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>MOV to and from debug registers (SDM 3B 18.2).</summary>
internal static unsafe partial class SystemInstructions
{
    /// <summary>What is 1 whatever is written.</summary>
    private const ulong Dr6Fixed = 0xFFFF_0FF0;
    private const ulong Dr7Fixed = 0x400;
    private const ulong Dr6Writable = DebugBits.Conditions | DebugBits.GeneralDetect | DebugBits.SingleStep | DebugBits.TaskSwitch;
    /// <summary>Enables, conditions and lengths, and GD. There is no RTM.</summary>
    private const ulong Dr7Writable = 0xFFFF_23FF;

    public static Op* MovFromDebug(CpuState* s, Op* o)
    {
        if (!MayUseDebugRegister(s, o))
        {
            return Exits.Abort(s, o);
        }
        ulong value = s->Dr[DebugRegister(s, o)];
        Width.Set<ulong>(s, o->Destination, (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? value : (uint)value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovToDebug(CpuState* s, Op* o)
    {
        if (!MayUseDebugRegister(s, o))
        {
            return Exits.Abort(s, o);
        }
        int number = DebugRegister(s, o);
        ulong value = Width.Get<ulong>(s, o->Source);
        value = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? value : (uint)value;
        if (number >= 6 && (value >> 32) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        s->Dr[number] = number switch
        {
            6 => (value & Dr6Writable) | Dr6Fixed,
            7 => (value & Dr7Writable) | Dr7Fixed,
            _ => value,
        };
        if (number != 6)
        {
            Processor.Of(s).Debugging.Update();
        }
        return Exits.After(s, o);
    }

    /// <summary>The register, the level, and DR7.GD; if it may not, the fault is recorded.</summary>
    private static bool MayUseDebugRegister(CpuState* s, Op* o)
    {
        if (DebugRegister(s, o) < 0)
        {
            Exits.Record(s, Vectors.InvalidOpcode);
            return false;
        }
        if (s->Cpl != 0)
        {
            Exits.Record(s, Vectors.GeneralProtection);
            return false;
        }
        if ((s->Dr[7] & DebugBits.GeneralDetect) != 0)
        {
            s->Dr[6] |= DebugBits.GeneralDetect;
            Exits.Record(s, Vectors.Debug);
            return false;
        }
        return true;
    }

    /// <summary>DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist: -1.</summary>
    private static int DebugRegister(CpuState* s, Op* o) => o->Extra is not (4 or 5) ? o->Extra : (s->Cr4 & ControlBits.DebugExtensions) == 0 ? o->Extra + 2 : -1;
}
