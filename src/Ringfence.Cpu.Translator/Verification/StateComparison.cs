using Iced.Intel;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>Looks for the first difference between what translated code and the interpreter made of a start.</summary>
internal static unsafe class StateComparison
{
    public static readonly string[] Names =
        ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

    private static readonly (RflagsBits Bit, int Position, string Name)[] FlagNames =
    [
        (RflagsBits.CF, 0, "CF"), (RflagsBits.PF, 2, "PF"), (RflagsBits.AF, 4, "AF"), (RflagsBits.ZF, 6, "ZF"), (RflagsBits.SF, 7, "SF"), (RflagsBits.OF, 11, "OF"),
    ];

    /// <param name="rip">Where translated code has come to, and how many instructions were retired.</param>
    /// <param name="flags">Those that count.</param>
    /// <returns>What differs, or null.</returns>
    public static string? Find(in RegisterImage translated, in RegisterImage interpreted, ulong rip, long retired, RflagsBits flags)
    {
        if (rip != interpreted.Rip)
        {
            return $"RIP: translated {rip:x}, interpreted {interpreted.Rip:x}";
        }
        if (retired != interpreted.Retired)
        {
            return $"instructions retired: translated {retired}, interpreted {interpreted.Retired}";
        }
        for (int i = 0; i < Names.Length; i++)
        {
            if (translated.Gpr[i] != interpreted.Gpr[i])
            {
                return Names[i];
            }
        }
        foreach ((RflagsBits bit, int position, string name) in FlagNames)
        {
            if ((flags & bit) != 0 && (((translated.Flags ^ interpreted.Flags) >> position) & 1) != 0)
            {
                return name;
            }
        }
        for (int i = 0; i < RegisterImage.VectorRegisters; i++)
        {
            if (!RegisterImage.Vector(in translated, i).SequenceEqual(RegisterImage.Vector(in interpreted, i)))
            {
                return $"vector register {i}";
            }
        }
        if (translated.SystemFlags != interpreted.SystemFlags || translated.Tlb != interpreted.Tlb)
        {
            return "system flags";
        }
        if (translated.GsBase != interpreted.GsBase || translated.KernelGsBase != interpreted.KernelGsBase)
        {
            return "GS base";
        }
        if (translated.Mxcsr != interpreted.Mxcsr)
        {
            return "MXCSR";
        }
        return RegisterImage.Fpu(in translated).SequenceEqual(RegisterImage.Fpu(in interpreted)) ? null : Describe(translated.X87, interpreted.X87);
    }

    /// <summary>Null if only what does not count differs: C1, which tells of rounding, what empty registers hold, and the pointers to the last
    /// instruction and its operand, which <c>X87SequenceTests</c> compare with the host's.</summary>
    private static string? Describe(X87State translated, X87State interpreted)
    {
        const int RoundedUp = 0x200;
        if (((translated.StatusWord ^ interpreted.StatusWord) & ~RoundedUp) != 0 || translated.ControlWord != interpreted.ControlWord)
        {
            return "x87 control or status";
        }
        if (translated.Tags != interpreted.Tags)
        {
            return "x87 tags";
        }
        for (int i = 0; i < 8; i++)
        {
            bool used = (translated.Tags & (1 << i)) != 0;
            if (used && translated.GetPhysical(i) != interpreted.GetPhysical(i))
            {
                return $"x87 register {i}";
            }
        }
        return null;
    }
}
