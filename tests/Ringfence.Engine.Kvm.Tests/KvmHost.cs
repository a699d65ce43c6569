using System.Runtime.Intrinsics.X86;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>The host's KVM; a test that asks for it is skipped where there is none.</summary>
internal static class KvmHost
{
    public static KvmSystem Open()
    {
        try
        {
            return KvmSystem.Open();
        }
        catch (KvmException e)
        {
            Assert.Skip(e.Message);
            throw;
        }
    }

    public static KvmEngine Engine(InterruptChip chip = InterruptChip.User)
    {
        Open().Dispose();
        return new KvmEngine(chip: chip);
    }

    /// <summary>For theories: each set-up of the interrupt chips.</summary>
    public static TheoryData<InterruptChip> Chips { get; } = new(Enum.GetValues<InterruptChip>());

    /// <summary>Whether XSAVE has where the last x87 instruction and its operand were. QEMU's own processors, "TCGTCGTCGTCG" in CPUID, leave zeros there.</summary>
    public static bool KeepsX87Pointers { get; } = !X86Base.IsSupported || X86Base.CpuId(0x4000_0000, 0).Ebx != 0x5447_4354 || X86Base.CpuId(1, 0).Ecx >= 0;

    public static KvmHostTraits Traits()
    {
        using KvmSystem system = Open();
        return KvmHostTraits.Read(system);
    }
}
