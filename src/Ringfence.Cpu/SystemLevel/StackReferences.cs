using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.SystemLevel;

/// <summary>Tells whether the instruction that met a non-canonical address met it through the stack: #SS instead of #GP (SDM 1 3.3.7.1).
/// Looked at only when it happens, so that no access pays for it.</summary>
internal static unsafe class StackReferences
{
    /// <param name="instruction">The instruction at RIP, 64-bit code.</param>
    public static bool IsThroughStack(CpuState* s, in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Memory when instruction.MemorySegment == Iced.Intel.Register.SS:
                    return true;
                case OpKind.Memory when !IsCanonical(s, in instruction):
                    return false;
                case OpKind.MemorySegSI or OpKind.MemorySegESI or OpKind.MemorySegRSI or OpKind.MemoryESDI or OpKind.MemoryESEDI or OpKind.MemoryESRDI
                    or OpKind.MemorySegDI or OpKind.MemorySegEDI or OpKind.MemorySegRDI:
                    return false;
            }
        }
        return instruction.IsStackInstruction;
    }

    private static bool IsCanonical(CpuState* s, in Instruction instruction)
    {
        ulong address = instruction.MemoryDisplacement64;
        if (!instruction.IsIPRelativeMemoryOperand)
        {
            address += Width.Get<ulong>(s, Slots.Of(instruction.MemoryBase));
            address += Width.Get<ulong>(s, Slots.Of(instruction.MemoryIndex)) * (ulong)instruction.MemoryIndexScale;
        }
        address += instruction.MemorySegment switch
        {
            Iced.Intel.Register.FS => s->Fs.Base,
            Iced.Intel.Register.GS => s->Gs.Base,
            _ => 0,
        };
        ulong last = address + (ulong)Math.Max(instruction.MemorySize.GetSize(), 1) - 1;
        return LinearAddress.IsCanonical(s, LinearAddress.Unmask(s, address)) && LinearAddress.IsCanonical(s, LinearAddress.Unmask(s, last));
    }
}
