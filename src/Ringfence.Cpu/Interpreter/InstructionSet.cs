using Iced.Intel;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Which instructions a processor has: those that its CPUID tells of, and those that every x86-64 processor has had from the start. What it
/// lacks is what its encoding was before: #UD, an older instruction under an ignored prefix, or a no-operation.
/// </summary>
internal sealed class InstructionSet
{
    private readonly Support[] _support = new Support[(int)Enum.GetValues<Code>().Max() + 1];

    public InstructionSet(CpuModel model)
    {
        HashSet<CpuidFeature> features = Features(model);
        foreach (Code code in Enum.GetValues<Code>())
        {
            _support[(int)code] = code.CpuidFeatures().All(features.Contains) ? Support.Present : WithoutFeature(code.Mnemonic());
        }
    }

    public Support this[Code code] => _support[(int)code];

    private static Support WithoutFeature(Mnemonic mnemonic) => mnemonic switch
    {
        // BSF, BSR and WBINVD with a prefix that they ignore.
        Mnemonic.Tzcnt or Mnemonic.Lzcnt or Mnemonic.Wbnoinvd => Support.Older,
        // Within the encodings that SDM 2 reserves for hints: 0F 0D, 0F 18 to 0F 1F.
        Mnemonic.Endbr32 or Mnemonic.Endbr64 or Mnemonic.Rdsspd or Mnemonic.Rdsspq or Mnemonic.Cldemote or Mnemonic.Prefetchw
            or Mnemonic.Prefetch or Mnemonic.Prefetchwt1 or Mnemonic.Prefetchit0 or Mnemonic.Prefetchit1 => Support.Hint,
        _ => Support.None,
    };

    private static HashSet<CpuidFeature> Features(CpuModel model)
    {
        HashSet<CpuidFeature> features =
        [
            CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.X64,
            CpuidFeature.CPUID, CpuidFeature.FPU287, CpuidFeature.FPU387, CpuidFeature.PAUSE, CpuidFeature.MULTIBYTENOP, CpuidFeature.RDPMC,
        ];
        Add(model.Leaf1Edx, [(0, CpuidFeature.FPU), (4, CpuidFeature.TSC), (5, CpuidFeature.MSR), (8, CpuidFeature.CX8), (11, CpuidFeature.SEP),
            (15, CpuidFeature.CMOV), (19, CpuidFeature.CLFSH), (23, CpuidFeature.MMX), (24, CpuidFeature.FXSR), (25, CpuidFeature.SSE),
            (26, CpuidFeature.SSE2)]);
        Add(model.Leaf1Ecx, [(0, CpuidFeature.SSE3), (1, CpuidFeature.PCLMULQDQ), (3, CpuidFeature.MONITOR), (9, CpuidFeature.SSSE3),
            (12, CpuidFeature.FMA), (13, CpuidFeature.CMPXCHG16B), (19, CpuidFeature.SSE4_1), (20, CpuidFeature.SSE4_2), (22, CpuidFeature.MOVBE),
            (23, CpuidFeature.POPCNT), (25, CpuidFeature.AES), (26, CpuidFeature.XSAVE), (28, CpuidFeature.AVX), (29, CpuidFeature.F16C),
            (30, CpuidFeature.RDRAND)]);
        Add(model.Leaf7Ebx, [(0, CpuidFeature.FSGSBASE), (3, CpuidFeature.BMI1), (5, CpuidFeature.AVX2), (8, CpuidFeature.BMI2),
            (10, CpuidFeature.INVPCID), (18, CpuidFeature.RDSEED), (19, CpuidFeature.ADX), (20, CpuidFeature.SMAP), (23, CpuidFeature.CLFLUSHOPT),
            (24, CpuidFeature.CLWB), (29, CpuidFeature.SHA)]);
        Add(model.ExtendedEcx, [(5, CpuidFeature.LZCNT), (6, CpuidFeature.SSE4A), (8, CpuidFeature.PREFETCHW)]);
        Add(model.ExtendedEdx, [(11, CpuidFeature.SYSCALL), (27, CpuidFeature.RDTSCP)]);
        return features;

        void Add(uint bits, ReadOnlySpan<(int Bit, CpuidFeature Feature)> known)
        {
            foreach ((int bit, CpuidFeature feature) in known)
            {
                if ((bits & (1u << bit)) != 0)
                {
                    features.Add(feature);
                }
            }
        }
    }
}

/// <summary>What becomes of an instruction.</summary>
internal enum Support
{
    /// <summary>#UD.</summary>
    None,
    /// <summary>Nothing: the encoding is reserved for hints.</summary>
    Hint,
    /// <summary>What the encoding was before the instruction came.</summary>
    Older,
    Present,
}
