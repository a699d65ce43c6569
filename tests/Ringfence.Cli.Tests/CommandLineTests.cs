using Ringfence.Engine;
using Ringfence.Machine;

namespace Ringfence.Cli.Tests;

/// <summary>What is typed becomes options, or one line that names the thing and the reason, and exit code 2.</summary>
public sealed class CommandLineTests
{
    [Fact]
    public void DefaultsAreTheDocumentedOnes()
    {
        RunOptions options = Parse("run");
        Assert.Null(options.Kernel);
        Assert.Empty(options.Initrds);
        Assert.Equal("", options.Append);
        Assert.Equal(512UL << 20, options.Memory);
        Assert.Equal(1, options.Cpus);
        Assert.Equal("max", options.Cpu);
        Assert.Equal("auto", options.Engine);
        Assert.Equal(SerialKind.Stdio, options.Serial);
        Assert.Equal(ScreenKind.None, options.Screen);
        Assert.Null(options.Timeout);
        Assert.False(options.Stats);
        Assert.False(options.Trace);
        Assert.Null(options.DebugExitPort);
        Assert.False(options.TestDevice);
        Assert.False(options.NoReboot);
        Assert.Null(options.Gdb);
    }

    [Fact]
    public void EveryOptionArrives()
    {
        RunOptions options = Parse(
            "run", "--kernel", "k", "--initrd", "a", "--initrd", "b,x y,z", "--append", "console=ttyS0 quiet", "--memory", "1G", "--cpus", "2",
            "--cpu", "x86-64-v1,-sse2", "--engine", "translator", "--code-cache", "32M", "--translation-cache", "there", "--perf-map", "--count-hits", "--serial", "file:out", "--screen", "text", "--timeout", "60s", "--stats", "--trace", "exits:t",
            "--debug-exit", "0xf4", "--test-device", "--no-reboot", "--gdb", "127.0.0.1:1234");
        Assert.Equal("k", options.Kernel);
        Assert.Equal([new InitrdArgument("a", ""), new InitrdArgument("b", "x y,z")], options.Initrds);
        Assert.Equal("console=ttyS0 quiet", options.Append);
        Assert.Equal(1UL << 30, options.Memory);
        Assert.Equal(2, options.Cpus);
        Assert.Equal("x86-64-v1,-sse2", options.Cpu);
        Assert.Equal("translator", options.Engine);
        Assert.Equal(InterruptChip.User, options.IrqChip);
        Assert.Equal(InterruptChip.User, Parse("run", "--irqchip", "user", "--engine", "interpreter").IrqChip);
        Assert.Equal(InterruptChip.Split, Parse("run", "--irqchip", "split").IrqChip);
        Assert.Equal(InterruptChip.Kernel, Parse("run", "--irqchip", "kernel", "--engine", "kvm").IrqChip);
        Assert.Equal(32 << 20, options.CodeCache);
        Assert.Equal("there", options.TranslationCache);
        Assert.Null(Parse("run", "--translation-cache", "off").TranslationCache);
        Assert.Equal(EngineChoice.CacheFolder, Parse("run", "--translation-cache", "on").TranslationCache);
        Assert.Equal(EngineChoice.CacheFolder, Parse("run").TranslationCache);
        Assert.True(options.PerfMap);
        Assert.True(options.CountHits);
        Assert.True(Parse("run", "--verify").Verify);
        Assert.Equal((SerialKind.File, "out"), (options.Serial, options.SerialFile));
        Assert.Equal(ScreenKind.Text, options.Screen);
        Assert.Equal(TimeSpan.FromMinutes(1), options.Timeout);
        Assert.True(options.Stats);
        Assert.True(options.Trace);
        Assert.Equal("t", options.TraceFile);
        Assert.Equal((ushort)0xf4, options.DebugExitPort!.Value);
        Assert.True(options.TestDevice);
        Assert.True(options.NoReboot);
        Assert.Equal("127.0.0.1:1234", options.Gdb!.ToString());
    }

    /// <summary>Linux takes KVM for the hypervisor if it finds both: Hyper-V is alone unless both are asked for.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, false, "--kvm-clock", "off")]
    [InlineData(false, true, "--hyperv", "on")]
    [InlineData(true, true, "--hyperv", "on", "--kvm-clock", "on")]
    [InlineData(true, false, "--kvm-clock", "on")]
    public void ParavirtualInterfacesCanBeChosen(bool kvmClock, bool hyperV, params string[] given)
    {
        RunOptions options = Parse(["run", .. given]);
        Assert.Equal((kvmClock, hyperV), (options.KvmClock, options.HyperV));
    }

    [Fact]
    public void ABiosStandsInPlaceOfAKernel()
    {
        RunOptions options = Parse("run", "--bios", "b");
        Assert.Equal(("b", null), (options.Bios, options.Kernel));
    }

    [Theory]
    [InlineData("-v")]
    [InlineData("--stats-like quiet")]
    [InlineData("@file")]
    [InlineData("")]
    [InlineData("a=\"b c\" d='e'")]
    public void AppendIsTakenAsItIs(string append) => Assert.Equal(append, Parse("run", "--append", append).Append);

    [Fact]
    public void AnAppendThatLooksLikeAnOptionGoesAfterAnEqualsSign() => Assert.Equal("--stats", Parse("run", "--append=--stats").Append);

    [Theory]
    [InlineData("no command", "")]
    [InlineData("unknown command 'boot'", "boot")]
    [InlineData("unknown option '--frob'", "--frob")]
    [InlineData("unknown option '--frob'", "run", "--frob")]
    [InlineData("unknown argument 'vmlinuz'", "run", "vmlinuz")]
    [InlineData("--memory: its value is missing", "run", "--memory")]
    [InlineData("--hyperv: unknown choice 'maybe'", "run", "--hyperv", "maybe")]
    [InlineData("--kvm-clock: unknown choice '1'", "run", "--kvm-clock", "1")]
    [InlineData("--kernel: given 2 times", "run", "--kernel", "a", "--kernel", "b")]
    [InlineData("--kernel: the name of the file is empty", "run", "--kernel", "")]
    [InlineData("--initrd: the name of the file is empty", "run", "--initrd", ",args")]
    [InlineData("--bios: the name of the file is empty", "run", "--bios", "")]
    [InlineData("--bios: a BIOS image starts alone", "run", "--bios", "b", "--kernel", "k")]
    [InlineData("--bios: a BIOS image starts alone", "run", "--bios", "b", "--append", "x")]
    [InlineData("--memory: '3X' is no size", "run", "--memory", "3X")]
    [InlineData("--memory: 0 cannot be", "run", "--memory", "0")]
    [InlineData("--memory: 2T cannot be", "run", "--memory", "2T")]
    [InlineData("--memory: 1048577B cannot be", "run", "--memory", "1048577B")]
    [InlineData("--cpus: '0'", "run", "--cpus", "0")]
    [InlineData("--cpu: its value is missing", "run", "--cpu")]
    [InlineData("--screen: 'vga' is neither text nor none", "run", "--screen", "vga")]
    [InlineData("cpu: neither list nor show", "cpu")]
    [InlineData("unknown command 'frob'", "cpu", "frob")]
    [InlineData("unknown argument 'max'", "cpu", "list", "max")]
    [InlineData("unknown option '--frob'", "cpu", "list", "--frob")]
    [InlineData("cpu show: which model?", "cpu", "show")]
    [InlineData("unknown argument 'more'", "cpu", "show", "max", "more")]
    [InlineData("--engine: unknown engine 'warp'", "run", "--engine", "warp")]
    [InlineData("--irqchip: unknown set-up 'warp'", "run", "--irqchip", "warp")]
    [InlineData("--irqchip split: only KVM has", "run", "--irqchip", "split", "--engine", "translator")]
    [InlineData("--irqchip kernel: only KVM has", "run", "--irqchip", "kernel", "--verify")]
    [InlineData("--irqchip split: --hyperv on needs", "run", "--irqchip", "split", "--hyperv", "on")]
    [InlineData("--code-cache: 'big' is no size", "run", "--code-cache", "big")]
    [InlineData("--translation-cache: the name of the file is empty", "run", "--translation-cache", "")]
    [InlineData("--verify: it is for what is translated", "run", "--verify", "--engine", "interpreter")]
    [InlineData("--perf-map: it is for what is translated", "run", "--perf-map", "--engine", "interpreter")]
    [InlineData("--count-hits: it is for what is translated", "run", "--count-hits", "--engine", "kvm")]
    [InlineData("--verify: for one processor only", "run", "--verify", "--cpus", "4")]
    [InlineData("--serial: 'tcp:1'", "run", "--serial", "tcp:1")]
    [InlineData("--serial: the name of the file is empty", "run", "--serial", "file:")]
    [InlineData("--timeout: 'soon' is no time", "run", "--timeout", "soon")]
    [InlineData("--trace: 'all'", "run", "--trace", "all")]
    [InlineData("--debug-exit: '0x10000' is no I/O port", "run", "--debug-exit", "0x10000")]
    [InlineData("--gdb: '1234' is no address and port", "run", "--gdb", "1234")]
    [InlineData("--gdb: its value is missing", "run", "--gdb")]
    public void WrongUsageIsOneLineAndTwo(string reason, params string[] arguments)
    {
        (int code, string output, string error) = Invoke([.. arguments.Where((argument, index) => index > 0 || argument.Length > 0)]);
        Assert.Equal(2, code);
        Assert.Equal("", output);
        Assert.StartsWith("ringfence: " + reason, error, StringComparison.Ordinal);
        Assert.Equal(1, error.Count(character => character == '\n'));
        Assert.EndsWith("\n", error, StringComparison.Ordinal);
    }

    [Fact]
    public void HelpListsEveryOption()
    {
        (int code, string output, string error) = Invoke("run", "--help");
        Assert.Equal(0, code);
        Assert.Equal("", error);
        foreach (string option in (string[])["--kernel", "--bios", "--initrd", "--append", "--memory", "--cpus", "--cpu", "--kvm-clock", "--hyperv", "--engine", "--irqchip", "--code-cache", "--translation-cache", "--perf-map", "--verify", "--count-hits", "--serial", "--screen", "--timeout", "--stats", "--trace", "--debug-exit", "--gdb"])
        {
            Assert.Contains(option + " ", output, StringComparison.Ordinal);
        }
        Assert.Equal(0, Invoke("--help").Code);
    }

    [Fact]
    public void VersionIsOneLine()
    {
        (int code, string output, string _) = Invoke("--version");
        Assert.Equal(0, code);
        Assert.Matches(@"^ringfence \d+\.\d+\.\d+\n$", output);
    }

    private static RunOptions Parse(params string[] arguments)
    {
        RunOptions? seen = null;
        using var error = new StringWriter();
        int code = new CommandLine(options =>
        {
            seen = options;
            return 77;
        }, (_, _) => throw new InvalidOperationException("must not tell of processors"), (_, _) => throw new InvalidOperationException("must not diagnose"))
            .Invoke(arguments, TextWriter.Null, error);
        Assert.Equal("", error.ToString());
        Assert.Equal(77, code);
        return seen!;
    }

    private static (int Code, string Output, string Error) Invoke(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = new CommandLine(
            _ => throw new InvalidOperationException("must not run"),
            (_, _) => throw new InvalidOperationException("must not tell of processors"),
            (_, _) => throw new InvalidOperationException("must not diagnose")).Invoke(arguments, output, error);
        return (code, output.ToString(), error.ToString());
    }
}
