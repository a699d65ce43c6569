using Ringfence.Engine;
using Ringfence.Engine.Kvm;
using Ringfence.Engine.Software;

namespace Ringfence.Tests;

/// <summary>Which engine the tests' machines are of: RINGFENCE_ENGINE, the best software engine that this host has unless it says "interpreter",
/// "translator" or "kvm", the latter perhaps with where the interrupt chips are: "kvm-split", "kvm-kernel".</summary>
internal static class EngineUnderTest
{
    public const string Variable = "RINGFENCE_ENGINE";

    /// <summary>As typed, or null.</summary>
    public static string? Name { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } name ? name : null;

    public static bool IsKvm => Name is "kvm" or "kvm-split" or "kvm-kernel";

    /// <summary>The engine is KVM without VT-x or AMD-V under it: the kernel emulates what is not user mode.</summary>
    public static bool EmulatesSupervisor => IsKvm && !((KvmEngine)Create()).RunsSupervisorNatively;

    /// <summary>Skips the test that asks where the host does not have the engine.</summary>
    public static IEngine Create()
    {
        if (!IsKvm)
        {
            return new SoftwareEngine(Name switch
            {
                null => SoftwareOptions.Best,
                "interpreter" => SoftwareOptions.Interpreter,
                "translator" => SoftwareOptions.Translator,
                _ => throw new InvalidOperationException($"{Variable}: unknown engine '{Name}' (known: interpreter, translator, kvm, kvm-split, kvm-kernel)"),
            });
        }
        return CreateKvm(Name switch
        {
            "kvm-split" => InterruptChip.Split,
            "kvm-kernel" => InterruptChip.Kernel,
            _ => InterruptChip.User,
        });
    }

    /// <summary>Skips the test that asks where the host has no KVM.</summary>
    public static IEngine CreateKvm(InterruptChip chip)
    {
        try
        {
            return new KvmEngine(chip: chip);
        }
        catch (KvmException e)
        {
            Assert.Skip(e.Message);
            throw;
        }
    }
}
