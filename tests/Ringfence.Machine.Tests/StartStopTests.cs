using System.Diagnostics;

namespace Ringfence.Machine.Tests;

/// <summary>What a machine takes from the host, it gives back.</summary>
public sealed class StartStopTests
{
    private const int WarmUp = 50;
    private const int Starts = 1000;
    private const int Rounds = 5;
    /// <summary>KiB that a thousand machines may leave: less than a page for each.</summary>
    private const long Allowed = 2000;

    [Fact]
    public void AThousandStartsAndStopsLeaveNothingBehind()
    {
        StartAndHalt(WarmUp);
        long growth = 0;
        int threads = 0;
        for (int round = 0; round < Rounds; round++)
        {
            ProcessFootprint before = ProcessFootprint.Take();
            var time = Stopwatch.StartNew();
            StartAndHalt(Starts);
            TimeSpan each = time.Elapsed / Starts;
            ProcessFootprint after = ProcessFootprint.Take();
            TestContext.Current.TestOutputHelper?.WriteLine($"start to stop: {each.TotalMilliseconds:F2} ms\nbefore: {before}\nafter: {after}");
            Assert.Equal(before.Descriptors, after.Descriptors);
            // One arena for decoded code is 48 MiB.
            Assert.InRange(after.Mapped - before.Mapped, long.MinValue, 32 << 10);
            growth = Math.Max(after.PrivateMemory - before.PrivateMemory, 0);
            threads = after.Threads - before.Threads;
            if (growth <= Allowed && threads <= 1)
            {
                return;
            }
            // The runtime's compiler keeps improving what these machines run, on memory of its own, but it comes to an end, and its threads
            // come and go. A leak does not.
        }
        Assert.Fail($"a thousand machines leave {growth} KiB and {threads} threads behind, every time");
    }

    private static void StartAndHalt(int times)
    {
        for (int i = 0; i < times; i++)
        {
            StartAndHalt();
        }
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
