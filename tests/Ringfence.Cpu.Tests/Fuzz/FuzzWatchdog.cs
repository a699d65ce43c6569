namespace Ringfence.Cpu.Tests.Fuzz;

/// <summary>Ends runs that do not end by themselves: code that jumps to itself. A processor that does not heed it ends the process.</summary>
internal sealed class FuzzWatchdog : IDisposable
{
    private const int HangMilliseconds = 30_000;
    private readonly Processor _processor;
    private readonly Func<string> _where;
    private readonly Thread _thread;
    private int _runs;
    private volatile bool _over;
    private volatile bool _asked;

    /// <param name="where">What runs now, for people.</param>
    public FuzzWatchdog(Processor processor, Func<string> where)
    {
        _processor = processor;
        _where = where;
        _thread = new Thread(Look) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>The run that begins is to be ended soon.</summary>
    public void End() => _asked = true;

    /// <summary>A run is over.</summary>
    public void Rest()
    {
        _asked = false;
        Volatile.Write(ref _runs, _runs + 1);
    }

    public void Dispose()
    {
        _over = true;
        _thread.Join();
    }

    private void Look()
    {
        int seen = -1;
        long since = 0;
        while (!_over)
        {
            Thread.Sleep(1);
            int now = Volatile.Read(ref _runs);
            if (now != seen)
            {
                (seen, since) = (now, Environment.TickCount64);
            }
            else if (_asked)
            {
                _processor.RequestExit();
            }
            if (Environment.TickCount64 - since > HangMilliseconds)
            {
                Environment.FailFast($"hangs: {_where()}");
            }
        }
    }
}
