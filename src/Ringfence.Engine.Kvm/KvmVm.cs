using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>A machine of the KVM engine: our processors' wiring, and the kernel's virtual machine under it.</summary>
internal sealed class KvmVm(KvmMachine machine, SoftwareVm processors) : IMovableVm
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
