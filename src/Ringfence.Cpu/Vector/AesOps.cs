using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using HostAes = System.Runtime.Intrinsics.X86.Aes;

namespace Ringfence.Cpu.Vector;

/// <summary>The steps of AES (FIPS 197 5) for hosts that have no instructions for it. A column of the state is four bytes in a row.</summary>
internal static class PortableAes
{
    private static readonly byte[] Substitutes = [.. Enumerable.Range(0, 256).Select(i => Substitute((byte)i))];
    private static readonly byte[] InverseSubstitutes = [.. Enumerable.Range(0, 256).Select(i => (byte)Array.IndexOf(Substitutes, (byte)i))];

    public static Vector128<byte> Encrypt(Vector128<byte> state, Vector128<byte> key) => MixColumns(ShiftAndSubstitute(state)) ^ key;

    public static Vector128<byte> EncryptLast(Vector128<byte> state, Vector128<byte> key) => ShiftAndSubstitute(state) ^ key;

    public static Vector128<byte> Decrypt(Vector128<byte> state, Vector128<byte> key) => InverseMixColumns(InverseShiftAndSubstitute(state)) ^ key;

    public static Vector128<byte> DecryptLast(Vector128<byte> state, Vector128<byte> key) => InverseShiftAndSubstitute(state) ^ key;

    /// <summary>Each column times a polynomial whose inverse is { 3, 1, 1, 2 }: { 3, 1, 1, 2 } times { 0, 4, 0, 5 }.</summary>
    public static Vector128<byte> InverseMixColumns(Vector128<byte> state) =>
        MixColumns(state ^ Galois.Double(Galois.Double(state ^ RotateColumns(RotateColumns(state)))));

    /// <summary>Columns 1 and 3 substituted, each followed by itself rotated.</summary>
    public static Vector128<byte> AssistKey(Vector128<byte> key) => Vector128.Shuffle(
        Portable.Map(key, Substitutes), Vector128.Create((byte)4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12));

    private static Vector128<byte> MixColumns(Vector128<byte> state)
    {
        Vector128<byte> next = RotateColumns(state);
        return Galois.Double(state ^ next) ^ next ^ RotateColumns(next ^ RotateColumns(next));
    }

    /// <summary>Every byte is replaced by the next of its column.</summary>
    private static Vector128<byte> RotateColumns(Vector128<byte> state) => Vector128.Shuffle(
        state, Vector128.Create((byte)1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12));

    private static Vector128<byte> ShiftAndSubstitute(Vector128<byte> state) => Portable.Map(
        Vector128.Shuffle(state, Vector128.Create((byte)0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11)), Substitutes);

    private static Vector128<byte> InverseShiftAndSubstitute(Vector128<byte> state) => Portable.Map(
        Vector128.Shuffle(state, Vector128.Create((byte)0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3)), InverseSubstitutes);

    /// <summary>The S-box: an affine transformation of the inverse.</summary>
    private static byte Substitute(byte x) =>
        (byte)(Galois.Transform(Galois.Inverse(Vector128.CreateScalar(x)), Vector128.Create(0xF1E3_C78F_1F3E_7CF8).AsByte()).ToScalar() ^ 0x63);
}

internal readonly struct AesEncrypt : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        HostAes.IsSupported ? HostAes.Encrypt(d, s) : PortableAes.Encrypt(d, s);
}

internal readonly struct AesEncryptLast : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        HostAes.IsSupported ? HostAes.EncryptLast(d, s) : PortableAes.EncryptLast(d, s);
}

internal readonly struct AesDecrypt : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        HostAes.IsSupported ? HostAes.Decrypt(d, s) : PortableAes.Decrypt(d, s);
}

internal readonly struct AesDecryptLast : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        HostAes.IsSupported ? HostAes.DecryptLast(d, s) : PortableAes.DecryptLast(d, s);
}

/// <summary>AESIMC.</summary>
internal readonly struct AesInverseMixColumns : IVectorOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s) =>
        HostAes.IsSupported ? HostAes.InverseMixColumns(s) : PortableAes.InverseMixColumns(s);
}

/// <summary>AESKEYGENASSIST: the immediate is the round constant.</summary>
internal readonly struct AesAssistKey : IVectorImmediateOp
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Do(Vector128<byte> d, Vector128<byte> s, ulong immediate) =>
        (HostAes.IsSupported ? HostAes.KeygenAssist(s, 0) : PortableAes.AssistKey(s)) ^ Vector128.Create((ulong)(byte)immediate << 32).AsByte();
}
