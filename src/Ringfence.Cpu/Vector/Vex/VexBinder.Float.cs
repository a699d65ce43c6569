using System.Numerics;
using Iced.Intel;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>Floating-point arithmetic, comparisons, conversions, and the fused operations.</summary>
internal static unsafe partial class VexBinder
{
    private static bool BindFloat(in VexSite site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Vaddps => site.Packed<FloatAdd, float>(),
        Mnemonic.Vaddpd => site.Packed<FloatAdd, double>(),
        Mnemonic.Vaddss => site.Scalar<FloatAdd, float>(),
        Mnemonic.Vaddsd => site.Scalar<FloatAdd, double>(),
        Mnemonic.Vsubps => site.Packed<FloatSubtract, float>(),
        Mnemonic.Vsubpd => site.Packed<FloatSubtract, double>(),
        Mnemonic.Vsubss => site.Scalar<FloatSubtract, float>(),
        Mnemonic.Vsubsd => site.Scalar<FloatSubtract, double>(),
        Mnemonic.Vmulps => site.Packed<FloatMultiply, float>(),
        Mnemonic.Vmulpd => site.Packed<FloatMultiply, double>(),
        Mnemonic.Vmulss => site.Scalar<FloatMultiply, float>(),
        Mnemonic.Vmulsd => site.Scalar<FloatMultiply, double>(),
        Mnemonic.Vdivps => site.Packed<FloatDivide, float>(),
        Mnemonic.Vdivpd => site.Packed<FloatDivide, double>(),
        Mnemonic.Vdivss => site.Scalar<FloatDivide, float>(),
        Mnemonic.Vdivsd => site.Scalar<FloatDivide, double>(),
        Mnemonic.Vsqrtps => site.Packed<FloatSquareRoot, float>(),
        Mnemonic.Vsqrtpd => site.Packed<FloatSquareRoot, double>(),
        Mnemonic.Vsqrtss => site.Scalar<FloatSquareRoot, float>(),
        Mnemonic.Vsqrtsd => site.Scalar<FloatSquareRoot, double>(),
        Mnemonic.Vminps => site.Choice<SelectMinimum, float>(packed: true),
        Mnemonic.Vminpd => site.Choice<SelectMinimum, double>(packed: true),
        Mnemonic.Vminss => site.Choice<SelectMinimum, float>(packed: false),
        Mnemonic.Vminsd => site.Choice<SelectMinimum, double>(packed: false),
        Mnemonic.Vmaxps => site.Choice<SelectMaximum, float>(packed: true),
        Mnemonic.Vmaxpd => site.Choice<SelectMaximum, double>(packed: true),
        Mnemonic.Vmaxss => site.Choice<SelectMaximum, float>(packed: false),
        Mnemonic.Vmaxsd => site.Choice<SelectMaximum, double>(packed: false),
        Mnemonic.Vcmpps => BindCompare<float>(site, packed: true),
        Mnemonic.Vcmppd => BindCompare<double>(site, packed: true),
        Mnemonic.Vcmpss => BindCompare<float>(site, packed: false),
        Mnemonic.Vcmpsd => BindCompare<double>(site, packed: false),
        Mnemonic.Vcomiss => site.Legacy.Any<CompareToFlags<float, CompareFloatLess>, float>(),
        Mnemonic.Vcomisd => site.Legacy.Any<CompareToFlags<double, CompareFloatLess>, double>(),
        Mnemonic.Vucomiss => site.Legacy.Any<CompareToFlags<float, CompareFloatEqual>, float>(),
        Mnemonic.Vucomisd => site.Legacy.Any<CompareToFlags<double, CompareFloatEqual>, double>(),
        Mnemonic.Vrcpps => site.Integer<Reciprocal>(),
        Mnemonic.Vrcpss => site.Is<EstimateOne<Reciprocal>>(),
        Mnemonic.Vrsqrtps => site.Integer<ReciprocalSquareRoot>(),
        Mnemonic.Vrsqrtss => site.Is<EstimateOne<ReciprocalSquareRoot>>(),
        Mnemonic.Vaddsubps => site.Alternating<float>(),
        Mnemonic.Vaddsubpd => site.Alternating<double>(),
        Mnemonic.Vhaddps => site.Horizontal<FloatAdd, float>(),
        Mnemonic.Vhaddpd => site.Horizontal<FloatAdd, double>(),
        Mnemonic.Vhsubps => site.Horizontal<FloatSubtract, float>(),
        Mnemonic.Vhsubpd => site.Horizontal<FloatSubtract, double>(),
        Mnemonic.Vroundss => site.Is<ScalarRound<float>>(),
        Mnemonic.Vroundsd => site.Is<ScalarRound<double>>(),
        Mnemonic.Vroundps => site.Round<float>(),
        Mnemonic.Vroundpd => site.Round<double>(),
        _ => false,
    };

    private static bool BindConversion(in VexSite site)
    {
        bool wide = site.Instruction.Op0Register.IsGPR64();
        return site.Instruction.Mnemonic switch
        {
            Mnemonic.Vcvtsi2ss => BindFromGeneral<float>(site),
            Mnemonic.Vcvtsi2sd => BindFromGeneral<double>(site),
            Mnemonic.Vcvtss2si => VectorBinder.BindToGeneral<float, AsControlled>(site.Legacy, wide),
            Mnemonic.Vcvttss2si => VectorBinder.BindToGeneral<float, Truncating>(site.Legacy, wide),
            Mnemonic.Vcvtsd2si => VectorBinder.BindToGeneral<double, AsControlled>(site.Legacy, wide),
            Mnemonic.Vcvttsd2si => VectorBinder.BindToGeneral<double, Truncating>(site.Legacy, wide),
            Mnemonic.Vcvtss2sd => site.Is<ConvertOne<SingleToDouble, float, double>>(),
            Mnemonic.Vcvtsd2ss => site.Is<ConvertOne<DoubleToSingle, double, float>>(),
            Mnemonic.Vcvtps2pd => site.Convert<SingleToDouble, float, double>(),
            Mnemonic.Vcvtpd2ps => site.Convert<DoubleToSingle, double, float>(),
            Mnemonic.Vcvtdq2ps => site.Convert<IntegerToFloat<int, float>, int, float>(),
            Mnemonic.Vcvtdq2pd => site.Convert<IntegerToFloat<int, double>, int, double>(),
            Mnemonic.Vcvtps2dq => BindToDoublewords<float, AsControlled>(site),
            Mnemonic.Vcvttps2dq => BindToDoublewords<float, Truncating>(site),
            Mnemonic.Vcvtpd2dq => BindToDoublewords<double, AsControlled>(site),
            Mnemonic.Vcvttpd2dq => BindToDoublewords<double, Truncating>(site),
            Mnemonic.Vcvtph2ps => site.Convert<HalfToSingle, ushort, float>(),
            Mnemonic.Vcvtps2ph => site.IsStore
                ? site.IsWide ? site.Is(&SingleToHalf.Memory<Bits256>) : site.Is(&SingleToHalf.Memory<Bits128>)
                : site.IsWide ? site.Is(&SingleToHalf.Register<Bits256>) : site.Is(&SingleToHalf.Register<Bits128>),
            _ => false,
        };
    }

    private static bool BindFromGeneral<T>(in VexSite site)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        bool wide = site.IsMemory ? site.Instruction.MemorySize == MemorySize.Int64 : site.Instruction.Op2Register.IsGPR64();
        return wide ? site.Is<ConvertOne<IntegerToFloat<long, T>, long, T>>() : site.Is<ConvertOne<IntegerToFloat<int, T>, int, T>>();
    }

    private static bool BindToDoublewords<T, TRounding>(in VexSite site)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IToInteger => site.Convert<FloatToInteger<T, uint, TRounding>, T, uint>();

    /// <summary>The predicate is chosen here: bit 4 turns what a quiet NaN does.</summary>
    private static bool BindCompare<T>(in VexSite site, bool packed)
        where T : unmanaged => (site.Op->Immediate & 15) switch
    {
        0 => BindCompare<CompareFloatEqual, T>(site, packed),
        1 => BindCompare<CompareFloatLess, T>(site, packed),
        2 => BindCompare<CompareFloatLessOrEqual, T>(site, packed),
        3 => BindCompare<Not<CompareFloatOrdered>, T>(site, packed),
        4 => BindCompare<Not<CompareFloatEqual>, T>(site, packed),
        5 => BindCompare<Not<CompareFloatLess>, T>(site, packed),
        6 => BindCompare<Not<CompareFloatLessOrEqual>, T>(site, packed),
        7 => BindCompare<CompareFloatOrdered, T>(site, packed),
        8 => BindCompare<Not<CompareFloatUnlike>, T>(site, packed),
        9 => BindCompare<Not<CompareFloatGreaterOrEqual>, T>(site, packed),
        10 => BindCompare<Not<CompareFloatGreater>, T>(site, packed),
        11 => BindCompare<CompareFloatNever, T>(site, packed),
        12 => BindCompare<CompareFloatUnlike, T>(site, packed),
        13 => BindCompare<CompareFloatGreaterOrEqual, T>(site, packed),
        14 => BindCompare<CompareFloatGreater, T>(site, packed),
        _ => BindCompare<Not<CompareFloatNever>, T>(site, packed),
    };

    private static bool BindCompare<TOp, T>(in VexSite site, bool packed)
        where TOp : struct, IFloatSelect
        where T : unmanaged => (site.Op->Immediate & 16) == 0 ? site.Choice<TOp, T>(packed) : site.Choice<Turned<TOp>, T>(packed);

    /// <summary>FMA: opcodes 96 to 9F, A6 to AF and B6 to BF. The upper digit tells the order, the lower the operation, W the type.</summary>
    private static bool BindFused(in VexSite site)
    {
        if (!site.Instruction.Code.CpuidFeatures().Contains(CpuidFeature.FMA))
        {
            return false;
        }
        OpCodeInfo info = site.Instruction.Code.ToOpCode();
        return (info.OpCode >> 4) switch
        {
            9 => BindFused<Order132>(site, info),
            10 => BindFused<Order213>(site, info),
            _ => BindFused<Order231>(site, info),
        };
    }

    private static bool BindFused<TOrder>(in VexSite site, OpCodeInfo info)
        where TOrder : struct, IFusedOrder
    {
        bool packed = (info.OpCode & 15) is 6 or 7 or 8 or 10 or 12 or 14;
        return (info.OpCode & 15) switch
        {
            6 => BindFused<MultiplyThenAlternate, TOrder>(site, info.W, packed),
            7 => BindFused<MultiplyThenAlternateBack, TOrder>(site, info.W, packed),
            8 or 9 => BindFused<MultiplyThenAdd, TOrder>(site, info.W, packed),
            10 or 11 => BindFused<MultiplyThenSubtract, TOrder>(site, info.W, packed),
            12 or 13 => BindFused<Negated<MultiplyThenAdd>, TOrder>(site, info.W, packed),
            _ => BindFused<Negated<MultiplyThenSubtract>, TOrder>(site, info.W, packed),
        };
    }

    private static bool BindFused<TOp, TOrder>(in VexSite site, uint w, bool packed)
        where TOp : struct, IFusedOp
        where TOrder : struct, IFusedOrder => w == 0 ? BindFused<TOp, TOrder, float>(site, packed) : BindFused<TOp, TOrder, double>(site, packed);

    private static bool BindFused<TOp, TOrder, T>(in VexSite site, bool packed)
        where TOp : struct, IFusedOp
        where TOrder : struct, IFusedOrder
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => !packed ? site.Is<FusedOne<TOp, TOrder, T>>()
            : site.IsWide ? site.Is<FusedAll<TOp, TOrder, T, Bits256>>() : site.Is<FusedAll<TOp, TOrder, T, Bits128>>();
}
