using System.Diagnostics;

namespace Ringfence.Machine.Tests;

/// <summary>What a machine takes from the host, it gives back.</summary>
public sealed class StartStopTests
{
    // So long does the runtime's compiler keep improving what these machines run, on memory of its own.
    private const int WarmUp = 1000;
    private const int Rounds = 1000;

    [Fact]
    public void AThousandStartsAndStopsLeaveNothingBehind()
    {
        for (int i = 0; i < WarmUp; i++)
        {
            StartAndHalt();
        }
        ProcessFootprint before = ProcessFootprint.Take();
        var time = Stopwatch.StartNew();
        for (int i = 0; i < Rounds; i++)
        {
            StartAndHalt();
        }
        TimeSpan each = time.Elapsed / Rounds;
        ProcessFootprint after = ProcessFootprint.Take();
        TestContext.Current.TestOutputHelper?.WriteLine($"start to stop: {each.TotalMilliseconds:F2} ms\nbefore: {before}\nafter: {after}");
        Assert.Equal(before.Descriptors, after.Descriptors);
        Assert.InRange(after.Threads, 0, before.Threads + 1);
        // A leak of one page a machine would be 4 MB; the rest is the collector's and the compiler's business.
        Assert.InRange(after.PrivateMemory - before.PrivateMemory, long.MinValue, 4000);
        Assert.InRange(after.Mapped - before.Mapped, long.MinValue, 64 << 10);
    }

    private static void StartAndHalt()
    {
        var serial = new SerialTap();
        // Typed before the guest has set its serial port up, as someone impatient does.
        using VirtualMachine machine = Machines.Create(new MachineSpec { Memory = 2 << 20, Serial = serial });
        serial.Type("halt\r");
        using var limit = new CancellationTokenSource(TestLimits.Patience);
        Assert.Equal(MachineEndKind.PoweredOff, machine.Run(limit.Token).Kind);
    }
}
