using System.Diagnostics;
using System.Globalization;
using Iced.Intel;
using Ringfence.Engine.Software;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>A guest that keeps making code, as a language runtime does: what is made of it must not pile up. RINGFENCE_GENERATED asks for more rounds.</summary>
public sealed class GeneratedCodeTests
{
    /// <summary>Functions made in a round, each of them run often enough to be translated.</summary>
    private const int Functions = 20_000;
    private const int Calls = 26;
    private const int WarmUp = 4;
    /// <summary>KiB. Compilers of the runtime's own go on for a while.</summary>
    private const long Allowed = 4096;

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void ItsTranslationsDoNotPileUp(bool inPlace, bool kept)
    {
        Assert.SkipUnless(SoftwareOptions.CanTranslate, "the translator is for Linux on x86-64");
        int rounds = int.TryParse(Environment.GetEnvironmentVariable("RINGFENCE_GENERATED"), CultureInfo.InvariantCulture, out int more) ? more : 12;
        string? folder = kept ? Directory.CreateTempSubdirectory("ringfence-generated-").FullName : null;
        using var cache = new TranslationCache(folder);
        using GuestImage image = GuestImage.Multiboot(a => Generate(a, inPlace));
        var serial = new SerialTap();
        using var machine = VirtualMachine.Create(image.Spec(serial), new SoftwareEngine(SoftwareOptions.Translator with { CodeCache = 2 << 20, Cache = kept ? cache : null }));
        using var stop = new CancellationTokenSource();
        Thread thread = new(() => machine.Run(stop.Token));
        thread.Start();
        try
        {
            WaitForRound(serial, WarmUp);
            ProcessFootprint before = Take(machine);
            WaitForRound(serial, rounds);
            ProcessFootprint after = Take(machine);
            TestContext.Current.TestOutputHelper?.WriteLine($"after {WarmUp * Functions} functions: {before}\nafter {serial.Bytes.Length * Functions}: {after}");
            Assert.InRange(after.PrivateMemory - before.PrivateMemory, long.MinValue, Allowed);
        }
        finally
        {
            stop.Cancel();
            thread.Join();
        }
        IReadOnlyDictionary<string, long> translation = machine.Statistics.Vcpus[0].Translation!;
        Assert.InRange(translation["blocks"], rounds * Functions / 2L, long.MaxValue);
        Assert.InRange(translation["evictions"], 2, long.MaxValue);
        if (folder is not null)
        {
            // Before the guest was known to do this.
            Assert.InRange(cache.Describe()["regions added"], 1, 2 * Functions);
            cache.Dispose();
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <param name="inPlace">Over and over in one page, not through 256 KiB.</param>
    private static void Generate(Assembler a, bool inPlace)
    {
        Label round = a.CreateLabel();
        Label function = a.CreateLabel();
        Label call = a.CreateLabel();
        a.mov(esp, 0x1F_0000);
        a.mov(edi, 0x18_0000);
        a.xor(esi, esi);
        a.Label(ref round);
        a.mov(ebp, Functions);
        a.Label(ref function);
        a.inc(esi);
        // MOV EAX, number; XOR EAX, number; INC EAX; RET.
        a.mov(__byte_ptr[edi], 0xB8);
        a.mov(__dword_ptr[edi + 1], esi);
        a.mov(__byte_ptr[edi + 5], 0x35);
        a.mov(__dword_ptr[edi + 6], ebp);
        a.mov(__word_ptr[edi + 10], 0xC340);
        a.mov(ecx, Calls);
        a.Label(ref call);
        a.call(edi);
        a.dec(ecx);
        a.jne(call);
        a.add(edi, 64);
        a.and(edi, inPlace ? 0x18_0FFF : 0x1B_FFFF);
        a.dec(ebp);
        a.jne(function);
        a.mov(dx, 0x3F8);
        a.mov(al, (byte)'.');
        a.@out(dx, al);
        a.jmp(round);
    }

    /// <summary>While nothing comes to what is held.</summary>
    private static ProcessFootprint Take(VirtualMachine machine)
    {
        machine.Control.Pause();
        ProcessFootprint footprint = ProcessFootprint.Take();
        machine.Control.Resume();
        return footprint;
    }

    private static void WaitForRound(SerialTap serial, int round)
    {
        TimeSpan limit = TestLimits.Patience * round;
        for (var time = Stopwatch.StartNew(); serial.Bytes.Length < round; Thread.Sleep(20))
        {
            Assert.True(time.Elapsed < limit, $"only {serial.Bytes.Length} of {round} rounds in {time.Elapsed}");
        }
    }
}
