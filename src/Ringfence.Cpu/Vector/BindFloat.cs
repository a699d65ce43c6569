using System.Numerics;
using System.Runtime.Intrinsics;
using Iced.Intel;

namespace Ringfence.Cpu.Vector;

/// <summary>Floating-point arithmetic, comparisons and conversions.</summary>
internal static unsafe partial class VectorBinder
{
    private static bool BindFloat(in Site site) => site.Instruction.Mnemonic switch
    {
        Mnemonic.Addps => site.Aligned<PackedArithmetic<FloatAdd, float>>(),
        Mnemonic.Addpd => site.Aligned<PackedArithmetic<FloatAdd, double>>(),
        Mnemonic.Addss => site.Any<ScalarArithmetic<FloatAdd, float>, float>(),
        Mnemonic.Addsd => site.Any<ScalarArithmetic<FloatAdd, double>, double>(),
        Mnemonic.Subps => site.Aligned<PackedArithmetic<FloatSubtract, float>>(),
        Mnemonic.Subpd => site.Aligned<PackedArithmetic<FloatSubtract, double>>(),
        Mnemonic.Subss => site.Any<ScalarArithmetic<FloatSubtract, float>, float>(),
        Mnemonic.Subsd => site.Any<ScalarArithmetic<FloatSubtract, double>, double>(),
        Mnemonic.Mulps => site.Aligned<PackedArithmetic<FloatMultiply, float>>(),
        Mnemonic.Mulpd => site.Aligned<PackedArithmetic<FloatMultiply, double>>(),
        Mnemonic.Mulss => site.Any<ScalarArithmetic<FloatMultiply, float>, float>(),
        Mnemonic.Mulsd => site.Any<ScalarArithmetic<FloatMultiply, double>, double>(),
        Mnemonic.Divps => site.Aligned<PackedArithmetic<FloatDivide, float>>(),
        Mnemonic.Divpd => site.Aligned<PackedArithmetic<FloatDivide, double>>(),
        Mnemonic.Divss => site.Any<ScalarArithmetic<FloatDivide, float>, float>(),
        Mnemonic.Divsd => site.Any<ScalarArithmetic<FloatDivide, double>, double>(),
        Mnemonic.Sqrtps => site.Aligned<PackedArithmetic<FloatSquareRoot, float>>(),
        Mnemonic.Sqrtpd => site.Aligned<PackedArithmetic<FloatSquareRoot, double>>(),
        Mnemonic.Sqrtss => site.Any<ScalarArithmetic<FloatSquareRoot, float>, float>(),
        Mnemonic.Sqrtsd => site.Any<ScalarArithmetic<FloatSquareRoot, double>, double>(),
        Mnemonic.Minps => site.Aligned<PackedSelect<SelectMinimum, float>>(),
        Mnemonic.Minpd => site.Aligned<PackedSelect<SelectMinimum, double>>(),
        Mnemonic.Minss => site.Any<ScalarSelect<SelectMinimum, float>, float>(),
        Mnemonic.Minsd => site.Any<ScalarSelect<SelectMinimum, double>, double>(),
        Mnemonic.Maxps => site.Aligned<PackedSelect<SelectMaximum, float>>(),
        Mnemonic.Maxpd => site.Aligned<PackedSelect<SelectMaximum, double>>(),
        Mnemonic.Maxss => site.Any<ScalarSelect<SelectMaximum, float>, float>(),
        Mnemonic.Maxsd => site.Any<ScalarSelect<SelectMaximum, double>, double>(),
        Mnemonic.Cmpps => BindCompare<float>(site, packed: true),
        Mnemonic.Cmppd => BindCompare<double>(site, packed: true),
        Mnemonic.Cmpss => BindCompare<float>(site, packed: false),
        Mnemonic.Cmpsd when site.IsXmmOperand(0) => BindCompare<double>(site, packed: false),
        Mnemonic.Comiss => site.Any<CompareToFlags<float, CompareFloatLess>, float>(),
        Mnemonic.Comisd => site.Any<CompareToFlags<double, CompareFloatLess>, double>(),
        Mnemonic.Ucomiss => site.Any<CompareToFlags<float, CompareFloatEqual>, float>(),
        Mnemonic.Ucomisd => site.Any<CompareToFlags<double, CompareFloatEqual>, double>(),
        Mnemonic.Rcpps => site.Aligned<Xmm<Reciprocal>>(),
        Mnemonic.Rcpss => site.Any<ScalarEstimate<Reciprocal>, uint>(),
        Mnemonic.Rsqrtps => site.Aligned<Xmm<ReciprocalSquareRoot>>(),
        Mnemonic.Rsqrtss => site.Any<ScalarEstimate<ReciprocalSquareRoot>, uint>(),
        Mnemonic.Addsubps => site.Aligned<AlternatingArithmetic<float>>(),
        Mnemonic.Addsubpd => site.Aligned<AlternatingArithmetic<double>>(),
        Mnemonic.Haddps => site.Aligned<HorizontalArithmetic<FloatAdd, float>>(),
        Mnemonic.Haddpd => site.Aligned<HorizontalArithmetic<FloatAdd, double>>(),
        Mnemonic.Hsubps => site.Aligned<HorizontalArithmetic<FloatSubtract, float>>(),
        Mnemonic.Hsubpd => site.Aligned<HorizontalArithmetic<FloatSubtract, double>>(),
        Mnemonic.Dpps => site.Aligned<DotProduct<float>>(),
        Mnemonic.Dppd => site.Aligned<DotProduct<double>>(),
        Mnemonic.Roundss => site.Any<RoundLanes<float, float>, float>(),
        Mnemonic.Roundsd => site.Any<RoundLanes<double, double>, double>(),
        Mnemonic.Roundps => site.Aligned<RoundLanes<float, Vector128<byte>>>(),
        Mnemonic.Roundpd => site.Aligned<RoundLanes<double, Vector128<byte>>>(),
        _ => false,
    };

    private static bool BindConversion(in Site site)
    {
        bool wide = site.Instruction.Op0Register.IsGPR64();
        bool mmxSource = site.IsMmxOperand(1);
        return site.Instruction.Mnemonic switch
        {
            Mnemonic.Cvtsi2ss => BindFromGeneral<float>(site),
            Mnemonic.Cvtsi2sd => BindFromGeneral<double>(site),
            Mnemonic.Cvtss2si => BindToGeneral<float, AsControlled>(site, wide),
            Mnemonic.Cvttss2si => BindToGeneral<float, Truncating>(site, wide),
            Mnemonic.Cvtsd2si => BindToGeneral<double, AsControlled>(site, wide),
            Mnemonic.Cvttsd2si => BindToGeneral<double, Truncating>(site, wide),
            Mnemonic.Cvtss2sd => site.Any<ScalarConvert<SingleToDouble, float, double>, float>(),
            Mnemonic.Cvtsd2ss => site.Any<ScalarConvert<DoubleToSingle, double, float>, double>(),
            Mnemonic.Cvtps2pd => site.Any<PackedConvert<SingleToDouble, float, double, ulong>, ulong>(),
            Mnemonic.Cvtpd2ps => site.Aligned<PackedConvert<DoubleToSingle, double, float, Vector128<byte>>>(),
            Mnemonic.Cvtdq2ps => site.Aligned<PackedConvert<IntegerToFloat<int, float>, int, float, Vector128<byte>>>(),
            Mnemonic.Cvtdq2pd => site.Any<DoublewordsToDoubles, ulong>(),
            Mnemonic.Cvtps2dq => BindToDoublewords<float, AsControlled>(site),
            Mnemonic.Cvttps2dq => BindToDoublewords<float, Truncating>(site),
            Mnemonic.Cvtpd2dq => BindToDoublewords<double, AsControlled>(site),
            Mnemonic.Cvttpd2dq => BindToDoublewords<double, Truncating>(site),
            Mnemonic.Cvtpi2ps => site.Any<MmxToSingles, ulong>(),
            Mnemonic.Cvtpi2pd when mmxSource => site.Any<MmxToDoubles, ulong>(),
            Mnemonic.Cvtpi2pd => site.Any<DoublewordsToDoubles, ulong>(),
            Mnemonic.Cvtps2pi => site.Any<ConvertToMmx<float, AsControlled, ulong>, ulong>(),
            Mnemonic.Cvttps2pi => site.Any<ConvertToMmx<float, Truncating, ulong>, ulong>(),
            Mnemonic.Cvtpd2pi => site.Aligned<ConvertToMmx<double, AsControlled, Vector128<byte>>>(),
            Mnemonic.Cvttpd2pi => site.Aligned<ConvertToMmx<double, Truncating, Vector128<byte>>>(),
            _ => false,
        };
    }

    /// <summary>The predicate is chosen here, not at run time.</summary>
    private static bool BindCompare<T>(in Site site, bool packed)
        where T : unmanaged => (site.Op->Immediate & 7) switch
        {
            0 => BindCompare<CompareFloatEqual, T>(site, packed),
            1 => BindCompare<CompareFloatLess, T>(site, packed),
            2 => BindCompare<CompareFloatLessOrEqual, T>(site, packed),
            3 => BindCompare<Not<CompareFloatOrdered>, T>(site, packed),
            4 => BindCompare<Not<CompareFloatEqual>, T>(site, packed),
            5 => BindCompare<Not<CompareFloatLess>, T>(site, packed),
            6 => BindCompare<Not<CompareFloatLessOrEqual>, T>(site, packed),
            _ => BindCompare<CompareFloatOrdered, T>(site, packed),
        };

    private static bool BindCompare<TOp, T>(in Site site, bool packed)
        where TOp : struct, IFloatSelect
        where T : unmanaged => packed ? site.Aligned<PackedSelect<TOp, T>>() : site.Any<ScalarSelect<TOp, T>, T>();

    private static bool BindFromGeneral<T>(in Site site)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        bool wide = site.IsLoad ? site.Instruction.MemorySize == MemorySize.Int64 : site.Instruction.Op1Register.IsGPR64();
        return wide ? site.Any<ScalarConvert<IntegerToFloat<long, T>, long, T>, long>()
            : site.Any<ScalarConvert<IntegerToFloat<int, T>, int, T>, int>();
    }

    internal static bool BindToGeneral<T, TRounding>(in Site site, bool wide)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IToInteger => wide
            ? site.Any<GeneralConvert<FloatToInteger<T, ulong, TRounding>, T, ulong>, T>()
            : site.Any<GeneralConvert<FloatToInteger<T, uint, TRounding>, T, uint>, T>();

    private static bool BindToDoublewords<T, TRounding>(in Site site)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IToInteger => site.Aligned<PackedConvert<FloatToInteger<T, uint, TRounding>, T, uint, Vector128<byte>>>();
}
