using System.Text.Json;

namespace Ringfence.Cli.Tests;

/// <summary>`ringfence cpu` and `--cpu MODEL,+F,-F`, as a process.</summary>
public sealed class CpuCommandTests
{
    [Fact]
    public void ListNamesModelsOneALine()
    {
        (int code, string output, string error) = RingfenceProcess.Run("cpu", "list");
        Assert.Equal((0, ""), (code, error));
        string[] lines = output.TrimEnd('\n').Split('\n');
        Assert.Matches("^x86-64-v1 +AuthenticAMD +[a-z]", lines[0]);
        Assert.Contains(lines, line => line.StartsWith("max ", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("Haswell ", StringComparison.Ordinal) && line.Contains("GenuineIntel", StringComparison.Ordinal));
    }

    [Fact]
    public void ShowTellsWhatAModelIs()
    {
        (int code, string output, string error) = RingfenceProcess.Run("cpu", "show", "sapphirerapids,-ssse3");
        Assert.Equal((0, ""), (code, error));
        Assert.Matches("(?m)^model +SapphireRapids,-ssse3$", output);
        Assert.Matches("(?m)^vendor +GenuineIntel$", output);
        Assert.Matches("(?m)^signature +000806f8: family 6, model 143, stepping 8$", output);
        Assert.Matches("(?m)^brand +Intel Xeon \\(SapphireRapids\\)$", output);
        Assert.Matches("(?m)^caches +L1d 48 KiB, 12 ways; ", output);
        Assert.Matches("(?m)^  1 EDX +fpu .*fxsr sse", output);
        Assert.Matches("(?m)^  not implemented .*\\bvmx\\b", output);
        Assert.DoesNotMatch("\\bssse3 ", output);
        Assert.All(output.Split('\n'), line => Assert.InRange(line.Length, 0, 120));
    }

    [Fact]
    public void ShowTellsWhatThisHostHasBeyond()
    {
        Assert.SkipUnless(Engine.Software.SoftwareOptions.CanTranslate, "needs a host that the translator knows");
        (int code, string output, string error) = RingfenceProcess.Run("cpu", "show", "host");
        Assert.Equal((0, ""), (code, error));
        Assert.Equal(System.Runtime.Intrinsics.X86.Avx512BW.IsSupported, output.Contains(" avx512f ", StringComparison.Ordinal));
        Assert.Matches("(?m)^host +AuthenticAMD", RingfenceProcess.Run("cpu", "list").Output);
        Assert.DoesNotContain(" avx512", RingfenceProcess.Run("cpu", "show", "host,-avx512f").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void BothSpeakJson()
    {
        using JsonDocument list = JsonDocument.Parse(RingfenceProcess.Run("cpu", "list", "--json").Output);
        Assert.Contains(list.RootElement.EnumerateArray(), model => model.GetProperty("name").GetString() == "EPYC-Milan");
        using JsonDocument shown = JsonDocument.Parse(RingfenceProcess.Run("cpu", "show", "EPYC-Milan", "--json").Output);
        JsonElement root = shown.RootElement;
        Assert.Equal("AuthenticAMD", root.GetProperty("vendor").GetString());
        Assert.Equal(0x00A0_0F11u, root.GetProperty("signature").GetUInt32());
        Assert.Contains(root.GetProperty("features").GetProperty("1 EDX").EnumerateArray(), feature => feature.GetString() == "sse2");
        Assert.Equal("not implemented", root.GetProperty("withheld").GetProperty("svm").GetString());
    }

    [Theory]
    [InlineData("ringfence: unknown model 'z80' (known: x86-64-v1, ", "cpu", "show", "z80")]
    [InlineData("ringfence: unknown feature 'ssse33' (near it: ssse3", "cpu", "show", "max,+ssse33")]
    [InlineData("ringfence: --cpu: unknown model 'haswel' (near it: Haswell)", "run", "--cpu", "haswel")]
    [InlineData("ringfence: --cpu: tsxldtrk cannot be added: it is not implemented", "run", "--cpu", "max,+tsxldtrk")]
    [InlineData("ringfence: --cpu: the model 'host' is only for the translator, ", "run", "--cpu", "host", "--engine", "interpreter")]
    [InlineData("ringfence: --cpu: avx512f cannot be added: only the model 'host' has it", "run", "--cpu", "max,+avx512f")]
    [InlineData("ringfence: --cpu: 'sse2' is neither +FEATURE nor -FEATURE", "run", "--cpu", "max,sse2")]
    public void WhatCannotBeIsOneLineAndTwo(string reason, params string[] arguments)
    {
        (int code, string output, string error) = RingfenceProcess.Run(arguments);
        Assert.Equal((2, ""), (code, output));
        Assert.StartsWith(reason, error, StringComparison.Ordinal);
        Assert.Equal(1, error.Count(character => character == '\n'));
    }

    [Fact]
    public void HelpTellsOfBoth()
    {
        (int code, string output, string error) = RingfenceProcess.Run("cpu", "--help");
        Assert.Equal((0, ""), (code, error));
        Assert.Contains("list", output, StringComparison.Ordinal);
        Assert.Contains("show", output, StringComparison.Ordinal);
        Assert.Contains("--json", RingfenceProcess.Run("cpu", "show", "--help").Output, StringComparison.Ordinal);
    }
}
