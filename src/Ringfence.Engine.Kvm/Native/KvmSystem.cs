using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm.Native;

/// <summary>/dev/kvm.</summary>
internal sealed unsafe class KvmSystem : KvmDescriptor
{
    public const string Path = "/dev/kvm";
    /// <summary>The interface that there has been since Linux 2.6.22.</summary>
    public const int ApiVersion = 12;
    private const int NoPermission = 1;
    private const int NoSuchFile = 2;
    private const int NoDevice = 19;
    private const int NoDeviceOrAddress = 6;
    private const int AccessDenied = 13;
    private const int Busy = 16;

    private KvmSystem(int descriptor)
        : base(descriptor, Path)
    {
    }

    /// <exception cref="KvmException">It cannot be used; the message tells why and what helps.</exception>
    public static KvmSystem Open(string path = Path)
    {
        int descriptor = KvmCalls.Open(path, KvmCalls.ReadWrite | KvmCalls.CloseOnExec);
        if (descriptor < 0)
        {
            throw new KvmException($"kvm: {path}: {Explain(KvmCalls.LastError())}");
        }
        KvmSystem system = new(descriptor);
        try
        {
            int version = system.Ask(KvmRequest.GetApiVersion, 0, "tell its version");
            return version == ApiVersion ? system : throw new KvmException($"kvm: {path}: this kernel speaks version {version} of the interface; it takes {ApiVersion}");
        }
        catch
        {
            system.Dispose();
            throw;
        }
    }

    /// <summary>What an error of opening means, and what helps.</summary>
    public static string Explain(int error) => error switch
    {
        NoSuchFile => "there is no such device: load the module (modprobe kvm_intel or kvm_amd), and turn on VT-x or AMD-V in the firmware, or nested virtualization around this machine",
        AccessDenied or NoPermission => "permission denied: join the group that owns it (usermod -aG kvm USER, then log in again), or ask whoever runs this machine",
        NoDevice or NoDeviceOrAddress => "the kernel has no module behind it: load kvm_intel or kvm_amd, and turn on VT-x or AMD-V in the firmware",
        Busy => "busy: another hypervisor has the processor's virtualization; end it first",
        _ => $"{Marshal.GetPInvokeErrorMessage(error)} (errno {error})",
    };

    /// <summary>What the kernel answers about a capability: 0 where it has none such.</summary>
    public int Check(KvmCapability capability) => Ask(KvmRequest.CheckExtension, (nuint)capability, $"tell whether it has {capability}");

    public int RunSize => Ask(KvmRequest.GetRunSize, 0, "tell how large a vCPU's page is");

    public KvmVmDescriptor CreateVm() => new(Ask(KvmRequest.CreateVm, 0, "create a virtual machine"));

    /// <summary>What of CPUID the host and the kernel can give to guests.</summary>
    public KvmCpuidEntry[] SupportedCpuid()
    {
        const int Header = 8;
        const int Most = 256;
        byte* list = (byte*)NativeMemory.AllocZeroed((nuint)(Header + (Most * sizeof(KvmCpuidEntry))));
        try
        {
            *(uint*)list = Most;
            Ask(KvmRequest.GetSupportedCpuid, (nuint)list, "tell what CPUID may say");
            return [.. new ReadOnlySpan<KvmCpuidEntry>(list + Header, (int)*(uint*)list)];
        }
        finally
        {
            NativeMemory.Free(list);
        }
    }
}
