using Iced.Intel;
using static Ringfence.Cpu.Models.CpuFeature;
using static Ringfence.Cpu.Models.CpuidRegister;

namespace Ringfence.Cpu.Models;

/// <summary>One feature: where CPUID has it, and whether our processor does.</summary>
/// <param name="Name">As in Linux's /proc/cpuinfo.</param>
/// <param name="Leaf">CPUID leaf, in EAX.</param>
/// <param name="Subleaf">In ECX.</param>
/// <param name="Implemented">Only then is it ever advertised.</param>
/// <param name="Instructions">The instructions that come with it, as Iced names them; without the feature they raise #UD.</param>
/// <param name="PassedOn">Not implemented, but translated code can pass its instructions on to a host that has them: for <see cref="CpuModel.Host"/>.</param>
public sealed record CpuFeatureInfo(
    CpuFeature Feature, string Name, uint Leaf, uint Subleaf, CpuidRegister Register, int Bit, bool Implemented, CpuidFeature? Instructions = null,
    bool PassedOn = false);

/// <summary>A result register of CPUID.</summary>
public enum CpuidRegister : byte
{
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// <summary>All features that we know by name (SDM 2 CPUID; APM 3 appendix E). What is implemented says so here, in one place.</summary>
public static class CpuFeatures
{
    private const bool Yes = true;
    private const bool No = false;

    /// <summary>In the order of <see cref="CpuFeature"/>.</summary>
    public static IReadOnlyList<CpuFeatureInfo> All { get; } =
    [
        new(Fpu, "fpu", 0x1, 0, Edx, 0, Yes, CpuidFeature.FPU),
        new(Vme, "vme", 0x1, 0, Edx, 1, Yes),
        new(Debugging, "de", 0x1, 0, Edx, 2, Yes),
        new(Pse, "pse", 0x1, 0, Edx, 3, Yes),
        new(Tsc, "tsc", 0x1, 0, Edx, 4, Yes, CpuidFeature.TSC),
        new(CpuFeature.Msr, "msr", 0x1, 0, Edx, 5, Yes, CpuidFeature.MSR),
        new(Pae, "pae", 0x1, 0, Edx, 6, Yes),
        new(MachineCheckException, "mce", 0x1, 0, Edx, 7, Yes),
        new(Cmpxchg8b, "cx8", 0x1, 0, Edx, 8, Yes, CpuidFeature.CX8),
        new(CpuFeature.Apic, "apic", 0x1, 0, Edx, 9, Yes),
        new(Sysenter, "sep", 0x1, 0, Edx, 11, Yes, CpuidFeature.SEP),
        new(Mtrr, "mtrr", 0x1, 0, Edx, 12, Yes),
        new(GlobalPages, "pge", 0x1, 0, Edx, 13, Yes),
        new(MachineCheck, "mca", 0x1, 0, Edx, 14, Yes),
        new(Cmov, "cmov", 0x1, 0, Edx, 15, Yes, CpuidFeature.CMOV),
        new(Pat, "pat", 0x1, 0, Edx, 16, Yes),
        new(Pse36, "pse36", 0x1, 0, Edx, 17, Yes),
        new(Clflush, "clflush", 0x1, 0, Edx, 19, Yes, CpuidFeature.CLFSH),
        new(Mmx, "mmx", 0x1, 0, Edx, 23, Yes, CpuidFeature.MMX),
        new(Fxsr, "fxsr", 0x1, 0, Edx, 24, Yes, CpuidFeature.FXSR),
        new(Sse, "sse", 0x1, 0, Edx, 25, Yes, CpuidFeature.SSE),
        new(Sse2, "sse2", 0x1, 0, Edx, 26, Yes, CpuidFeature.SSE2),
        new(SelfSnoop, "ss", 0x1, 0, Edx, 27, No),
        new(Threads, "ht", 0x1, 0, Edx, 28, Yes),
        new(Sse3, "pni", 0x1, 0, Ecx, 0, Yes, CpuidFeature.SSE3),
        new(Pclmulqdq, "pclmulqdq", 0x1, 0, Ecx, 1, Yes, CpuidFeature.PCLMULQDQ),
        new(MonitorWait, "monitor", 0x1, 0, Ecx, 3, Yes, CpuidFeature.MONITOR),
        new(Ssse3, "ssse3", 0x1, 0, Ecx, 9, Yes, CpuidFeature.SSSE3),
        new(Fma, "fma", 0x1, 0, Ecx, 12, Yes, CpuidFeature.FMA),
        new(Cmpxchg16b, "cx16", 0x1, 0, Ecx, 13, Yes, CpuidFeature.CMPXCHG16B),
        new(PerformanceCapabilities, "pdcm", 0x1, 0, Ecx, 15, No),
        new(Pcid, "pcid", 0x1, 0, Ecx, 17, Yes),
        new(Sse41, "sse4_1", 0x1, 0, Ecx, 19, Yes, CpuidFeature.SSE4_1),
        new(Sse42, "sse4_2", 0x1, 0, Ecx, 20, Yes, CpuidFeature.SSE4_2),
        new(X2Apic, "x2apic", 0x1, 0, Ecx, 21, Yes),
        new(Movbe, "movbe", 0x1, 0, Ecx, 22, Yes, CpuidFeature.MOVBE),
        new(Popcnt, "popcnt", 0x1, 0, Ecx, 23, Yes, CpuidFeature.POPCNT),
        new(TscDeadline, "tsc_deadline_timer", 0x1, 0, Ecx, 24, Yes),
        new(Aes, "aes", 0x1, 0, Ecx, 25, Yes, CpuidFeature.AES),
        new(Xsave, "xsave", 0x1, 0, Ecx, 26, Yes, CpuidFeature.XSAVE),
        new(Avx, "avx", 0x1, 0, Ecx, 28, Yes, CpuidFeature.AVX),
        new(F16c, "f16c", 0x1, 0, Ecx, 29, Yes, CpuidFeature.F16C),
        new(Rdrand, "rdrand", 0x1, 0, Ecx, 30, Yes, CpuidFeature.RDRAND),
        new(Hypervisor, "hypervisor", 0x1, 0, Ecx, 31, Yes),
        new(FsGsBase, "fsgsbase", 0x7, 0, Ebx, 0, Yes, CpuidFeature.FSGSBASE),
        new(TscAdjust, "tsc_adjust", 0x7, 0, Ebx, 1, Yes),
        new(Bmi1, "bmi1", 0x7, 0, Ebx, 3, Yes, CpuidFeature.BMI1),
        new(Avx2, "avx2", 0x7, 0, Ebx, 5, Yes, CpuidFeature.AVX2),
        new(Smep, "smep", 0x7, 0, Ebx, 7, Yes),
        new(Bmi2, "bmi2", 0x7, 0, Ebx, 8, Yes, CpuidFeature.BMI2),
        new(FastStrings, "erms", 0x7, 0, Ebx, 9, No),
        new(Invpcid, "invpcid", 0x7, 0, Ebx, 10, Yes, CpuidFeature.INVPCID),
        new(Avx512F, "avx512f", 0x7, 0, Ebx, 16, No, CpuidFeature.AVX512F, Yes),
        new(Avx512Dq, "avx512dq", 0x7, 0, Ebx, 17, No, CpuidFeature.AVX512DQ, Yes),
        new(Rdseed, "rdseed", 0x7, 0, Ebx, 18, Yes, CpuidFeature.RDSEED),
        new(Adx, "adx", 0x7, 0, Ebx, 19, Yes, CpuidFeature.ADX),
        new(Smap, "smap", 0x7, 0, Ebx, 20, Yes, CpuidFeature.SMAP),
        new(Avx512Ifma, "avx512ifma", 0x7, 0, Ebx, 21, No, CpuidFeature.AVX512_IFMA, Yes),
        new(ClflushOpt, "clflushopt", 0x7, 0, Ebx, 23, Yes, CpuidFeature.CLFLUSHOPT),
        new(Clwb, "clwb", 0x7, 0, Ebx, 24, Yes, CpuidFeature.CLWB),
        new(Avx512Cd, "avx512cd", 0x7, 0, Ebx, 28, No, CpuidFeature.AVX512CD, Yes),
        new(Sha, "sha_ni", 0x7, 0, Ebx, 29, Yes, CpuidFeature.SHA),
        new(Avx512Bw, "avx512bw", 0x7, 0, Ebx, 30, No, CpuidFeature.AVX512BW, Yes),
        new(Avx512Vl, "avx512vl", 0x7, 0, Ebx, 31, No, CpuidFeature.AVX512VL, Yes),
        new(Umip, "umip", 0x7, 0, Ecx, 2, Yes),
        new(ProtectionKeys, "pku", 0x7, 0, Ecx, 3, Yes, CpuidFeature.PKU),
        new(Gfni, "gfni", 0x7, 0, Ecx, 8, Yes, CpuidFeature.GFNI),
        new(Vaes, "vaes", 0x7, 0, Ecx, 9, Yes, CpuidFeature.VAES),
        new(Vpclmulqdq, "vpclmulqdq", 0x7, 0, Ecx, 10, Yes, CpuidFeature.VPCLMULQDQ),
        new(La57, "la57", 0x7, 0, Ecx, 16, Yes),
        new(Rdpid, "rdpid", 0x7, 0, Ecx, 22, Yes, CpuidFeature.RDPID),
        new(SupervisorKeys, "pks", 0x7, 0, Ecx, 31, Yes),
        new(FastShortRepeats, "fsrm", 0x7, 0, Edx, 4, No),
        new(LinearAddressMasking, "lam", 0x7, 1, Eax, 26, Yes),
        new(XsaveOpt, "xsaveopt", 0xD, 1, Eax, 0, Yes, CpuidFeature.XSAVEOPT),
        new(XsaveC, "xsavec", 0xD, 1, Eax, 1, Yes, CpuidFeature.XSAVEC),
        new(Xgetbv1, "xgetbv1", 0xD, 1, Eax, 2, Yes),
        new(XsaveS, "xsaves", 0xD, 1, Eax, 3, Yes, CpuidFeature.XSAVES),
        new(LahfLong, "lahf_lm", 0x80000001, 0, Ecx, 0, Yes),
        new(LegacyThreads, "cmp_legacy", 0x80000001, 0, Ecx, 1, Yes),
        new(Svm, "svm", 0x80000001, 0, Ecx, 2, No, CpuidFeature.SVM),
        new(Cr8Legacy, "cr8_legacy", 0x80000001, 0, Ecx, 4, No),
        new(Lzcnt, "abm", 0x80000001, 0, Ecx, 5, Yes, CpuidFeature.LZCNT),
        new(Sse4a, "sse4a", 0x80000001, 0, Ecx, 6, Yes, CpuidFeature.SSE4A),
        new(MisalignedSse, "misalignsse", 0x80000001, 0, Ecx, 7, No),
        new(Prefetchw, "3dnowprefetch", 0x80000001, 0, Ecx, 8, Yes, CpuidFeature.PREFETCHW),
        new(TopologyExtensions, "topoext", 0x80000001, 0, Ecx, 22, No),
        new(Syscall, "syscall", 0x80000001, 0, Edx, 11, Yes, CpuidFeature.SYSCALL),
        new(Nx, "nx", 0x80000001, 0, Edx, 20, Yes),
        new(MmxExtensions, "mmxext", 0x80000001, 0, Edx, 22, No),
        new(FastFxsr, "fxsr_opt", 0x80000001, 0, Edx, 25, No),
        new(Pages1G, "pdpe1gb", 0x80000001, 0, Edx, 26, Yes),
        new(Rdtscp, "rdtscp", 0x80000001, 0, Edx, 27, Yes, CpuidFeature.RDTSCP),
        new(LongMode, "lm", 0x80000001, 0, Edx, 29, Yes, CpuidFeature.X64),
        new(InvariantTsc, "constant_tsc", 0x80000007, 0, Edx, 8, Yes),
        new(Clzero, "clzero", 0x80000008, 0, Ebx, 0, Yes, CpuidFeature.CLZERO),
        new(Wbnoinvd, "wbnoinvd", 0x80000008, 0, Ebx, 9, Yes, CpuidFeature.WBNOINVD),

        new(Arat, "arat", 0x6, 0, Eax, 2, Yes),
        new(Vmx, "vmx", 0x1, 0, Ecx, 5, No, CpuidFeature.VMX),
        new(HardwareLockElision, "hle", 0x7, 0, Ebx, 4, No),
        new(TransactionalMemory, "rtm", 0x7, 0, Ebx, 11, No),
        new(Avx512Vbmi, "avx512vbmi", 0x7, 0, Ecx, 1, No, CpuidFeature.AVX512_VBMI, Yes),
        new(WaitPackage, "waitpkg", 0x7, 0, Ecx, 5, No),
        new(Avx512Vbmi2, "avx512_vbmi2", 0x7, 0, Ecx, 6, No, CpuidFeature.AVX512_VBMI2, Yes),
        new(ShadowStack, "shstk", 0x7, 0, Ecx, 7, No),
        new(Avx512Vnni, "avx512_vnni", 0x7, 0, Ecx, 11, No, CpuidFeature.AVX512_VNNI, Yes),
        new(Avx512Bitalg, "avx512_bitalg", 0x7, 0, Ecx, 12, No, CpuidFeature.AVX512_BITALG, Yes),
        new(Avx512Vpopcntdq, "avx512_vpopcntdq", 0x7, 0, Ecx, 14, No, CpuidFeature.AVX512_VPOPCNTDQ, Yes),
        new(BusLockDetect, "bus_lock_detect", 0x7, 0, Ecx, 24, No),
        new(Cldemote, "cldemote", 0x7, 0, Ecx, 25, No),
        new(Movdiri, "movdiri", 0x7, 0, Ecx, 27, No),
        new(Movdir64b, "movdir64b", 0x7, 0, Ecx, 28, No),
        new(VerwClears, "md_clear", 0x7, 0, Edx, 10, No),
        new(Serialize, "serialize", 0x7, 0, Edx, 14, No),
        new(LoadTracking, "tsxldtrk", 0x7, 0, Edx, 16, No),
        new(IndirectBranchTracking, "ibt", 0x7, 0, Edx, 20, No),
        new(AmxBf16, "amx_bf16", 0x7, 0, Edx, 22, No),
        new(Avx512Fp16, "avx512_fp16", 0x7, 0, Edx, 23, No),
        new(AmxTile, "amx_tile", 0x7, 0, Edx, 24, No),
        new(AmxInt8, "amx_int8", 0x7, 0, Edx, 25, No),
        new(SpeculationControl, "spec_ctrl", 0x7, 0, Edx, 26, No),
        new(ThreadPredictors, "intel_stibp", 0x7, 0, Edx, 27, No),
        new(FlushL1D, "flush_l1d", 0x7, 0, Edx, 28, No),
        new(ArchCapabilities, "arch_capabilities", 0x7, 0, Edx, 29, Yes),
        new(StoreBypassDisable, "spec_ctrl_ssbd", 0x7, 0, Edx, 31, No),
        new(AvxVnni, "avx_vnni", 0x7, 1, Eax, 4, No),
        new(Avx512Bf16, "avx512_bf16", 0x7, 1, Eax, 5, No, CpuidFeature.AVX512_BF16, Yes),
        new(FastZeroMoves, "fzrm", 0x7, 1, Eax, 10, No),
        new(FastShortStores, "fsrs", 0x7, 1, Eax, 11, No),
        new(FastShortCompares, "fsrc", 0x7, 1, Eax, 12, No),
        new(ExtendedFeatureDisable, "xfd", 0xD, 1, Eax, 4, No),
        new(ExtendedApicSpace, "extapic", 0x80000001, 0, Ecx, 3, No),
        new(OsVisibleWorkaround, "osvw", 0x80000001, 0, Ecx, 9, No),
        new(CorePerformanceCounters, "perfctr_core", 0x80000001, 0, Ecx, 23, No),
        new(XsaveErrorPointers, "xsaveerptr", 0x80000008, 0, Ebx, 2, Yes),
        new(Rdpru, "rdpru", 0x80000008, 0, Ebx, 4, No),
        new(AmdPredictionBarrier, "amd_ibpb", 0x80000008, 0, Ebx, 12, No),
        new(AmdSpeculationControl, "amd_ibrs", 0x80000008, 0, Ebx, 14, No),
        new(AmdThreadPredictors, "amd_stibp", 0x80000008, 0, Ebx, 15, No),
        new(AmdStoreBypassDisable, "amd_ssbd", 0x80000008, 0, Ebx, 24, No),
    ];

    /// <summary>What our processor can do.</summary>
    public static FeatureSet Implemented { get; } = FeatureSet.Of(All.Where(f => f.Implemented).Select(f => f.Feature));

    /// <summary>What only a host that has it can do, when translated code passes it on.</summary>
    public static FeatureSet PassedOn { get; } = FeatureSet.Of(All.Where(f => f.PassedOn).Select(f => f.Feature));

    public static CpuFeatureInfo Info(this CpuFeature feature) => All[(int)feature];

    /// <summary>The feature of that name, or null.</summary>
    public static CpuFeature? Find(string name) => All.FirstOrDefault(f => f.Name.Equals(name, StringComparison.OrdinalIgnoreCase))?.Feature;
}
