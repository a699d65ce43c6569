using Iced.Intel;
using Ringfence.Cpu.Interpreter;

namespace Ringfence.Cpu.Vector;

/// <summary>Chooses handlers for MMX, SSE, SSE2 and the SSE instructions after them.</summary>
internal static unsafe partial class VectorBinder
{
    /// <summary>Fills <paramref name="op"/>'s handler for <paramref name="instruction"/>. The memory operand's fields, the immediate and the
    /// register offsets are already set; some instructions move offsets to a lane or replace the immediate. False if the instruction is
    /// not one of ours.</summary>
    public static bool Bind(in Instruction instruction, Op* op)
    {
        var site = new Site(instruction, op);
        return BindMove(site) || BindInteger(site) || BindFloat(site) || BindConversion(site) || BindExtension(site);
    }
}
