using Ringfence.Cpu;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Host;

namespace Ringfence.Engine.Software;

/// <summary>The processors of one machine, and the wires between them that carry interrupts.</summary>
internal sealed class SoftwareVm : IVm, IDirtyLog
{
    private readonly SoftwareVcpu[] _vcpus;
    private readonly SharedCode _shared;
    private readonly GuestMemory _memory;
    private int _stopped;
    private int _turn;

    public SoftwareVm(VmOptions options, CpuModel model, ITranslatorFactory? translators, IGuestRunnerFactory? runners = null)
    {
        _vcpus = new SoftwareVcpu[options.Vcpus];
        _memory = options.Memory;
        _shared = new SharedCode(options.Memory);
        ParavirtualPlatform platform = new(options.Memory, _shared, runners?.Clock ?? options.Clock, runners?.ClockHertz ?? Processor.TscHertz, options.Clock, runners?.CountersAreSteady ?? true);
        try
        {
            for (int i = 0; i < _vcpus.Length; i++)
            {
                _vcpus[i] = new SoftwareVcpu(this, options, model, i, _shared, platform, translators, runners);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public IReadOnlyList<IVcpu> Vcpus => _vcpus;

    public void DeliverInterrupt(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered)
    {
        uint wide = destination == byte.MaxValue ? uint.MaxValue : destination;
        Deliver(Named(wide, logical), (DeliveryMode)deliveryMode, vector, levelTriggered);
    }

    public void SetExternalInterrupt(bool asserted)
    {
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            vcpu.Processor.SetExternalInterrupt(asserted);
        }
    }

    public void StartDirtyLog() => _shared.StartDirtyLog();

    public IReadOnlyList<ulong[]> CollectDirtyPages() => _shared.CollectDirtyPages(_memory.Regions);

    public void StopDirtyLog() => _shared.StopDirtyLog();

    public void NoteMemoryWritten(ulong address, ulong length) => _shared.WrittenByDevice(address, length);

    /// <summary>A vCPU cannot go on by itself: halted with interrupts off, or waiting for SIPI. True if none can: the machine is halted for good.</summary>
    internal bool NoteStopped() => Interlocked.Increment(ref _stopped) == _vcpus.Length;

    internal void NoteGoing() => Interlocked.Decrement(ref _stopped);

    public void Dispose()
    {
        foreach (SoftwareVcpu? vcpu in _vcpus)
        {
            vcpu?.Dispose();
        }
    }

    /// <summary>The interrupt command register (SDM 3A 11.6.1): vector 0-7, mode 8-10, logical 11, level 14, trigger 15, shorthand 18-19.</summary>
    internal void SendInterprocessorInterrupt(SoftwareVcpu source, uint command, uint destination)
    {
        const uint LevelAndTrigger = 0xC000;
        const uint Deasserted = 0x8000;
        DeliveryMode mode = (DeliveryMode)((command >> 8) & 7);
        bool logical = (command & (1 << 11)) != 0;
        if (mode == DeliveryMode.Init && (command & LevelAndTrigger) == Deasserted)
        {
            // It synchronized arbitration IDs once; INIT itself is the assertion.
            return;
        }
        uint chosen = ((command >> 18) & 3) switch
        {
            1 => 1u << source.Index,
            2 => uint.MaxValue,
            3 => ~(1u << source.Index),
            _ => Named(destination, logical),
        };
        Deliver(chosen, mode, (byte)command, false);
    }

    /// <summary>The vCPUs that a destination names, one bit each.</summary>
    private uint Named(uint destination, bool logical)
    {
        uint named = 0;
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            named |= vcpu.Processor.Apic.Matches(destination, logical) ? 1u << vcpu.Index : 0;
        }
        return named;
    }

    private void Deliver(uint chosen, DeliveryMode mode, byte vector, bool levelTriggered)
    {
        if (mode == DeliveryMode.LowestPriority)
        {
            chosen = Lowest(chosen);
        }
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            if ((chosen & (1u << vcpu.Index)) != 0)
            {
                vcpu.Accept(mode, vector, levelTriggered);
            }
        }
    }

    /// <summary>The one of lowest priority (SDM 3A 11.6.2.4); equals take turns.</summary>
    private uint Lowest(uint chosen)
    {
        int turn = Interlocked.Increment(ref _turn) & int.MaxValue;
        SoftwareVcpu? lowest = null;
        for (int i = 0; i < _vcpus.Length; i++)
        {
            SoftwareVcpu vcpu = _vcpus[(i + turn) % _vcpus.Length];
            if ((chosen & (1u << vcpu.Index)) != 0 && vcpu.Processor.Apic.IsReceiving
                && (lowest == null || vcpu.Processor.Apic.Priority < lowest.Processor.Apic.Priority))
            {
                lowest = vcpu;
            }
        }
        return lowest == null ? 0 : 1u << lowest.Index;
    }
}

/// <summary>Delivery modes of interrupt messages (SDM 3A 11.6.1, 11.11.2).</summary>
internal enum DeliveryMode
{
    Fixed = 0,
    LowestPriority = 1,
    Smi = 2,
    Nmi = 4,
    Init = 5,
    StartUp = 6,
    External = 7,
}
