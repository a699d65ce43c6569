using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector;

// SHA-1 and SHA-256 (FIPS 180-4 6; SDM 2 names their words from the highest lane down for SHA-1, from the lowest up for SHA-256).

internal static class Sha
{
    /// <summary>FIPS 180-4 4.1.1 Ch: y where x has a one, else z.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Choose(uint x, uint y, uint z) => (x & y) ^ (~x & z);

    /// <summary>FIPS 180-4 4.1.1 Maj.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Majority(uint x, uint y, uint z) => (x & y) ^ (x & z) ^ (y & z);

    /// <summary>FIPS 180-4 4.1.2 sigma 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<uint> Sigma0(Vector128<uint> x) =>
        ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);

    /// <summary>FIPS 180-4 4.1.2 sigma 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Sigma1(uint x) => BitOperations.RotateRight(x, 17) ^ BitOperations.RotateRight(x, 19) ^ (x >> 10);
}

/// <summary>SHA1RNDS4: four rounds; the immediate tells which twenty they belong to.</summary>
internal readonly struct Sha1Rounds : IVectorImmediateOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate)
    {
        Vector128<uint> state = d.AsUInt32();
        Vector128<uint> words = s.AsUInt32();
        uint a = state.GetElement(3);
        uint b = state.GetElement(2);
        uint c = state.GetElement(1);
        uint e = 0;
        uint f = state.GetElement(0);
        for (int i = 3; i >= 0; i--)
        {
            // The first word comes with E added.
            uint mixed = (immediate & 3) switch
            {
                0 => Sha.Choose(b, c, f) + 0x5A82_7999,
                1 => (b ^ c ^ f) + 0x6ED9_EBA1,
                2 => Sha.Majority(b, c, f) + 0x8F1B_BCDC,
                _ => (b ^ c ^ f) + 0xCA62_C1D6,
            };
            uint next = mixed + BitOperations.RotateLeft(a, 5) + words[i] + e;
            e = f;
            f = c;
            c = BitOperations.RotateLeft(b, 30);
            b = a;
            a = next;
        }
        return Vector128.Create(f, c, b, a).AsByte();
    }
}

/// <summary>SHA1NEXTE: E of four rounds later, added to the words.</summary>
internal readonly struct Sha1NextE : IVectorOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        (s.AsUInt32() + Vector128.Create(0, 0, 0, BitOperations.RotateLeft(d.AsUInt32().GetElement(3), 30))).AsByte();
}

/// <summary>SHA1MSG1.</summary>
internal readonly struct Sha1Message1 : IVectorOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        d ^ Vector128.Create(s.AsUInt64().GetElement(1), d.AsUInt64().GetElement(0)).AsByte();
}

/// <summary>SHA1MSG2.</summary>
internal readonly struct Sha1Message2 : IVectorOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        Vector128<uint> words = d.AsUInt32() ^ Vector128.Shuffle(s.AsUInt32(), Vector128.Create(uint.MaxValue, 0, 1, 2));
        Vector128<uint> result = (words << 1) | (words >>> 31);
        return result.WithElement(0, BitOperations.RotateLeft(words.GetElement(0) ^ result.GetElement(3), 1)).AsByte();
    }
}

/// <summary>SHA256MSG1.</summary>
internal readonly struct Sha256Message1 : IVectorOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        Vector128<uint> following = Vector128.Shuffle(d.AsUInt32(), Vector128.Create(1U, 2, 3, 3)).WithElement(3, s.AsUInt32().ToScalar());
        return (d.AsUInt32() + Sha.Sigma0(following)).AsByte();
    }
}

/// <summary>SHA256MSG2.</summary>
internal readonly struct Sha256Message2 : IVectorOp
{
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s)
    {
        Vector128<uint> words = d.AsUInt32();
        uint w16 = words.GetElement(0) + Sha.Sigma1(s.AsUInt32().GetElement(2));
        uint w17 = words.GetElement(1) + Sha.Sigma1(s.AsUInt32().GetElement(3));
        uint w18 = words.GetElement(2) + Sha.Sigma1(w16);
        uint w19 = words.GetElement(3) + Sha.Sigma1(w17);
        return Vector128.Create(w16, w17, w18, w19).AsByte();
    }
}

/// <summary>SHA256RNDS2: two rounds with the words, constants added, in XMM0's low half. C, D, G, H are the destination, A, B, E, F the source.</summary>
internal readonly unsafe struct Sha256Rounds : IVectorInstruction<Vector128<byte>>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Do(CpuState* s, Op* o, Vector128<byte> source)
    {
        Vector128<byte>* d = (Vector128<byte>*)VectorHandlers.Destination(s, o);
        *d = Rounds(d->AsUInt32(), source.AsUInt32(), *(ulong*)s->Vectors).AsByte();
        return true;
    }

    private static Vector128<uint> Rounds(Vector128<uint> cdgh, Vector128<uint> abef, ulong words)
    {
        (uint a, uint b, uint e, uint f) = (abef.GetElement(3), abef.GetElement(2), abef.GetElement(1), abef.GetElement(0));
        (uint c, uint d, uint g, uint h) = (cdgh.GetElement(3), cdgh.GetElement(2), cdgh.GetElement(1), cdgh.GetElement(0));
        for (int i = 0; i < 2; i++)
        {
            uint t1 = h + (BitOperations.RotateRight(e, 6) ^ BitOperations.RotateRight(e, 11) ^ BitOperations.RotateRight(e, 25))
                + Sha.Choose(e, f, g) + (uint)words;
            uint t2 = (BitOperations.RotateRight(a, 2) ^ BitOperations.RotateRight(a, 13) ^ BitOperations.RotateRight(a, 22)) + Sha.Majority(a, b, c);
            (h, g, f, e, d, c, b, a) = (g, f, e, d + t1, c, b, a, t1 + t2);
            words >>= 32;
        }
        return Vector128.Create(f, e, b, a);
    }
}
