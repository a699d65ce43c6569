using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// The interrupt chips of a machine that the kernel can have: the local APICs, and with <see cref="InterruptChip.Kernel"/> the 8259 pair and the IOAPIC. Where they are
/// is a matter of the whole machine: with guest code in the kernel they are the kernel's, and when our own processors take over they are ours, with all their state.
/// The kernel's time goes on as ours does: its timers count the host's nanoseconds and the guest's time-stamp counter.
/// </summary>
internal sealed partial class KernelChip : IDisposable
{
    /// <summary>How often vCPUs that nobody has heard of are looked at: with interrupts off, a halt in the kernel is not told to anyone.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

    /// <summary>As many as the kernel can be told of: one for each vector but 0, which is none.</summary>
    private const int LevelLines = 255;

    private readonly KvmVmDescriptor _vm;
    private readonly IBoardChips? _board;
    private readonly Action<byte> _endOfInterrupt;
    private readonly List<KvmProcessor> _vcpus = [];
    /// <summary>Held while chips go from one side to the other, and while all vCPUs are looked at.</summary>
    private readonly Lock _move = new();
    /// <summary>Held while a message is delivered, so that none comes to a side that has just been left. Inside <see cref="_move"/>, and inside the board's locks.</summary>
    private readonly Lock _delivery = new();
    /// <summary>Level-triggered vectors that the kernel was told of, so that it tells of their ends.</summary>
    private readonly bool[] _routed = new bool[256];
    private readonly Lock _routing = new();
    private readonly Timer _watch;
    private volatile bool _held;
    private volatile bool _moving;
    private volatile bool _abandoned;
    private volatile bool _disposed;

    /// <param name="endOfInterrupt">Told of the end of a level-triggered interrupt.</param>
    public KernelChip(KvmVmDescriptor vm, InterruptChip kind, IBoardChips? board, Action<byte> endOfInterrupt)
    {
        _vm = vm;
        IsWhole = kind == InterruptChip.Kernel;
        _board = IsWhole ? board : null;
        _endOfInterrupt = endOfInterrupt;
        if (IsWhole)
        {
            vm.CreateIrqChip();
            vm.SetRoutes(PinRoutes());
        }
        else
        {
            vm.Enable(KvmCapability.SplitIrqChip, LevelLines);
        }
        _watch = new Timer(_ => Look(), null, s_look, s_look);
    }

    /// <exception cref="KvmException">This kernel's KVM cannot have them so.</exception>
    public static void Check(KvmSystem system, InterruptChip kind)
    {
        KvmCapability[] needed = kind switch
        {
            InterruptChip.Split => [KvmCapability.SplitIrqChip, KvmCapability.IrqRouting, KvmCapability.SignalMsi, KvmCapability.Activity],
            InterruptChip.Kernel => [KvmCapability.IrqChip, KvmCapability.IrqRouting, KvmCapability.SignalMsi, KvmCapability.Activity],
            _ => [],
        };
        foreach (KvmCapability capability in needed)
        {
            if (system.Check(capability) == 0)
            {
                throw new KvmException($"kvm: {KvmSystem.Path}: this kernel's KVM has no {capability}: the interrupt chips can only be our own here (--irqchip user)");
            }
        }
    }

    /// <summary>8259 pair and IOAPIC too.</summary>
    public bool IsWhole { get; }

    /// <summary>They are the kernel's now.</summary>
    public bool Held => _held;

    /// <summary>They are about to change sides: nobody enters the kernel.</summary>
    public bool IsMoving => _moving;

    /// <summary>Nothing will ever run again unless it is asked from outside.</summary>
    public bool IsHaltedForGood { get; private set; }

    public void Add(KvmProcessor vcpu) => _vcpus.Add(vcpu);

    /// <summary>Before guest code runs in the kernel: the chips go there. Only while no vCPU runs any.</summary>
    public void Give()
    {
        if (_held || _abandoned)
        {
            return;
        }
        lock (_move)
        {
            if (_held)
            {
                return;
            }
            lock (_delivery)
            {
                foreach (KvmProcessor vcpu in _vcpus)
                {
                    vcpu.GiveApic();
                }
                _held = true;
            }
            _board?.GiveTo(this);
        }
    }

    /// <summary>The chips become ours. No vCPU may be in the kernel meanwhile: they are made to come out.</summary>
    /// <param name="forGood">They stay.</param>
    public void Take(bool forGood)
    {
        _abandoned |= forGood;
        if (!_held)
        {
            return;
        }
        lock (_move)
        {
            if (_held)
            {
                WithAllOutside(() =>
                {
                    _board?.TakeBack(this);
                    lock (_delivery)
                    {
                        foreach (KvmProcessor vcpu in _vcpus)
                        {
                            vcpu.TakeApic();
                        }
                        _held = false;
                    }
                });
                EndWhatHasEnded();
            }
        }
    }

    /// <summary>For a vCPU's thread that has met <see cref="IsMoving"/>.</summary>
    public void AwaitMove()
    {
        lock (_move)
        {
        }
    }

    /// <summary>Someone from outside has changed what a vCPU does.</summary>
    public void Revive() => IsHaltedForGood = false;

    /// <summary>Delivers a message: to the kernel's local APICs, or by <paramref name="ours"/> to ours. Any thread.</summary>
    public void Deliver(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered, Action ours)
    {
        const byte SystemManagement = 2;
        const byte External = 7;
        lock (_delivery)
        {
            // The kernel does not take the 8259 pair's messages from us: our parked APICs have the wire, if the pair is ours.
            if (!_held || (deliveryMode == External && !IsWhole))
            {
                ours();
            }
            else if (deliveryMode is not (SystemManagement or External))
            {
                Send(vector, deliveryMode, logical, destination, levelTriggered);
            }
        }
    }

    /// <summary>The level of the 8259 pair's output: our processors' business even where the kernel has their APICs. Any thread.</summary>
    public void Inform(Action ours)
    {
        lock (_delivery)
        {
            ours();
        }
    }

    /// <summary>Something is done with one vCPU's APIC and nothing is delivered to our side meanwhile.</summary>
    public void Alone(Action action)
    {
        lock (_delivery)
        {
            action();
        }
    }

    /// <summary>To one APIC. Any thread.</summary>
    public void Send(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered)
    {
        if (levelTriggered)
        {
            NoteLevel(vector);
        }
        _vm.SignalMessage(Message(vector, deliveryMode, logical, destination, levelTriggered));
    }

    /// <summary>The kernel is to tell when a level-triggered interrupt ends.</summary>
    public void NoteLevel(byte vector)
    {
        if (IsWhole || _routed[vector])
        {
            return;
        }
        lock (_routing)
        {
            _routed[vector] = true;
            // A line for each such vector, to all APICs: nobody raises it, it only names the vector.
            _vm.SetRoutes([.. Enumerable.Range(0, _routed.Length).Where(v => _routed[v]).Select(v => Route((byte)v))]);
        }
    }

    public void Dispose()
    {
        _disposed = true;
        using ManualResetEvent done = new(false);
        if (_watch.Dispose(done))
        {
            done.WaitOne();
        }
    }

    private static KvmRoute Route(byte vector)
    {
        KvmMessage message = Message(vector, 0, false, byte.MaxValue, true);
        return new KvmRoute { Line = vector - 1u, Kind = KvmRouteKind.Message, AddressLow = message.AddressLow, Data = message.Data };
    }

    /// <summary>SDM 3A 11.11.</summary>
    private static KvmMessage Message(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered) => new()
    {
        AddressLow = 0xFEE0_0000 | ((uint)destination << 12) | (logical ? 4u : 0),
        Data = vector | ((uint)deliveryMode << 8) | (levelTriggered ? 0xC000u : 0),
    };

    /// <summary>With <see cref="_move"/> held.</summary>
    private void WithAllOutside(Action action)
    {
        _moving = true;
        Interlocked.MemoryBarrier();
        int entered = 0;
        try
        {
            foreach (KvmProcessor vcpu in _vcpus)
            {
                vcpu.Kick();
            }
            for (; entered < _vcpus.Count; entered++)
            {
                _vcpus[entered].Entry.Enter();
            }
            action();
        }
        finally
        {
            _moving = false;
            while (--entered >= 0)
            {
                _vcpus[entered].Entry.Exit();
            }
        }
    }

    /// <summary>The end of an interrupt may have been about to be told when its APIC left the kernel.</summary>
    private void EndWhatHasEnded()
    {
        for (int vector = 0; vector < _routed.Length; vector++)
        {
            if (_routed[vector] && !_vcpus.Exists(vcpu => vcpu.Has((byte)vector)))
            {
                _endOfInterrupt((byte)vector);
            }
        }
    }

    /// <summary>Where all vCPUs have been in the kernel since the last time, are they halted for good?</summary>
    private void Look()
    {
        if (!_held || _disposed || IsHaltedForGood)
        {
            return;
        }
        bool allStayed = true;
        foreach (KvmProcessor vcpu in _vcpus)
        {
            allStayed &= vcpu.HasStayed();
        }
        if (!allStayed || !_move.TryEnter())
        {
            return;
        }
        try
        {
            WithAllOutside(() => IsHaltedForGood = _held && !_disposed && _vcpus.TrueForAll(vcpu => vcpu.IsStoppedForGood()));
        }
        catch (KvmException)
        {
            // The vCPU that is refused says so itself.
        }
        finally
        {
            _move.Exit();
        }
    }
}
