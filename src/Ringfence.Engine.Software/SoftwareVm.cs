using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;

namespace Ringfence.Engine.Software;

/// <summary>The processors of one machine, and the wires between them that carry interrupts.</summary>
internal sealed class SoftwareVm : IVm
{
    private readonly SoftwareVcpu[] _vcpus;
    private readonly SharedCode _shared;
    private int _stopped;

    public SoftwareVm(VmOptions options, CpuModel model)
    {
        _vcpus = new SoftwareVcpu[options.Vcpus];
        _shared = new SharedCode(options.Memory);
        for (int i = 0; i < _vcpus.Length; i++)
        {
            _vcpus[i] = new SoftwareVcpu(this, options, model, i, _shared);
        }
    }

    public IReadOnlyList<IVcpu> Vcpus => _vcpus;

    public void DeliverInterrupt(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered)
    {
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            if (vcpu.Processor.Apic.Matches(destination, logical) && vcpu.Accept(deliveryMode, vector, levelTriggered) && deliveryMode == 1)
            {
                // Lowest priority: the first that takes it.
                return;
            }
        }
    }

    public void SetExternalInterrupt(bool asserted)
    {
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            vcpu.Processor.SetExternalInterrupt(asserted);
        }
    }

    public void NoteMemoryWritten(ulong address, ulong length) => _shared.WrittenByDevice(address, length);

    /// <summary>A vCPU cannot go on by itself: halted with interrupts off, or waiting for SIPI. True if none can: the machine is halted for good.</summary>
    internal bool NoteStopped() => Interlocked.Increment(ref _stopped) == _vcpus.Length;

    internal void NoteGoing() => Interlocked.Decrement(ref _stopped);

    public void Dispose()
    {
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }
    }

    /// <summary>The interrupt command register (SDM 3A 11.6.1): vector 0-7, mode 8-10, logical 11, level 14, trigger 15, shorthand 18-19, destination 56-63.</summary>
    internal void SendInterprocessorInterrupt(uint source, ulong command)
    {
        byte vector = (byte)command;
        byte mode = (byte)((command >> 8) & 7);
        bool logical = (command & (1 << 11)) != 0;
        bool deassert = mode == 5 && (command & 0xC000) == 0x8000;
        uint shorthand = (uint)(command >> 18) & 3;
        if (deassert)
        {
            return;
        }
        foreach (SoftwareVcpu vcpu in _vcpus)
        {
            bool self = vcpu.Processor.Apic.Id == source;
            bool chosen = shorthand switch
            {
                1 => self,
                2 => true,
                3 => !self,
                _ => vcpu.Processor.Apic.Matches((uint)(command >> 56), logical),
            };
            if (chosen && vcpu.Accept(mode, vector, false) && mode == 1)
            {
                return;
            }
        }
    }
}
