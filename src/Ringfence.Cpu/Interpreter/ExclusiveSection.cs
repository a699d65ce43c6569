namespace Ringfence.Cpu.Interpreter;

/// <summary>
/// A section that one processor of a machine enters while all others stand still between two instructions: for what the host cannot do
/// atomically. Whoever waits to enter stands still too, so that none waits for another for good.
/// </summary>
internal sealed class ExclusiveSection
{
    private int _held;

    public bool IsHeld => Volatile.Read(ref _held) != 0;

    /// <summary>On return no other processor runs guest code, until <see cref="Leave"/>. Only from within an instruction that has changed nothing yet.</summary>
    public void Enter(Processor self, ReadOnlySpan<Processor> all)
    {
        while (Interlocked.CompareExchange(ref _held, 1, 0) != 0)
        {
            self.CodeRequests.StandAside();
        }
        foreach (Processor other in all)
        {
            if (other != self)
            {
                other.RaiseQuietly(Attentions.Code);
            }
        }
        foreach (Processor other in all)
        {
            SpinWait spin = new();
            while (other != self && !other.CodeRequests.IsAside)
            {
                spin.SpinOnce(-1);
            }
        }
    }

    public void Leave() => Volatile.Write(ref _held, 0);

    public void AwaitEnd()
    {
        SpinWait spin = new();
        while (IsHeld)
        {
            spin.SpinOnce(-1);
        }
    }
}
