using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Where an operand is encoded.</summary>
internal enum Field : byte
{
    /// <summary>Nowhere: implied, an immediate, a branch target.</summary>
    None,
    Reg,
    /// <summary>ModRM.rm: a register or memory.</summary>
    Rm,
    Vvvv,
    /// <summary>The low three bits of the opcode.</summary>
    Opcode,
    /// <summary>Memory that ModRM does not name: an absolute address, or what a string instruction implies.</summary>
    Elsewhere,
}

/// <summary>What the translator has to know of an instruction's encoding, for one <see cref="Code"/>.</summary>
internal sealed class CodeForm
{
    private static readonly CodeForm?[] Forms = new CodeForm?[(int)Enum.GetValues<Code>().Max() + 1];

    private CodeForm(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        Encoding = info.Encoding;
        IgnoresWide32 = info.IsWIG32;
        Fields = new Field[info.OpCount];
        bool gathers = false;
        bool wants = false;
        for (int i = 0; i < Fields.Length; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            Fields[i] = kind.EndsWith("_or_mem", StringComparison.Ordinal) || kind.EndsWith("_rm", StringComparison.Ordinal) || kind is "mem" or "mem_mpx" ? Field.Rm
                : kind.EndsWith("_reg", StringComparison.Ordinal) || kind.EndsWith("_reg_mem", StringComparison.Ordinal) ? Field.Reg
                : kind.EndsWith("_vvvv", StringComparison.Ordinal) ? Field.Vvvv
                : kind.EndsWith("_opcode", StringComparison.Ordinal) ? Field.Opcode
                : kind.Contains("mem", StringComparison.Ordinal) || kind.StartsWith("seg_", StringComparison.Ordinal) ? Field.Elsewhere
                : Field.None;
            RegisterInImmediate |= kind.EndsWith("_is4", StringComparison.Ordinal) || kind.EndsWith("_is5", StringComparison.Ordinal);
            gathers |= kind.Contains("vsib", StringComparison.Ordinal);
            wants |= Fields[i] is Field.Reg or Field.Rm;
        }
        HasModRm = wants && !gathers;
        Mnemonic = info.Mnemonic;
        Opcode = info.OpCode;
        Kind = NativeSet.Classify(code, info, Fields);
    }

    public EncodingKind Encoding { get; }

    /// <summary>Outside 64-bit code W of VEX and EVEX does not count.</summary>
    public bool IgnoresWide32 { get; }

    /// <summary>The immediate byte names a register.</summary>
    public bool RegisterInImmediate { get; }

    public Mnemonic Mnemonic { get; }

    /// <summary>Without escapes.</summary>
    public uint Opcode { get; }

    public Field[] Fields { get; }

    public bool HasModRm { get; }

    public NativeKind Kind { get; }

    public static CodeForm Of(Code code) => Forms[(int)code] ??= new CodeForm(code);
}
