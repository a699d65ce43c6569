using Ringfence.Machine;

namespace Ringfence.Cli.Tests;

/// <summary>--engine auto: measured once, remembered, and explained.</summary>
public sealed class EngineChoiceTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ringfence");

    [Fact]
    public void TheFasterIsTakenAndRemembered()
    {
        string chosen = EngineChoice.Choose(_folder.FullName, out string first);
        Assert.Contains("measured now", first, StringComparison.Ordinal);
        Assert.StartsWith($"engine {chosen}: ", first, StringComparison.Ordinal);
        Assert.Equal(chosen, EngineChoice.Choose(_folder.FullName, out string second));
        Assert.Equal(first.Replace("measured now", "remembered for this host and kernel", StringComparison.Ordinal), second);
    }

    [Fact]
    public void WhatIsRememberedOfAnotherHostIsNotTaken()
    {
        File.WriteAllText(Path.Combine(_folder.FullName, "engines.json"), """{"Host":"another","Speeds":{"steam":{"Supervisor":1,"User":1,"Both":1}}}""");
        Assert.NotEqual("steam", EngineChoice.Choose(_folder.FullName, out string why));
        Assert.Contains("measured now", why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("not JSON")]
    [InlineData("{}")]
    [InlineData("null")]
    public void WhatCannotBeReadIsMeasuredAgain(string text)
    {
        File.WriteAllText(Path.Combine(_folder.FullName, "engines.json"), text);
        EngineChoice.Choose(_folder.FullName, out string why);
        Assert.Contains("measured now", why, StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderThatCannotBeIsNoHindrance() => Assert.NotEqual("", EngineChoice.Choose("/proc/there-is-no-such-folder", out _));

    [Fact]
    public void HalfOfEachKindCounts()
    {
        Assert.Equal(1.5, new EngineSpeed(1, 3).Both);
        Assert.Equal(0, new EngineSpeed(0, 3).Both);
    }

    public void Dispose() => _folder.Delete(true);
}
