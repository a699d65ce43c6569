using Ringfence.Cpu.Models;

namespace Ringfence.Engine.Software;

/// <summary>The software engine in its portable mode: every vCPU is interpreted.</summary>
public sealed class SoftwareEngine : IEngine
{
    public EngineCapabilities Capabilities { get; } = new("interpreter", MaximumVcpus: 32, CountsInstructions: true, Debugs: true);

    public IReadOnlyList<CpuDescription> CpuModels => [.. CpuModel.All.Select(CpuDescriptions.Describe)];

    public CpuDescription DescribeCpu(string model) => CpuDescriptions.Describe(CpuDescriptions.Parse(model));

    public IVm CreateVm(VmOptions options)
    {
        if (options.Vcpus < 1 || options.Vcpus > Capabilities.MaximumVcpus)
        {
            throw new ArgumentException($"the {Capabilities.Name} engine runs 1 to {Capabilities.MaximumVcpus} processors, not {options.Vcpus}", nameof(options));
        }
        return new SoftwareVm(options, CpuDescriptions.Parse(options.CpuModel));
    }
}
