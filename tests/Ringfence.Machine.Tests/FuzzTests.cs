using Ringfence.Firmware;
using Ringfence.Firmware.Tests;
using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>
/// Machines made from spoiled images, and run for a moment: each is refused in one line or ends as machines end, and leaves nothing
/// behind. RINGFENCE_FUZZ_IMAGES says how many, RINGFENCE_SEED which, RINGFENCE_FUZZ_AT runs one by its number.
/// </summary>
public sealed class FuzzTests
{
    private const long Images = 1_500;
    private const int FirstForLeaks = 300;
    private const int RunMilliseconds = 1;
    private const int HangMilliseconds = 60_000;
    private const ulong Memory = 32 << 20;
    /// <summary>What the runtime may take meanwhile for compiled code and its heaps.</summary>
    private const long RoomKiB = 128 << 10;

    private long _at;
    private long _since = Environment.TickCount64;

    [Fact]
    public void SpoiledImagesRunOrAreRefused()
    {
        using var files = new Files();
        using var watchdog = new Timer(_ => Look(), null, 1000, 1000);
        if (Environment.GetEnvironmentVariable("RINGFENCE_FUZZ_AT") is { } only)
        {
            Run(files, (int)FuzzOptions.Count("RINGFENCE_FUZZ_AT", 0));
            Assert.NotEmpty(only);
            return;
        }
        long images = FuzzOptions.Count(FuzzOptions.Images, Images);
        var progress = new FuzzProgress("machines");
        ProcessFootprint? early = null;
        for (long i = 0; i < images; i++)
        {
            if (i == FirstForLeaks)
            {
                early = ProcessFootprint.Take();
            }
            Run(files, i);
            progress.Done(1, $"image {i}");
        }
        ProcessFootprint late = ProcessFootprint.Take();
        if (early is not null)
        {
            Assert.InRange(late.Descriptors, 0, early.Descriptors + 4);
            Assert.InRange(late.Threads, 0, early.Threads + 8);
            Assert.InRange(late.PrivateMemory, 0, early.PrivateMemory + RoomKiB);
        }
    }

    private void Run(Files files, long number)
    {
        Volatile.Write(ref _at, number);
        Volatile.Write(ref _since, Environment.TickCount64);
        MachineSpec spec = Spec(files, number);
        string? problem = null;
        try
        {
            using VirtualMachine machine = Machines.Create(spec);
            using var stop = new CancellationTokenSource(RunMilliseconds);
            MachineEnd end = machine.Run(stop.Token);
            problem = end.Kind == MachineEndKind.Failed ? end.Report : null;
        }
        catch (GuestLoadException e)
        {
            problem = e.Message.Contains('\n', StringComparison.Ordinal) ? $"says more than a line: {e.Message}" : null;
        }
        catch (Exception e)
        {
            problem = e.ToString();
        }
        Assert.True(problem is null, $"seed {FuzzOptions.Seed}, image {number}: {problem}");
    }

    private static MachineSpec Spec(Files files, long number)
    {
        FuzzRandom random = SpoiledImages.RandomOf(number);
        bool bios = random.Once(12);
        byte[] image = bios ? Bios(random) : SpoiledImages.Make(number, random);
        if (!bios && random.Once(2))
        {
            SpoilCode(image, random);
        }
        File.WriteAllBytes(files.Image, image.Length == 0 ? [0] : image);
        bool module = !bios && random.Once(3);
        if (module)
        {
            byte[] bytes = new byte[1 + random.Next(0x3000)];
            random.Fill(bytes);
            File.WriteAllBytes(files.Module, bytes);
        }
        return new MachineSpec
        {
            Kernel = bios ? null : files.Image,
            Bios = bios ? files.Image : null,
            Initrds = module ? [new InitrdSpec(files.Module, "c=d")] : [],
            Append = "a=b",
            Memory = Memory,
            Cpus = random.Once(8) ? 2 : 1,
            Cpu = random.Of<string>(["max", "x86-64-v1", "Skylake-Client"]),
            DebugExitPort = random.Once(2) ? GuestImage.DebugExitPort : null,
            TestDevice = random.Once(4),
            NoReboot = !random.Once(4),
            Screen = random.Once(2) ? ScreenKind.Text : ScreenKind.None,
        };
    }

    /// <summary>What follows the headers, where the code is, becomes random code of some width.</summary>
    private static void SpoilCode(byte[] image, FuzzRandom random)
    {
        int bits = random.Of<int>([16, 32, 64]);
        foreach (int start in (ReadOnlySpan<int>)[0x80, 0xA00, 0xC00, 0x1000])
        {
            if (start + 0x100 <= image.Length && (start != 0x80 || random.Once(4)))
            {
                FuzzCode.Fill(random, image.AsSpan(start, 0x100), bits);
            }
        }
    }

    /// <summary>64 KiB with random code at the reset vector, and where it may jump to; sometimes of a length that is none.</summary>
    private static byte[] Bios(FuzzRandom random)
    {
        byte[] rom = new byte[random.Once(8) ? random.Next(0x3_0000) : 0x1_0000];
        rom.AsSpan().Fill(0xF4);
        if (rom.Length >= 0x1_0000)
        {
            FuzzCode.Fill(random, rom.AsSpan(0, 0x400), 16);
            FuzzCode.Fill(random, rom.AsSpan(rom.Length - 16), 16);
            if (random.Once(2))
            {
                // A jump to 0 of the segment.
                (rom[^16], rom[^15], rom[^14]) = (0xE9, 0x0D, 0x00);
            }
        }
        return rom;
    }

    private void Look()
    {
        if (Environment.TickCount64 - Volatile.Read(ref _since) > HangMilliseconds)
        {
            Environment.FailFast($"hangs: seed {FuzzOptions.Seed}, image {Volatile.Read(ref _at)}");
        }
    }

    /// <summary>Images are files, in memory where the host has such a place.</summary>
    private sealed class Files : IDisposable
    {
        private readonly string _folder = Directory.CreateDirectory(
            Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"ringfence-fuzz-{Environment.ProcessId}")).FullName;

        public string Image => Path.Combine(_folder, "image");

        public string Module => Path.Combine(_folder, "module");

        public void Dispose() => Directory.Delete(_folder, recursive: true);
    }
}
