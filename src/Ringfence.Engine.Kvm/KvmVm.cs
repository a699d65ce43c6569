using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>A machine of the KVM engine: our processors' wiring, and the kernel's virtual machine under it.</summary>
internal sealed class KvmVm(KvmMachine machine, SoftwareVm processors) : IMovableVm, IDirtyLog
{
    public const string Kvm = "kvm";
    public const string Software = "software";

    public IReadOnlyList<IVcpu> Vcpus => processors.Vcpus;

    public IReadOnlyList<string> Engines { get; } = [Kvm, Software];

    public string Engine
    {
        get => machine.OwnCodeChosen ? Software : Kvm;
        set
        {
            if (!Engines.Contains(value))
            {
                throw new ArgumentException($"'{value}' is no engine of this machine (known: {string.Join(", ", Engines)})", nameof(value));
            }
            machine.OwnCodeChosen = value == Software;
        }
    }

    public void DeliverInterrupt(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered)
    {
        if (machine.Chip is { } chip)
        {
            chip.Deliver(
                vector, deliveryMode, logical, destination, levelTriggered,
                () => processors.DeliverInterrupt(vector, deliveryMode, logical, destination, levelTriggered));
            return;
        }
        processors.DeliverInterrupt(vector, deliveryMode, logical, destination, levelTriggered);
    }

    public void SetExternalInterrupt(bool asserted)
    {
        if (machine.Chip is { } chip)
        {
            chip.Inform(() => processors.SetExternalInterrupt(asserted));
            return;
        }
        processors.SetExternalInterrupt(asserted);
    }

    public void StartDirtyLog()
    {
        processors.StartDirtyLog();
        machine.LogWrites(true);
        machine.ReadWrittenPages();
    }

    public IReadOnlyList<ulong[]> CollectDirtyPages()
    {
        IReadOnlyList<ulong[]> pages = processors.CollectDirtyPages();
        foreach ((ulong[] ours, ulong[] kernels) in pages.Zip(machine.ReadWrittenPages()))
        {
            for (int i = 0; i < ours.Length; i++)
            {
                ours[i] |= kernels[i];
            }
        }
        return pages;
    }

    public void StopDirtyLog()
    {
        machine.LogWrites(false);
        processors.StopDirtyLog();
    }

    public void NoteMemoryWritten(ulong address, ulong length) => processors.NoteMemoryWritten(address, length);

    public void Dispose()
    {
        // It looks at the processors now and then.
        machine.Chip?.Dispose();
        processors.Dispose();
        machine.Dispose();
    }
}
