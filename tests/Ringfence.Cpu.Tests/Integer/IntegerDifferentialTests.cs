using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Tests.Differential;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>The general-purpose instructions of 64-bit code against the host's own processor.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class IntegerDifferentialTests
{
    private const int Forms = 24;
    private const int Rounds = 12;
    private const int Sequences = 3000;
    private const int Loops = 1500;
    private const int PairRounds = 3;
    private const ulong AllFlags = 0x8D5;
    private const int MostShown = 20;

    [Fact]
    public void EveryEncodingAlone()
    {
        SkipElsewhere();
        LongRun.Repeat("integer encodings", 32, 20240901, EncodingsAlone);
    }

    private static long EncodingsAlone(Random random)
    {
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
                    LongRun.Difference();
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
        return both.Runs;
    }

    [Fact]
    public void EveryBranchAlone()
    {
        SkipElsewhere();
        LongRun.Repeat("branches", 2, 20240907, RunBranches);
    }

    private static long RunBranches(Random random)
    {
        using var both = new Comparison(random);
        var source = new InstructionSource(random);
        var branches = new BranchSource(random);
        var failures = new List<string>();
        foreach (Code code in BranchSource.Codes)
        {
            for (int form = 0; form < Forms; form++)
            {
                both.Skip(random.Next(100));
                List<Instruction> body = branches.Next(code);
                ulong at = both.Place(body);
                string? failure = at == 0 ? " no encoding found" : null;
                for (int round = 0; round < Rounds && failure == null; round++)
                {
                    source.Prepare(both.Start);
                    both.Start->Gpr[1] = branches.Count();
                    failure = both.Run(at, 0);
                }
                if (failure != null)
                {
                    LongRun.Difference();
                    failures.Add(Comparison.Text(body) + failure);
                }
            }
        }
        Report(failures, both);
        return both.Runs;
    }

    [Fact]
    public void RandomSequences()
    {
        SkipElsewhere();
        LongRun.Repeat("integer sequences", 5, 20240902, RunSequences);
    }

    private static long RunSequences(Random random)
    {
        using var both = new Comparison(random);
        var source = new SequenceSource(random);
        var failures = new List<string>();
        for (int n = 0; n < Sequences && failures.Count < MostShown; n++)
        {
            List<Instruction> code = source.Next(random.Next(5, 21), out ulong undefined);
            RunTame(both, source, code, undefined, Rounds, failures);
        }
        Report(failures, both);
        return both.Runs;
    }

    [Fact]
    public void LoopsAndCalls()
    {
        SkipElsewhere();
        LongRun.Repeat("loops and calls", 3, 20240903, RunLoops);
    }

    private static long RunLoops(Random random)
    {
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
        return both.Runs;
    }

    [Fact]
    public void EveryFlagReaderAfterEveryWriter()
    {
        SkipElsewhere();
        LongRun.Repeat("flag readers", 1, 20240904, ReadersAfterWriters);
    }

    private static long ReadersAfterWriters(Random random)
    {
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
        return both.Runs;
    }

    /// <summary>Loops, and long string instructions, that are left and entered again wherever they happen to be.</summary>
    [Fact]
    public void InterruptedAnywhere()
    {
        SkipElsewhere();
        var random = new Random(20240906);
        using var both = new Comparison(random);
        var loops = new SequenceSource(random);
        var single = new InstructionSource(random);
        Code[] strings = [.. InstructionSource.Codes.Where(c => c.ToOpCode().CanUseRepPrefix)];
        var failures = new List<string>();
        bool done = false;
        var other = new Thread(() =>
        {
            while (!Volatile.Read(ref done))
            {
                both.Disturb();
                Thread.SpinWait(20);
            }
        });
        other.Start();
        for (int n = 0; n < Loops / 2 && failures.Count < MostShown; n++)
        {
            RunTame(both, loops, loops.NextLoop(), AllFlags, 4, failures);
            Instruction instruction = single.Next(strings[n % strings.Length]);
            ulong at = both.Place([instruction]);
            for (int round = 0; round < Rounds && at != 0; round++)
            {
                single.Prepare(in instruction, both.Start);
                string? failure = both.Run(at, 0);
                if (failure != null)
                {
                    LongRun.Difference();
                    failures.Add(Comparison.Text([instruction]) + failure);
                }
            }
        }
        Volatile.Write(ref done, true);
        other.Join();
        Report(failures, both);
    }

    /// <summary>
    /// A loop that changes the immediate of an instruction further on: in its own block, past the end of the page, or across it; each
    /// time with another kind of store.
    /// </summary>
    [Fact]
    public void CodeThatChangesItself()
    {
        SkipElsewhere();
        const ulong Patched = 7;
        const ulong Top = 8;
        var random = new Random(20240905);
        using var both = new Comparison(random);
        var source = new SequenceSource(random);
        var failures = new List<string>();
        for (int n = 0; n < 800 && failures.Count < MostShown; n++)
        {
            var code = new List<Instruction>
            {
                Instruction.Create(Code.Mov_r32_imm32, Register.R12D, 3),
                Instruction.Create(Code.Lea_r64_m, Register.RDI, new MemoryOperand(Register.RIP, Register.None, 1, (long)Patched, 8)),
                Instruction.Create(Code.Mov_r32_imm32, Register.R8D, 0),
                // To the immediate of what is changed: after REX, opcode and ModRM.
                Instruction.Create(Code.Add_rm64_imm8, Register.RDI, 3),
                Labeled(Instruction.Create(Code.Nopd), Top),
                Instruction.Create(Code.Imul_r64_rm64_imm32, Register.RBP, Register.RBP, 12345),
            };
            switch (n % 5)
            {
                case 0: code.Add(Instruction.Create(Code.Mov_rm32_r32, new MemoryOperand(Register.RDI), Register.EBP)); break;
                case 1: code.Add(Instruction.Create(Code.Inc_rm8, new MemoryOperand(Register.RDI, random.Next(4)))); break;
                case 2: code.Add(Instruction.Create(Code.Xadd_rm16_r16, new MemoryOperand(Register.RDI, random.Next(3)), Register.BP)); break;
                case 3:
                    code.Add(Instruction.Create(Code.Mov_rm64_r64, Register.RAX, Register.RBP));
                    code.Add(Instruction.Create(Code.Mov_r32_imm32, Register.ECX, 4));
                    code.Add(Instruction.CreateRepStosb(64));
                    code.Add(Instruction.Create(Code.Sub_rm64_imm8, Register.RDI, 4));
                    break;
                default: code.Add(Instruction.Create(Code.Bts_rm32_imm8, new MemoryOperand(Register.RDI), random.Next(32))); break;
            }
            if (random.Next(2) == 0)
            {
                code.Add(Instruction.CreateBranch(Code.Jmp_rel32_64, Patched));
            }
            for (int i = random.Next(12); i > 0; i--)
            {
                code.Add(Instruction.Create(Code.Nopd));
            }
            code.Add(Labeled(Instruction.Create(Code.Imul_r32_rm32_imm32, Register.R9D, Register.R9D, 77), Patched));
            code.Add(Instruction.Create(Code.Add_rm64_r64, Register.R8, Register.R9));
            code.Add(Instruction.Create(Code.Dec_rm32, Register.R12D));
            code.Add(Instruction.CreateBranch(Code.Jne_rel32_64, Top));
            both.SkipToPageEnd(random.Next(10, 120));
            RunTame(both, source, code, AllFlags, 1, failures);
        }
        Assert.True(failures.Count == 0, $"{failures.Count} differ\n" + string.Join('\n', failures.Take(MostShown)));
    }

    private static Instruction Labeled(Instruction instruction, ulong label)
    {
        instruction.IP = label;
        return instruction;
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
                LongRun.Difference();
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
