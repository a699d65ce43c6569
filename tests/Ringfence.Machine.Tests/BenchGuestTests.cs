using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>The bare-metal guest of bench/: multiboot, long mode, page tables, faults, code that rewrites itself. Its results are known.</summary>
public sealed class BenchGuestTests
{
    private const ulong Scale = 1;

    [Fact]
    public void TheBareMetalBenchmarksComputeWhatTheyShould()
    {
        Assert.SkipWhen(EngineUnderTest.EmulatesSupervisor, "this host's KVM emulates supervisor code: it would take a quarter of an hour");
        foreach (string tool in new[] { "make", "gcc", "nasm", "ld", "objcopy" })
        {
            Assert.SkipUnless(IsInstalled(tool), $"{tool} is not installed: the guest cannot be built");
        }
        DirectoryInfo output = Directory.CreateTempSubdirectory("ringfence");
        try
        {
            string image = Build(output.FullName);
            var serial = new SerialTap();
            MachineEnd end = Machines.RunToEnd(new MachineSpec
            {
                Kernel = image,
                Append = $"scale={Scale}",
                Memory = 16 << 20,
                Serial = serial,
                DebugExitPort = 0xF4,
            });
            Assert.True(end == new MachineEnd(MachineEndKind.DebugExit, 0x21), $"{end} {serial.Text}");
            Dictionary<string, ulong> results = Results(serial.Text);
            Assert.Equal(Alu(10_000_000), results["alu"]);
            Assert.Equal(10_000UL, results["outb"]);
            Assert.Equal(10_000UL, results["inb"]);
            Assert.Equal(10_000UL, results["mmio"]);
            Assert.Equal(10_000UL, results["cpuid"]);
            Assert.Equal(10_000UL * 9_999 / 2, results["msr"]);
            // Two address spaces in turn, 64 pages each, then one whose translations are forgotten one by one.
            Assert.Equal((500 * ((3UL * 2016) + 64)) + (500 * ((5UL * 2016) + 128)), results["cr3"]);
            Assert.Equal((ulong)Enumerable.Range(0, 20_000).Sum(i => (3 * (i & 63)) + 1), results["invlpg"]);
            Assert.Equal(20_000UL, results["int"]);
            // As many faults as stores, and the last store's value.
            Assert.Equal(5_000UL + 4_999, results["fault"]);
            Assert.Equal(2_000UL * 1_999 / 2, results["smc"]);
            Assert.Equal(12, results.Count);
        }
        finally
        {
            output.Delete(recursive: true);
        }
    }

    private static ulong Alu(int count)
    {
        ulong a = 1, b = 0x9E37_79B9_7F4A_7C15;
        for (int i = 0; i < count; i++)
        {
            a += b;
            b ^= a;
            a = BitOperations.RotateLeft(a, 7);
        }
        return a ^ b;
    }

    /// <summary>Lines "name iterations ticks checksum", the last in hexadecimal.</summary>
    private static Dictionary<string, ulong> Results(string text) => text.Split('\n')
        .Select(line => line.Split(' ', StringSplitOptions.TrimEntries))
        .Where(words => words.Length == 4)
        .ToDictionary(words => words[0], words => ulong.Parse(words[3], NumberStyles.HexNumber, CultureInfo.InvariantCulture));

    private static bool IsInstalled(string tool) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Any(directory => File.Exists(Path.Combine(directory, tool)));

    private static string Build(string output)
    {
        string guests = Path.Combine(Root(), "bench", "guests");
        string image = Path.Combine(output, "bench.elf");
        var start = new ProcessStartInfo("make", ["-s", "-C", guests, $"OUT={output}", image])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        using Process make = Process.Start(start)!;
        Task<string> printed = make.StandardOutput.ReadToEndAsync();
        string errors = make.StandardError.ReadToEnd();
        make.WaitForExit();
        Assert.True(make.ExitCode == 0, $"make: {errors} {printed.Result}");
        return image;
    }

    private static string Root()
    {
        string? directory = AppContext.BaseDirectory;
        while (directory != null && !File.Exists(Path.Combine(directory, "Ringfence.slnx")))
        {
            directory = Path.GetDirectoryName(directory);
        }
        return directory ?? throw new DirectoryNotFoundException("the tests are not inside the repository");
    }
}
