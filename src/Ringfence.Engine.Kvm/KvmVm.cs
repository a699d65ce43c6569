using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>A machine of the KVM engine: our processors' wiring, and the kernel's virtual machine under it.</summary>
internal sealed class KvmVm(KvmMachine machine, SoftwareVm processors) : IVm
{
    public IReadOnlyList<IVcpu> Vcpus => processors.Vcpus;

    public void DeliverInterrupt(byte vector, byte deliveryMode, bool logical, byte destination, bool levelTriggered) =>
        processors.DeliverInterrupt(vector, deliveryMode, logical, destination, levelTriggered);

    public void SetExternalInterrupt(bool asserted) => processors.SetExternalInterrupt(asserted);

    public void NoteMemoryWritten(ulong address, ulong length) => processors.NoteMemoryWritten(address, length);

    public void Dispose()
    {
        processors.Dispose();
        machine.Dispose();
    }
}
