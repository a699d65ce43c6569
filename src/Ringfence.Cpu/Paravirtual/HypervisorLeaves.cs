using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>CPUID from 4000_0000h on: what hypervisor there is. Hyper-V comes first, as with KVM and QEMU; KVM is then at 4000_0100h.</summary>
internal static class HypervisorLeaves
{
    public const uint First = 0x4000_0000;
    public const uint Second = 0x4000_0100;
    private const uint LastOfBlock = 0xFF;
    /// <summary>VMware's convention, which KVM follows: rates of the time-stamp counter and of the APIC's bus in kHz.</summary>
    private const uint Timing = 0x10;
    private const uint HyperVHighest = 6;

    // Linux's Documentation/virt/kvm/x86/cpuid.rst: both pairs of kvm-clock's MSRs, no delays for ports, and that the pages of all processors agree.
    private const uint KvmFeatures = (1 << 0) | (1 << 1) | (1 << 3) | (1 << 24);

    // TLFS, Feature and Interface Discovery. Leaf 3: VP_RUNTIME, reference counter, SynIC, timers, EOI, ICR and TPR, hypercall page, VP_INDEX, reset, reference page, rates.
    private const uint Privileges = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 9) | (1 << 11);
    /// <summary>PostMessages, SignalEvents.</summary>
    private const uint MorePrivileges = (1 << 4) | (1 << 5);
    /// <summary>Rates, crash registers, interrupts directly from timers.</summary>
    private const uint Features = (1 << 8) | (1 << 10) | (1 << 19);
    /// <summary>The APIC's registers as MSRs, relaxed timing, interprocessor interrupts by hypercall, sets of processors in hypercalls.</summary>
    private const uint Recommendations = (1 << 3) | (1 << 5) | (1 << 10) | (1 << 11);
    private const uint SpinsBeforeCall = 0xFFF;
    /// <summary>Windows Server 2016, the one that such lists of features became known with: 10.0.14393.</summary>
    private const uint Build = 14393;
    private const uint Version = 10 << 16;
    private const uint MaximumProcessors = 64;

    public static (uint Eax, uint Ebx, uint Ecx, uint Edx) Query(CpuModel model, uint leaf, in CpuidContext context)
    {
        uint number = leaf & LastOfBlock;
        return (leaf & ~LastOfBlock) switch
        {
            First when model.OffersHyperV => HyperV(number),
            First => OfOurs(model, number, First, context),
            Second when model.OffersHyperV && model.OffersKvmClock => OfOurs(model, number, Second, context),
            _ => default,
        };
    }

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) OfOurs(CpuModel model, uint number, uint first, in CpuidContext context) => number switch
    {
        0 => Signature(model.OffersKvmClock ? "KVMKVMKVM" : "RingfenceVMM", first + Timing),
        1 when model.OffersKvmClock => (KvmFeatures, 0, 0, 0),
        Timing => ((uint)(context.ClockHertz / 1000), (uint)(context.ApicHertz / 1000), 0, 0),
        _ => default,
    };

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) HyperV(uint number) => number switch
    {
        0 => Signature("Microsoft Hv", First + HyperVHighest),
        1 => (Cpuid.Ascii("Hv#1", 0), 0, 0, 0),
        2 => (Build, Version, 0, 0),
        3 => (Privileges, MorePrivileges, 0, Features),
        4 => (Recommendations, SpinsBeforeCall, 0, 0),
        5 => (MaximumProcessors, MaximumProcessors, 0, 0),
        _ => default,
    };

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) Signature(string text, uint highest) =>
        (highest, Cpuid.Ascii(text, 0), Cpuid.Ascii(text, 4), Cpuid.Ascii(text, 8));
}
