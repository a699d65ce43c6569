using Ringfence.Cpu.Models;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>What the host is found to be, and what is said where it cannot be used.</summary>
public sealed class HostTests
{
    [Fact]
    public void AMissingDeviceIsOneLineWithTheRemedy()
    {
        KvmException e = Assert.Throws<KvmException>(() => KvmSystem.Open("/dev/there-is-no-such-kvm"));
        Assert.DoesNotContain('\n', e.Message);
        Assert.Contains("there is no such device: load the module", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(2, "load the module")]
    [InlineData(13, "join the group")]
    [InlineData(16, "busy: another hypervisor")]
    [InlineData(19, "VT-x or AMD-V")]
    [InlineData(24, "(errno 24)")]
    public void EachReasonNotToOpenHasItsRemedy(int error, string remedy) => Assert.Contains(remedy, KvmSystem.Explain(error), StringComparison.Ordinal);

    [Fact]
    public void WhatIsNoKvmSaysWhatWasAskedAndWhatTheKernelSaid()
    {
        KvmException e = Assert.Throws<KvmException>(() => KvmSystem.Open("/dev/null"));
        Assert.Contains("asked to tell its version", e.Message, StringComparison.Ordinal);
        Assert.Contains("errno 25", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FeaturesThatGuestsFindUnaskedAreInTheModel()
    {
        using KvmSystem system = KvmHost.Open();
        KvmHostTraits traits = KvmHostTraits.Read(system);
        TestContext.Current.TestOutputHelper?.WriteLine($"module {traits.Module}, nested paging {traits.NestedPaging}, unasked: {string.Join(' ', traits.Unasked.Members())}");
        CpuModel model = KvmCpuid.Filter(CpuModel.X8664V1, traits, true);
        FeatureSet expected = traits.Unasked & CpuFeatures.Implemented;
        Assert.Equal(default, CpuModelCatalog.Instance.Rules.Satisfied(expected).Without(model.Features).Without(FeatureSet.Of(CpuFeature.MonitorWait, CpuFeature.ArchCapabilities)));
        if (traits.RunsSupervisorNatively)
        {
            Assert.Equal(default, traits.Unasked);
        }
    }

    [Fact]
    public void AModelOffersNothingThatTheKernelDoesNot()
    {
        using KvmSystem system = KvmHost.Open();
        KvmHostTraits traits = KvmHostTraits.Read(system) with { Cpuid = [], Unasked = default };
        CpuModel model = KvmCpuid.Filter(CpuModel.Max, traits, true);
        Assert.True(model.Has(CpuFeature.X2Apic));
        Assert.True(model.Has(CpuFeature.Hypervisor));
        Assert.False(model.Has(CpuFeature.LongMode));
        Assert.False(model.Has(CpuFeature.Avx));
        Assert.False(model.Has(CpuFeature.ArchCapabilities));
    }
}
