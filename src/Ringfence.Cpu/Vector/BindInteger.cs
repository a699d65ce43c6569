using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Ringfence.Cpu.Vector;

/// <summary>Integer and bitwise functions, shifts and shuffles.</summary>
internal static unsafe partial class VectorBinder
{
    private static bool BindInteger(in Site site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Pand or Mnemonic.Andps or Mnemonic.Andpd => site.Integer<BitwiseAnd>(),
        Mnemonic.Pandn or Mnemonic.Andnps or Mnemonic.Andnpd => site.Integer<BitwiseAndNot>(),
        Mnemonic.Por or Mnemonic.Orps or Mnemonic.Orpd => site.Integer<BitwiseOr>(),
        Mnemonic.Pxor or Mnemonic.Xorps or Mnemonic.Xorpd => site.Integer<BitwiseXor>(),
        Mnemonic.Paddb => site.Integer<Add<byte>>(),
        Mnemonic.Paddw => site.Integer<Add<ushort>>(),
        Mnemonic.Paddd => site.Integer<Add<uint>>(),
        Mnemonic.Paddq => site.Integer<Add<ulong>>(),
        Mnemonic.Psubb => site.Integer<Subtract<byte>>(),
        Mnemonic.Psubw => site.Integer<Subtract<ushort>>(),
        Mnemonic.Psubd => site.Integer<Subtract<uint>>(),
        Mnemonic.Psubq => site.Integer<Subtract<ulong>>(),
        Mnemonic.Paddsb => site.Integer<AddSaturate<sbyte>>(),
        Mnemonic.Paddsw => site.Integer<AddSaturate<short>>(),
        Mnemonic.Paddusb => site.Integer<AddSaturate<byte>>(),
        Mnemonic.Paddusw => site.Integer<AddSaturate<ushort>>(),
        Mnemonic.Psubsb => site.Integer<SubtractSaturate<sbyte>>(),
        Mnemonic.Psubsw => site.Integer<SubtractSaturate<short>>(),
        Mnemonic.Psubusb => site.Integer<SubtractSaturate<byte>>(),
        Mnemonic.Psubusw => site.Integer<SubtractSaturate<ushort>>(),
        Mnemonic.Pcmpeqb => site.Integer<CompareEqual<byte>>(),
        Mnemonic.Pcmpeqw => site.Integer<CompareEqual<ushort>>(),
        Mnemonic.Pcmpeqd => site.Integer<CompareEqual<uint>>(),
        Mnemonic.Pcmpeqq => site.Integer<CompareEqual<ulong>>(),
        Mnemonic.Pcmpgtb => site.Integer<CompareGreater<sbyte>>(),
        Mnemonic.Pcmpgtw => site.Integer<CompareGreater<short>>(),
        Mnemonic.Pcmpgtd => site.Integer<CompareGreater<int>>(),
        Mnemonic.Pcmpgtq => site.Integer<CompareGreater<long>>(),
        Mnemonic.Pminub => site.Integer<Minimum<byte>>(),
        Mnemonic.Pminuw => site.Integer<Minimum<ushort>>(),
        Mnemonic.Pminud => site.Integer<Minimum<uint>>(),
        Mnemonic.Pminsb => site.Integer<Minimum<sbyte>>(),
        Mnemonic.Pminsw => site.Integer<Minimum<short>>(),
        Mnemonic.Pminsd => site.Integer<Minimum<int>>(),
        Mnemonic.Pmaxub => site.Integer<Maximum<byte>>(),
        Mnemonic.Pmaxuw => site.Integer<Maximum<ushort>>(),
        Mnemonic.Pmaxud => site.Integer<Maximum<uint>>(),
        Mnemonic.Pmaxsb => site.Integer<Maximum<sbyte>>(),
        Mnemonic.Pmaxsw => site.Integer<Maximum<short>>(),
        Mnemonic.Pmaxsd => site.Integer<Maximum<int>>(),
        Mnemonic.Pavgb => site.Integer<AverageBytes>(),
        Mnemonic.Pavgw => site.Integer<AverageWords>(),
        Mnemonic.Pmullw => site.Integer<MultiplyLow<ushort>>(),
        Mnemonic.Pmulld => site.Integer<MultiplyLow<uint>>(),
        Mnemonic.Pmulhw => site.Integer<MultiplyHighSigned>(),
        Mnemonic.Pmulhuw => site.Integer<MultiplyHighUnsigned>(),
        Mnemonic.Pmulhrsw => site.Integer<MultiplyHighRounded>(),
        Mnemonic.Pmuludq => site.Integer<MultiplyEven>(),
        Mnemonic.Pmuldq => site.Integer<MultiplyEvenSigned>(),
        Mnemonic.Pmaddwd => site.Integer<MultiplyAdd>(),
        Mnemonic.Pmaddubsw => site.Integer<MultiplyAddBytes>(),
        Mnemonic.Psadbw => site.Integer<SumAbsoluteDifferences>(),
        Mnemonic.Mpsadbw => site.Immediate<SumsOfAbsoluteDifferences>(),
        Mnemonic.Phminposuw => site.Aligned<Xmm<MinimumPosition>>(),
        Mnemonic.Pabsb => site.Integer<Absolute<sbyte>>(),
        Mnemonic.Pabsw => site.Integer<Absolute<short>>(),
        Mnemonic.Pabsd => site.Integer<Absolute<int>>(),
        Mnemonic.Psignb => site.Integer<Sign<sbyte>>(),
        Mnemonic.Psignw => site.Integer<Sign<short>>(),
        Mnemonic.Psignd => site.Integer<Sign<int>>(),
        Mnemonic.Phaddw => site.Integer<Neighbours<Add<ushort>, ushort>, MmJoined<Neighbours<Add<ushort>, ushort>>>(),
        Mnemonic.Phaddd => site.Integer<Neighbours<Add<uint>, uint>, MmJoined<Neighbours<Add<uint>, uint>>>(),
        Mnemonic.Phaddsw => site.Integer<Neighbours<AddSaturate<short>, short>, MmJoined<Neighbours<AddSaturate<short>, short>>>(),
        Mnemonic.Phsubw => site.Integer<Neighbours<Subtract<ushort>, ushort>, MmJoined<Neighbours<Subtract<ushort>, ushort>>>(),
        Mnemonic.Phsubd => site.Integer<Neighbours<Subtract<uint>, uint>, MmJoined<Neighbours<Subtract<uint>, uint>>>(),
        Mnemonic.Phsubsw => site.Integer<Neighbours<SubtractSaturate<short>, short>, MmJoined<Neighbours<SubtractSaturate<short>, short>>>(),
        Mnemonic.Packsswb => site.Integer<PackSignedWords, MmJoined<PackSignedWords>>(),
        Mnemonic.Packssdw => site.Integer<PackSignedDoublewords, MmJoined<PackSignedDoublewords>>(),
        Mnemonic.Packuswb => site.Integer<PackUnsignedWords, MmJoined<PackUnsignedWords>>(),
        Mnemonic.Packusdw => site.Integer<PackUnsignedDoublewords>(),
        Mnemonic.Punpcklbw => BindUnpackLow<byte>(site),
        Mnemonic.Punpcklwd => BindUnpackLow<ushort>(site),
        Mnemonic.Punpckldq => BindUnpackLow<uint>(site),
        Mnemonic.Punpcklqdq or Mnemonic.Unpcklpd => site.Aligned<Xmm<UnpackLow<ulong>>>(),
        Mnemonic.Unpcklps => site.Aligned<Xmm<UnpackLow<uint>>>(),
        Mnemonic.Punpckhbw => site.Integer<UnpackHigh<byte>, MmHigh<UnpackLow<byte>>>(),
        Mnemonic.Punpckhwd => site.Integer<UnpackHigh<ushort>, MmHigh<UnpackLow<ushort>>>(),
        Mnemonic.Punpckhdq => site.Integer<UnpackHigh<uint>, MmHigh<UnpackLow<uint>>>(),
        Mnemonic.Punpckhqdq or Mnemonic.Unpckhpd => site.Aligned<Xmm<UnpackHigh<ulong>>>(),
        Mnemonic.Unpckhps => site.Aligned<Xmm<UnpackHigh<uint>>>(),
        Mnemonic.Psllw => site.Shift<ShiftLeft<ushort>>(),
        Mnemonic.Pslld => site.Shift<ShiftLeft<uint>>(),
        Mnemonic.Psllq => site.Shift<ShiftLeft<ulong>>(),
        Mnemonic.Psrlw => site.Shift<ShiftRight<ushort>>(),
        Mnemonic.Psrld => site.Shift<ShiftRight<uint>>(),
        Mnemonic.Psrlq => site.Shift<ShiftRight<ulong>>(),
        Mnemonic.Psraw => site.Shift<ShiftRightArithmetic<short>>(),
        Mnemonic.Psrad => site.Shift<ShiftRightArithmetic<int>>(),
        Mnemonic.Pslldq => site.OneOperand<ShiftLeftBytes>(),
        Mnemonic.Psrldq => site.OneOperand<ShiftRightBytes>(),
        Mnemonic.Palignr => site.IsMmx ? site.Any<MmAlignRight, ulong>() : site.Immediate<AlignRight>(),
        Mnemonic.Pshufb => site.Integer<ShuffleBytes, MmShuffleBytes>(),
        Mnemonic.Pshufd => site.Immediate<ShuffleDoublewords>(),
        Mnemonic.Pshuflw or Mnemonic.Pshufw => BindWordShuffle<ShuffleLowWords>(site),
        Mnemonic.Pshufhw => BindWordShuffle<ShuffleHighWords>(site),
        Mnemonic.Shufps => site.Immediate<ShuffleSingles>(),
        Mnemonic.Shufpd => site.Immediate<ShuffleDoubles>(),
        Mnemonic.Insertps => site.IsLoad ? site.Any<InsertLoadedSingle, uint>() : site.Any<XmmImmediate<InsertSingle>, Vector128<byte>>(),
        Mnemonic.Pblendw => site.Immediate<Blend<ushort>>(),
        Mnemonic.Blendps => site.Immediate<Blend<uint>>(),
        Mnemonic.Blendpd => site.Immediate<Blend<ulong>>(),
        Mnemonic.Pblendvb => site.Aligned<BlendVariable<sbyte>>(),
        Mnemonic.Blendvps => site.Aligned<BlendVariable<int>>(),
        Mnemonic.Blendvpd => site.Aligned<BlendVariable<long>>(),
        Mnemonic.Ptest => site.Aligned<TestBits>(),
        Mnemonic.Pmovsxbw => BindExtend<sbyte, short, ulong>(site),
        Mnemonic.Pmovsxbd => BindExtend<sbyte, int, uint>(site),
        Mnemonic.Pmovsxbq => BindExtend<sbyte, long, ushort>(site),
        Mnemonic.Pmovsxwd => BindExtend<short, int, ulong>(site),
        Mnemonic.Pmovsxwq => BindExtend<short, long, uint>(site),
        Mnemonic.Pmovsxdq => BindExtend<int, long, ulong>(site),
        Mnemonic.Pmovzxbw => BindExtend<byte, ushort, ulong>(site),
        Mnemonic.Pmovzxbd => BindExtend<byte, uint, uint>(site),
        Mnemonic.Pmovzxbq => BindExtend<byte, ulong, ushort>(site),
        Mnemonic.Pmovzxwd => BindExtend<ushort, uint, ulong>(site),
        Mnemonic.Pmovzxwq => BindExtend<ushort, ulong, uint>(site),
        Mnemonic.Pmovzxdq => BindExtend<uint, ulong, ulong>(site),
        _ => false,
    };

    /// <summary>The MMX form reads only 32 bits of memory.</summary>
    private static bool BindUnpackLow<T>(in Site site)
        where T : unmanaged => !site.IsMmx ? site.Aligned<Xmm<UnpackLow<T>>>()
            : site.IsLoad ? site.Any<Narrow<Mm<UnpackLow<T>>>, uint>()
            : site.Any<Mm<UnpackLow<T>>, ulong>();

    private static bool BindWordShuffle<TOp>(in Site site)
        where TOp : struct, IVectorImmediateOp
    {
        site.Op->Immediate = Permute.WordControl((byte)site.Op->Immediate);
        return site.Immediate<TOp>();
    }

    private static bool BindExtend<TFrom, TTo, TSource>(in Site site)
        where TFrom : unmanaged, System.Numerics.INumber<TFrom>
        where TTo : unmanaged, System.Numerics.INumber<TTo>
        where TSource : unmanaged => site.Any<ExtendLanes<TFrom, TTo, TSource>, TSource>();
}
