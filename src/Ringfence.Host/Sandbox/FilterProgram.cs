using System.Runtime.InteropServices;

namespace Ringfence.Host.Sandbox;

/// <summary>One instruction of classic BPF: struct sock_filter (linux/filter.h).</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct FilterInstruction(ushort Code, byte IfTrue, byte IfFalse, uint Value);

/// <summary>Writes a policy as the program that the kernel runs before each system call, over struct seccomp_data (linux/seccomp.h).</summary>
internal static class FilterProgram
{
    public const uint Allow = 0x7FFF_0000;
    public const uint KillProcess = 0x8000_0000;
    public const uint Error = 0x0005_0000;
    public const int NotPermitted = 1;
    public const int NoSuchCall = 38;

    private const uint ArchitectureX64 = 0xC000_003E;
    private const uint CallOffset = 0;
    private const uint ArchitectureOffset = 4;
    private const uint ArgumentsOffset = 16;
    private const ushort Load = 0x20;
    private const ushort And = 0x54;
    private const ushort JumpIfEqual = 0x15;
    private const ushort Return = 0x06;

    private static readonly FilterInstruction s_refuse = new(Return, 0, 0, Error | NotPermitted);

    public static FilterInstruction[] Write(SandboxPolicy policy)
    {
        List<FilterInstruction> program =
        [
            new(Load, 0, 0, ArchitectureOffset),
            new(JumpIfEqual, 1, 0, ArchitectureX64),
            new(Return, 0, 0, KillProcess),
            new(Load, 0, 0, CallOffset),
        ];
        foreach (SystemCall call in SandboxPolicy.Missing)
        {
            program.Add(new(JumpIfEqual, 0, 1, (uint)call));
            program.Add(new(Return, 0, 0, Error | NoSuchCall));
        }
        // A call's rules stand together, so that all others jump over them at once; after the last, what none allows is refused.
        for (int i = 0; i < policy.Rules.Count;)
        {
            i = Write(program, policy.Rules, i);
        }
        program.Add(s_refuse);
        return [.. program];
    }

    /// <summary>Writes the rules of one call. The place after them is returned.</summary>
    private static int Write(List<FilterInstruction> program, IReadOnlyList<SystemCallRule> rules, int first)
    {
        SystemCall call = rules[first].Call;
        int comparison = program.Count;
        program.Add(default);
        bool always = false;
        int i = first;
        for (; i < rules.Count && rules[i].Call == call; i++)
        {
            if (rules[i].Allowed is not { } values)
            {
                always = true;
                continue;
            }
            program.Add(new(Load, 0, 0, ArgumentsOffset + (8 * (uint)rules[i].Argument)));
            program.Add(new(And, 0, 0, rules[i].Mask));
            foreach (uint value in values)
            {
                program.Add(new(JumpIfEqual, 0, 1, value));
                program.Add(new(Return, 0, 0, Allow));
            }
        }
        program.Add(always ? new(Return, 0, 0, Allow) : s_refuse);
        program[comparison] = new(JumpIfEqual, 0, (byte)(program.Count - comparison - 1), (uint)call);
        return i;
    }
}
