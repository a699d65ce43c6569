using Ringfence.Host;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// The cache line that MONITOR armed (SDM 3A 10.10.4). Nothing tells of stores to it: whoever runs the processor compares it now and then with
/// what it held. So a store of what is there already is not seen, but neither is anything waited for that only such a store would bring.
/// </summary>
internal sealed unsafe class MonitoredLine(Processor processor, GuestMemory memory)
{
    private const int LineSize = 64;

    private readonly byte[] _held = new byte[LineSize];
    private byte* _line;

    /// <summary>MWAIT waits, and interrupts end that even if RFLAGS.IF is clear.</summary>
    public bool EndsOnMasked { get; private set; }

    /// <summary>The line holds something else than when it was armed.</summary>
    public bool HasChanged => _line == null || !new ReadOnlySpan<byte>(_line, LineSize).SequenceEqual(_held);

    /// <summary>False: a fault, which is recorded. What is not RAM is not monitored.</summary>
    public bool Arm(ulong linear)
    {
        if (!processor.Mmu.TranslateData(linear, AccessKind.Read, out ulong physical))
        {
            return false;
        }
        _line = processor.IsApicPage(physical) ? null : memory.Pointer(physical & ~(ulong)(LineSize - 1), LineSize);
        if (_line != null)
        {
            new ReadOnlySpan<byte>(_line, LineSize).CopyTo(_held);
        }
        return true;
    }

    /// <summary>MWAIT. False if there is nothing to wait for: no line is armed, or it has changed already.</summary>
    public bool Wait(bool endsOnMasked)
    {
        if (HasChanged)
        {
            _line = null;
            return false;
        }
        EndsOnMasked = endsOnMasked;
        return true;
    }

    /// <summary>The processor goes on: a line is armed for one wait.</summary>
    public void End()
    {
        _line = null;
        EndsOnMasked = false;
    }
}
