using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Ringfence.Cpu.Vector;

/// <summary>A field of a quadword as SSE4A names it (APM 4 EXTRQ, INSERTQ): its length in bits 5:0, 0 for 64, and the number of its lowest
/// bit in bits 13:8. What would reach beyond bit 63 is undefined; here it is cut off.</summary>
internal static class BitField
{
    public static ulong Extract(ulong value, uint field) => (value >> First(field)) & Mask(field);

    public static ulong Insert(ulong into, ulong value, uint field) =>
        (into & ~(Mask(field) << First(field))) | ((value & Mask(field)) << First(field));

    private static int First(uint field) => (int)(field >> 8) & 63;

    private static ulong Mask(uint field) => ulong.MaxValue >> (-(int)field & 63);
}

/// <summary>EXTRQ; the immediate is both of the instruction's. The high quadword becomes 0, which the manual leaves undefined.</summary>
internal readonly struct ExtractField : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.CreateScalar(BitField.Extract(d.AsUInt64().ToScalar(), (uint)immediate)).AsByte();
}

/// <summary>EXTRQ with the field named by a register.</summary>
internal readonly struct ExtractFieldByRegister : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => ExtractField.Do(d, s, s.AsUInt64().ToScalar());
}

/// <summary>INSERTQ, likewise.</summary>
internal readonly struct InsertField : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        Vector128.CreateScalar(BitField.Insert(d.AsUInt64().ToScalar(), s.AsUInt64().ToScalar(), (uint)immediate)).AsByte();
}

/// <summary>INSERTQ with the field named by the source's high quadword.</summary>
internal readonly struct InsertFieldByRegister : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) => InsertField.Do(d, s, s.AsUInt64().GetElement(1));
}
