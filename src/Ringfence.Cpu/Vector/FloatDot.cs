using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

internal static unsafe class FloatDot
{
    /// <summary>DPPS, DPPD on <paramref name="lanes"/> lanes, each 128 bits for themselves. The immediate's high half tells which products
    /// count, its low half which lanes get the sum. Each step has exceptions of its own, and unless all are masked there is no next one.</summary>
    /// <param name="d">The destination; may be one of the operands.</param>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Lanes<T>(CpuState* s, T* d, T* a, T* b, int lanes, uint immediate)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var status = new FloatStatus(s);
        int group = Vector128<T>.Count;
        T* sums = stackalloc T[8];
        for (int i = 0; i < lanes; i++)
        {
            bool counts = ((immediate >> (4 + (i % group))) & 1) != 0;
            sums[i] = counts ? FloatArithmetic.Lane<FloatMultiply, T>(a[i], b[i], ref status) : T.Zero;
        }
        for (int distance = 1; distance < group; distance *= 2)
        {
            if (!status.Commit(s))
            {
                return false;
            }
            status.Raised = 0;
            for (int i = 0; i < lanes; i += 2 * distance)
            {
                sums[i] = FloatArithmetic.Lane<FloatAdd, T>(sums[i], sums[i + distance], ref status);
            }
        }
        if (!status.Commit(s))
        {
            return false;
        }
        for (int i = 0; i < lanes; i++)
        {
            d[i] = ((immediate >> (i % group)) & 1) != 0 ? sums[i - (i % group)] : T.Zero;
        }
        return true;
    }
}

/// <summary>DPPS, DPPD.</summary>
internal readonly unsafe struct DotProduct<T> : IVectorInstruction<Vector128<byte>>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        *(Vector128<byte>*)s->Scratch = source;
        T* d = (T*)VectorHandlers.Destination(s, o);
        return FloatDot.Lanes(s, d, d, (T*)s->Scratch, Vector128<T>.Count, (uint)o->Immediate);
    }
}
