using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Tests.Vector;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Every form of every AVX-512 instruction that this host has, on its processor by itself and in a guest, from the same random states: run one by one, and
/// translated.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class Avx512DifferentialTests
{
    private const int Rounds = 6;
    private const int LeastForms = 9000;
    private const ulong Data = Guest.Data;
    private const int DataBytes = 0x3000;
    private const int Middle = 0x1800;

    /// <param name="threshold">How often a block runs before it is translated.</param>
    [Theory]
    [InlineData(1)]
    [InlineData(1 << 30)]
    public void MatchesTheHostProcessor(int threshold)
    {
        Assert.SkipUnless(CpuModel.Host.Has(CpuFeature.Avx512F), "needs an x86-64 host with AVX-512");
        LongRun.Repeat(threshold == 1 ? "AVX-512, translated" : "AVX-512, one by one", 10, 20251122, random => Pass(threshold, random));
    }

    private static long Pass(int threshold, Random random)
    {
        using var guest = new Guest(GuestMode.Long, new TranslatorFactory(EngineUnderTest.Eager with { Threshold = threshold }), CpuModel.Host);
        using var thunk = new WideThunk();
        guest.State->Cr4 |= 1 << 18;
        guest.State->Xcr0 = 0xE7;
        guest.Processor.StateLoaded();
        var statistics = ((BlockTranslator)guest.Processor.Translator!).Statistics;
        byte* memory = (byte*)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(DataBytes, 4096);
        var failures = new List<string>();
        int forms = 0;
        long cases = 0;
        foreach (Code code in WideForms.OfHost)
        {
            foreach (Instruction form in WideForms.Of(code, random))
            {
                forms++;
                byte[] bytes = WideForms.Encode(in form);
                thunk.Compile(bytes);
                long native = statistics.NativeInstructions;
                guest.Place(guest.Place(Guest.Code, bytes), 0xF4);
                for (int round = 0; round < Rounds; round++)
                {
                    cases++;
                    LongRun.Count(1);
                    if (Compare(form, guest, thunk, memory, random) is { } difference)
                    {
                        LongRun.Difference();
                        failures.Add($"{form} ({code}, {Convert.ToHexString(bytes)}) round {round}: {difference}");
                        break;
                    }
                }
                if (threshold == 1 && !form.IsVsib && statistics.NativeInstructions == native)
                {
                    failures.Add($"{form} ({code}) is not translated");
                }
            }
        }
        System.Runtime.InteropServices.NativeMemory.AlignedFree(memory);
        Assert.True(failures.Count == 0, $"{failures.Count} of {forms} forms differ\n" + string.Join('\n', failures.Take(40)));
        Assert.True(forms >= LeastForms || CpuFeatures.PassedOn.Without(CpuModel.Host.Features) != default, $"only {forms} forms");
        return cases;
    }

    private static string? Compare(in Instruction form, Guest guest, WideThunk thunk, byte* memory, Random random)
    {
        WideImage start = WideImage.Of(random);
        WideImage result = default;
        Operands.FillVector(new Span<byte>(memory, DataBytes), random);
        guest.Memory.Write(Data, new ReadOnlySpan<byte>(memory, DataBytes));
        if (form.IsVsib)
        {
            LimitIndices(in form, &start, random);
        }
        int offset = Middle + (random.Next(2) == 0 && !FaultSuppression.MustBeAligned(form.Mnemonic) ? random.Next(64) : 0);
        // Now and then over the end of a page.
        offset = random.Next(3) == 0 ? (offset & 63) + 0x1FC0 : offset;
        ulong displacement = form.MemoryDisplSize != 0 ? form.MemoryDisplacement64 : 0;
        WideImage host = start;
        host.Gpr[6] = (ulong)memory + (ulong)offset - displacement;
        thunk.Run(&host);
        start.Gpr[6] = Data + (ulong)offset - displacement;
        start.Gpr[4] = Guest.StackTop;
        start.Load(guest.State);
        Outcome outcome = guest.Start(Guest.Code);
        if (outcome.Vector != -1)
        {
            return outcome.ToString();
        }
        result.Store(guest.State);
        return WideImage.Difference(&host, &result)
            ?? (new ReadOnlySpan<byte>(memory, DataBytes).SequenceEqual(new ReadOnlySpan<byte>(guest.Memory.Pointer(Data, DataBytes), DataBytes)) ? null : "memory");
    }

    private static void LimitIndices(in Instruction form, WideImage* image, Random random)
    {
        byte* index = image->Zmm + (64 * form.MemoryIndex.GetNumber());
        for (int i = 0; i < (form.IsVsib32 ? 16 : 8); i++)
        {
            int value = random.Next(-250, 250);
            if (form.IsVsib32)
            {
                ((int*)index)[i] = value;
            }
            else
            {
                ((long*)index)[i] = value;
            }
        }
    }
}
