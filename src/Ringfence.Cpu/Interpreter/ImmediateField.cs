using Iced.Intel;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Immediates that may change under a decoded block. Code that rewrites itself mostly rewrites one of those, as do tracing tools and
/// generated code: then the op gets its new one and the block stays as it is. Only for instructions whose handler was chosen without looking at it.
/// An immediate is the last of its instruction (SDM 2A 2.1).
/// </summary>
internal static unsafe class ImmediateField
{
    private const byte BytesMask = 15;
    private const byte Signed = 16;

    /// <summary>For <see cref="Op.Field"/>: size and sign, or 0.</summary>
    public static byte Of(in Instruction instruction)
    {
        if (instruction.OpCount != 2 || instruction.Mnemonic is not (Mnemonic.Mov or Mnemonic.Add or Mnemonic.Or or Mnemonic.Adc or Mnemonic.Sbb
            or Mnemonic.And or Mnemonic.Sub or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test))
        {
            return 0;
        }
        return instruction.Op1Kind switch
        {
            OpKind.Immediate8 => 1,
            OpKind.Immediate16 => 2,
            OpKind.Immediate32 => 4,
            OpKind.Immediate64 => 8,
            OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 => 1 | Signed,
            OpKind.Immediate32to64 => 4 | Signed,
            _ => 0,
        };
    }

    /// <summary>Takes over what was written to a block, if it is all of one immediate.</summary>
    /// <param name="code">The block's bytes as they are now.</param>
    /// <param name="at">Where in the block something was written.</param>
    public static bool TryAmend(Op* ops, int count, byte* code, int at, int bytes)
    {
        for (Op* op = ops; op < ops + count; op++)
        {
            int end = op->IpOffset + op->Length;
            int size = op->Field & BytesMask;
            if (size == 0 || at < end - size || at + bytes > end)
            {
                continue;
            }
            byte* field = code + end - size;
            op->Immediate = op->Field switch
            {
                1 => *field,
                2 => *(ushort*)field,
                4 => *(uint*)field,
                8 => *(ulong*)field,
                1 | Signed => (ulong)*(sbyte*)field,
                _ => (ulong)*(int*)field,
            };
            return true;
        }
        return false;
    }
}
