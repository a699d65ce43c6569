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
        CpuModel model = KvmCpuid.Filter(CpuModel.X8664V1, traits);
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
        CpuModel model = KvmCpuid.Filter(CpuModel.Max, traits);
        Assert.True(model.Has(CpuFeature.X2Apic));
        Assert.True(model.Has(CpuFeature.Hypervisor));
        Assert.False(model.Has(CpuFeature.LongMode));
        Assert.False(model.Has(CpuFeature.Avx));
        Assert.False(model.Has(CpuFeature.ArchCapabilities));
    }

    /// <summary>XSAVE's standard format is the processor's (SDM 1 13.5.6): on another's than the model's the guest is told where the components really are.</summary>
    [Theory]
    [InlineData("x86-64-v3,+pku", 2688u)]
    [InlineData("x86-64-v3,+pku", 832u)]
    [InlineData("x86-64-v3,+pku", 2432u)]
    [InlineData("x86-64-v3", 0u)]
    public void TheExtendedStateLiesWhereTheHostHasIt(string name, uint keys)
    {
        CpuModel asked = CpuModel.Parse(name);
        KvmCpuidEntry[] all = [.. CpuFeatures.All.Select(info => (info.Leaf, info.Subleaf)).Distinct().Select(at =>
            new KvmCpuidEntry { Leaf = at.Leaf, Subleaf = at.Subleaf, Eax = ~0u, Ebx = ~0u, Ecx = ~0u, Edx = ~0u })];
        KvmHostTraits traits = new(
            [.. all, new KvmCpuidEntry { Leaf = 0xD, Subleaf = 5, Eax = 64, Ebx = 1088 }, new KvmCpuidEntry { Leaf = 0xD, Subleaf = 9, Eax = 8, Ebx = keys }],
            true, TscOffsets.Kept, true, true, true, "kvm_amd", default);
        CpuModel model = KvmCpuid.Filter(asked, traits);
        KvmCpuidEntry[] entries = KvmCpuid.Entries(model, 0, 1, 1_000_000_000, 1_000_000_000);
        KvmCpuidEntry[] told = [.. entries.Where(entry => entry is { Leaf: 0xD, Subleaf: 9 })];
        Assert.Equal(keys == 0 ? [] : [keys], told.Select(entry => entry.Ebx));
        Assert.Equal(Math.Max(keys + 8, 832), entries.Single(entry => entry is { Leaf: 0xD, Subleaf: 0 }).Ecx);
        Assert.Equal(keys == 0 ? 832 : (int)keys, new ExtendedStateLayout(model).Offset(ExtendedStateLayout.PkruNumber));
    }
}
