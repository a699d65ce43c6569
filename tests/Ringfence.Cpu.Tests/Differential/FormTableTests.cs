namespace Ringfence.Cpu.Tests.Differential;

/// <summary>docs/instruction-forms.md is what the tests do, and they leave nothing out without a reason.</summary>
public sealed class FormTableTests
{
    [Fact]
    public void EveryFormIsComparedOrExcused() => Assert.Empty(FormTable.Missing);

    [Fact]
    public void NothingComparedIsExcused() => Assert.Empty(FormTable.NeedlesslyExcused);

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
