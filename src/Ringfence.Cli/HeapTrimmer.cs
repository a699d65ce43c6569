namespace Ringfence.Cli;

/// <summary>
/// Gives the host back what the managed heap no longer needs. A system that boots has much of its code translated, and with it goes garbage; then little is
/// allocated for hours, so that the collector alone would never look again.
/// </summary>
internal sealed class HeapTrimmer : IDisposable
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(2);

    /// <summary>Bytes allocated since the last collection that make another worth its pause of some 20 ms.</summary>
    private const long Worthwhile = 4 << 20;

    /// <summary>Bytes allocated in a period in which nothing much goes on.</summary>
    private const long Quiet = 256 << 10;

    private readonly Timer _timer;
    private long _trimmed;
    private long _before;

    public HeapTrimmer() => _timer = new Timer(_ => Look(), null, s_period, s_period);

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        long allocated = GC.GetTotalAllocatedBytes();
        if (allocated - _before < Quiet && allocated - _trimmed > Worthwhile)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            allocated = _trimmed = GC.GetTotalAllocatedBytes();
        }
        _before = allocated;
    }
}
