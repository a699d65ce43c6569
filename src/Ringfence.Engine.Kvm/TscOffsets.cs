using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>What a kernel makes of an offset that it is given for a guest's time-stamp counter.</summary>
internal enum TscOffsets
{
    /// <summary>Nothing: the guest's counter is the host's, whatever else is said.</summary>
    Forgotten,
    /// <summary>It starts from there and moves it. Where the host's counters are not to be relied upon, a guest's counter stands still outside of guest code, and is
    /// brought forward on the way in to what the kernel's own time says.</summary>
    Steered,
    /// <summary>The guest's counter is the host's and the offset, from then on.</summary>
    Kept,
}

internal static class TscOffsetProbe
{
    /// <summary>About an hour: more than a counter is steered by meanwhile.</summary>
    private const ulong Offset = 0x1234_5678_9ABC;

    public static TscOffsets Try(KvmSystem system)
    {
        if (system.Check(KvmCapability.VcpuAttributes) == 0)
        {
            return TscOffsets.Forgotten;
        }
        using KvmVmDescriptor vm = system.CreateVm();
        using KvmVcpuDescriptor vcpu = vm.CreateVcpu(0, system.RunSize);
        vcpu.TscOffset = Offset;
        return Judge(Offset, vcpu.TscOffset);
    }

    /// <param name="given">Not small.</param>
    public static TscOffsets Judge(ulong given, ulong found) =>
        found == given ? TscOffsets.Kept : found - (given / 2) < given ? TscOffsets.Steered : TscOffsets.Forgotten;
}
