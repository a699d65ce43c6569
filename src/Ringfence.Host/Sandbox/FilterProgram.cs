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
        // Calls with rules about their arguments first need more than one comparison: each call's rules stand together.
        foreach (IGrouping<SystemCall, SystemCallRule> rules in policy.Rules.GroupBy(rule => rule.Call))
        {
            FilterInstruction[] body = [.. rules.Any(rule => rule.Allowed is null) ? [new(Return, 0, 0, Allow)] : rules.SelectMany(Check).Append(Refuse)];
            program.Add(new(JumpIfEqual, 0, (byte)body.Length, (uint)rules.Key));
            program.AddRange(body);
        }
        program.Add(Refuse);
        return [.. program];
    }

    private static FilterInstruction Refuse => new(Return, 0, 0, Error | NotPermitted);

    private static IEnumerable<FilterInstruction> Check(SystemCallRule rule)
    {
        yield return new(Load, 0, 0, ArgumentsOffset + (8 * (uint)rule.Argument));
        yield return new(And, 0, 0, rule.Mask);
        foreach (uint value in rule.Allowed!)
        {
            yield return new(JumpIfEqual, 0, 1, value);
            yield return new(Return, 0, 0, Allow);
        }
    }
}
