using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Tests.Differential;

/// <summary>docs/instruction-forms.md is what the tests do, and they leave nothing out without a reason.</summary>
public sealed class FormTableTests
{
    [Fact]
    public void EveryFormIsComparedOrExcused() => Assert.Empty(FormTable.Missing);

    [Fact]
    public void NothingComparedIsExcused() => Assert.Empty(FormTable.NeedlesslyExcused);

    /// <summary>What is passed on to the host is all of what the decoder knows, in 64-bit code.</summary>
    [Fact]
    public void EveryFormThatIsPassedOnIsCompared() =>
        Assert.Empty(Enum.GetValues<Code>().Where(c => InstructionSet.IsPassedOn(c) && c.CpuidFeatures().All(Known)).Except(Avx512.WideForms.Codes));

    private static bool Known(CpuidFeature feature) => CpuFeatures.All.Any(f => f.Instructions == feature && (f.Implemented || f.PassedOn));

    /// <summary>With RINGFENCE_FORMS set (./test --forms), writes it.</summary>
    [Fact]
    public void TheTableIsUpToDate()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder != null && !File.Exists(Path.Combine(folder, "Ringfence.slnx")))
        {
            folder = Path.GetDirectoryName(folder);
        }
        Assert.SkipWhen(folder == null, "not run from the source tree");
        string file = Path.Combine(folder, "docs", "instruction-forms.md");
        if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable("RINGFENCE_FORMS")))
        {
            File.WriteAllText(file, FormTable.Generate());
        }
        Assert.True(File.Exists(file) && File.ReadAllText(file) == FormTable.Generate(), "docs/instruction-forms.md is out of date: ./test --forms");
    }
}
