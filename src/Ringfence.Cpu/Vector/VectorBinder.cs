using Iced.Intel;
using Ringfence.Cpu.Interpreter;

namespace Ringfence.Cpu.Vector;

/// <summary>Chooses handlers for MMX, SSE and SSE2 instructions.</summary>
internal static unsafe class VectorBinder
{
    /// <summary>Fills <paramref name="op"/>'s handler for <paramref name="instruction"/>. The memory operand's fields, the immediate and the
    /// register offsets are already set. False if the instruction is not one of ours.</summary>
    public static bool Bind(in Instruction instruction, Op* op) => false;
}
