using Iced.Intel;
using Ringfence.Cpu.Tests.Integer;
using Ringfence.Cpu.Tests.X87;

namespace Ringfence.Cpu.Tests.Differential;

/// <summary>Why a form of user code is not compared with the host's processor.</summary>
internal static class Excuses
{
    private static readonly (string Reason, Mnemonic[] Mnemonics)[] _byName =
    [
        ("Its result is the time, chance, or what the processor or its system is: rules in `State/`, `SystemLevel/` and `Models/`",
            [Mnemonic.Rdtsc, Mnemonic.Rdtscp, Mnemonic.Rdrand, Mnemonic.Rdseed, Mnemonic.Cpuid, Mnemonic.Rdpmc, Mnemonic.Rdpid, Mnemonic.Xgetbv,
            Mnemonic.Rdpkru, Mnemonic.Wrpkru, Mnemonic.Smsw, Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Sldt, Mnemonic.Str]),
        ("Leaves for the system: rules in `SystemLevel/`",
            [Mnemonic.Int, Mnemonic.Int3, Mnemonic.Int1, Mnemonic.Into, Mnemonic.Syscall, Mnemonic.Sysenter, Mnemonic.Iret, Mnemonic.Iretd,
            Mnemonic.Iretq, Mnemonic.Retf, Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2]),
        ("Needs I/O privilege: rules in `SystemLevel/`",
            [Mnemonic.In, Mnemonic.Out, Mnemonic.Insb, Mnemonic.Insw, Mnemonic.Insd, Mnemonic.Outsb, Mnemonic.Outsw, Mnemonic.Outsd, Mnemonic.Cli,
            Mnemonic.Sti]),
        ("Works with segments, of which the host's system has its own: rules in `SystemLevel/` and `State/`",
            [Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw, Mnemonic.Arpl, Mnemonic.Lds, Mnemonic.Les, Mnemonic.Lfs, Mnemonic.Lgs,
            Mnemonic.Lss, Mnemonic.Rdfsbase, Mnemonic.Rdgsbase, Mnemonic.Wrfsbase, Mnemonic.Wrgsbase]),
        ("Changes nothing that code can see but a line of zeros or a fault: `State/StateInstructionTests`",
            [Mnemonic.Clflush, Mnemonic.Clflushopt, Mnemonic.Clwb, Mnemonic.Clzero]),
        ("A hint without effect",
            [Mnemonic.Pause, Mnemonic.Prefetch, Mnemonic.Prefetchw, Mnemonic.Reservednop]),
        ("Stores or loads the x87 environment: rules, and the pointers against the host, in `X87/`",
            [Mnemonic.Fldenv, Mnemonic.Fnstenv, Mnemonic.Frstor, Mnemonic.Fnsave, Mnemonic.Wait]),
        ("#UD to users, though the decoder does not know: `State/StateInstructionTests`", [Mnemonic.Monitor, Mnemonic.Mwait]),
    ];

    private static readonly Dictionary<Mnemonic, string> _reasons =
        _byName.SelectMany(e => e.Mnemonics.Select(m => (m, e.Reason))).ToDictionary(e => e.m, e => e.Reason);

    /// <summary>Null: there is none.</summary>
    public static string? Of(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        if (X87Codes.IsOfOldCoprocessor(code))
        {
            return "Of coprocessors before the 80486: #UD since";
        }
        if (info.Fwait && code != Code.Wait)
        {
            return "WAIT and another instruction, to the decoder: compared as that";
        }
        if (_reasons.TryGetValue(code.Mnemonic(), out string? reason))
        {
            return reason;
        }
        if (IsFar(code))
        {
            return "A far transfer: `SystemLevel/TransferTests`";
        }
        if (NamesASegmentRegister(info))
        {
            return "Moves a segment register, which the host's system sets: rules in `SystemLevel/`";
        }
        if (!info.Mode64 && !CompatibilityDifferentialTests.Codes.Contains(code))
        {
            return "Stack, branches and addresses of 16- and 32-bit code alone, where the comparison has no memory: rules in `SystemLevel/`";
        }
        return !info.IntelDecoder64 && info.AmdDecoder64 ? "A near transfer to 16-bit addresses, of AMD's 64-bit code alone" : code switch
        {
            Code.Fnstsw_AX => "Its result is in no state that the comparison sees: `X87/X87ExecutionTests`",
            _ => null,
        };
    }

    private static bool IsFar(Code code) =>
        code.IsCallFar() || code.IsJmpFar() || code.IsCallFarIndirect() || code.IsJmpFarIndirect();

    private static bool NamesASegmentRegister(OpCodeInfo info)
    {
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i) is OpCodeOperandKind.seg_reg or OpCodeOperandKind.es or OpCodeOperandKind.cs or OpCodeOperandKind.ss
                or OpCodeOperandKind.ds or OpCodeOperandKind.fs or OpCodeOperandKind.gs)
            {
                return true;
            }
        }
        return false;
    }
}
