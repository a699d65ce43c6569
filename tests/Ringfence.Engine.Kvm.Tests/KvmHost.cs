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

    public static KvmEngine Engine()
    {
        Open().Dispose();
        return new KvmEngine();
    }
}
