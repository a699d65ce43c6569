using Ringfence.Machine;

namespace Ringfence.Cli;

/// <summary>Ctrl-A E: the guest, as it is, goes to the next of the engines that its machine has.</summary>
/// <param name="say">Tells the user.</param>
internal sealed class EngineSwitch(VirtualMachine machine, Action<string> say)
{
    private int _busy;

    /// <summary>Does not wait until it is done.</summary>
    public void Next()
    {
        if (Interlocked.Exchange(ref _busy, 1) == 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_ => Move(), null);
        }
    }

    private void Move()
    {
        try
        {
            say($"ringfence: {Describe()}");
        }
        finally
        {
            Volatile.Write(ref _busy, 0);
        }
    }

    private string Describe()
    {
        IReadOnlyList<string> engines = machine.Engines;
        if (engines.Count < 2)
        {
            return $"this machine has no other engine than {machine.Engine}: start it with --engine kvm for two";
        }
        if (machine.Control.Observer is not null)
        {
            return "not while a debugger is attached";
        }
        int at = engines.ToList().IndexOf(machine.Engine);
        string next = engines[(at + 1) % engines.Count];
        machine.MoveTo(next);
        return $"the guest runs on {next} now";
    }
}
