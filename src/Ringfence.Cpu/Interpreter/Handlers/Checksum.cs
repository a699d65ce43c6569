using System.Numerics;
using System.Runtime.CompilerServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>CRC32: the CRC-32C of the destination's low 32 bits and the source, zero-extended, bits reflected and not inverted.</summary>
internal readonly unsafe struct Crc32<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Checksum.Crc32<TOperand, T>;
}

internal static unsafe class Checksum
{
    /// <summary><typeparamref name="T"/> is the source's width.</summary>
    public static Op* Crc32<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<ulong>(s, o->Destination, Accumulate<T>((uint)Width.Get<uint>(s, o->Destination), value));
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Accumulate<T>(uint crc, ulong value)
    {
        if (sizeof(T) == 1)
        {
            return BitOperations.Crc32C(crc, (byte)value);
        }
        if (sizeof(T) == 2)
        {
            return BitOperations.Crc32C(crc, (ushort)value);
        }
        if (sizeof(T) == 4)
        {
            return BitOperations.Crc32C(crc, (uint)value);
        }
        return BitOperations.Crc32C(crc, value);
    }
}
