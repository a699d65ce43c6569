using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>VDPPS, VDPPD.</summary>
internal readonly unsafe struct DotProducts<T, TWidth> : IVexInstruction
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where TWidth : struct, IVectorWidth
{
    public static int Bytes => TWidth.Bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        byte* d = VectorHandlers.Destination(s, o);
        if (!FloatDot.Lanes(s, (T*)d, (T*)first, (T*)second, TWidth.Bytes / sizeof(T), (uint)o->Immediate))
        {
            return false;
        }
        VexHandlers.Clear<TWidth>(d);
        return true;
    }
}

/// <summary>VINSERTPS from memory: one single, whatever bits 7 and 6 of the immediate say.</summary>
internal readonly unsafe struct InsertFromMemory : IVexInstruction
{
    public static int Bytes => sizeof(uint);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, byte* first, byte* second)
    {
        VexHandlers.Write(s, o, InsertSingle.Do(
            *(Vector128<byte>*)first, Vector128.CreateScalar(*(uint*)second).AsByte(), o->Immediate & 0x3F));
        return true;
    }
}

/// <summary>VPCMPESTRM, VPCMPISTRM: all of register 0 is written.</summary>
internal readonly unsafe struct WholeStringMask : IStringResult
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<T>(CpuState* s, uint bits, uint control)
        where T : unmanaged, IBinaryInteger<T>
    {
        StringMask.Store<T>(s, bits, control);
        VexHandlers.Clear<Bits128>(s->Vectors);
    }
}
