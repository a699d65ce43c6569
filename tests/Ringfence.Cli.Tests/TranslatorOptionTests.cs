using System.Globalization;
using System.Text.RegularExpressions;
using Ringfence.Engine.Software;
using Ringfence.Tests;

namespace Ringfence.Cli.Tests;

/// <summary>Options that look at translated code: --perf-map, --verify.</summary>
public sealed partial class TranslatorOptionTests
{
    private const string Off = "the interpreter is under test";

    [Fact]
    public void ThePerfMapNamesBlocks()
    {
        SkipWithoutTranslator();
        using var guest = new RingfenceProcess("run", "--engine", "translator", "--perf-map");
        string map = $"/tmp/perf-{guest.Id}.map";
        try
        {
            guest.WaitFor("ringfence> ", TimeSpan.FromSeconds(60));
            // Something that loops.
            guest.Send("memory\n");
            guest.WaitFor("ringfence> ", TimeSpan.FromSeconds(60));
            string text = File.ReadAllText(map);
            Assert.Matches(@"(?m)^[0-9a-f]+ [0-9a-f]+ ringfence enter$", text);
            Assert.Matches(@"(?m)^[0-9a-f]+ [0-9a-f]+ guest 0x[0-9a-f]+\+[0-9]+ (64|32) (system|user)$", text);
        }
        finally
        {
            File.Delete(map);
        }
    }

    /// <summary>The first seconds of Linux, each translated block compared with the interpreter.</summary>
    [Fact]
    [Trait("Category", "Guest")]
    public void LinuxBootsTheSameOnBoth()
    {
        SkipWithoutTranslator();
        string? kernel = Environment.GetEnvironmentVariable("RINGFENCE_KERNEL");
        string? initrd = Environment.GetEnvironmentVariable("RINGFENCE_INITRD");
        Assert.SkipUnless(File.Exists(kernel), "RINGFENCE_KERNEL names no kernel (./test gets one from Debian's packages)");
        Assert.SkipUnless(File.Exists(initrd), "RINGFENCE_INITRD names no initramfs (./test makes one)");
        using var guest = new RingfenceProcess(
            "run", "--engine", "translator", "--verify", "--kernel", kernel!, "--initrd", initrd!, "--append", "console=ttyS0,115200 panic=-1", "--timeout", "90s",
            "--stats");
        int code = guest.WaitForExit(TimeSpan.FromMinutes(3));
        TestContext.Current.TestOutputHelper?.WriteLine(guest.Error);
        Assert.DoesNotContain("differs", guest.Error, StringComparison.Ordinal);
        Assert.Equal(124, code);
        Match compared = Compared().Match(guest.Error);
        Assert.True(compared.Success, guest.Error);
        // Far more than the decompressor and less than a boot: how many depends on the machine.
        Assert.InRange(long.Parse(compared.Groups[1].Value.Replace(",", "", StringComparison.Ordinal), CultureInfo.InvariantCulture), 1_000_000, long.MaxValue);
    }

    [Fact]
    public void VerifyIsForOneProcessor()
    {
        SkipWithoutTranslator();
        (int code, string _, string error) = RingfenceProcess.Run("run", "--verify", "--cpus", "2");
        Assert.Equal(2, code);
        Assert.Contains("--verify: for one processor only", error, StringComparison.Ordinal);
    }

    private static void SkipWithoutTranslator()
    {
        Assert.SkipUnless(SoftwareOptions.CanTranslate, "the translator is for Linux on x86-64");
        Assert.SkipWhen(EngineUnderTest.Name == "interpreter", Off);
    }

    [GeneratedRegex(@"instructions checked\D+([0-9,]+)")]
    private static partial Regex Compared();
}
