using System.Runtime.InteropServices;
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
    /// <param name="status">The bits of the x87 status word that count.</param>
    /// <returns>What differs, or null.</returns>
    public static string? Find(in RegisterImage translated, in RegisterImage interpreted, ulong rip, long retired, RflagsBits flags,
        ushort status)
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
        X87State x87 = translated.X87;
        x87.StatusWord = (ushort)((x87.StatusWord & status) | (interpreted.X87.StatusWord & ~status));
        return MemoryMarshal.AsBytes(new ReadOnlySpan<X87State>(in x87)).SequenceEqual(RegisterImage.Fpu(in interpreted)) ? null : "x87 state";
    }
}
