using System.Collections.Frozen;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>How an instruction is translated.</summary>
internal enum NativeKind : byte
{
    /// <summary>Not at all: its op runs.</summary>
    None,
    /// <summary>As it is, with its registers and its memory operand replaced.</summary>
    General,
    /// <summary>Likewise; it uses vector registers or MXCSR.</summary>
    Vector,
    /// <summary>An x87 instruction.</summary>
    X87,
    /// <summary>As General; it uses MMX registers.</summary>
    Mmx,
    /// <summary>It does nothing.</summary>
    Nothing,
    LoadAddress,
    AbsoluteMove,
    Divide,
    Push,
    Pop,
    Leave,
    Call,
    Return,
    Jump,
    Conditional,
    ClearInterruptFlag,
    SwapGs,
    AccessControl,
    MoveFromSegment,
    PushFlags,
    BitString,
    Cpuid,
}

/// <summary>Which instructions become host code: those whose whole effect is on registers, memory and arithmetic flags, and that the host has.</summary>
internal static class NativeSet
{
    private static readonly FrozenSet<Mnemonic> Integer = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Movsxd, Mnemonic.Add, Mnemonic.Adc, Mnemonic.Sub, Mnemonic.Sbb, Mnemonic.And, Mnemonic.Or,
        Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test, Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg, Mnemonic.Not, Mnemonic.Shl, Mnemonic.Shr, Mnemonic.Sar,
        Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Shld, Mnemonic.Shrd, Mnemonic.Imul, Mnemonic.Mul, Mnemonic.Bswap,
        Mnemonic.Bsf, Mnemonic.Bsr, Mnemonic.Tzcnt, Mnemonic.Lzcnt, Mnemonic.Popcnt, Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc,
        Mnemonic.Xchg, Mnemonic.Xadd, Mnemonic.Cmpxchg, Mnemonic.Cmpxchg16b, Mnemonic.Cbw, Mnemonic.Cwde, Mnemonic.Cdqe, Mnemonic.Cwd, Mnemonic.Cdq,
        Mnemonic.Cqo, Mnemonic.Clc, Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Lahf, Mnemonic.Sahf, Mnemonic.Andn, Mnemonic.Bextr, Mnemonic.Blsi, Mnemonic.Blsr,
        Mnemonic.Blsmsk, Mnemonic.Bzhi, Mnemonic.Pdep, Mnemonic.Pext, Mnemonic.Rorx, Mnemonic.Sarx, Mnemonic.Shlx, Mnemonic.Shrx, Mnemonic.Mulx,
        Mnemonic.Adcx, Mnemonic.Adox, Mnemonic.Movbe, Mnemonic.Crc32, Mnemonic.Movnti, Mnemonic.Sfence, Mnemonic.Lfence, Mnemonic.Mfence, Mnemonic.Pause,
    ]);

    private static readonly FrozenSet<Mnemonic> Nothing = FrozenSet.ToFrozenSet(
    [
        Mnemonic.Nop, Mnemonic.Endbr64, Mnemonic.Endbr32, Mnemonic.Prefetchnta, Mnemonic.Prefetcht0, Mnemonic.Prefetcht1, Mnemonic.Prefetcht2,
        Mnemonic.Prefetchw, Mnemonic.Prefetch,
    ]);

    private static readonly FrozenSet<CpuidFeature> VectorFeatures = FrozenSet.ToFrozenSet(
    [
        CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1, CpuidFeature.SSE4_2, CpuidFeature.AES,
        CpuidFeature.PCLMULQDQ, CpuidFeature.SHA, CpuidFeature.GFNI, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C,
        CpuidFeature.VAES, CpuidFeature.VPCLMULQDQ, CpuidFeature.MMX, .. PassedOn(CpuFeatures.PassedOn),
    ]);

    private static readonly FrozenSet<Mnemonic> NotVector = FrozenSet.ToFrozenSet(
    [
        // Whether EMMS clears TOP, processors do not agree on.
        Mnemonic.Emms, Mnemonic.Ldmxcsr, Mnemonic.Stmxcsr, Mnemonic.Vldmxcsr, Mnemonic.Vstmxcsr, Mnemonic.Maskmovdqu, Mnemonic.Vmaskmovdqu, Mnemonic.Maskmovq,
    ]);

    /// <summary>What this host has, of the features whose instructions are passed on to it.</summary>
    private static readonly FrozenSet<CpuidFeature> HostFeatures = DetectHost();

    public static NativeKind Classify(Code code, OpCodeInfo info, Field[] fields)
    {
        Mnemonic mnemonic = info.Mnemonic;
        if (fields.Contains(Field.Elsewhere))
        {
            return IsAbsoluteMove(code) ? NativeKind.AbsoluteMove : code is Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg ? NativeKind.MoveFromSegment : NativeKind.None;
        }
        NativeKind special = Special(code);
        if (special != NativeKind.None)
        {
            return special;
        }
        if (Nothing.Contains(mnemonic))
        {
            return NativeKind.Nothing;
        }
        CpuidFeature[] features = info.Code.CpuidFeatures();
        if (!features.All(HostFeatures.Contains))
        {
            return NativeKind.None;
        }
        if (Integer.Contains(mnemonic))
        {
            return TouchesSystem(info) || IsBitString(code, mnemonic) || MayBeUndefined(code) ? NativeKind.None : NativeKind.General;
        }
        if (mnemonic is (>= Mnemonic.Cmova and <= Mnemonic.Cmovs) or (>= Mnemonic.Seta and <= Mnemonic.Sets))
        {
            return NativeKind.General;
        }
        if (X87Set.Contains(mnemonic))
        {
            return NativeKind.X87;
        }
        if (!features.All(VectorFeatures.Contains) || NotVector.Contains(mnemonic))
        {
            return NativeKind.None;
        }
        return !Uses(info, "mm_") ? NativeKind.Vector : Uses(info, "xmm_") ? NativeKind.None : NativeKind.Mmx;
    }

    private static NativeKind Special(Code code) => code switch
    {
        Code.Lea_r32_m or Code.Lea_r64_m => NativeKind.LoadAddress,
        Code.Div_rm32 or Code.Div_rm64 or Code.Idiv_rm32 or Code.Idiv_rm64 => NativeKind.Divide,
        Code.Push_r32 or Code.Push_r64 or Code.Push_rm32 or Code.Push_rm64 or Code.Pushd_imm8 or Code.Pushd_imm32 or Code.Pushq_imm8 or Code.Pushq_imm32
            => NativeKind.Push,
        Code.Pop_r32 or Code.Pop_r64 => NativeKind.Pop,
        Code.Leaved or Code.Leaveq => NativeKind.Leave,
        Code.Call_rel32_32 or Code.Call_rel32_64 or Code.Call_rm32 or Code.Call_rm64 => NativeKind.Call,
        Code.Retnd or Code.Retnq or Code.Retnd_imm16 or Code.Retnq_imm16 => NativeKind.Return,
        Code.Jmp_rel8_32 or Code.Jmp_rel8_64 or Code.Jmp_rel32_32 or Code.Jmp_rel32_64 or Code.Jmp_rm32 or Code.Jmp_rm64 => NativeKind.Jump,
        Code.Cpuid => NativeKind.Cpuid,
        Code.Cli => NativeKind.ClearInterruptFlag,
        Code.Swapgs => NativeKind.SwapGs,
        Code.Clac or Code.Stac => NativeKind.AccessControl,
        Code.Mov_r32m16_Sreg or Code.Mov_r64m16_Sreg => NativeKind.MoveFromSegment,
        Code.Pushfq or Code.Pushfd => NativeKind.PushFlags,
        Code.Bt_rm32_r32 or Code.Bt_rm64_r64 or Code.Bts_rm32_r32 or Code.Bts_rm64_r64 or Code.Btr_rm32_r32 or Code.Btr_rm64_r64
            or Code.Btc_rm32_r32 or Code.Btc_rm64_r64 => NativeKind.BitString,
        _ when code.IsJccShortOrNear() && !Is16BitBranch(code) => NativeKind.Conditional,
        _ => NativeKind.None,
    };

    private static bool Is16BitBranch(Code code) => code.ToOpCode().OpCount > 0 && code.ToOpCode().GetOpKind(0) is OpCodeOperandKind.br16_1 or OpCodeOperandKind.br16_2;

    private static bool IsAbsoluteMove(Code code) => code is Code.Mov_AL_moffs8 or Code.Mov_EAX_moffs32 or Code.Mov_RAX_moffs64 or Code.Mov_AX_moffs16
        or Code.Mov_moffs8_AL or Code.Mov_moffs32_EAX or Code.Mov_moffs64_RAX or Code.Mov_moffs16_AX;

    /// <summary>A bit string in memory: the register chooses the address too.</summary>
    private static bool IsBitString(Code code, Mnemonic mnemonic) => mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
        && code.ToOpCode().GetOpKind(1) is OpCodeOperandKind.r16_reg or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r64_reg;

    /// <summary>Double shifts of 16 bits by more: processors do not agree on what comes of it.</summary>
    private static bool MayBeUndefined(Code code) => code is Code.Shld_rm16_r16_imm8 or Code.Shld_rm16_r16_CL or Code.Shrd_rm16_r16_imm8 or Code.Shrd_rm16_r16_CL;

    private static bool TouchesSystem(OpCodeInfo info)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            if (kind.StartsWith("seg", StringComparison.Ordinal) || kind.StartsWith("cr_", StringComparison.Ordinal)
                || kind.StartsWith("dr_", StringComparison.Ordinal) || kind.StartsWith("tr_", StringComparison.Ordinal))
            {
                return true;
            }
        }
        return false;
    }

    private static bool Uses(OpCodeInfo info, string registers)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i).ToString().StartsWith(registers, StringComparison.Ordinal))
            {
                return true;
            }
        }
        return false;
    }

    private static FrozenSet<CpuidFeature> DetectHost()
    {
        HashSet<CpuidFeature> has =
        [
            CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.X64,
            CpuidFeature.CMOV, CpuidFeature.CMPXCHG16B, CpuidFeature.PAUSE, CpuidFeature.MULTIBYTENOP, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.FPU, CpuidFeature.FPU287,
            CpuidFeature.FPU387, CpuidFeature.MMX,
        ];
        static bool Has(int register, int bit) => ((register >> bit) & 1) != 0;
        void Add(bool supported, CpuidFeature feature)
        {
            if (supported)
            {
                has.Add(feature);
            }
        }
        (_, _, int ecx1, _) = X86Base.CpuId(1, 0);
        (_, int ebx7, int ecx7, _) = X86Base.CpuId(7, 0);
        (_, _, int extendedEcx, _) = X86Base.CpuId(unchecked((int)0x8000_0001), 0);
        Add(Has(ecx1, 0), CpuidFeature.SSE3);
        Add(Has(ecx1, 9), CpuidFeature.SSSE3);
        Add(Has(ecx1, 19), CpuidFeature.SSE4_1);
        Add(Has(ecx1, 20), CpuidFeature.SSE4_2);
        Add(Has(ecx1, 25), CpuidFeature.AES);
        Add(Has(ecx1, 1), CpuidFeature.PCLMULQDQ);
        Add(Has(ecx1, 23), CpuidFeature.POPCNT);
        Add(Has(ecx1, 22), CpuidFeature.MOVBE);
        Add(Has(extendedEcx, 5), CpuidFeature.LZCNT);
        Add(Has(ebx7, 3), CpuidFeature.BMI1);
        Add(Has(ebx7, 8), CpuidFeature.BMI2);
        Add(Has(ebx7, 19), CpuidFeature.ADX);
        Add(Has(ebx7, 29), CpuidFeature.SHA);
        Add(Has(ecx7, 8), CpuidFeature.GFNI);
        bool avx = HostVectors.HasAvx;
        Add(avx, CpuidFeature.AVX);
        Add(avx && Has(ebx7, 5), CpuidFeature.AVX2);
        Add(avx && Has(ecx1, 12), CpuidFeature.FMA);
        Add(avx && Has(ecx1, 29), CpuidFeature.F16C);
        Add(avx && Has(ecx7, 9), CpuidFeature.VAES);
        Add(avx && Has(ecx7, 10), CpuidFeature.VPCLMULQDQ);
        has.UnionWith(PassedOn(CpuModel.Host.Features & CpuFeatures.PassedOn));
        return has.ToFrozenSet();
    }

    private static IEnumerable<CpuidFeature> PassedOn(FeatureSet features) => features.Members().Select(f => f.Info().Instructions!.Value);
}
