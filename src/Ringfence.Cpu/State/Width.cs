using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.State;

/// <summary>Operands of 8, 16, 32 and 64 bits, named by byte, ushort, uint and ulong. Arithmetic is done in 64 bits; bits above the width are noise.
/// (Chains of ifs, not switches: a dead switch arm with a cast of another size keeps the JIT from making tail jumps.)</summary>
internal static unsafe class Width
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong SignExtend<T>(ulong value)
    {
        if (sizeof(T) == 1)
        {
            return (ulong)(sbyte)value;
        }
        if (sizeof(T) == 2)
        {
            return (ulong)(short)value;
        }
        if (sizeof(T) == 4)
        {
            return (ulong)(int)value;
        }
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Truncate<T>(ulong value)
    {
        if (sizeof(T) == 1)
        {
            return (byte)value;
        }
        if (sizeof(T) == 2)
        {
            return (ushort)value;
        }
        if (sizeof(T) == 4)
        {
            return (uint)value;
        }
        return value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong From<T>(T value)
    {
        if (sizeof(T) == 1)
        {
            return Unsafe.BitCast<T, byte>(value);
        }
        if (sizeof(T) == 2)
        {
            return Unsafe.BitCast<T, ushort>(value);
        }
        if (sizeof(T) == 4)
        {
            return Unsafe.BitCast<T, uint>(value);
        }
        return Unsafe.BitCast<T, ulong>(value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T To<T>(ulong value)
    {
        if (sizeof(T) == 1)
        {
            return Unsafe.BitCast<byte, T>((byte)value);
        }
        if (sizeof(T) == 2)
        {
            return Unsafe.BitCast<ushort, T>((ushort)value);
        }
        if (sizeof(T) == 4)
        {
            return Unsafe.BitCast<uint, T>((uint)value);
        }
        return Unsafe.BitCast<ulong, T>(value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNegative<T>(ulong value) => (long)(value << (64 - (8 * sizeof(T)))) < 0;

    /// <summary>The operand at an offset of the state, zero-extended.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Get<T>(CpuState* s, ushort offset)
    {
        if (sizeof(T) == 1)
        {
            return *((byte*)s + offset);
        }
        if (sizeof(T) == 2)
        {
            return *(ushort*)((byte*)s + offset);
        }
        if (sizeof(T) == 4)
        {
            return *(uint*)((byte*)s + offset);
        }
        return *(ulong*)((byte*)s + offset);
    }

    /// <summary>Writes a general register: 32-bit writes clear the upper half, narrower ones keep the rest (SDM 1 3.4.1.1).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set<T>(CpuState* s, ushort offset, ulong value)
    {
        switch (sizeof(T))
        {
            case 1: *((byte*)s + offset) = (byte)value; break;
            case 2: *(ushort*)((byte*)s + offset) = (ushort)value; break;
            case 4: *(ulong*)((byte*)s + offset) = (uint)value; break;
            default: *(ulong*)((byte*)s + offset) = value; break;
        }
    }
}
