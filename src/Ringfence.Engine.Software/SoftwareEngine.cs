using Ringfence.Cpu.Models;

namespace Ringfence.Engine.Software;

/// <summary>The software engine in its portable mode: every vCPU is interpreted.</summary>
public sealed class SoftwareEngine : IEngine
{
    public EngineCapabilities Capabilities { get; } = new("interpreter", MaximumVcpus: 32, CountsInstructions: true, Debugs: true);

    /// <exception cref="ArgumentException">The CPU model is unknown, or there are more vCPUs than the engine can run.</exception>
    public IVm CreateVm(VmOptions options)
    {
        if (options.Vcpus < 1 || options.Vcpus > Capabilities.MaximumVcpus)
        {
            throw new ArgumentException($"the {Capabilities.Name} engine runs 1 to {Capabilities.MaximumVcpus} processors, not {options.Vcpus}", nameof(options));
        }
        CpuModel model = CpuModel.Find(options.CpuModel)
            ?? throw new ArgumentException($"the {Capabilities.Name} engine has no CPU model '{options.CpuModel}'", nameof(options));
        return new SoftwareVm(options, model);
    }
}
