using System.Runtime.InteropServices;

namespace Ringfence.Cli;

/// <summary>Why a guest is ended from outside.</summary>
internal enum StopReason
{
    None,
    /// <summary>Ctrl-A X.</summary>
    Left,
    /// <summary>SIGINT, SIGTERM or SIGHUP.</summary>
    Signal,
    /// <summary>The time allowed is over.</summary>
    Timeout,
}

/// <summary>
/// Gathers what ends a guest from outside into one token: the user leaving, signals, the timeout. The first reason stands. A second
/// signal, or a guest that has not ended <see cref="Patience"/> after the first reason, ends the process at once (with the terminal
/// restored: that is bound to the process's exit). Thread-safe.
/// </summary>
internal sealed class StopRequests : IDisposable
{
    private static readonly PosixSignal[] s_signals = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP];

    private readonly CancellationTokenSource _source = new();
    private readonly List<PosixSignalRegistration> _registrations = [];
    private readonly Timer _timeout;
    private readonly Timer _patience;
    private int _reason;

    /// <param name="timeout">Time allowed from now on; null for no limit.</param>
    public StopRequests(TimeSpan? timeout)
    {
        _patience = new Timer(_ => Environment.Exit(CodeOf(Reason)));
        // A timer takes at most 49 days.
        TimeSpan allowed = timeout is { } limit && limit.TotalMilliseconds < uint.MaxValue - 1 ? limit : System.Threading.Timeout.InfiniteTimeSpan;
        _timeout = new Timer(_ => Stop(StopReason.Timeout), null, allowed, System.Threading.Timeout.InfiniteTimeSpan);
        foreach (PosixSignal signal in s_signals)
        {
            _registrations.Add(PosixSignalRegistration.Create(signal, OnSignal));
        }
    }

    /// <summary>How long a guest may take to end once asked: 5 s.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(5);

    /// <summary>Cancelled when the guest is to end.</summary>
    public CancellationToken Token => _source.Token;

    public StopReason Reason => (StopReason)Volatile.Read(ref _reason);

    /// <summary>The exit code of a guest ended for this reason.</summary>
    public static int CodeOf(StopReason reason) => reason switch
    {
        StopReason.Signal => ExitCode.Interrupted,
        StopReason.Timeout => ExitCode.Timeout,
        _ => ExitCode.Ended,
    };

    /// <summary>Asks for the end. Does not block.</summary>
    public void Stop(StopReason reason)
    {
        if (Interlocked.CompareExchange(ref _reason, (int)reason, (int)StopReason.None) != (int)StopReason.None)
        {
            return;
        }
        try
        {
            _ = _patience.Change(Patience, System.Threading.Timeout.InfiniteTimeSpan);
            _source.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The guest ended by itself meanwhile.
        }
    }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }
        _timeout.Dispose();
        _patience.Dispose();
        _source.Dispose();
    }

    private void OnSignal(PosixSignalContext context)
    {
        context.Cancel = true;
        if (Reason == StopReason.Signal)
        {
            Environment.Exit(ExitCode.Interrupted);
        }
        Stop(StopReason.Signal);
    }
}
