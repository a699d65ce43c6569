using System.CommandLine;
using System.CommandLine.Parsing;

namespace Ringfence.Cli;

/// <summary>The command line: what there is to type, and what is said when it cannot be understood.</summary>
internal sealed class CommandLine
{
    private readonly Option<string?> _kernel = Text("--kernel", "F", "Linux bzImage, ELF (PVH or plain), multiboot image or flat real-mode image. Without it, a small guest of our own");
    private readonly Option<string?> _bios = Text("--bios", "F", "BIOS image to start at the reset vector, in place of a kernel");
    private readonly Option<string[]> _initrd = new("--initrd")
    {
        HelpName = "F[,ARGS]",
        Description = "Initial RAM disk, or a multiboot module and its arguments; may be given again",
        AllowMultipleArgumentsPerToken = false,
    };
    private readonly Option<string?> _append = Text("--append", "STRING", "Kernel command line");
    private readonly Option<string?> _memory = Text("--memory", "SIZE", "Guest memory: 512M, 1G; a plain number is MiB [default: 512M]");
    private readonly Option<string?> _cpus = Text("--cpus", "N", "Number of virtual processors [default: 1]");
    private readonly Option<string?> _cpu = Text("--cpu", "MODEL[,+F|,-F]...", "Processor model ('ringfence cpu list' names them), and features to add or take away [default: max]");
    private readonly Option<string?> _kvmClock = Text("--kvm-clock", "on|off", "Show guests KVM's signature and its clock [default: off]");
    private readonly Option<string?> _hyperV = Text("--hyperv", "on|off", "Show guests Hyper-V's interface, for Windows [default: off]");
    private readonly Option<string?> _engine = Text("--engine", "NAME", $"Execution engine: {string.Join(", ", EngineNames.All)} [default: auto]");
    private readonly Option<string?> _irqChip = Text("--irqchip", "WHERE", "Interrupt chips: ours (user), the kernel's (kernel), or its local APICs and our 8259 and IOAPIC (split); the latter two are for kvm [default: user]");
    private readonly Option<string?> _codeCache = Text("--code-cache", "SIZE", "Memory for each processor's translations [default: 64M]");
    private readonly Option<string?> _translationCache = Text("--translation-cache", "WHERE", "Keep translations for the next run: on, off or a folder [default: on]");
    private readonly Option<bool> _perfMap = new("--perf-map") { Description = "Name translated code for Linux's perf, in /tmp/perf-PID.map" };
    private readonly Option<bool> _verify = new("--verify") { Description = "Run each translated block on the interpreter too; end at the first difference" };
    private readonly Option<bool> _countHits = new("--count-hits") { Description = "Count how often operands' pages were known at once, for the statistics; costs some speed" };
    private readonly Option<string?> _serial = Text("--serial", "WHERE", "First serial line: stdio, file:F or none [default: stdio]");
    private readonly Option<string?> _screen = Text("--screen", "KIND", "Display: text (a VGA in text mode, printed at the end) or none [default: none]");
    private readonly Option<string?> _timeout = Text("--timeout", "TIME", "End the guest after this time (60s, 2m, 500ms) with exit code 124");
    private readonly Option<bool> _stats = new("--stats") { Description = "Print statistics on standard error at the end" };
    private readonly Option<string?> _trace = Text("--trace", "exits[:F]", "A line for each exit to the VMM, on standard error or to a file");
    private readonly Option<string?> _debugExit = Text("--debug-exit", "PORT", "A write of V to this I/O port ends the guest with exit code (V << 1) | 1");
    private readonly Option<bool> _testDevice = new("--test-device") { Description = "Add the device that test suites know as QEMU's pc-testdev" };
    private readonly Option<bool> _noReboot = new("--no-reboot") { Description = "End at a reset instead of starting the guest again" };
    private readonly Option<string?> _gdb = Text("--gdb", "HOST:PORT", "Wait there for gdb before the guest runs; port 0 takes a free one");
    private readonly Option<string?> _sandbox = Text("--sandbox", "on|off", "Take from the threads that run the guest all system calls they do not need [default: on where the host can]");
    private readonly Option<bool> _verbose = new("--verbose") { Description = "Say on standard error which engine is taken and why" };
    private readonly Option<bool> _version = new("--version") { Description = "Show the version" };
    private readonly Argument<string?> _model = new("MODEL")
    {
        HelpName = "MODEL[,+F|,-F]...",
        Description = "Processor model, and features to add or take away",
        Arity = ArgumentArity.ZeroOrOne,
    };
    private readonly Option<bool> _json = new("--json") { Description = "For programs: JSON" };
    private readonly Func<RunOptions, int> _run;
    private readonly Func<CpuOptions, TextWriter, int> _showCpus;
    private readonly Func<bool, TextWriter, int> _doctor;
    private readonly RootCommand _root;
    private readonly Command _runCommand;
    private readonly Command _cpuCommand;
    private readonly Command _cpuList;
    private readonly Command _cpuShow;
    private readonly Command _doctorCommand;

    /// <param name="run">Runs a guest and returns the exit code.</param>
    /// <param name="cpus">Writes what is asked about processor models and returns the exit code.</param>
    /// <param name="doctor">Writes what this host can do, as JSON or for people, and returns the exit code.</param>
    public CommandLine(Func<RunOptions, int> run, Func<CpuOptions, TextWriter, int> cpus, Func<bool, TextWriter, int> doctor)
    {
        _doctor = doctor;
        _run = run;
        _showCpus = cpus;
        _runCommand = new Command("run", "Run a guest until it ends")
        {
            _kernel, _bios, _initrd, _append, _memory, _cpus, _cpu, _kvmClock, _hyperV, _engine, _irqChip, _codeCache, _translationCache, _perfMap, _verify, _countHits, _serial, _screen, _timeout, _stats, _trace, _debugExit,
            _testDevice, _noReboot, _gdb, _sandbox, _verbose,
        };
        _doctorCommand = new Command("doctor", "Tell what this host can do for guests, what is missing, and how to get it") { _json };
        _cpuList = new Command("list", "Name the processor models") { _json };
        _cpuShow = new Command("show", "Tell what a processor model is: signature, caches, features advertised and withheld") { _model, _json };
        _cpuCommand = new Command("cpu", "Tell of processor models") { _cpuList, _cpuShow };
        _root = new RootCommand("Ringfence runs x86 guests on a processor of its own.");
        // The built-in one prints the build's identity too.
        _root.Options.Remove(_root.Options.Single(option => option is VersionOption));
        _root.Options.Add(_version);
        _root.Subcommands.Add(_runCommand);
        _root.Subcommands.Add(_cpuCommand);
        _root.Subcommands.Add(_doctorCommand);
    }

    /// <summary>Parses and runs. Everything that goes wrong is one line on <paramref name="error"/>.</summary>
    public int Invoke(IReadOnlyList<string> arguments, TextWriter output, TextWriter error)
    {
        // "@file" is a file name like any other, and "-abc" is not three options.
        ParseResult result = _root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
        if (result.Action is System.CommandLine.Help.HelpAction)
        {
            return result.Invoke(new InvocationConfiguration { Output = output, Error = error });
        }
        try
        {
            Command command = result.CommandResult.Command;
            return command == _root ? InvokeRoot(result, output)
                : command == _runCommand ? _run(Read(result))
                : command == _doctorCommand ? InvokeDoctor(result, output)
                : _showCpus(ReadCpu(result, command), output);
        }
        catch (UsageException wrong)
        {
            error.WriteLine($"ringfence: {wrong.Message}");
            return ExitCode.Usage;
        }
    }

    private int InvokeRoot(ParseResult result, TextWriter output)
    {
        if (result.UnmatchedTokens.Count > 0)
        {
            throw Unknown(result.UnmatchedTokens[0], "command", "ringfence --help");
        }
        if (result.GetValue(_version))
        {
            output.WriteLine($"ringfence {typeof(CommandLine).Assembly.GetName().Version?.ToString(3)}");
            return ExitCode.Ended;
        }
        throw new UsageException("no command: 'ringfence run' runs a guest, 'ringfence --help' tells more");
    }

    private int InvokeDoctor(ParseResult result, TextWriter output)
    {
        if (result.UnmatchedTokens.Count > 0)
        {
            throw Unknown(result.UnmatchedTokens[0], "argument", "ringfence doctor --help");
        }
        return _doctor(result.GetValue(_json), output);
    }

    private RunOptions Read(ParseResult result)
    {
        foreach (Option option in _runCommand.Options)
        {
            if (result.GetResult(option) is { Implicit: false } given)
            {
                CheckCount(option, given);
            }
        }
        if (result.UnmatchedTokens.Count > 0)
        {
            throw Unknown(result.UnmatchedTokens[0], "argument", "ringfence run --help");
        }
        if (result.Errors.Count > 0)
        {
            throw new UsageException(result.Errors[0].Message.ReplaceLineEndings(" "));
        }
        return RunOptions.Create(new RawRunOptions
        {
            Kernel = result.GetValue(_kernel),
            Bios = result.GetValue(_bios),
            Initrds = result.GetValue(_initrd) ?? [],
            Append = result.GetValue(_append),
            Memory = result.GetValue(_memory),
            Cpus = result.GetValue(_cpus),
            Cpu = result.GetValue(_cpu),
            KvmClock = result.GetValue(_kvmClock),
            HyperV = result.GetValue(_hyperV),
            Engine = result.GetValue(_engine),
            IrqChip = result.GetValue(_irqChip),
            CodeCache = result.GetValue(_codeCache),
            TranslationCache = result.GetValue(_translationCache),
            PerfMap = result.GetValue(_perfMap),
            Sandbox = result.GetValue(_sandbox),
            Verify = result.GetValue(_verify),
            CountHits = result.GetValue(_countHits),
            Serial = result.GetValue(_serial),
            Screen = result.GetValue(_screen),
            Timeout = result.GetValue(_timeout),
            Stats = result.GetValue(_stats),
            Trace = result.GetValue(_trace),
            DebugExit = result.GetValue(_debugExit),
            TestDevice = result.GetValue(_testDevice),
            NoReboot = result.GetValue(_noReboot),
            Gdb = result.GetValue(_gdb),
            Verbose = result.GetValue(_verbose),
        });
    }

    private CpuOptions ReadCpu(ParseResult result, Command command)
    {
        string help = command == _cpuCommand ? "ringfence cpu --help" : $"ringfence cpu {command.Name} --help";
        if (result.UnmatchedTokens.Count > 0)
        {
            throw Unknown(result.UnmatchedTokens[0], command == _cpuCommand ? "command" : "argument", help);
        }
        if (command == _cpuCommand)
        {
            throw new UsageException("cpu: neither list nor show: 'ringfence cpu --help' tells more");
        }
        string? model = command == _cpuShow ? result.GetValue(_model) : null;
        if (command == _cpuShow && model is null)
        {
            throw new UsageException("cpu show: which model? ('ringfence cpu list' names them)");
        }
        return new CpuOptions(model, result.GetValue(_json));
    }

    private void CheckCount(Option option, OptionResult given)
    {
        if (option.ValueType == typeof(bool))
        {
            return;
        }
        if (given.Tokens.Count < given.IdentifierTokenCount || given.Tokens.Count == 0)
        {
            throw new UsageException($"{option.Name}: its value is missing");
        }
        if (given.IdentifierTokenCount > 1 && option != _initrd)
        {
            throw new UsageException($"{option.Name}: given {given.IdentifierTokenCount} times");
        }
    }

    private static UsageException Unknown(string token, string noun, string help) =>
        new($"unknown {(token.StartsWith('-') ? "option" : noun)} '{token}' ('{help}' lists what there is)");

    private static Option<string?> Text(string name, string value, string description) =>
        new(name) { HelpName = value, Description = description };
}
