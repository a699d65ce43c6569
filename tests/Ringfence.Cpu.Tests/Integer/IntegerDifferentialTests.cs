using System.Runtime.InteropServices;
using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>The general-purpose instructions of 64-bit code against the host's own processor.</summary>
public sealed unsafe class IntegerDifferentialTests
{
    private const int Forms = 24;
    private const int Rounds = 12;
    private const int Sequences = 4000;
    private const int Loops = 1500;
    private const int PairRounds = 6;
    private const ulong AllFlags = 0x8D5;
    private const int MostShown = 20;

    [Fact]
    public void EveryEncodingAlone()
    {
        SkipElsewhere();
        var random = new Random(20240901);
        using var both = new Comparison(random);
        var source = new InstructionSource(random);
        var failures = new List<string>();
        foreach (Code code in InstructionSource.Codes)
        {
            bool encoded = false;
            string? failure = null;
            for (int form = 0; form < Forms && failure == null; form++)
            {
                Instruction instruction = source.Next(code);
                ulong at = both.Place([instruction]);
                if (at == 0)
                {
                    continue;
                }
                encoded = true;
                for (int round = 0; round < Rounds && failure == null; round++)
                {
                    source.Prepare(in instruction, both.Start);
                    both.Top = code.Mnemonic() is Mnemonic.Popf or Mnemonic.Popfq ? source.RandomFlags() : null;
                    if (!Expectation.IsUndefined(in instruction, both.Start))
                    {
                        failure = both.Run(at, Expectation.UndefinedFlags(in instruction, both.Start));
                    }
                }
                if (failure != null)
                {
                    failures.Add(Comparison.Text([instruction]) + failure);
                }
            }
            if (!encoded)
            {
                failures.Add($"{code}: no encoding found");
            }
        }
        Report(failures, both);
        Assert.True(InstructionSource.Codes.Count > 500);
    }

    [Fact]
    public void RandomSequences()
    {
        SkipElsewhere();
        var random = new Random(20240902);
        using var both = new Comparison(random);
        var source = new SequenceSource(random);
        var failures = new List<string>();
        for (int n = 0; n < Sequences && failures.Count < MostShown; n++)
        {
            List<Instruction> code = source.Next(random.Next(5, 21), out ulong undefined);
            RunTame(both, source, code, undefined, Rounds, failures);
        }
        Report(failures, both);
    }

    [Fact]
    public void LoopsAndCalls()
    {
        SkipElsewhere();
        var random = new Random(20240903);
        using var both = new Comparison(random);
        var source = new SequenceSource(random);
        var failures = new List<string>();
        for (int n = 0; n < Loops && failures.Count < MostShown; n++)
        {
            // Anywhere in a page, so that blocks and instructions cross its end.
            both.Skip(random.Next(400));
            RunTame(both, source, source.NextLoop(), AllFlags, Rounds, failures);
        }
        Report(failures, both);
    }

    [Fact]
    public void EveryFlagReaderAfterEveryWriter()
    {
        SkipElsewhere();
        var random = new Random(20240904);
        using var both = new Comparison(random);
        var source = new SequenceSource(random);
        var failures = new List<string>();
        foreach (Instruction writer in FlagReaders.Writers())
        {
            foreach (Instruction? partial in FlagReaders.Partial)
            {
                var code = new List<Instruction> { writer };
                ulong undefined = SequenceSource.Undefined(writer);
                if (partial is Instruction second)
                {
                    if ((Expectation.ToFlags(second.RflagsRead) & undefined) != 0)
                    {
                        continue;
                    }
                    code.Add(second);
                    undefined &= ~Expectation.ToFlags(second.RflagsWritten | second.RflagsCleared | second.RflagsSet);
                    undefined |= SequenceSource.Undefined(second);
                }
                RunTame(both, source, [.. code, .. FlagReaders.All(undefined)], undefined, PairRounds, failures);
                if ((undefined & 1) == 0)
                {
                    foreach (Instruction reader in FlagReaders.CarryReaders)
                    {
                        ulong left = undefined & ~Expectation.ToFlags(reader.RflagsWritten);
                        RunTame(both, source, [.. code, reader], left | SequenceSource.Undefined(reader), 2, failures);
                    }
                }
                if (failures.Count >= MostShown)
                {
                    Report(failures, both);
                }
            }
        }
        Report(failures, both);
    }

    private static void RunTame(Comparison both, SequenceSource source, List<Instruction> code, ulong undefined, int rounds, List<string> failures)
    {
        ulong at = both.Place(code);
        if (at == 0)
        {
            return;
        }
        for (int round = 0; round < rounds; round++)
        {
            source.Prepare(both.Start);
            string? failure = both.Run(at, undefined);
            if (failure != null)
            {
                failures.Add(Comparison.Text(code) + failure);
                return;
            }
        }
    }

    private static void SkipElsewhere() => Assert.SkipUnless(
        OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64, "needs an x86-64 host with Linux to compare with");

    private static void Report(List<string> failures, Comparison both)
    {
        Assert.True(failures.Count == 0, $"{failures.Count} differ ({both.Runs} runs, {both.Faults} faults)\n" + string.Join('\n', failures.Take(MostShown)));
        Assert.True(both.Runs > 10000, $"only {both.Runs} runs");
    }
}
