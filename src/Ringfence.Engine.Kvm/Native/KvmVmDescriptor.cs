namespace Ringfence.Engine.Kvm.Native;

/// <summary>A virtual machine of KVM's: guest memory, and what all its vCPUs share.</summary>
internal sealed unsafe class KvmVmDescriptor(int descriptor) : KvmDescriptor(descriptor, "virtual machine")
{
    private const uint ReadOnly = 2;

    public KvmVcpuDescriptor CreateVcpu(int index, int runSize) =>
        new(Ask(KvmRequest.CreateVcpu, (nuint)index, $"create vCPU {index}"), index, runSize);

    /// <summary>Tells where guest memory is; a size of 0 takes a slot away.</summary>
    public void SetMemory(uint slot, ulong address, ulong size, nint host, bool readOnly = false) =>
        Write(
            KvmRequest.SetMemoryRegion,
            new KvmMemoryRegion { Slot = slot, Flags = readOnly && size != 0 ? ReadOnly : 0, GuestAddress = address, Size = size, UserAddress = (ulong)host },
            $"put 0x{size:x} bytes of memory at 0x{address:x}");

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

    /// <summary>The kernel sees to these MSRs alone; accesses to all others come to us. x2APIC's are never the kernel's here: there is no APIC in it.</summary>
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
