using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Tests.Vector;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Random sequences of SSE, AVX and AVX-512 instructions, also as loops over memory, on the host and in a guest: translated code that has some of the registers, or all,
/// or goes out in between.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class Avx512SequenceTests
{
    private const int Sequences = 1500;
    private const int Longest = 12;
    private const int Rounds = 3;
    /// <summary>Of a loop, over two page ends.</summary>
    private const int MostTurns = 160;
    private const ulong Data = Guest.Data;
    private const int DataBytes = 0x3000;
    private const int Middle = 0x1800;

    /// <summary>Those whose results processors agree on to the last bit.</summary>
    private static readonly Code[] s_narrow =
    [
        .. Vector.Forms.Codes.Where(c => HostFeatures.Has(c) && !c.CpuidFeatures().Contains(CpuidFeature.MMX) && !Mmx(c)
            && c.Mnemonic() is Mnemonic.Paddb or Mnemonic.Pxor or Mnemonic.Addps or Mnemonic.Mulpd or Mnemonic.Vpaddb or Mnemonic.Vpxor or Mnemonic.Vaddps
                or Mnemonic.Vmulpd or Mnemonic.Vmovups or Mnemonic.Movups or Mnemonic.Vzeroupper or Mnemonic.Vpshufb or Mnemonic.Pshufb or Mnemonic.Vdivpd
                or Mnemonic.Vfmadd231ps or Mnemonic.Ptest or Mnemonic.Vptest or Mnemonic.Pmovmskb or Mnemonic.Vpgatherdd or Mnemonic.Pcmpistri),
    ];

    [Fact]
    public void MatchTheHostProcessor()
    {
        Assert.SkipUnless(CpuModel.Host.Has(CpuFeature.Avx512F), "needs an x86-64 host with AVX-512");
        LongRun.Repeat("AVX-512, sequences", 5, 20251123, Pass);
    }

    private static long Pass(Random random)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, 1);
        using var thunk = new WideThunk();
        byte* memory = (byte*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(DataBytes, 4096);
        Code[] wide = [.. WideForms.OfHost.Where(c => !IsVsib(c))];
        List<string> failures = [];
        long cases = 0;
        for (int n = 0; n < Sequences && failures.Count < 8; n++)
        {
            List<Instruction> sequence = [];
            for (int length = random.Next(2, Longest + 1); sequence.Count < length;)
            {
                Instruction[] forms = random.Next(3) == 0 ? [.. Vector.Forms.Of([s_narrow[random.Next(s_narrow.Length)]], random)]
                    : [.. WideForms.Of(wide[random.Next(wide.Length)], random)];
                forms = [.. forms.Where(f => !f.IsVsib)];
                if (forms.Length != 0)
                {
                    sequence.Add(forms[random.Next(forms.Length)] is var f && f.MemoryDisplSize != 0 ? f with { MemoryDisplacement64 = 64 * (ulong)random.Next(4) } : f);
                }
            }
            byte[] code = [.. sequence.SelectMany(Encode)];
            bool loops = random.Next(2) == 0;
            if (loops)
            {
                // add rsi, 64; dec rdi; jne to the start
                code = [.. code, 0x48, 0x83, 0xC6, 64, 0x48, 0xFF, 0xCF, 0x0F, 0x85, .. BitConverter.GetBytes(-(code.Length + 13))];
            }
            thunk.Compile(code);
            guest.Place(guest.Place(Guest.Code, code), 0xF4);
            for (int round = 0; round < Rounds; round++)
            {
                cases++;
                LongRun.Count(1);
                WideImage host = WideImage.Of(random);
                Operands.FillVector(new Span<byte>(memory, DataBytes), random);
                guest.Memory.Write(Data, new ReadOnlySpan<byte>(memory, DataBytes));
                WideImage result = host;
                // Now and then some of them, or one alone, lie over the end of a page.
                ulong offset = random.Next(3) == 0 ? 0x2000 - (ulong)random.Next(1, 5) * 64 + (sequence.Exists(IsAligned) ? 0 : (ulong)random.Next(64)) : Middle;
                if (loops)
                {
                    offset = (ulong)random.Next(16) * 64 + (sequence.Exists(IsAligned) ? 0 : (ulong)random.Next(64));
                    host.Gpr[7] = result.Gpr[7] = (ulong)random.Next(1, MostTurns);
                }
                host.Gpr[6] = (ulong)memory + offset;
                result.Gpr[6] = Data + offset;
                result.Gpr[4] = Guest.StackTop;
                thunk.Run(&host);
                result.Load(guest.State);
                Outcome outcome = guest.Start(Guest.Code);
                result.Store(guest.State);
                string? difference = outcome.Vector != -1 ? outcome.ToString() : WideImage.Difference(&host, &result)
                    ?? (new ReadOnlySpan<byte>(memory, DataBytes).SequenceEqual(new ReadOnlySpan<byte>(guest.Memory.Pointer(Data, DataBytes), DataBytes)) ? null : "memory");
                if (difference != null)
                {
                    LongRun.Difference();
                    failures.Add($"{string.Join("; ", sequence)}: {difference}");
                    break;
                }
            }
        }
        System.Runtime.InteropServices.NativeMemory.AlignedFree(memory);
        Assert.True(failures.Count == 0, string.Join('\n', failures));
        return cases;
    }

    private static IEnumerable<byte> Encode(Instruction instruction) => WideForms.Encode(in instruction);

    private static bool IsAligned(Instruction form) => form.Code.Encoding() == EncodingKind.Legacy || FaultSuppression.MustBeAligned(form.Mnemonic);

    private static bool IsVsib(Code code) => Kinds(code).Any(k => k.Contains("vsib", StringComparison.Ordinal));

    private static bool Mmx(Code code) => Kinds(code).Any(k => k.StartsWith("mm_", StringComparison.Ordinal));

    private static IEnumerable<string> Kinds(Code code) => Enumerable.Range(0, code.ToOpCode().OpCount).Select(i => code.ToOpCode().GetOpKind(i).ToString());
}
