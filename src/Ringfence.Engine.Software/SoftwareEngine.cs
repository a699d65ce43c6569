using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Translator;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Engine.Software;

/// <summary>The software engine: vCPUs are interpreted, and on hosts that allow it what runs often is translated.</summary>
/// <param name="mode">Null for <see cref="SoftwareOptions.Best"/>.</param>
public sealed class SoftwareEngine(SoftwareOptions? mode = null) : IEngine
{
    private readonly SoftwareOptions _mode = mode ?? SoftwareOptions.Best;

    public EngineCapabilities Capabilities => new(_mode.Translates ? "translator" : "interpreter", MaximumVcpus: 32, CountsInstructions: true, Debugs: true);

    public IReadOnlyList<CpuDescription> CpuModels => [.. CpuModel.All.Concat(_mode.Translates ? [CpuModel.Host] : []).Select(model => CpuDescriptions.Describe(model))];

    public CpuDescription DescribeCpu(string model) => CpuDescriptions.Describe(CpuDescriptions.Parse(model, _mode.Translates));

    public IVm CreateVm(VmOptions options)
    {
        if (options.Vcpus < 1 || options.Vcpus > Capabilities.MaximumVcpus)
        {
            throw new ArgumentException($"the {Capabilities.Name} engine runs 1 to {Capabilities.MaximumVcpus} processors, not {options.Vcpus}", nameof(options));
        }
        if (_mode.Verify && options.Vcpus != 1)
        {
            throw new ArgumentException("checked translations are for one processor: others would change memory between one run and the other", nameof(options));
        }
        TranslatorOptions translation = new(_mode.CodeCache, _mode.Threshold, TranslatorOptions.SitesFor(_mode.CodeCache), _mode.PerfMap, _mode.Verify, _mode.CountsHits,
            _mode.Cache?.Library ?? (options.Vcpus > 1 ? new TranslationLibrary() : null));
        ITranslatorFactory? translators = _mode.Translates ? new TranslatorFactory(translation) : null;
        return new SoftwareVm(options, CpuDescriptions.Parse(options, _mode.Translates), translators);
    }
}
