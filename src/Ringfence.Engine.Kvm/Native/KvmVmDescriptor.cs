namespace Ringfence.Engine.Kvm.Native;

/// <summary>A virtual machine of KVM's: guest memory, and what all its vCPUs share.</summary>
internal sealed unsafe partial class KvmVmDescriptor(int descriptor) : KvmDescriptor(descriptor, "virtual machine")
{
    private const uint LogsWrites = 1;
    private const uint ReadOnly = 2;

    public KvmVcpuDescriptor CreateVcpu(int index, int runSize) =>
        new(Ask(KvmRequest.CreateVcpu, (nuint)index, $"create vCPU {index}"), index, runSize);

    /// <summary>Tells where guest memory is; a size of 0 takes a slot away.</summary>
    /// <param name="logsWrites">Which pages are written is kept from now on: <see cref="ReadWrittenPages"/>.</param>
    public void SetMemory(uint slot, ulong address, ulong size, nint host, bool readOnly = false, bool logsWrites = false) =>
        Write(
            KvmRequest.SetMemoryRegion,
            new KvmMemoryRegion
            {
                Slot = slot, Flags = (readOnly && size != 0 ? ReadOnly : 0) | (logsWrites ? LogsWrites : 0), GuestAddress = address, Size = size, UserAddress = (ulong)host,
            },
            $"put 0x{size:x} bytes of memory at 0x{address:x}{(logsWrites ? " and log writes" : "")}");

    /// <summary>The pages of a slot that were written since it was asked last, one bit each; the log is empty then.</summary>
    public void ReadWrittenPages(uint slot, Span<ulong> bitmap)
    {
        fixed (ulong* bits = bitmap)
        {
            Write(KvmRequest.GetDirtyLog, new KvmDirtyLog { Slot = slot, Bitmap = bits }, $"tell what was written in memory slot {slot}");
        }
    }

    /// <summary>Four pages that no guest uses: Intel's processors without unrestricted guests run real mode with them.</summary>
    public void SetHelperPages(ulong address)
    {
        Write(KvmRequest.SetIdentityMapAddress, address, "set the identity map's address");
        Ask(KvmRequest.SetTssAddress, (nuint)(address + 4096), "set the helper task's address");
    }

    public void Enable(KvmCapability capability, ulong argument)
    {
        KvmEnable enable = new() { Capability = (uint)capability };
        enable.Arguments[0] = argument;
        Write(KvmRequest.EnableCapability, enable, $"turn on {capability}");
    }

    /// <summary>The kernel sees to these MSRs alone; accesses to all others come to us. x2APIC's are the kernel's if the local APIC is, whatever is said here.</summary>
    public void AllowMsrs(ReadOnlySpan<(uint First, uint Count)> ranges)
    {
        const uint DefaultDeny = 1;
        const uint ReadAndWrite = 3;
        ulong all = ulong.MaxValue;
        KvmMsrFilter filter = new() { Flags = DefaultDeny };
        for (int i = 0; i < ranges.Length; i++)
        {
            filter.Ranges[i] = new KvmMsrRange { Flags = ReadAndWrite, First = ranges[i].First, Count = ranges[i].Count, Bitmap = (byte*)&all };
        }
        Write(KvmRequest.SetMsrFilter, filter, "filter MSRs");
    }
}
