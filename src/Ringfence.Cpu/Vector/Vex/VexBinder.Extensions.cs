using Iced.Intel;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>What came with features of its own: AES, carry-less products, fields of bits, text; and the long operations of SSE4.1.</summary>
internal static unsafe partial class VexBinder
{
    private static bool BindExtension(in VexSite site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Vdpps => site.IsWide ? site.Is<DotProducts<float, Bits256>>() : site.Is<DotProducts<float, Bits128>>(),
        Mnemonic.Vdppd => site.Is<DotProducts<double, Bits128>>(),
        Mnemonic.Vmpsadbw => site.Immediate<SumsOfAbsoluteDifferences>(),
        Mnemonic.Vphminposuw => site.Integer<MinimumPosition>(),
        Mnemonic.Vinsertps => site.IsMemory ? site.Is<InsertFromMemory>() : site.Immediate<InsertSingle>(),
        Mnemonic.Vaesenc => site.Integer<AesEncrypt>(),
        Mnemonic.Vaesenclast => site.Integer<AesEncryptLast>(),
        Mnemonic.Vaesdec => site.Integer<AesDecrypt>(),
        Mnemonic.Vaesdeclast => site.Integer<AesDecryptLast>(),
        Mnemonic.Vaesimc => site.Integer<AesInverseMixColumns>(),
        Mnemonic.Vaeskeygenassist => site.Immediate<AesAssistKey>(),
        Mnemonic.Vpclmulqdq => site.Immediate<CarrylessMultiply>(),
        Mnemonic.Vgf2p8mulb => site.Integer<GaloisMultiply>(),
        Mnemonic.Vgf2p8affineqb => site.Immediate<GaloisAffine>(),
        Mnemonic.Vgf2p8affineinvqb => site.Immediate<GaloisAffineInverse>(),
        Mnemonic.Vpcmpistri => VectorBinder.BindStrings<ImplicitLengths, StringIndex>(site.Legacy),
        Mnemonic.Vpcmpistrm => VectorBinder.BindStrings<ImplicitLengths, WholeStringMask>(site.Legacy),
        Mnemonic.Vpcmpestri => VectorBinder.BindStrings<ExplicitLengths<int>, StringIndex>(site.Legacy),
        Mnemonic.Vpcmpestrm => VectorBinder.BindStrings<ExplicitLengths<int>, WholeStringMask>(site.Legacy),
        Mnemonic.Vpcmpestri64 => VectorBinder.BindStrings<ExplicitLengths<long>, StringIndex>(site.Legacy),
        Mnemonic.Vpcmpestrm64 => VectorBinder.BindStrings<ExplicitLengths<long>, WholeStringMask>(site.Legacy),
        _ => false,
    };
}
