using System.Collections.Concurrent;
using Ringfence.Firmware;
using Ringfence.Firmware.Tests;
using Ringfence.Host;
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
    private const long RunNanoseconds = 1_000_000;
    private const int HangMilliseconds = 60_000;
    private const ulong Memory = 32 << 20;
    /// <summary>What the runtime may take meanwhile for compiled code and its heaps.</summary>
    private const long RoomKiB = 128 << 10;
    /// <summary>And for each machine, whose threads it remembers: some 150 bytes over a million of them, none of which we have asked for.</summary>
    private const int MachinesPerKiB = 4;

    private readonly FuzzProgress _progress = new("machines");
    /// <summary>The images that run, and since when.</summary>
    private readonly ConcurrentDictionary<long, long> _running = [];

    [Fact]
    public void SpoiledImagesRunOrAreRefused()
    {
        using var watchdog = new Timer(_ => Look(), null, 1000, 1000);
        using var clock = new HostClock();
        if (Environment.GetEnvironmentVariable("RINGFENCE_FUZZ_AT") is not null)
        {
            long only = FuzzOptions.Count("RINGFENCE_FUZZ_AT", 0);
            RunAll(clock, only, only + 1);
            return;
        }
        long images = FuzzOptions.Count(FuzzOptions.Images, Images);
        RunAll(clock, 0, FirstForLeaks);
        ProcessFootprint early = ProcessFootprint.Take();
        RunAll(clock, FirstForLeaks, images);
        ProcessFootprint late = ProcessFootprint.Take();
        Assert.InRange(late.Descriptors, 0, early.Descriptors + 4);
        Assert.InRange(late.Threads, 0, early.Threads + 8);
        Assert.InRange(late.PrivateMemory, 0, early.PrivateMemory + RoomKiB + (images / MachinesPerKiB));
    }

    /// <summary>Several at a time: part of each is waiting, for threads and for its moment to be over.</summary>
    private void RunAll(HostClock clock, long from, long to) => Parallel.For(
        from, to, new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount }, () => new Files(),
        (number, _, files) =>
        {
            _running[number] = Environment.TickCount64;
            Run(files, clock, number);
            _running.TryRemove(number, out long _);
            _progress.Done(1, $"image {number}");
            return files;
        },
        files => files.Dispose());

    private static void Run(Files files, HostClock clock, long number)
    {
        MachineSpec spec = Spec(files, number);
        string? problem = null;
        try
        {
            using VirtualMachine machine = Machines.Create(spec);
            using var limit = new TimeLimit(clock);
            MachineEnd end = machine.Run(limit.Token);
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
        foreach ((long number, long since) in _running)
        {
            if (Environment.TickCount64 - since > HangMilliseconds)
            {
                Environment.FailFast($"hangs: seed {FuzzOptions.Seed}, image {number}");
            }
        }
    }

    /// <summary>Cancelled after a moment. The runtime's own timers have a grain of milliseconds.</summary>
    private sealed class TimeLimit : IDisposable
    {
        private readonly CancellationTokenSource _source = new();
        private readonly Lock _lock = new();
        private readonly Ringfence.Host.ITimer _timer;
        private bool _over;

        public TimeLimit(HostClock clock)
        {
            _timer = clock.CreateTimer(Expired);
            _timer.Arm(clock.Now + RunNanoseconds);
        }

        public CancellationToken Token => _source.Token;

        public void Dispose()
        {
            _timer.Dispose();
            lock (_lock)
            {
                _over = true;
            }
            _source.Dispose();
        }

        private void Expired()
        {
            lock (_lock)
            {
                if (!_over)
                {
                    _source.Cancel();
                }
            }
        }
    }

    /// <summary>Images are files, in memory where the host has such a place. One image at a time.</summary>
    private sealed class Files : IDisposable
    {
        private readonly string _folder = Directory.CreateDirectory(
            Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"ringfence-fuzz-{Guid.NewGuid():N}")).FullName;

        public string Image => Path.Combine(_folder, "image");

        public string Module => Path.Combine(_folder, "module");

        public void Dispose() => Directory.Delete(_folder, recursive: true);
    }
}
