using System.Text.Json;
using Ringfence.Engine.Kvm;
using Ringfence.Machine;

namespace Ringfence.Cli.Tests;

/// <summary>`ringfence doctor`.</summary>
public sealed class DoctorTests
{
    private static readonly DoctorReport s_bare = new(
        "6.1.0", "GenuineIntel", "A processor", Vtx: false, Amdv: false, InsideVirtualMachine: false, null, null,
        new KvmReport("kvm: /dev/kvm: there is no such device", null, null, false, false, new Dictionary<string, int>(), []),
        new Dictionary<string, EngineSpeed> { ["translator"] = new(500, 600) });

    [Fact]
    public void ItTellsOfThisHost()
    {
        DoctorReport report = DoctorReport.Read();
        string text = report.ToString();
        Assert.Contains("/dev/kvm", text, StringComparison.Ordinal);
        Assert.NotEmpty(report.Speeds);
        Assert.All(report.Speeds, speed => Assert.True(speed.Value.Both > 0));
        Assert.Equal(KvmEngine.CanOpen(out _), report.Kvm.ApiVersion is not null);
        Assert.Equal(report.Kvm.Problem is null, report.Speeds.ContainsKey("kvm"));
    }

    [Fact]
    public void WhatIsMissingComesWithTheRemedy()
    {
        Assert.Equal(2, s_bare.Advice.Count);
        Assert.Contains("turn it on in the firmware", s_bare.Advice[1], StringComparison.Ordinal);
        Assert.Contains("nested virtualization", (s_bare with { InsideVirtualMachine = true }).Advice[1], StringComparison.Ordinal);
        Assert.Empty((s_bare with { Vtx = true, Kvm = s_bare.Kvm with { Problem = null, RunsSupervisorNatively = true } }).Advice);
    }

    [Fact]
    public void JsonSaysTheSame()
    {
        using JsonDocument json = JsonDocument.Parse(s_bare.ToJson());
        Assert.False(json.RootElement.GetProperty("kvm").GetProperty("usable").GetBoolean());
        Assert.Equal(500, json.RootElement.GetProperty("engines").GetProperty("translator").GetProperty("supervisorMips").GetDouble());
        Assert.Equal(2, json.RootElement.GetProperty("advice").GetArrayLength());
        Assert.Equal(JsonValueKind.Null, json.RootElement.GetProperty("nestedGuests").ValueKind);
    }
}
