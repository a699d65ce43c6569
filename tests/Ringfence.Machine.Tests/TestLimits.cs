namespace Ringfence.Machine.Tests;

internal static class TestLimits
{
    /// <summary>How long a test waits before it calls something hung: far longer than it takes on any machine.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(60);
}
