using System.Net.Sockets;
using Ringfence.Debugging;
using Ringfence.Devices.Display;
using Ringfence.Engine;
using Ringfence.Engine.Kvm;
using Ringfence.Engine.Software;
using Ringfence.Firmware;
using Ringfence.Host;
using Ringfence.Host.Sandbox;
using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>`ringfence run`: makes the machine that the options ask for, runs it to its end, and turns the end into an exit code.
/// The one place that knows concrete engines.</summary>
internal static class RunCommand
{
    /// <summary>`ringfence cpu`: the models of the engine that would run a guest.</summary>
    public static int ShowCpus(CpuOptions options, TextWriter output)
    {
        CpuCommand.Run(options, new SoftwareEngine(), output);
        return ExitCode.Ended;
    }

    /// <summary>`ringfence doctor`.</summary>
    public static int Diagnose(bool json, TextWriter output)
    {
        DoctorReport report = DoctorReport.Read();
        output.Write(json ? report.ToJson() : report.ToString());
        return ExitCode.Ended;
    }

    /// <returns>The exit code. What there is to say is on <paramref name="error"/>, after the terminal has been restored.</returns>
    public static int Run(RunOptions options, TextWriter output, TextWriter error)
    {
        IEngine engine;
        TranslationCache cache = new(options.Verify ? null : options.TranslationCache, options.Verbose ? said => error.WriteLine($"ringfence: {said}") : null);
        try
        {
            engine = ChooseEngine(options, cache, error);
        }
        catch (KvmException e)
        {
            error.WriteLine($"ringfence: {e.Message}");
            return ExitCode.EngineFailed;
        }
        if (options.Cpus > engine.Capabilities.MaximumVcpus)
        {
            throw new UsageException(
                $"--cpus: {options.Cpus} cannot be: the {engine.Capabilities.Name} runs at most {engine.Capabilities.MaximumVcpus}");
        }
        try
        {
            return RunMachine(options, engine, cache, output, error);
        }
        catch (MachineSpecException e)
        {
            throw new UsageException(e.Message);
        }
        catch (CpuModelException e)
        {
            throw new UsageException($"--cpu: {e.Message}");
        }
        catch (KvmException e)
        {
            error.WriteLine($"ringfence: {e.Message}");
            return ExitCode.EngineFailed;
        }
        catch (Exception e) when (e is GuestLoadException or InsufficientMemoryException or HostFileException or IOException or UnauthorizedAccessException)
        {
            error.WriteLine($"ringfence: {e.Message.ReplaceLineEndings(" ")}");
            return ExitCode.NotLoaded;
        }
    }

    private static IEngine ChooseEngine(RunOptions options, TranslationCache cache, TextWriter error)
    {
        string name = options.Engine;
        if (name == EngineNames.Auto && options.IrqChip != InterruptChip.User)
        {
            name = EngineNames.Kvm;
            if (options.Verbose)
            {
                error.WriteLine("ringfence: engine kvm: no other has what --irqchip asks for");
            }
        }
        else if (name == EngineNames.Auto && options.LooksAtTranslations is null)
        {
            name = EngineChoice.Choose(EngineChoice.CacheFolder, out string why);
            if (options.Verbose)
            {
                error.WriteLine($"ringfence: {why}");
            }
        }
        else if (options.Verbose)
        {
            error.WriteLine($"ringfence: engine {name}: asked for");
        }
        if (name == EngineNames.Kvm)
        {
            return new KvmEngine(SoftwareOptions.Best with { CodeCache = options.CodeCache }, options.IrqChip);
        }
        if (name == EngineNames.Translator && !SoftwareOptions.CanTranslate)
        {
            throw new UsageException("--engine: the translator is for Linux on x86-64: --engine interpreter runs anywhere");
        }
        SoftwareOptions mode = name switch
        {
            EngineNames.Interpreter => SoftwareOptions.Interpreter,
            EngineNames.Translator => SoftwareOptions.Translator,
            _ => SoftwareOptions.Best,
        };
        if (options.LooksAtTranslations is { } look && !mode.Translates)
        {
            throw new UsageException($"{look}: nothing is translated on this host");
        }
        return new SoftwareEngine(mode with
        {
            CodeCache = options.CodeCache,
            PerfMap = options.PerfMap,
            Verify = options.Verify,
            CountsHits = options.CountHits,
            Cache = options.TranslationCache is null ? null : cache,
        });
    }

    private static int RunMachine(RunOptions options, IEngine engine, TranslationCache cache, TextWriter output, TextWriter error)
    {
        bool confined = UsesSandbox(options);
        using TextWriter? trace = OpenTrace(options, error);
        MachineEnd end;
        StopReason stopped;
        StatsReport? stats = null;
        TextScreen? screen;
        using (var stop = new StopRequests(options.Timeout))
        {
            // Before the terminal is raw, since it says something.
            using GdbServer? debugger = Listen(options, error);
            // The endpoint is the last thing made before the machine and the first thing gone after it: while it lives, the
            // terminal may be raw.
            EngineSwitch? engines = null;
            using var endpoint = new SerialLine(options, key =>
            {
                if (key == TerminalKey.Leave)
                {
                    stop.Stop(StopReason.Left);
                }
                else
                {
                    engines?.Next();
                }
            });
            using var machine = VirtualMachine.Create(Specify(options, endpoint.Endpoint, trace, confined), engine);
            engines = new EngineSwitch(machine, endpoint.Say);
            using var trimmer = new HeapTrimmer();
            if (confined)
            {
                ThreadSandbox.EnterProcess();
            }
            try
            {
                if (debugger is not null)
                {
                    machine.Control.Pause();
                    debugger.Serve(machine.Control);
                }
                end = machine.Run(stop.Token);
            }
            finally
            {
                // It must not look at a machine that is gone.
                debugger?.Dispose();
            }
            stopped = stop.Reason;
            screen = machine.Screen;
            if (options.Stats)
            {
                stats = new StatsReport(machine.Statistics.Elapsed, machine.Statistics.Vcpus, StatsReport.ReadPeakMemory());
            }
        }
        trace?.Flush();
        // Nobody runs any more.
        cache.Dispose();
        if (screen is not null)
        {
            ScreenReport.Write(screen, output);
        }
        if (end.Report is { Length: > 0 } report)
        {
            error.WriteLine(report.TrimEnd());
        }
        int code = Code(end, stopped);
        if (code == ExitCode.Timeout)
        {
            error.WriteLine("ringfence: --timeout: the time allowed was over before the guest ended");
        }
        if (stats is not null)
        {
            error.Write(stats with { Cache = options.TranslationCache is null ? null : cache.Describe() });
        }
        return code;
    }

    /// <param name="confined">vCPUs' threads give up system calls.</param>
    private static MachineSpec Specify(RunOptions options, ISerialEndpoint serial, TextWriter? trace, bool confined) => new()
    {
        Kernel = options.Kernel,
        Bios = options.Bios,
        Initrds = [.. options.Initrds.Select(initrd => new InitrdSpec(initrd.Path, initrd.Arguments))],
        Append = options.Append,
        Memory = options.Memory,
        Cpus = options.Cpus,
        Cpu = options.Cpu,
        KvmClock = options.KvmClock,
        HyperV = options.HyperV,
        DebugExitPort = options.DebugExitPort,
        TestDevice = options.TestDevice,
        NoReboot = options.NoReboot,
        Serial = serial,
        Screen = options.Screen,
        Trace = trace is null ? null : new ExitTraceWriter(trace),
        MeasureTime = options.Stats,
        VcpuStarting = confined ? ThreadSandbox.EnterVcpu : null,
    };

    /// <exception cref="UsageException">It is asked for and cannot be.</exception>
    private static bool UsesSandbox(RunOptions options)
    {
        bool available = ThreadSandbox.IsAvailable;
        return options.Sandbox != true || available
            ? options.Sandbox ?? available
            : throw new UsageException("--sandbox on: this host's kernel has no filters of system calls (seccomp), or we have none for it");
    }

    private static int Code(MachineEnd end, StopReason stopped) => end.Kind switch
    {
        MachineEndKind.PoweredOff or MachineEndKind.Halted or MachineEndKind.Reset => ExitCode.Ended,
        MachineEndKind.DebugExit => end.Code,
        MachineEndKind.TripleFault => ExitCode.TripleFault,
        MachineEndKind.Stopped => StopRequests.CodeOf(stopped),
        _ => ExitCode.EngineFailed,
    };

    private static GdbServer? Listen(RunOptions options, TextWriter error)
    {
        if (options.Gdb is not { } where)
        {
            return null;
        }
        try
        {
            GdbServer server = new(where);
            error.WriteLine($"ringfence: waiting for a debugger on {server.EndPoint}");
            return server;
        }
        catch (SocketException e)
        {
            string reason = e.SocketErrorCode switch
            {
                SocketError.AddressAlreadyInUse => "the port is in use",
                SocketError.AccessDenied => "permission denied",
                SocketError.AddressNotAvailable => "this machine has no such address",
                _ => e.Message.ReplaceLineEndings(" "),
            };
            throw new HostFileException($"--gdb: {where}: {reason}", e);
        }
    }

    private static TextWriter? OpenTrace(RunOptions options, TextWriter error)
    {
        if (!options.Trace)
        {
            return null;
        }
        return options.TraceFile is null
            ? new UnclosedWriter(error)
            : new StreamWriter(HostFile.Create("--trace", options.TraceFile), bufferSize: 65536);
    }
}
