using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Iced.Intel;
using Ringfence.Cpu.Tests.Differential;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Every form of every vector instruction, on the host's silicon and in the interpreter, from the same random states.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class DifferentialTests
{
    private const int Rounds = 400;
    /// <summary>Of VEX instructions, whose operations the legacy ones have tried already.</summary>
    private const int VexRounds = 200;
    /// <summary>Of text instructions, which have 128 forms for each operand.</summary>
    private const int TextRounds = 100;
    private const ulong ComparedFlags = 0x8D5;
    private const int OperandOffset = 1024;
    /// <summary>Vectors, MMX and general registers in <see cref="MachineImage"/>.</summary>
    private const int ComparedBytes = 704;

    [Theory]
    [InlineData(false, 3700)]
    [InlineData(true, 3000)]
    public void MatchesTheHostProcessor(bool vex, int leastForms)
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64 && Avx2.IsSupported, "needs an x86-64 host with AVX2 to compare with");
        LongRun.Repeat(vex ? "vector, VEX" : "vector, legacy", vex ? 15 : 20, 20240817, random => Pass(vex, leastForms, random));
    }

    private static long Pass(bool vex, int leastForms, Random random)
    {
        using var rig = new Rig();
        random.NextBytes(new Span<byte>(rig.Buffer, 4096));
        using var thunk = new HostThunk();
        var failures = new List<string>();
        int forms = 0;
        long cases = 0;
        foreach (Instruction form in Forms.Of(Forms.Codes.Where(c => HostFeatures.Has(c) && (c.Encoding() == EncodingKind.VEX) == vex), random))
        {
            byte[] bytes = Encode(form);
            Instruction instruction = Decode(bytes);
            if (!rig.Bind(instruction))
            {
                failures.Add($"{instruction.Code}: not bound");
                continue;
            }
            forms++;
            int rounds = Forms.IsText(instruction.Mnemonic) ? TextRounds : vex ? VexRounds : Rounds;
            thunk.Compile(bytes);
            string? failure = Compare(instruction, rounds, rig, thunk, random, ref cases);
            if (failure != null)
            {
                LongRun.Difference();
                failures.Add(failure);
            }
        }
        Assert.True(forms >= leastForms, $"only {forms} forms");
        Assert.True(failures.Count == 0, $"{failures.Count} of {forms} forms differ\n" + string.Join('\n', failures.Take(60)));
        return cases;
    }

    private static string? Compare(in Instruction instruction, int rounds, Rig rig, HostThunk thunk, Random random, ref long cases)
    {
        MachineImage start;
        MachineImage host;
        MachineImage guest;
        byte[] memory = new byte[64];
        byte[] hostMemory = new byte[64];
        uint cleared = ClearedUppers(in instruction);
        for (int round = 0; round < rounds; round++)
        {
            Operands.Fill(&start, random);
            Operands.FillVector(memory, random);
            if (Forms.IsText(instruction.Mnemonic))
            {
                Operands.FillText(&start, memory, random);
            }
            byte* operand = rig.Buffer + OperandOffset;
            start.Gpr[6] = start.Gpr[7] = (ulong)operand;
            if (instruction.IsVsib)
            {
                LimitIndices(in instruction, &start, random);
            }
            if (instruction.Mnemonic is Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr)
            {
                BitConverter.TryWriteBytes(memory, random.Next(0x10000) | 0x1F80);
            }

            if (instruction.Mnemonic is Mnemonic.Extrq or Mnemonic.Insertq && !IsFieldDefined(instruction, &start))
            {
                continue;
            }

            cases++;
            LongRun.Count(1);
            host = start;
            memory.CopyTo(new Span<byte>(operand, 64));
            thunk.Run(&host);
            new Span<byte>(operand, 64).CopyTo(hostMemory);

            memory.CopyTo(new Span<byte>(operand, 64));
            guest = start;
            rig.Load(&start);
            if (!rig.Run())
            {
                return $"{instruction} ({instruction.Code}): fault {rig.State->FaultVector}";
            }
            rig.Store(&guest);
            if (instruction.Mnemonic is Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss
                or Mnemonic.Vrcpps or Mnemonic.Vrcpss or Mnemonic.Vrsqrtps or Mnemonic.Vrsqrtss)
            {
                AdoptEstimates(&host, &guest);
            }
            if (instruction.Mnemonic is Mnemonic.Extrq or Mnemonic.Insertq)
            {
                // APM 4: bits 127:64 of the destination are undefined.
                int high = (32 * instruction.Op0Register.GetNumber()) + 8;
                *(ulong*)(guest.Ymm + high) = *(ulong*)(host.Ymm + high);
            }
            string difference = Difference(&host, &guest) + UpperDifference(cleared, rig);
            if (!new Span<byte>(operand, 64).SequenceEqual(hostMemory))
            {
                difference += $" memory {Convert.ToHexString(hostMemory, 0, 16)} not {Convert.ToHexString(new Span<byte>(operand, 16))}";
            }
            if (difference.Length != 0)
            {
                return $"{instruction} ({instruction.Code}) round {round} mxcsr {start.Mxcsr:x4}:{difference}\n    from {Describe(instruction, &start, memory)}";
            }
        }
        return null;
    }

    /// <summary>Makes a gather's addresses lie in the buffer.</summary>
    private static void LimitIndices(in Instruction instruction, MachineImage* image, Random random)
    {
        byte* index = image->Ymm + (32 * instruction.MemoryIndex.GetNumber());
        for (int i = 0; i < (instruction.IsVsib32 ? 8 : 4); i++)
        {
            int value = random.Next(-100, 100);
            if (instruction.IsVsib32)
            {
                ((int*)index)[i] = value;
            }
            else
            {
                ((long*)index)[i] = value;
            }
        }
    }

    /// <summary>What the host thunk does not see, bits 256 to 511: a VEX instruction clears them where it writes, nothing else touches them
    /// (SDM 1 14.1.3). A bit for each register where it does.</summary>
    private static uint ClearedUppers(in Instruction instruction)
    {
        if (instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall)
        {
            return 0xFFFF;
        }
        InstructionInfo info = new InstructionInfoFactory().GetInfo(instruction);
        uint cleared = instruction.Mnemonic is Mnemonic.Vpcmpestrm or Mnemonic.Vpcmpestrm64 or Mnemonic.Vpcmpistrm ? 1U : 0;
        for (int i = 0; i < instruction.OpCount && instruction.Encoding == EncodingKind.VEX; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsVectorRegister()
                && info.GetOpAccess(i) is OpAccess.Write or OpAccess.ReadWrite or OpAccess.CondWrite or OpAccess.ReadCondWrite)
            {
                cleared |= 1U << instruction.GetOpRegister(i).GetNumber();
            }
        }
        return cleared;
    }

    private static string UpperDifference(uint cleared, Rig rig)
    {
        string text = "";
        for (int i = 0; i < 16; i++)
        {
            if (!rig.UpperIs(i, ((cleared >> i) & 1) != 0))
            {
                text += $" zmm{i}'s upper half";
            }
        }
        return text;
    }

    /// <summary>APM 4 EXTRQ, INSERTQ: a field that reaches beyond bit 63 gives undefined results.</summary>
    private static bool IsFieldDefined(in Instruction instruction, MachineImage* start)
    {
        int field = instruction.Immediate8 | (instruction.Immediate8_2nd << 8);
        if (instruction.OpCount == 2)
        {
            byte* source = start->Ymm + (32 * instruction.Op1Register.GetNumber());
            field = *(ushort*)(instruction.Mnemonic == Mnemonic.Extrq ? source : source + 8);
        }
        int length = (field & 63) == 0 ? 64 : field & 63;
        return length + ((field >> 8) & 63) <= 64;
    }

    /// <summary>Two estimates, each within 1.5 * 2^-12 of the truth, count as the same.</summary>
    private static void AdoptEstimates(MachineImage* host, MachineImage* guest)
    {
        const float Tolerance = 2 * 1.5f / 4096;
        float* a = (float*)host->Ymm;
        float* b = (float*)guest->Ymm;
        for (int i = 0; i < 128; i++)
        {
            if (Math.Abs(a[i] - b[i]) <= Tolerance * Math.Abs(a[i]) && float.IsNormal(a[i]))
            {
                b[i] = a[i];
            }
        }
    }

    private static string Difference(MachineImage* host, MachineImage* guest)
    {
        if (new ReadOnlySpan<byte>(host, ComparedBytes).SequenceEqual(new ReadOnlySpan<byte>(guest, ComparedBytes))
            && ((host->Flags ^ guest->Flags) & ComparedFlags) == 0 && host->Mxcsr == guest->Mxcsr)
        {
            return "";
        }
        var text = new StringBuilder();
        for (int i = 0; i < 16; i++)
        {
            string a = Hex(host->Ymm + (32 * i));
            string b = Hex(guest->Ymm + (32 * i));
            if (a != b)
            {
                text.Append($" ymm{i} {a} not {b}");
            }
        }
        for (int i = 0; i < 8; i++)
        {
            if (host->Mm[i] != guest->Mm[i])
            {
                text.Append($" mm{i} {host->Mm[i]:x16} not {guest->Mm[i]:x16}");
            }
        }
        for (int i = 0; i < 16; i++)
        {
            if (host->Gpr[i] != guest->Gpr[i])
            {
                text.Append($" gpr{i} {host->Gpr[i]:x16} not {guest->Gpr[i]:x16}");
            }
        }
        if (((host->Flags ^ guest->Flags) & ComparedFlags) != 0)
        {
            text.Append($" flags {host->Flags & ComparedFlags:x} not {guest->Flags & ComparedFlags:x}");
        }
        if (host->Mxcsr != guest->Mxcsr)
        {
            text.Append($" mxcsr {host->Mxcsr:x} not {guest->Mxcsr:x}");
        }
        return text.ToString();
    }

    private static string Describe(in Instruction instruction, MachineImage* image, byte[] memory)
    {
        var text = new StringBuilder();
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register)
            {
                Register register = instruction.GetOpRegister(i);
                int n = register.GetNumber();
                text.Append($" {register}=").Append(register.IsVectorRegister() ? Hex(image->Ymm + (32 * n)) : register.IsMM() ? $"{image->Mm[n]:x16}" : $"{image->Gpr[n]:x16}");
            }
            else if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                fixed (byte* p = memory)
                {
                    text.Append(" memory=").Append(Hex(p));
                }
            }
        }
        return text.ToString();
    }

    /// <summary>The highest byte first, as one writes numbers.</summary>
    private static string Hex(byte* vector) =>
        $"{((ulong*)vector)[3]:x16}_{((ulong*)vector)[2]:x16}_{((ulong*)vector)[1]:x16}_{((ulong*)vector)[0]:x16}";

    private static byte[] Encode(in Instruction instruction)
    {
        var writer = new Writer();
        Iced.Intel.Encoder.Create(64, writer).Encode(instruction, 0);
        return [.. writer.Bytes];
    }

    private static Instruction Decode(byte[] bytes)
    {
        var decoder = Iced.Intel.Decoder.Create(64, new ByteArrayCodeReader(bytes));
        return decoder.Decode();
    }

    private sealed class Writer : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
