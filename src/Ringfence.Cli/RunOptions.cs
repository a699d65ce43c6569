using System.Net;
using Ringfence.Engine;
using Ringfence.Engine.Software;
using Ringfence.Host;
using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>Where the guest's first serial line goes.</summary>
internal enum SerialKind
{
    Stdio,
    File,
    None,
}

/// <param name="Path">The file.</param>
/// <param name="Arguments">A multiboot module's command line; empty when none was given.</param>
internal sealed record InitrdArgument(string Path, string Arguments);

/// <summary>What `ringfence run` was asked for, checked as far as the command line alone can be.</summary>
internal sealed record RunOptions
{
    public const ulong DefaultMemory = 512UL << 20;

    /// <summary>Null for the guest that ships in the program.</summary>
    public string? Kernel { get; init; }
    /// <summary>In place of a kernel.</summary>
    public string? Bios { get; init; }
    public IReadOnlyList<InitrdArgument> Initrds { get; init; } = [];
    public string Append { get; init; } = "";
    /// <summary>Bytes.</summary>
    public ulong Memory { get; init; } = DefaultMemory;
    public int Cpus { get; init; } = 1;
    /// <summary>The engine checks it.</summary>
    public string Cpu { get; init; } = CpuModelNames.Max;
    public bool KvmClock { get; init; } = true;
    public bool HyperV { get; init; }
    public string Engine { get; init; } = EngineNames.Auto;
    /// <summary>Whose the interrupt chips are. Anything but ours is for kvm alone.</summary>
    public InterruptChip IrqChip { get; init; }

    /// <summary>Bytes for each processor's translations.</summary>
    public int CodeCache { get; init; } = SoftwareOptions.DefaultCodeCache;
    /// <summary>The folder in which translations are kept; null for none.</summary>
    public string? TranslationCache { get; init; }
    public bool PerfMap { get; init; }
    public bool Verify { get; init; }
    public bool CountHits { get; init; }
    public SerialKind Serial { get; init; } = SerialKind.Stdio;
    public string? SerialFile { get; init; }
    public ScreenKind Screen { get; init; }
    public TimeSpan? Timeout { get; init; }
    public bool Stats { get; init; }
    public bool Trace { get; init; }
    /// <summary>Null for standard error.</summary>
    public string? TraceFile { get; init; }
    public ushort? DebugExitPort { get; init; }
    public bool TestDevice { get; init; }
    public bool NoReboot { get; init; }
    /// <summary>Say which engine is taken and why.</summary>
    public bool Verbose { get; init; }
    /// <summary>Whether threads give up system calls; null: where that can be.</summary>
    public bool? Sandbox { get; init; }
    /// <summary>Where to wait for a debugger; null for none.</summary>
    public IPEndPoint? Gdb { get; init; }

    /// <summary>An option that was given and looks at translated code; null for none.</summary>
    public string? LooksAtTranslations => NameOfLook(Verify, PerfMap, CountHits);

    private static readonly string[] s_switch = ["on", "off"];

    private static readonly SortedDictionary<string, InterruptChip> s_irqChips = new(StringComparer.Ordinal)
    {
        ["kernel"] = InterruptChip.Kernel, ["split"] = InterruptChip.Split, ["user"] = InterruptChip.User,
    };

    /// <summary>Checks what was typed; null stands for an option that was not given.</summary>
    /// <exception cref="UsageException">Something cannot be.</exception>
    public static RunOptions Create(RawRunOptions raw)
    {
        (SerialKind serial, string? serialFile) = ParseSerial(raw.Serial);
        (bool trace, string? traceFile) = ParseTrace(raw.Trace);
        bool hyperV = IsOn("--hyperv", raw.HyperV) ?? false;
        if (raw.Bios is not null && (raw.Kernel is not null || raw.Initrds.Count != 0 || raw.Append is not null))
        {
            throw new UsageException("--bios: a BIOS image starts alone, without --kernel, --initrd and --append");
        }
        string? look = NameOfLook(raw.Verify, raw.PerfMap, raw.CountHits);
        if (look is not null && raw.Engine is EngineNames.Interpreter or EngineNames.Kvm)
        {
            throw new UsageException($"{look}: it is for what is translated: not with --engine {raw.Engine}");
        }
        if (raw.Verify && raw.Cpus is not null && ParseCpus(raw.Cpus) != 1)
        {
            throw new UsageException("--verify: for one processor only: others would change memory between one run and the other");
        }
        if (raw.PerfMap && raw.Sandbox == "on")
        {
            throw new UsageException("--perf-map: it is written by the threads that run the guest, which --sandbox on forbids");
        }
        InterruptChip irqChip = raw.IrqChip is null ? InterruptChip.User : s_irqChips[OneOf("--irqchip", "set-up", raw.IrqChip, [.. s_irqChips.Keys])];
        if (irqChip != InterruptChip.User && (raw.Engine is not (null or EngineNames.Auto or EngineNames.Kvm) || look is not null))
        {
            throw new UsageException($"--irqchip {raw.IrqChip}: only KVM has interrupt chips of its own: with --engine kvm");
        }
        if (irqChip != InterruptChip.User && hyperV)
        {
            throw new UsageException($"--irqchip {raw.IrqChip}: --hyperv on needs the local APICs to be ours (user)");
        }
        return new RunOptions
        {
            Kernel = raw.Kernel is null ? null : NotEmpty("--kernel", raw.Kernel),
            Bios = raw.Bios is null ? null : NotEmpty("--bios", raw.Bios),
            Initrds = [.. raw.Initrds.Select(ParseInitrd)],
            Append = raw.Append ?? "",
            Memory = raw.Memory is null ? DefaultMemory : ParseMemory(raw.Memory),
            Cpus = raw.Cpus is null ? 1 : ParseCpus(raw.Cpus),
            Cpu = raw.Cpu ?? CpuModelNames.Max,
            KvmClock = IsOn("--kvm-clock", raw.KvmClock) ?? false,
            HyperV = hyperV,
            Engine = raw.Engine is null ? EngineNames.Auto : OneOf("--engine", "engine", raw.Engine, EngineNames.All),
            IrqChip = irqChip,
            CodeCache = raw.CodeCache is null ? SoftwareOptions.DefaultCodeCache : ParseCodeCache(raw.CodeCache),
            TranslationCache = ParseTranslationCache(raw.TranslationCache),
            PerfMap = raw.PerfMap,
            Verify = raw.Verify,
            CountHits = raw.CountHits,
            Serial = serial,
            SerialFile = serialFile,
            Screen = ParseScreen(raw.Screen),
            Timeout = raw.Timeout is null ? null : ParseTimeout(raw.Timeout),
            Stats = raw.Stats || raw.CountHits,
            Trace = trace,
            TraceFile = traceFile,
            DebugExitPort = raw.DebugExit is null ? null : ParsePort(raw.DebugExit),
            TestDevice = raw.TestDevice,
            NoReboot = raw.NoReboot,
            Verbose = raw.Verbose,
            Sandbox = raw.PerfMap ? false : IsOn("--sandbox", raw.Sandbox),
            Gdb = raw.Gdb is null ? null : ParseEndPoint(raw.Gdb),
        };
    }

    private static string? NameOfLook(bool verify, bool perfMap, bool countHits) => verify ? "--verify" : perfMap ? "--perf-map" : countHits ? "--count-hits" : null;

    private static InitrdArgument ParseInitrd(string text)
    {
        int comma = text.IndexOf(',', StringComparison.Ordinal);
        string path = NotEmpty("--initrd", comma < 0 ? text : text[..comma]);
        return new InitrdArgument(path, comma < 0 ? "" : text[(comma + 1)..]);
    }

    private static ulong ParseMemory(string text)
    {
        if (!Quantities.TryParseSize(text, out ulong bytes))
        {
            throw new UsageException($"--memory: '{text}' is no size (512M, 1G, 64MiB; a plain number is MiB)");
        }
        if (bytes is < GuestMemory.MinimumSize or > GuestMemory.MaximumSize)
        {
            throw new UsageException($"--memory: {text} cannot be: a guest has from 1M to 1T of memory");
        }
        if (bytes % GuestMemory.PageSize != 0)
        {
            throw new UsageException($"--memory: {text} cannot be: memory comes in pages of 4K");
        }
        return bytes;
    }

    private static int ParseCodeCache(string text)
    {
        if (!Quantities.TryParseSize(text, out ulong bytes))
        {
            throw new UsageException($"--code-cache: '{text}' is no size (64M, 128MiB; a plain number is MiB)");
        }
        return bytes is >= SoftwareOptions.MinimumCodeCache and <= SoftwareOptions.MaximumCodeCache && bytes % GuestMemory.PageSize == 0
            ? (int)bytes
            : throw new UsageException($"--code-cache: {text} cannot be: it has from 1M to 1G, in pages of 4K");
    }

    private static string? ParseTranslationCache(string? text) => text switch
    {
        null or "on" => EngineChoice.CacheFolder,
        "off" => null,
        _ => NotEmpty("--translation-cache", text),
    };

    private static int ParseCpus(string text) =>
        int.TryParse(text, out int cpus) && cpus is >= 1 and <= 255
            ? cpus
            : throw new UsageException($"--cpus: '{text}' is no number of processors (1 to 255)");

    private static TimeSpan ParseTimeout(string text) =>
        Quantities.TryParseDuration(text, out TimeSpan timeout)
            ? timeout
            : throw new UsageException($"--timeout: '{text}' is no time (60s, 2m, 500ms; a plain number is seconds)");

    private static ushort ParsePort(string text) =>
        Quantities.TryParsePort(text, out ushort port)
            ? port
            : throw new UsageException($"--debug-exit: '{text}' is no I/O port (0 to 0xffff)");

    private static IPEndPoint ParseEndPoint(string text) =>
        Quantities.TryParseEndPoint(text, out IPEndPoint? where)
            ? where
            : throw new UsageException($"--gdb: '{text}' is no address and port (127.0.0.1:1234, localhost:1234, [::1]:1234; port 0 takes a free one)");

    private static (SerialKind Kind, string? File) ParseSerial(string? text) => text switch
    {
        null or "stdio" => (SerialKind.Stdio, null),
        "none" => (SerialKind.None, null),
        _ when text.StartsWith("file:", StringComparison.Ordinal) => (SerialKind.File, NotEmpty("--serial", text["file:".Length..])),
        _ => throw new UsageException($"--serial: '{text}' is none of stdio, file:F, none"),
    };

    private static ScreenKind ParseScreen(string? text) => text switch
    {
        null or "none" => ScreenKind.None,
        "text" => ScreenKind.Text,
        _ => throw new UsageException($"--screen: '{text}' is neither text nor none"),
    };

    private static (bool On, string? File) ParseTrace(string? text) => text switch
    {
        null => (false, null),
        "exits" => (true, null),
        _ when text.StartsWith("exits:", StringComparison.Ordinal) => (true, NotEmpty("--trace", text["exits:".Length..])),
        _ => throw new UsageException($"--trace: '{text}' is neither exits nor exits:F"),
    };

    private static string NotEmpty(string option, string path) =>
        path.Length > 0 ? path : throw new UsageException($"{option}: the name of the file is empty");

    /// <summary>Null if nothing was given.</summary>
    private static bool? IsOn(string option, string? text) => text is null ? null : OneOf(option, "choice", text, s_switch) == "on";

    private static string OneOf(string option, string noun, string text, IReadOnlyList<string> names) =>
        names.Contains(text) ? text : throw new UsageException($"{option}: unknown {noun} '{text}' (known: {string.Join(", ", names)})");
}

/// <summary>The options of `ringfence run` as they were typed; null where not given.</summary>
internal sealed record RawRunOptions
{
    public string? Kernel { get; init; }
    public string? Bios { get; init; }
    public IReadOnlyList<string> Initrds { get; init; } = [];
    public string? Append { get; init; }
    public string? Memory { get; init; }
    public string? Cpus { get; init; }
    public string? Cpu { get; init; }
    public string? KvmClock { get; init; }
    public string? HyperV { get; init; }
    public string? Engine { get; init; }
    public string? IrqChip { get; init; }

    public string? CodeCache { get; init; }
    public string? TranslationCache { get; init; }
    public string? Sandbox { get; init; }
    public bool CountHits { get; init; }
    public bool PerfMap { get; init; }
    public bool Verify { get; init; }
    public string? Serial { get; init; }
    public string? Screen { get; init; }
    public string? Timeout { get; init; }
    public bool Stats { get; init; }
    public string? Trace { get; init; }
    public string? DebugExit { get; init; }
    public bool TestDevice { get; init; }
    public bool NoReboot { get; init; }
    public bool Verbose { get; init; }
    public string? Gdb { get; init; }
}
