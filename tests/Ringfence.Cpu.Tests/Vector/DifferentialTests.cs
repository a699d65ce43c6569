using System.Runtime.InteropServices;
using System.Text;
using Iced.Intel;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>Every form of every vector instruction, on the host's silicon and in the interpreter, from the same random states.</summary>
public sealed unsafe class DifferentialTests
{
    private const int Rounds = 400;
    /// <summary>Of text instructions, which have 128 forms for each operand.</summary>
    private const int TextRounds = 100;
    /// <summary>On any host with SSE4.2.</summary>
    private const int LeastForms = 3700;
    private const ulong ComparedFlags = 0x8D5;
    private const int OperandOffset = 512;

    [Fact]
    public void MatchesTheHostProcessor()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "needs an x86-64 host to compare with");
        var random = new Random(20240817);
        using var rig = new Rig();
        using var thunk = new HostThunk();
        var failures = new List<string>();
        int forms = 0;
        foreach (Instruction form in Forms.Of(Forms.Codes.Where(HostFeatures.Has), random))
        {
            byte[] bytes = Encode(form);
            Instruction instruction = Decode(bytes);
            if (!rig.Bind(instruction))
            {
                failures.Add($"{instruction.Code}: not bound");
                continue;
            }
            forms++;
            thunk.Compile(bytes);
            string? failure = Compare(instruction, rig, thunk, random);
            if (failure != null)
            {
                failures.Add(failure);
            }
        }
        Assert.True(forms >= LeastForms, $"only {forms} forms");
        Assert.True(failures.Count == 0, $"{failures.Count} of {forms} forms differ\n" + string.Join('\n', failures.Take(60)));
    }

    private static string? Compare(in Instruction instruction, Rig rig, HostThunk thunk, Random random)
    {
        MachineImage start;
        MachineImage host;
        MachineImage guest;
        byte[] memory = new byte[64];
        byte[] hostMemory = new byte[64];
        for (int round = 0; round < (Forms.IsText(instruction.Mnemonic) ? TextRounds : Rounds); round++)
        {
            Operands.Fill(&start, random);
            Operands.FillVector(memory, random);
            if (Forms.IsText(instruction.Mnemonic))
            {
                Operands.FillText(&start, memory, random);
            }
            byte* operand = rig.Buffer + OperandOffset;
            start.Gpr[6] = start.Gpr[7] = (ulong)operand;
            if (instruction.Mnemonic is Mnemonic.Ldmxcsr)
            {
                BitConverter.TryWriteBytes(memory, random.Next(0x10000) | 0x1F80);
            }

            if (instruction.Mnemonic is Mnemonic.Extrq or Mnemonic.Insertq && !IsFieldDefined(instruction, &start))
            {
                continue;
            }

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
            if (instruction.Mnemonic is Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss)
            {
                AdoptEstimates(&host, &guest);
            }
            if (instruction.Mnemonic is Mnemonic.Extrq or Mnemonic.Insertq)
            {
                // APM 4: bits 127:64 of the destination are undefined.
                int high = (16 * instruction.Op0Register.GetNumber()) + 8;
                *(ulong*)(guest.Xmm + high) = *(ulong*)(host.Xmm + high);
            }
            string difference = Difference(&host, &guest);
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

    /// <summary>APM 4 EXTRQ, INSERTQ: a field that reaches beyond bit 63 gives undefined results.</summary>
    private static bool IsFieldDefined(in Instruction instruction, MachineImage* start)
    {
        int field = instruction.Immediate8 | (instruction.Immediate8_2nd << 8);
        if (instruction.OpCount == 2)
        {
            byte* source = start->Xmm + (16 * instruction.Op1Register.GetNumber());
            field = *(ushort*)(instruction.Mnemonic == Mnemonic.Extrq ? source : source + 8);
        }
        int length = (field & 63) == 0 ? 64 : field & 63;
        return length + ((field >> 8) & 63) <= 64;
    }

    /// <summary>Two estimates, each within 1.5 * 2^-12 of the truth, count as the same.</summary>
    private static void AdoptEstimates(MachineImage* host, MachineImage* guest)
    {
        const float Tolerance = 2 * 1.5f / 4096;
        float* a = (float*)host->Xmm;
        float* b = (float*)guest->Xmm;
        for (int i = 0; i < 64; i++)
        {
            if (Math.Abs(a[i] - b[i]) <= Tolerance * Math.Abs(a[i]) && float.IsNormal(a[i]))
            {
                b[i] = a[i];
            }
        }
    }

    private static string Difference(MachineImage* host, MachineImage* guest)
    {
        var text = new StringBuilder();
        for (int i = 0; i < 16; i++)
        {
            string a = Hex(host->Xmm + (16 * i));
            string b = Hex(guest->Xmm + (16 * i));
            if (a != b)
            {
                text.Append($" xmm{i} {a} not {b}");
            }
        }
        for (int i = 0; i < 8; i++)
        {
            if (host->Mm[i] != guest->Mm[i])
            {
                text.Append($" mm{i} {host->Mm[i]:x16} not {guest->Mm[i]:x16}");
            }
        }
        for (int i = 0; i < 15; i++)
        {
            if (host->Gpr[i] != guest->Gpr[i] && i != 4)
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
                text.Append($" {register}=").Append(register.IsXMM() ? Hex(image->Xmm + (16 * n)) : register.IsMM() ? $"{image->Mm[n]:x16}" : $"{image->Gpr[n]:x16}");
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
    private static string Hex(byte* vector) => $"{((ulong*)vector)[1]:x16}_{((ulong*)vector)[0]:x16}";

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
