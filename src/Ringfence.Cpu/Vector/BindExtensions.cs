using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Ringfence.Cpu.Vector;

/// <summary>What came with features of its own: AES, SHA, fields and strings of bits, text.</summary>
internal static unsafe partial class VectorBinder
{
    private static bool BindExtension(in Site site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Aesenc => site.Aligned<Xmm<AesEncrypt>>(),
        Mnemonic.Aesenclast => site.Aligned<Xmm<AesEncryptLast>>(),
        Mnemonic.Aesdec => site.Aligned<Xmm<AesDecrypt>>(),
        Mnemonic.Aesdeclast => site.Aligned<Xmm<AesDecryptLast>>(),
        Mnemonic.Aesimc => site.Aligned<Xmm<AesInverseMixColumns>>(),
        Mnemonic.Aeskeygenassist => site.Immediate<AesAssistKey>(),
        Mnemonic.Pclmulqdq => site.Immediate<CarrylessMultiply>(),
        Mnemonic.Gf2p8mulb => site.Aligned<Xmm<GaloisMultiply>>(),
        Mnemonic.Gf2p8affineqb => site.Immediate<GaloisAffine>(),
        Mnemonic.Gf2p8affineinvqb => site.Immediate<GaloisAffineInverse>(),
        Mnemonic.Sha1rnds4 => site.Immediate<Sha1Rounds>(),
        Mnemonic.Sha1nexte => site.Aligned<Xmm<Sha1NextE>>(),
        Mnemonic.Sha1msg1 => site.Aligned<Xmm<Sha1Message1>>(),
        Mnemonic.Sha1msg2 => site.Aligned<Xmm<Sha1Message2>>(),
        Mnemonic.Sha256rnds2 => site.Aligned<Sha256Rounds>(),
        Mnemonic.Sha256msg1 => site.Aligned<Xmm<Sha256Message1>>(),
        Mnemonic.Sha256msg2 => site.Aligned<Xmm<Sha256Message2>>(),
        Mnemonic.Extrq => site.Instruction.Op1Kind == OpKind.Register ? site.Any<Xmm<ExtractFieldByRegister>, Vector128<byte>>()
            : BindField<ExtractField>(site, site.Op->Destination),
        Mnemonic.Insertq => site.Instruction.OpCount == 2 ? site.Any<Xmm<InsertFieldByRegister>, Vector128<byte>>()
            : BindField<InsertField>(site, site.Op->Source),
        Mnemonic.Pcmpistri => BindStrings<ImplicitLengths, StringIndex>(site),
        Mnemonic.Pcmpistrm => BindStrings<ImplicitLengths, StringMask>(site),
        Mnemonic.Pcmpestri => BindStrings<ExplicitLengths<int>, StringIndex>(site),
        Mnemonic.Pcmpestrm => BindStrings<ExplicitLengths<int>, StringMask>(site),
        Mnemonic.Pcmpestri64 => BindStrings<ExplicitLengths<long>, StringIndex>(site),
        Mnemonic.Pcmpestrm64 => BindStrings<ExplicitLengths<long>, StringMask>(site),
        _ => false,
    };

    /// <summary>Both immediates, length and place, become one.</summary>
    private static bool BindField<TOp>(in Site site, ushort source)
        where TOp : struct, IVectorImmediateOp
    {
        site.Op->Source = source;
        site.Op->Immediate = site.Instruction.Immediate8 | ((ulong)site.Instruction.Immediate8_2nd << 8);
        return site.Immediate<TOp>();
    }

    /// <summary>The element is chosen here: bit 0 of the immediate for words, bit 1 for signed ones.</summary>
    internal static bool BindStrings<TLengths, TResult>(in Site site)
        where TLengths : struct, IStringLengths
        where TResult : struct, IStringResult => (site.Op->Immediate & 3) switch
        {
            0 => site.Any<CompareStrings<TLengths, TResult, byte>, Vector128<byte>>(),
            1 => site.Any<CompareStrings<TLengths, TResult, ushort>, Vector128<byte>>(),
            2 => site.Any<CompareStrings<TLengths, TResult, sbyte>, Vector128<byte>>(),
            _ => site.Any<CompareStrings<TLengths, TResult, short>, Vector128<byte>>(),
        };
}
