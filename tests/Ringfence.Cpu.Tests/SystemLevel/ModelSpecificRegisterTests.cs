using Ringfence.Cpu.Models;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Which model-specific registers there are, and what they refuse (SDM 4 table 2-2; APM 2 appendix A).</summary>
public sealed class ModelSpecificRegisterTests : IDisposable
{
    private readonly Guest _guest = new(GuestMode.Long);

    public void Dispose() => _guest.Dispose();

    /// <summary>SDM 3B 18.17.3: setting the counter changes the adjustment by as much, and the other way round.</summary>
    [Fact]
    public void TheCounterAndItsAdjustment()
    {
        _guest.Clock.Advance(1000);
        Assert.Equal(0u, Read(0x3B));
        Assert.True(Write(0x3B, 50_000));
        Assert.Equal(51_000u, Read(0x10));
        Assert.True(Write(0x10, 100));
        Assert.Equal(100u, Read(0x10));
        Assert.Equal(unchecked((ulong)-900L), Read(0x3B));
        _guest.Clock.Advance(5);
        Assert.Equal(105u, Read(0x10));
    }

    /// <summary>SDM 3A 12.11.2, 12.12.4: memory types that there are not, and reserved bits, are #GP.</summary>
    [Theory]
    [InlineData(0x277, 0x0007_0406_0007_0406, true)]
    [InlineData(0x277, 0x0000_0000_0000_0002, false)]
    [InlineData(0x277, 0x0800_0000_0000_0000, false)]
    [InlineData(0x2FF, 0xC06, true)]
    [InlineData(0x2FF, 0xC02, false)]
    [InlineData(0x2FF, 0x1006, false)]
    [InlineData(0x200, 0x8000_0001, true)]
    [InlineData(0x200, 0x8000_0007, false)]
    [InlineData(0x200, 0x8000_0100, false)]
    [InlineData(0x200, 0x100_0000_0000, false)]
    [InlineData(0x201, 0xFF_8000_0800, true)]
    [InlineData(0x201, 0x8000_0001, false)]
    [InlineData(0x250, 0x0606_0606_0404_0100, true)]
    [InlineData(0x26F, 0x0606_0306_0404_0100, false)]
    [InlineData(0xFE, 0x508, false)]
    [InlineData(0x179, 0, false)]
    [InlineData(0xC000_0080, 0x2000, false)]
    [InlineData(0xC000_0102, 0x8000_0000_0000_0000, false)]
    [InlineData(0x48, 0, false)]
    public void WhatTheyRefuse(uint msr, ulong value, bool taken)
    {
        ulong before = msr is 0x48 ? 0 : Read(msr);
        Assert.Equal(taken, Write(msr, value));
        if (msr is not 0x48)
        {
            Assert.Equal(taken ? value : before, Read(msr));
        }
    }

    /// <summary>SDM 2 CPUID: registers come with their features.</summary>
    [Theory]
    [InlineData(CpuFeature.TscAdjust, 0x3B)]
    [InlineData(CpuFeature.TscDeadline, 0x6E0)]
    public void RegistersComeWithFeatures(CpuFeature feature, uint msr)
    {
        using Guest guest = new(GuestMode.Long, CpuModel.Max with { Features = CpuFeatures.Implemented.Without(feature) });
        Assert.True(_guest.Processor.Msrs.Read(msr, out _));
        Assert.False(guest.Processor.Msrs.Read(msr, out _));
        Assert.False(guest.Processor.Msrs.Write(msr, 0));
    }

    /// <summary>Family 15's event selectors and counters are there, and nothing counts: kernels find that out by writing.</summary>
    [Fact]
    public void NothingCounts()
    {
        for (uint msr = 0xC001_0000; msr <= 0xC001_0007; msr++)
        {
            Assert.True(Write(msr, 0xABCD));
            Assert.Equal(0u, Read(msr));
        }
    }

    private ulong Read(uint msr)
    {
        Assert.True(_guest.Processor.Msrs.Read(msr, out ulong value), $"{msr:x}");
        return value;
    }

    private bool Write(uint msr, ulong value) => _guest.Processor.Msrs.Write(msr, value);
}
