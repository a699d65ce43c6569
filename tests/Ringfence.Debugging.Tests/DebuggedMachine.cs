using System.Buffers.Binary;
using System.Net;
using Ringfence.Machine;
using Ringfence.Tests;

namespace Ringfence.Debugging.Tests;

/// <summary>A machine that waits for a debugger before its first instruction.</summary>
internal sealed class DebuggedMachine : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly VirtualMachine _machine;
    private readonly Thread _thread;
    private MachineEnd? _end;

    public DebuggedMachine(MachineSpec spec)
    {
        _machine = VirtualMachine.Create(spec, EngineUnderTest.Create());
        _machine.Control.Pause();
        Server = new GdbServer(new IPEndPoint(IPAddress.Loopback, 0));
        Server.Serve(_machine.Control);
        _thread = new Thread(() => _end = _machine.Run(_stop.Token)) { Name = "test-machine" };
        _thread.Start();
    }

    public GdbServer Server { get; }

    public bool HasEnded => _end is not null;

    public GdbClient Connect() => new(Server.EndPoint);

    /// <summary>Guest memory as it is now, whether the guest runs or not.</summary>
    public uint Peek(ulong physical)
    {
        byte[] bytes = new byte[4];
        Assert.True(_machine.Control.Memory.TryRead(physical, bytes));
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    public MachineEnd WaitForEnd()
    {
        Assert.True(_thread.Join(TimeSpan.FromSeconds(60)), "the machine did not end");
        return _end!;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        Server.Dispose();
        _machine.Dispose();
        _stop.Dispose();
    }
}
