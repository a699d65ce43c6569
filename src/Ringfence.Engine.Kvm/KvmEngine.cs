using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Translator;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Engine.Software;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// The hardware engine: guest code runs on the host's processor through KVM. Around it the processors are ours, with their local APICs; they run what KVM cannot,
/// and all of it where a debugger wants stops.
/// </summary>
public sealed class KvmEngine : IEngine
{
    private readonly KvmHostTraits _traits;
    private readonly SoftwareOptions _software;
    private readonly InterruptChip _chip;

    /// <param name="software">How our own processors run guest code when they do; null for the best way.</param>
    /// <param name="chip">Whose the interrupt chips are.</param>
    /// <exception cref="KvmException">This host's KVM cannot be used, or not so.</exception>
    public KvmEngine(SoftwareOptions? software = null, InterruptChip chip = InterruptChip.User)
    {
        _software = software ?? SoftwareOptions.Best;
        _chip = chip;
        using KvmSystem system = KvmSystem.Open();
        _traits = KvmHostTraits.Read(system);
        KernelChip.Check(system, chip);
    }

    /// <summary>VT-x or AMD-V is under it. Other modules of KVM's do without, and may emulate all that is not user mode.</summary>
    public bool RunsSupervisorNatively => _traits.RunsSupervisorNatively;

    /// <summary>Whether this process may open the device.</summary>
    /// <param name="problem">Why not, and what helps.</param>
    public static bool CanOpen(out string? problem)
    {
        try
        {
            KvmSystem.Open().Dispose();
            problem = null;
            return true;
        }
        catch (KvmException e)
        {
            problem = e.Message;
            return false;
        }
    }

    public EngineCapabilities Capabilities => new("kvm", MaximumVcpus: 32, CountsInstructions: false, Debugs: true);

    public IReadOnlyList<CpuDescription> CpuModels => [.. CpuModel.All.Select(Describe)];

    public CpuDescription DescribeCpu(string model) => Describe(CpuDescriptions.Parse(model, translates: false));

    /// <inheritdoc/>
    /// <exception cref="KvmException">The kernel refuses.</exception>
    public IVm CreateVm(VmOptions options)
    {
        if (options.Vcpus < 1 || options.Vcpus > Capabilities.MaximumVcpus)
        {
            throw new ArgumentException($"the kvm engine runs 1 to {Capabilities.MaximumVcpus} processors, not {options.Vcpus}", nameof(options));
        }
        if (options.HyperV && _chip != InterruptChip.User)
        {
            throw new ArgumentException("Hyper-V's interface has to do with the local APICs, which have to be ours for that", nameof(options));
        }
        CpuModel model = CpuDescriptions.Parse(options, translates: false);
        using KvmSystem system = KvmSystem.Open();
        KvmMachine machine = new(system, options, model, _traits, _chip);
        try
        {
            TranslatorOptions translation = new(_software.CodeCache, _software.Threshold, TranslatorOptions.SitesFor(_software.CodeCache), false, false);
            ITranslatorFactory? translators = _software.Translates ? new TranslatorFactory(translation) : null;
            return new KvmVm(machine, new SoftwareVm(options, machine.Model, translators, machine));
        }
        catch
        {
            machine.Dispose();
            throw;
        }
    }

    private CpuDescription Describe(CpuModel model) => CpuDescriptions.Describe(
        KvmCpuid.Filter(model, _traits), feature => model.Has(feature) ? "not offered by this host's KVM" : null);
}
