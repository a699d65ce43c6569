using System.Diagnostics;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>The engine on AMD-V, in a machine that QEMU emulates.</summary>
public sealed class SecondLevelTests
{
    private const string Wanted = "RINGFENCE_SECOND_LEVEL";

    [Fact]
    public async Task GuestsRunAndTheseTestsPassUnderAmdV()
    {
        Assert.SkipUnless(
            Environment.GetEnvironmentVariable(Wanted) == "1", $"takes a quarter of an hour: {Wanted}=1 asks for it, and scripts/second-level does the same by itself");
        using Process script = Process.Start(new ProcessStartInfo(Path.Combine(Root(), "scripts/second-level"))
        {
            ArgumentList = { "--do", "guest,linux,smp,tests", "--irqchip", "user,split,kernel" },
            RedirectStandardOutput = true,
        })!;
        string output = await script.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await script.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(script.ExitCode == 0, output);
    }

    private static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Ringfence.slnx")))
        {
            folder = Path.GetDirectoryName(folder);
        }
        return folder ?? throw new InvalidOperationException("the tests do not lie in the repository");
    }
}
