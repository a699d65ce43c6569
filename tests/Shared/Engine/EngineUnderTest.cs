using Ringfence.Engine;
using Ringfence.Engine.Kvm;
using Ringfence.Engine.Software;

namespace Ringfence.Tests;

/// <summary>Which engine the tests' machines are of: RINGFENCE_ENGINE, the best software engine that this host has unless it says "interpreter",
/// "translator" or "kvm".</summary>
internal static class EngineUnderTest
{
    public const string Variable = "RINGFENCE_ENGINE";

    /// <summary>As typed, or null.</summary>
    public static string? Name { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } name ? name : null;

    public static bool IsKvm => Name == "kvm";

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
                _ => throw new InvalidOperationException($"{Variable}: unknown engine '{Name}' (known: interpreter, translator, kvm)"),
            });
        }
        try
        {
            return new KvmEngine();
        }
        catch (KvmException e)
        {
            Assert.Skip(e.Message);
            throw;
        }
    }
}
