using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Ringfence.Cpu.Vector.Vex;

// What AVX and AVX2 add to the functions of two vectors. On 16 bytes: wider vectors have it twice.

/// <summary>VMOVDDUP of 256 bits.</summary>
internal readonly struct DuplicateDoubles : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Vector128.Create(s.AsUInt64().ToScalar()).AsByte();
}

/// <summary>VPERMILPS by register.</summary>
internal readonly struct PermuteSingles : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Avx.IsSupported
        ? Avx.PermuteVar(d.AsSingle(), s.AsInt32()).AsByte()
        : Vector128.Shuffle(d.AsUInt32(), s.AsUInt32() & Vector128.Create(3U)).AsByte();
}

/// <summary>VPERMILPD by register: bit 1 of each lane chooses.</summary>
internal readonly struct PermuteDoubles : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Avx.IsSupported
        ? Avx.PermuteVar(d.AsDouble(), s.AsInt64()).AsByte()
        : Vector128.Shuffle(d.AsUInt64(), (s.AsUInt64() >>> 1) & Vector128.Create(1UL)).AsByte();
}

/// <summary>VPERMILPD by immediate.</summary>
internal readonly struct PermuteDoublesImmediate : IVectorImmediateOp
{
    public static int ImmediateStep => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) => ShuffleDoubles.Do(s, s, immediate);
}

/// <summary>VPSLLVD, VPSLLVQ: each lane by a count of its own.</summary>
internal readonly unsafe struct ShiftLeftEach<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        if (!Avx2.IsSupported)
        {
            return Portable.ShiftEach<T, ShiftLeft<T>>(d, s);
        }
        return sizeof(T) == 4
            ? Avx2.ShiftLeftLogicalVariable(d.AsUInt32(), s.AsUInt32()).AsByte()
            : Avx2.ShiftLeftLogicalVariable(d.AsUInt64(), s.AsUInt64()).AsByte();
    }
}

/// <summary>VPSRLVD, VPSRLVQ.</summary>
internal readonly unsafe struct ShiftRightEach<T> : IVectorOp
    where T : unmanaged
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        if (!Avx2.IsSupported)
        {
            return Portable.ShiftEach<T, ShiftRight<T>>(d, s);
        }
        return sizeof(T) == 4
            ? Avx2.ShiftRightLogicalVariable(d.AsUInt32(), s.AsUInt32()).AsByte()
            : Avx2.ShiftRightLogicalVariable(d.AsUInt64(), s.AsUInt64()).AsByte();
    }
}

/// <summary>VPSRAVD.</summary>
internal readonly struct ShiftRightArithmeticEach : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => Avx2.IsSupported
        ? Avx2.ShiftRightArithmeticVariable(d.AsInt32(), s.AsUInt32()).AsByte()
        : Portable.ShiftEach<int, ShiftRightArithmetic<int>>(d, s);
}
