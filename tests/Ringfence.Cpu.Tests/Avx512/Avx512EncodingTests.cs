using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.Tests.SystemLevel;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Random encodings with the prefix of EVEX and those of opmask instructions: each is executed or refused, translated as well as alone. One that the host did not
/// take for an instruction would end this process.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class Avx512EncodingTests
{
    private const int Encodings = 10_000;
    private const int InstructionsAtOnce = 4;

    [Theory]
    [InlineData(GuestMode.Long, 1)]
    [InlineData(GuestMode.Long, 1 << 30)]
    [InlineData(GuestMode.Protected32, 1)]
    [InlineData(GuestMode.Protected32, 1 << 30)]
    public void EachIsExecutedOrRefused(GuestMode mode, int threshold) =>
        LongRun.Repeat("AVX-512, encodings", 2, 20251124, random => Pass(mode, threshold, random));

    private static long Pass(GuestMode mode, int threshold, Random random)
    {
        using Guest guest = WideGuest.Start(mode, threshold);
        CpuState* s = guest.State;
        Dictionary<int, int> ends = [];
        byte[] code = new byte[8 * InstructionsAtOnce];
        for (int n = 0; n < Encodings; n++)
        {
            for (int i = 0; i < InstructionsAtOnce; i++)
            {
                bool any = random.Next(16) == 0;
                while (!Shape(code.AsSpan(8 * i, 8), guest.Bits, random, any))
                {
                }
            }
            LongRun.Count(1);
            new Span<byte>(s->Vectors, 32 * 64).Fill((byte)random.Next(4));
            for (int i = 0; i < 16; i++)
            {
                s->Gpr[i] = Guest.Data + (ulong)random.Next(0x1000);
                s->Opmasks[i & 7] = (ulong)random.NextInt64();
            }
            s->Gpr[4] = Guest.StackTop;
            s->Mxcsr = random.Next(8) == 0 ? (uint)random.Next(0x10000) : 0x1F80;
            Outcome outcome = guest.Run(code);
            ends[outcome.Vector] = ends.GetValueOrDefault(outcome.Vector) + 1;
        }
        Assert.True(ends[-1] > Encodings / 4, string.Join(", ", ends));
        Assert.True(ends[6] > Encodings / 10, string.Join(", ", ends));
        return Encodings;
    }

    /// <summary>Eight bytes: an instruction, and NOPs. False if the decoder says that it is none, unless <paramref name="any"/> is good.</summary>
    private static bool Shape(Span<byte> code, int bits, Random random, bool any)
    {
        random.NextBytes(code);
        bool evex = random.Next(5) != 0;
        int modRm;
        if (evex)
        {
            code[0] = 0x62;
            code[1] = (byte)((code[1] & 0xF0) | random.Next(1, 4));
            // Rarely what must be so is not.
            code[2] |= (byte)(random.Next(20) != 0 ? 4 : 0);
            code[2] |= (byte)(random.Next(2) == 0 ? 0x78 : 0);
            code[3] &= (byte)(random.Next(2) == 0 ? 0x6F : 0xFF);
            modRm = 5;
        }
        else
        {
            code[0] = 0xC4;
            code[1] = (byte)(0xE0 | random.Next(1, 4));
            code[3] = (byte)(random.Next(3) switch { 0 => 0x41 + random.Next(10), 1 => 0x90 + random.Next(10), _ => 0x30 + random.Next(4) });
            modRm = 4;
        }
        // Outside 64-bit code it would be BOUND or LES without these.
        code[1] |= (byte)(bits == 32 ? 0xC0 : 0);
        code[1] |= (byte)(random.Next(3) != 0 ? 0xF0 : 0);
        // Registers, or memory at a register.
        code[modRm] = (byte)(random.Next(2) == 0 ? code[modRm] | 0xC0 : (code[modRm] & 0x38) | 6);
        var decoder = Decoder.Create(bits, new ByteArrayCodeReader(code.ToArray()));
        Instruction instruction = decoder.Decode();
        code[(instruction.IsInvalid ? modRm + 1 : instruction.Length)..].Fill(0x90);
        // A stack that is nowhere would be another matter.
        return (any || !instruction.IsInvalid) && instruction.Op0Register is not (Register.ESP or Register.RSP);
    }
}
