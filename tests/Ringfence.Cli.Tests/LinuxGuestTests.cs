using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;

namespace Ringfence.Cli.Tests;

/// <summary>Debian's kernels, unmodified, in the command as users run it. ./test hands over the files; without them these are skipped.</summary>
[Collection(nameof(LinuxGuestTests))]
[Trait("Category", "Guest")]
public sealed class LinuxGuestTests
{
    /// <summary>Process start to the shell's first line.</summary>
    private static readonly TimeSpan s_bootLimit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("cloud", "RINGFENCE_KERNEL")]
    [InlineData("standard", "RINGFENCE_STANDARD_KERNEL")]
    public void ShellWorks(string kernel, string variable)
    {
        var time = Stopwatch.StartNew();
        using var guest = new LinuxShell(variable);
        guest.WaitForWelcome();
        TimeSpan boot = time.Elapsed;
        TestContext.Current.TestOutputHelper?.WriteLine($"{kernel} kernel: {boot.TotalSeconds:F2} s from process start to the shell's first line");
        guest.WaitForPrompt();

        Assert.Equal("Linux", guest.Run("uname"));
        Assert.Equal("3 2 1", guest.Run("for i in 1 2 3; do (echo $i | cat); done | sort -r | tr '\\n' ' ' | sed 's/ $//'"));
        Assert.Equal(HalfAMillion(), guest.Run("awk 'BEGIN { for (i = 1; i <= 500000; i++) s += 1 / (i * i); printf \"%.12f\", s; print \"\" }'"));
        Assert.Equal(Md5Of('R', 64 << 20), guest.Run("dd if=/dev/zero bs=64k count=1024 2>/dev/null | tr '\\000' R | md5sum | cut -d' ' -f1"));
        Assert.Equal("67108864", guest.Run("dd if=/dev/zero of=/tmp/z bs=1M count=64 2>/dev/null; wc -c < /tmp/z; rm /tmp/z"));

        var slept = Stopwatch.StartNew();
        guest.Run("sleep 2");
        Assert.InRange(slept.Elapsed.TotalSeconds, 1.9, 2.5);

        long date = long.Parse(guest.Run("date +%s"), CultureInfo.InvariantCulture);
        Assert.InRange(date - DateTimeOffset.UtcNow.ToUnixTimeSeconds(), -2, 2);

        Assert.Equal(0, guest.PowerOff());
        if (kernel == "cloud")
        {
            Assert.True(boot <= s_bootLimit, $"{boot.TotalSeconds:F1} s from process start to the shell's first line");
        }
    }

    [Fact]
    public void CtrlCInterruptsAProgram()
    {
        using var guest = new LinuxShell("RINGFENCE_KERNEL");
        guest.WaitForPrompt();
        guest.Process.Send("sleep 1000\n");
        guest.Process.WaitFor("sleep 1000", LinuxShell.Limit);
        Thread.Sleep(500);
        guest.Process.Send("\x03");
        guest.WaitForPrompt();
        Assert.Equal("42", guest.Run("echo $((6 * 7))"));
    }

    [Fact]
    public void AnIdleGuestSleeps()
    {
        using var guest = new LinuxShell("RINGFENCE_KERNEL");
        guest.WaitForPrompt();
        Thread.Sleep(2000);
        TimeSpan before = guest.Process.ProcessorTime();
        var time = Stopwatch.StartNew();
        Thread.Sleep(5000);
        double share = (guest.Process.ProcessorTime() - before) / time.Elapsed;
        TestContext.Current.TestOutputHelper?.WriteLine($"idle: {share:P1} of a core");
        // The promise of 3 % is the benchmark's to measure, on a machine with nothing else to do; this is that HLT sleeps at all.
        Assert.InRange(share, 0, 0.15);
    }

    [Fact]
    public void FourProcessorsShareTheWork()
    {
        using var guest = new LinuxShell("RINGFENCE_KERNEL", "--cpus", "4");
        guest.WaitForPrompt();
        Assert.Equal("4", guest.Run("grep -c ^processor /proc/cpuinfo"));
        // Programs come and go on all four: pages that held one's code soon hold another's.
        Assert.Equal("64", guest.Run("for i in $(seq 16); do (for j in $(seq 4); do busybox true && echo $j; done) & done | wc -l; wait"));
        Assert.Equal("4950", guest.Run("for i in $(seq 4); do (seq 99 | awk '{ s += $1 } END { print s }') & done | sort -u; wait"));
        Assert.Equal(0, guest.PowerOff());
    }

    /// <summary>With one processor and with two Linux takes the clock that it is offered, and time runs as the host's does.</summary>
    [Theory]
    [InlineData("--kvm-clock", "kvm-clock", "KVM", "1")]
    [InlineData("--kvm-clock", "kvm-clock", "KVM", "2")]
    [InlineData("--hyperv", "hyperv_clocksource_tsc_page", "Microsoft Hyper-V", "1")]
    [InlineData("--hyperv", "hyperv_clocksource_tsc_page", "Microsoft Hyper-V", "2")]
    public void ParavirtualClocksRun(string option, string clock, string hypervisor, string cpus)
    {
        const string Sources = "/sys/devices/system/clocksource/clocksource0/";
        using var guest = new LinuxShell("RINGFENCE_KERNEL", option, "on", "--cpus", cpus);
        guest.WaitForPrompt();
        Assert.Equal("1", guest.Run($"dmesg | grep -c 'Hypervisor detected: {hypervisor}'"));
        guest.Run($"echo {clock} > {Sources}current_clocksource");
        Assert.Equal(clock, guest.Run($"cat {Sources}current_clocksource"));
        double Uptime() => double.Parse(guest.Run("cut -d' ' -f1 /proc/uptime"), CultureInfo.InvariantCulture);
        var time = Stopwatch.StartNew();
        double before = Uptime();
        guest.Run("sleep 3");
        Assert.InRange(Uptime() - before, 3, time.Elapsed.TotalSeconds + 0.1);
        long date = long.Parse(guest.Run("date +%s"), CultureInfo.InvariantCulture);
        Assert.InRange(date - DateTimeOffset.UtcNow.ToUnixTimeSeconds(), -2, 2);
        Assert.Equal("sorted", guest.Run("for i in $(seq 300); do cut -d' ' -f1 /proc/uptime; done | sort -c -n && echo sorted"));
        Assert.Equal("0", guest.Run("dmesg | grep -c -i -E 'clocksource.*unstable.*skew|stall'"));
        Assert.Equal(0, guest.PowerOff());
    }

    [Fact]
    public void ItRebootsAndPanicsMayEndIt()
    {
        using (var guest = new LinuxShell("RINGFENCE_KERNEL", "--cpus", "2"))
        {
            for (int boot = 0; boot < 2; boot++)
            {
                guest.WaitForWelcome();
                guest.WaitForPrompt();
                Assert.Equal("0", guest.Run("ls /tmp 2>/dev/null | wc -l"));
                guest.Process.Send("mkdir -p /tmp; touch /tmp/mark; reboot -f\n");
            }
            guest.WaitForWelcome();
            guest.WaitForPrompt();
            Assert.Equal(0, guest.PowerOff());
        }
        using (var guest = new LinuxShell("RINGFENCE_KERNEL", "--no-reboot"))
        {
            guest.WaitForPrompt();
            guest.Process.Send("reboot -f\n");
            Assert.Equal(0, guest.Process.WaitForExit(LinuxShell.Limit));
        }
    }

    private static string HalfAMillion()
    {
        double sum = 0;
        for (double i = 1; i <= 500_000; i++)
        {
            sum += 1 / (i * i);
        }
        return sum.ToString("F12", CultureInfo.InvariantCulture);
    }

    private static string Md5Of(char letter, int size)
    {
        byte[] data = new byte[size];
        Array.Fill(data, (byte)letter);
#pragma warning disable CA5351 // A checksum that busybox and the host both have; nothing secret hangs on it.
        return Convert.ToHexStringLower(MD5.HashData(data));
#pragma warning restore CA5351
    }
}

/// <summary>Guests measure time: nothing else of this assembly runs beside them.</summary>
[CollectionDefinition(nameof(LinuxGuestTests), DisableParallelization = true)]
public sealed class LinuxGuestCollection;
