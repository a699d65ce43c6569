using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.Vector;

internal static unsafe class ArithmeticFlags
{
    /// <summary>The six arithmetic flags, as RFLAGS has them.</summary>
    public static uint Of(CpuState* s) => Flags.Get(s);
}
