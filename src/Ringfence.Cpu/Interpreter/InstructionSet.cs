using Iced.Intel;
using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// Which instructions a processor has: those that its CPUID tells of, and those that every x86-64 processor has had from the start. What it
/// lacks is what its encoding was before: #UD, an older instruction under an ignored prefix, or a no-operation.
/// </summary>
internal sealed class InstructionSet
{
    private static readonly Codes s_codes = new();

    private readonly Support[] _support;

    public InstructionSet(CpuModel model)
    {
        HashSet<CpuidFeature> features = Features(model);
        bool[] has = [.. s_codes.Needs.Select(n => n.All(features.Contains))];
        _support = new Support[s_codes.Need.Length];
        for (int code = 0; code < _support.Length; code++)
        {
            _support[code] = has[s_codes.Need[code]] ? Support.Present : s_codes.Lacking[code];
        }
        if (model.OffersKvmClock)
        {
            _support[(int)Code.Vmcall] = _support[(int)Code.Vmmcall] = Support.Present;
        }
    }

    public Support this[Code code] => _support[(int)code];

    /// <summary>Only the host's processor can execute it: there is no handler.</summary>
    public static bool IsPassedOn(Code code) => s_codes.PassedOn[s_codes.Need[(int)code]];

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
        foreach (CpuFeatureInfo info in CpuFeatures.All)
        {
            if (info.Instructions is { } instructions && model.Has(info.Feature))
            {
                features.Add(instructions);
            }
        }
        return features;
    }

    /// <summary>What is the same for every model: thousands of instructions, which need a few hundred combinations of features.</summary>
    private sealed class Codes
    {
        public Codes()
        {
            Code[] codes = Enum.GetValues<Code>();
            int count = (int)codes.Max() + 1;
            Need = new ushort[count];
            Lacking = new Support[count];
            List<CpuidFeature[]> needs = [];
            Dictionary<string, ushort> known = [];
            foreach (Code code in codes)
            {
                CpuidFeature[] need = code.CpuidFeatures();
                string name = string.Join(' ', need);
                if (!known.TryGetValue(name, out ushort index))
                {
                    known.Add(name, index = (ushort)needs.Count);
                    needs.Add(need);
                }
                Need[(int)code] = index;
                Lacking[(int)code] = WithoutFeature(code.Mnemonic());
            }
            Needs = [.. needs];
            HashSet<CpuidFeature> passedOn = [.. CpuFeatures.PassedOn.Members().Select(f => f.Info().Instructions!.Value)];
            PassedOn = [.. Needs.Select(n => n.Any(passedOn.Contains))];
        }

        public CpuidFeature[][] Needs { get; }

        /// <summary>Which of them have a feature of <see cref="CpuFeatures.PassedOn"/>.</summary>
        public bool[] PassedOn { get; }

        /// <summary>By code, the index in <see cref="Needs"/>.</summary>
        public ushort[] Need { get; }

        /// <summary>By code, what becomes of it without one of these.</summary>
        public Support[] Lacking { get; }
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
