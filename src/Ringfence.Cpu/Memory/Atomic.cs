using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.Memory;

/// <summary>Atomic operations on guest memory of 1, 2, 4 and 8 bytes.</summary>
internal static unsafe class Atomic
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T CompareExchange<T>(T* p, T value, T comparand)
    {
        if (sizeof(T) == 1)
        {
            return Unsafe.BitCast<byte, T>(Interlocked.CompareExchange(ref *(byte*)p, Unsafe.BitCast<T, byte>(value), Unsafe.BitCast<T, byte>(comparand)));
        }
        if (sizeof(T) == 2)
        {
            return Unsafe.BitCast<ushort, T>(Interlocked.CompareExchange(ref *(ushort*)p, Unsafe.BitCast<T, ushort>(value), Unsafe.BitCast<T, ushort>(comparand)));
        }
        if (sizeof(T) == 4)
        {
            return Unsafe.BitCast<uint, T>(Interlocked.CompareExchange(ref *(uint*)p, Unsafe.BitCast<T, uint>(value), Unsafe.BitCast<T, uint>(comparand)));
        }
        return Unsafe.BitCast<ulong, T>(Interlocked.CompareExchange(ref *(ulong*)p, Unsafe.BitCast<T, ulong>(value), Unsafe.BitCast<T, ulong>(comparand)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Exchange<T>(T* p, T value)
    {
        if (sizeof(T) == 1)
        {
            return Unsafe.BitCast<byte, T>(Interlocked.Exchange(ref *(byte*)p, Unsafe.BitCast<T, byte>(value)));
        }
        if (sizeof(T) == 2)
        {
            return Unsafe.BitCast<ushort, T>(Interlocked.Exchange(ref *(ushort*)p, Unsafe.BitCast<T, ushort>(value)));
        }
        if (sizeof(T) == 4)
        {
            return Unsafe.BitCast<uint, T>(Interlocked.Exchange(ref *(uint*)p, Unsafe.BitCast<T, uint>(value)));
        }
        return Unsafe.BitCast<ulong, T>(Interlocked.Exchange(ref *(ulong*)p, Unsafe.BitCast<T, ulong>(value)));
    }
}
