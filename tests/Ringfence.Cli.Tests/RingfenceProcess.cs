using System.Diagnostics;
using System.Globalization;
using System.Text;
using Ringfence.Tests;

namespace Ringfence.Cli.Tests;

/// <summary>The command as a process: the published one when RINGFENCE_EXE names it (as ./test does), else the one built with the tests.</summary>
internal sealed class RingfenceProcess : IDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _error = new();
    private readonly Thread[] _readers;
    private int _seen;

    public RingfenceProcess(params string[] arguments)
        : this(Executable, OnEngineUnderTest(arguments))
    {
    }

    private RingfenceProcess(string program, string[] arguments)
    {
        Assert.SkipUnless(Type.GetType("Ringfence.Machine.VirtualMachine, Ringfence.Machine") is not null, "there is no machine yet");
        // A shell starts what it runs in the background with SIGINT ignored, nohup with SIGHUP, and programs rightly leave it so: not these.
        var start = new ProcessStartInfo("env", ["--default-signal", program, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        _process = Process.Start(start)!;
        _readers = [Read(_process.StandardOutput, _output), Read(_process.StandardError, _error)];
    }

    public static string Executable { get; } =
        Environment.GetEnvironmentVariable("RINGFENCE_EXE") is { Length: > 0 } named ? named : Path.Combine(AppContext.BaseDirectory, "ringfence");

    public int Id => _process.Id;

    public string Output => Text(_output);

    public string Error => Text(_error);

    /// <summary>Runs the command inside a terminal of its own, between other shell commands: {0} stands for it.</summary>
    public static RingfenceProcess InTerminal(string script) =>
        new("script", ["-qefc", string.Format(CultureInfo.InvariantCulture, script, Executable), "/dev/null"]);

    /// <summary>Runs to the end.</summary>
    public static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        using var process = new RingfenceProcess(arguments);
        process.CloseInput();
        int code = process.WaitForExit(TimeSpan.FromSeconds(60));
        return (code, process.Output, process.Error);
    }

    public void Send(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    public void CloseInput() => _process.StandardInput.Close();

    /// <summary>Waits for text in the output after what was waited for before, and returns what came up to its end.</summary>
    public string WaitFor(string text, TimeSpan limit)
    {
        var time = Stopwatch.StartNew();
        while (true)
        {
            lock (_output)
            {
                string all = _output.ToString(_seen, _output.Length - _seen);
                int found = all.IndexOf(text, StringComparison.Ordinal);
                if (found >= 0)
                {
                    _seen += found + text.Length;
                    return all[..(found + text.Length)];
                }
            }
            Assert.True(
                time.Elapsed < limit && !(_process.HasExited && time.Elapsed > TimeSpan.FromSeconds(1)),
                $"'{text}' did not come within {limit}; output so far:\n{Output}\nstandard error:\n{Error}");
            Thread.Sleep(5);
        }
    }

    public int WaitForExit(TimeSpan limit)
    {
        Assert.True(_process.WaitForExit(limit), $"still running after {limit}; output so far:\n{Output}\nstandard error:\n{Error}");
        foreach (Thread reader in _readers)
        {
            reader.Join();
        }
        return _process.ExitCode;
    }

    public void Signal(string name)
    {
        using Process kill = Process.Start("kill", ["-s", name, Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    /// <summary>Processor time used so far.</summary>
    public TimeSpan ProcessorTime()
    {
        _process.Refresh();
        return _process.TotalProcessorTime;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }
        _process.Dispose();
    }

    private static string[] OnEngineUnderTest(string[] arguments) =>
        EngineUnderTest.Name is { } engine && arguments is ["run", ..] && !arguments.Contains("--engine") ? [.. arguments, "--engine", engine] : arguments;

    private static string Text(StringBuilder text)
    {
        lock (text)
        {
            return text.ToString();
        }
    }

    private static Thread Read(StreamReader from, StringBuilder to)
    {
        var reader = new Thread(() =>
        {
            char[] buffer = new char[4096];
            for (int count = from.Read(buffer); count > 0; count = from.Read(buffer))
            {
                lock (to)
                {
                    to.Append(buffer, 0, count);
                }
            }
        })
        { IsBackground = true };
        reader.Start();
        return reader;
    }
}
