using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>Ways to run a machine that no test has to repeat.</summary>
internal static class Machines
{
    public static VirtualMachine Create(MachineSpec spec) => VirtualMachine.Create(spec, EngineUnderTest.Create());

    /// <summary>Runs a guest that ends by itself.</summary>
    public static MachineEnd RunToEnd(MachineSpec spec)
    {
        using var limit = new CancellationTokenSource(TestLimits.Patience);
        using VirtualMachine machine = Create(spec);
        return machine.Run(limit.Token);
    }

    public static MachineEnd RunToEnd(GuestImage image)
    {
        using (image)
        {
            return RunToEnd(image.Spec());
        }
    }

    /// <summary>Runs on a thread of its own: not the thread pool's, whose threads come and go as they like.</summary>
    public static RunningMachine Start(MachineSpec spec) => new(spec);
}

/// <summary>A machine under way. Disposing of it stops it.</summary>
internal sealed class RunningMachine : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly VirtualMachine _machine;
    private readonly Thread _thread;
    private MachineEnd? _end;

    public RunningMachine(MachineSpec spec)
    {
        _machine = Machines.Create(spec);
        _thread = new Thread(() => _end = _machine.Run(_stop.Token)) { Name = "test-machine" };
        _thread.Start();
    }

    public MachineStatistics Statistics => _machine.Statistics;

    public MachineEnd WaitForEnd()
    {
        Assert.True(_thread.Join(TestLimits.Patience), "the machine did not end");
        return _end!;
    }

    public MachineEnd Stop()
    {
        _stop.Cancel();
        return WaitForEnd();
    }

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        _machine.Dispose();
        _stop.Dispose();
    }
}
