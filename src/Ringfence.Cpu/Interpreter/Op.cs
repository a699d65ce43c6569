using System.Runtime.InteropServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// One decoded instruction: the handler that executes it and its operands, by offset into <see cref="CpuState"/>. A block is an array of them.
/// A handler does its work and ends in <c>op++; return op->Handler(s, op);</c>, which the JIT makes a jump: threaded code. The last of a
/// block returns the next block's first op, or null to go back to the outer loop. If the JIT does not make it a jump, the stack grows by
/// at most a block's length of frames.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct Op
{
    public delegate*<CpuState*, Op*, Op*> Handler;

    /// <summary>The immediate, sign-extended to 64 bits. Direct jumps keep the link to the taken block here: <see cref="Taken"/>.</summary>
    public ulong Immediate;

    /// <summary>0xFFFF, 0xFFFFFFFF or ~0: the address size. Direct jumps keep the link to the block that follows here: <see cref="NotTaken"/>.</summary>
    public ulong AddressMask;

    /// <summary>Displacement of the memory operand, or of a direct jump's target from the start of the block.</summary>
    public int Displacement;

    /// <summary>Offset in <see cref="CpuState"/> of the base register (RIP included), <see cref="CpuState.Zero"/> if none.</summary>
    public ushort Base;

    /// <summary>Likewise the index register.</summary>
    public ushort Index;

    /// <summary>Likewise the segment base.</summary>
    public ushort Segment;

    /// <summary>Offset in <see cref="CpuState"/> of the first register operand (its low byte; AH is one further than AL).</summary>
    public ushort Destination;

    /// <summary>Offset in <see cref="CpuState"/> of the second register operand.</summary>
    public ushort Source;

    /// <summary>From the block's start to this instruction, in bytes.</summary>
    public ushort IpOffset;

    /// <summary>Shift of the index register: 0 to 3.</summary>
    public byte Scale;

    /// <summary>Length of the instruction in bytes, 1 to 15.</summary>
    public byte Length;

    /// <summary>How many instructions of the block come before this one.</summary>
    public byte Ordinal;

    /// <summary>A small operand that fits nowhere else; its meaning is the handler's.</summary>
    public byte Extra;

    /// <summary>Offset in <see cref="CpuState"/> of an instruction's first source where that is not its destination.</summary>
    public ushort First;

    /// <summary>What <see cref="Immediate"/> is made of if nothing else depends on it: see <see cref="ImmediateField"/>. 0 otherwise.</summary>
    public byte Field;

    public Op* Taken
    {
        readonly get => (Op*)Immediate;
        set => Immediate = (ulong)value;
    }

    public Op* NotTaken
    {
        readonly get => (Op*)AddressMask;
        set => AddressMask = (ulong)value;
    }
}

/// <summary>Remembers which block a linear address led to. Right only while the page is still mapped to the same host memory.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct JumpCacheEntry
{
    public ulong Linear;
    /// <summary>Host address of the first code byte: identifies the physical page.</summary>
    public ulong HostCode;
    public Op* Ops;
    public ulong Mode;
}
