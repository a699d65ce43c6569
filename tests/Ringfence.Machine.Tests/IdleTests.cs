using System.Diagnostics;
using System.Globalization;
using Iced.Intel;
using Ringfence.Engine.Software;
using Ringfence.Tests;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>A guest in HLT costs the host next to nothing. The bounds are wide: how little it is, the benchmarks measure.</summary>
public sealed class IdleTests
{
    private const double Allowed = 0.10;
    private const int TicksPerSecond = 100;

    [Fact]
    public void TheMonitorAtItsPromptSleeps()
    {
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(new MachineSpec { Memory = 16 << 20, Serial = serial });
        serial.WaitFor("ringfence> ");
        Assert.InRange(Measure("monitor"), 0, Allowed);
    }

    [Fact]
    [Trait("Category", "Guest")]
    public void LinuxAtItsShellSleeps()
    {
        string? kernel = Environment.GetEnvironmentVariable("RINGFENCE_KERNEL");
        string? initrd = Environment.GetEnvironmentVariable("RINGFENCE_INITRD");
        Assert.SkipWhen(EngineUnderTest.EmulatesSupervisor, "this host's KVM emulates supervisor code: the kernel would take minutes to its shell");
        Assert.SkipUnless(File.Exists(kernel), "RINGFENCE_KERNEL names no kernel (./test gets one from Debian's packages)");
        Assert.SkipUnless(File.Exists(initrd), "RINGFENCE_INITRD names no initramfs (./test makes one)");
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(new MachineSpec
        {
            Kernel = kernel,
            Initrds = [new InitrdSpec(initrd!)],
            Append = "console=ttyS0,115200 quiet panic=-1",
            NoReboot = true,
            Serial = serial,
        });
        serial.WaitFor("# ");
        MachineStatistics before = machine.Statistics;
        Assert.InRange(Measure("Linux"), 0, Allowed);
        // What woke it, should it ever be too much.
        IReadOnlyDictionary<string, long> exits = before.Vcpus[0].Exits;
        TestContext.Current.TestOutputHelper?.WriteLine("exits: " + string.Join(", ", machine.Statistics.Vcpus[0].Exits
            .Select(exit => (exit.Key, Count: exit.Value - exits.GetValueOrDefault(exit.Key)))
            .Where(exit => exit.Count != 0)
            .Select(exit => $"{exit.Key} {exit.Count}")));
    }

    /// <summary>Code that ran once is not held for ever by a guest that only waits; what runs again does what it did.</summary>
    [Fact]
    public void AGuestThatOnlyWaitsGivesBackWhatWasMadeOfItsCode()
    {
        Assert.SkipUnless(SoftwareOptions.CanTranslate, "the translator is for Linux on x86-64");
        using var limit = new CancellationTokenSource(TestLimits.Patience);
        using var cache = new TranslationCache(null);
        using GuestImage image = GuestImage.Multiboot(RunMuchCodeTwice);
        using var machine = VirtualMachine.Create(image.Spec(), new SoftwareEngine(SoftwareOptions.Translator with { Cache = cache }));
        MachineEnd end = machine.Run(limit.Token);
        Assert.True(end.Kind == MachineEndKind.DebugExit, $"{end.Kind} {end.Report}");
        Assert.Equal(1, end.Code);
        Assert.InRange(machine.Statistics.Vcpus[0].Translation!["given back when idle"], 1, 3);
    }

    private static void RunMuchCodeTwice(Assembler a)
    {
        const int Instructions = 50_000;
        const int WakesPerSecond = 20;
        const int Seconds = 3;
        const uint LocalApic = 0xFEE0_0000;
        const byte Vector = 0x40;
        // Behind the image.
        const int Table = 0x18_0000;
        const int Wakes = 0x18_1000;
        const int Result = 0x18_1004;
        const int TablePointer = 0x18_1008;
        Label start = a.CreateLabel();
        Label code = a.CreateLabel();
        Label wait = a.CreateLabel();
        a.jmp(start);
        Label install = InterruptGate.Define(a, Table, Vector, () =>
        {
            a.inc(__dword_ptr[Wakes]);
            a.mov(__dword_ptr[LocalApic + 0xB0], 0);
        });
        a.Label(ref code);
        a.mov(eax, 0x1234_5678);
        for (int i = 0; i < Instructions; i++)
        {
            a.rol(eax, (byte)((i % 31) + 1));
        }
        a.ret();
        a.Label(ref start);
        a.mov(esp, 0x1F_0000);
        a.mov(__dword_ptr[Wakes], 0);
        a.call(install);
        // No interrupts but the APIC's.
        a.mov(al, 0xFF);
        a.@out(0x21, al);
        a.@out(0xA1, al);
        a.mov(__word_ptr[TablePointer], 256 * 8 - 1);
        a.mov(__dword_ptr[TablePointer + 2], Table);
        a.lidt(__[TablePointer]);
        a.call(code);
        a.mov(__dword_ptr[Result], eax);
        // The APIC's timer, undivided and periodic, counts nanoseconds.
        a.mov(__dword_ptr[LocalApic + 0xF0], 0x1FF);
        a.mov(__dword_ptr[LocalApic + 0x3E0], 0x0B);
        a.mov(__dword_ptr[LocalApic + 0x320], 0x2_0000 | Vector);
        a.mov(__dword_ptr[LocalApic + 0x380], 1_000_000_000 / WakesPerSecond);
        a.Label(ref wait);
        a.sti();
        a.hlt();
        a.cli();
        a.cmp(__dword_ptr[Wakes], Seconds * WakesPerSecond);
        a.jb(wait);
        a.call(code);
        a.cmp(eax, __dword_ptr[Result]);
        a.setne(al);
        a.mov(dx, GuestImage.DebugExitPort);
        a.@out(dx, al);
    }

    /// <summary>The share of one core that this process uses, over three seconds. On a host with other work, code that earlier tests ran is
    /// still being compiled in the background for some time: what is too much is measured again.</summary>
    private static double Measure(string guest)
    {
        Dictionary<string, (string Name, long Ticks)> before = ThreadTimes();
        var time = Stopwatch.StartNew();
        Thread.Sleep(3000);
        (string Name, double Share)[] shares = [.. ThreadTimes()
            .Select(thread => (thread.Value.Name, Ticks: thread.Value.Ticks - before.GetValueOrDefault(thread.Key).Ticks))
            .GroupBy(thread => thread.Name)
            .Select(name => (name.Key, name.Sum(thread => thread.Ticks) / (double)TicksPerSecond / time.Elapsed.TotalSeconds))];
        // What the start left to be compiled in the background is not the guest's, and on a busy machine it takes its time.
        double share = shares.Where(thread => !thread.Name.StartsWith(".NET Tiered", StringComparison.Ordinal)).Sum(thread => thread.Share);
        TestContext.Current.TestOutputHelper?.WriteLine($"idle {guest}: {share:P2} of a core; "
            + string.Join(", ", shares.Where(thread => thread.Share > 0).Select(thread => $"{thread.Name} {thread.Share:P2}")));
        return share;
    }

    /// <summary>The name and the processor time, in hundredths of a second, of each thread (proc(5), "stat": fields 14 and 15).</summary>
    private static Dictionary<string, (string Name, long Ticks)> ThreadTimes()
    {
        Dictionary<string, (string, long)> times = [];
        foreach (string thread in Directory.GetDirectories("/proc/self/task"))
        {
            string stat;
            try
            {
                stat = File.ReadAllText(thread + "/stat");
            }
            catch (IOException)
            {
                // It has ended meanwhile.
                continue;
            }
            int open = stat.IndexOf('(', StringComparison.Ordinal);
            int close = stat.LastIndexOf(')');
            string[] fields = stat[(close + 2)..].Split(' ');
            times[thread] = (stat[(open + 1)..close], long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture));
        }
        return times;
    }
}
