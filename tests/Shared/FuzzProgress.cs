namespace Ringfence.Tests;

/// <summary>A line every ten seconds. Thread-safe.</summary>
internal sealed class FuzzProgress(string things)
{
    private readonly Lock _lock = new();
    private readonly long _start = Environment.TickCount64;
    private long _told = Environment.TickCount64;
    private long _done;

    public void Done(int count, string where)
    {
        lock (_lock)
        {
            _done += count;
            long now = Environment.TickCount64;
            if (now - _told >= 10_000)
            {
                _told = now;
                Console.WriteLine($"{where}: {_done:N0} {things} in {(now - _start) / 1000} s, {(now - _start) * 1000.0 / _done:F1} us each");
            }
        }
    }
}
