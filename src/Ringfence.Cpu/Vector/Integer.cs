using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

/// <summary>A function of two vectors.</summary>
internal interface IVectorOp
{
    static abstract Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s);
}

/// <summary>A function of two vectors and an immediate.</summary>
internal interface IVectorImmediateOp
{
    /// <summary>How many bits of the immediate each 16 bytes of a wider vector have for themselves; 0: they share them all.</summary>
    static virtual int ImmediateStep => 0;

    static abstract Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate);
}

/// <summary>A function of two vectors on XMM registers.</summary>
internal readonly unsafe struct Xmm<TOp> : IVectorInstruction<Vector128<byte>>
    where TOp : struct, IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<byte>* d = (Vector128<byte>*)VectorHandlers.Destination(s, o);
        *d = TOp.Do(*d, source);
        return true;
    }
}

/// <summary>A function of two vectors and an immediate on XMM registers.</summary>
internal readonly unsafe struct XmmImmediate<TOp> : IVectorInstruction<Vector128<byte>>
    where TOp : struct, IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<byte>* d = (Vector128<byte>*)VectorHandlers.Destination(s, o);
        *d = TOp.Do(*d, source, o->Immediate);
        return true;
    }
}
