using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Models;

/// <summary>models.json, and what MODEL,+F,-F makes of it. Features come: these tests ask the table what is implemented.</summary>
public sealed unsafe class CpuModelTests
{
    private const string Everywhere =
        "de pse tsc msr pae mce apic sep mtrr pge mca pat pse36 clflush nx lm rdtscp constant_tsc tsc_deadline_timer tsc_adjust arat hypervisor ";

    private const string Level1 = Everywhere + "fpu cx8 cmov fxsr mmx sse sse2 syscall ";
    private const string Level2 = Level1 + "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2 ";

    public static TheoryData<string> Names => [.. CpuModel.All.Select(m => m.Name)];

    /// <summary>System V ABI, AMD64 supplement 1.0, table 3.1. XSAVE is what OSXSAVE asks of a processor.</summary>
    [Theory]
    [InlineData("x86-64-v1", Level1)]
    [InlineData("x86-64-v2", Level2)]
    [InlineData("x86-64-v3", Level2 + "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave")]
    public void LevelsAreThoseOfTheAbi(string name, string features)
    {
        CpuModel model = CpuModel.Find(name)!;
        Assert.Equal(Set(features), model.Described);
        Assert.Equal(Set(features) & CpuFeatures.Implemented, model.Features | (model.Described & Unmet(model)));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void NothingIsAdvertisedThatIsNotImplementedOrLacksWhatItNeeds(string name)
    {
        CpuModel model = CpuModel.Find(name)!;
        Assert.Equal(model.Features, model.Features & CpuFeatures.Implemented & model.Described);
        foreach (CpuFeature feature in model.Features.Members())
        {
            Assert.Equal(default, CpuModelCatalog.Instance.Rules.Requirements(feature).Without(model.Features));
        }
        Assert.All(model.Described.Without(model.Features).Members(), feature => Assert.NotEmpty(model.WhyWithheld(feature)));
        Assert.InRange(model.Brand.Length, 1, 47);
        Assert.Equal(12, model.Vendor.Length);
        Assert.NotEmpty(model.About);
    }

    [Fact]
    public void MaxIsAllThatIsImplemented() => Assert.Equal(CpuFeatures.Implemented, CpuModel.Max.Described);

    /// <summary>SDM 2 CPUID, figure 3-6; APM 3 E.3.2.</summary>
    [Theory]
    [InlineData("Haswell", 0x0003_06C3u)]
    [InlineData("SapphireRapids", 0x0008_06F8u)]
    [InlineData("EPYC-Milan", 0x00A0_0F11u)]
    [InlineData("Opteron_G3", 0x0010_0F23u)]
    [InlineData("max", 0x0006_0FB1u)]
    public void SignaturesAreThoseOfTheProcessors(string name, uint signature) => Assert.Equal(signature, CpuModel.Find(name)!.Signature);

    [Fact]
    public void TakingAFeatureTakesWhatNeedsIt()
    {
        CpuModel model = CpuModel.Parse("max,-sse2");
        Assert.Equal("max,-sse2", model.Name);
        Assert.False(model.Has(CpuFeature.Sse2) || model.Has(CpuFeature.Sse3) || model.Has(CpuFeature.Ssse3));
        Assert.True(model.Has(CpuFeature.Sse) && model.Has(CpuFeature.Popcnt));
        Assert.False(model.Described.Has(CpuFeature.Ssse3));
    }

    [Fact]
    public void AddingAFeatureBringsWhatItNeeds()
    {
        CpuModel model = CpuModel.Parse("x86-64-v1,+SSSE3,+popcnt");
        Assert.True(model.Has(CpuFeature.Ssse3) && model.Has(CpuFeature.Sse3) && model.Has(CpuFeature.Popcnt));
        Assert.Equal("x86-64-v1,+ssse3,+popcnt", model.Name);
        Assert.Equal(CpuModel.X8664V1.Features, CpuModel.Parse("x86-64-v1,+sse3,-pni").Features);
        Assert.True(CpuModel.Parse("haswell,-sse2,+ssse3").Has(CpuFeature.Ssse3));
    }

    [Theory]
    [InlineData("z80", "unknown model 'z80' (known: x86-64-v1, ")]
    [InlineData("", "unknown model ''")]
    [InlineData("skylake", "unknown model 'skylake' (near it: Skylake-Client, Skylake-Server)")]
    [InlineData("x86-64-v9", "unknown model 'x86-64-v9' (near it: x86-64-v1")]
    [InlineData("max,popcnt", "'popcnt' is neither +FEATURE nor -FEATURE")]
    [InlineData("max,", "'' is neither +FEATURE nor -FEATURE")]
    [InlineData("max,+", "'+' is neither +FEATURE nor -FEATURE")]
    [InlineData("max,+popcount", "unknown feature 'popcount' (near it: popcnt)")]
    [InlineData("max,-qqqqqqqq", "unknown feature 'qqqqqqqq'")]
    [InlineData("max,+tsxldtrk", "tsxldtrk cannot be added: it is not implemented")]
    public void WhatCannotBeIsOneLine(string text, string reason)
    {
        FormatException wrong = Assert.Throws<FormatException>(() => CpuModel.Parse(text));
        Assert.StartsWith(reason, wrong.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', wrong.Message);
    }

    /// <summary>What the host alone can do is in no other model, and goes with what it needs.</summary>
    [Fact]
    public void HostIsMaxAndWhatThisHostHasBeyond()
    {
        Assert.Equal(CpuModel.Max.Features, CpuModel.Host.Features & CpuFeatures.Implemented);
        Assert.Equal(default, CpuModel.Host.Features.Without(CpuFeatures.Implemented | CpuFeatures.PassedOn));
        Assert.All(CpuModel.All, model => Assert.Equal(default, model.Features & CpuFeatures.PassedOn));
        Assert.Equal(CpuModel.Host.Features, CpuModel.Parse("HOST", true).Features);
        Assert.Equal(CpuModel.Max.Features, CpuModel.Parse("host,-avx512f", true).Features);
        Assert.Equal(CpuModel.Max.Features.Without(Set("f16c")), CpuModel.Parse("host,-f16c", true).Features);
        FormatException wrong = Assert.Throws<FormatException>(() => CpuModel.Parse("host"));
        Assert.Equal("the model 'host' is only for the translator, which passes instructions on to the host's processor", wrong.Message);
        wrong = Assert.Throws<FormatException>(() => CpuModel.Parse("max,+avx512bw", true));
        Assert.Equal("avx512bw cannot be added: only the model 'host' has it, if the host does", wrong.Message);
        Assert.Equal("only in 'host'", CpuModel.Find("Skylake-Server")!.WhyWithheld(CpuFeature.Avx512F));
        Assert.SkipUnless(CpuModel.Host.Has(CpuFeature.Avx512F), "needs a host with AVX-512");
        Assert.False(CpuModel.Parse("host,-avx512bw", true).Has(CpuFeature.Avx512Vbmi));
        Assert.True(CpuModel.Parse("host,-avx512f,+avx512bw", true).Has(CpuFeature.Avx512F));
    }

    /// <summary>SDM 2 CPUID, leaf 4: type, level and sizes of each cache, and 0 behind the last.</summary>
    [Fact]
    public void IntelCachesAreEnumerated()
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Find("Icelake-Server"));
        Assert.Equal((0xFF01u, 0u, 0u, 0u), Cpuid(guest, 2, 0));
        (uint Type, uint Level, uint Size)[] caches = [.. Enumerable.Range(0, 5).Select(i => Describe(Cpuid(guest, 4, (uint)i)))];
        Assert.Equal([(1, 1, 48u << 10), (2, 1, 32 << 10), (3, 2, 1280 << 10), (3, 3, 24 << 20), (0, 0, 64)], caches);
        Assert.Equal(0u, Cpuid(guest, 0x8000_0005, 0).C);
        Assert.Equal(1280u, Cpuid(guest, 0x8000_0006, 0).C >> 16);
        Assert.Equal(0x8000_0008u, Cpuid(guest, 0x8000_0000, 0).A);
    }

    /// <summary>APM 3 E.4.4, E.4.5 and E.4.15.</summary>
    [Fact]
    public void AmdCachesAreEnumerated()
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Find("EPYC-Milan"));
        Assert.Equal((0u, 0u, 0u, 0u), Cpuid(guest, 4, 0));
        (uint _, uint _, uint level1, uint instructions) = Cpuid(guest, 0x8000_0005, 0);
        Assert.Equal((0x2008_0140u, 0x2008_0140u), (level1, instructions));
        (uint _, uint _, uint level2, uint level3) = Cpuid(guest, 0x8000_0006, 0);
        Assert.Equal((0x0200_6140u, (64u << 18) | 0x8140), (level2, level3));
        Assert.Equal((3u, 3u, 32u << 20), Describe(Cpuid(guest, 0x8000_001D, 3)));
    }

    /// <summary>SDM 4 table 2-2: kernels read IA32_MISC_ENABLE of every GenuineIntel; AMD's processors have none. Models of our own have it, since
    /// test suites take it for granted.</summary>
    [Theory]
    [InlineData("Haswell", -1)]
    [InlineData("max,-avx", -1)]
    [InlineData("EPYC-Milan", 13)]
    public void IntelProcessorsHaveTheirMiscellaneousEnables(string model, int vector)
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Find(model));
        guest.State->Gpr[1] = 0x1A0;
        Assert.Equal(vector, guest.Run(0x0F, 0x32).Vector);
        Assert.Equal(vector < 0 ? 1UL : 0, guest.State->Gpr[0] & 1);
    }

    /// <summary>SDM 4 table 2-2: IA32_ARCH_CAPABILITIES is read-only, and there when CPUID says so.</summary>
    [Theory]
    [InlineData("Haswell", 0x32, -1)]
    [InlineData("Haswell", 0x30, 13)]
    [InlineData("Haswell,-arch_capabilities", 0x32, 13)]
    [InlineData("x86-64-v1", 0x32, 13)]
    public void KernelsLearnWhatTheyNeedNotMitigate(string model, byte instruction, int vector)
    {
        const int NoMeltdown = 1;
        using var guest = new Guest(GuestMode.Long, CpuModel.Parse(model));
        guest.State->Gpr[1] = 0x10A;
        Assert.Equal(vector, guest.Run(0x0F, instruction).Vector);
        Assert.Equal(vector < 0 ? 1UL : 0, guest.State->Gpr[0] & NoMeltdown);
    }

    private static (uint Type, uint Level, uint Size) Describe((uint A, uint B, uint C, uint D) cache) =>
        (cache.A & 0x1F, (cache.A >> 5) & 7, ((cache.B >> 22) + 1) * ((cache.B & 0xFFF) + 1) * (cache.C + 1) * (cache.A == 0 ? 64u : 1));

    private static (uint A, uint B, uint C, uint D) Cpuid(Guest guest, uint leaf, uint subleaf)
    {
        guest.State->Gpr[0] = leaf;
        guest.State->Gpr[1] = subleaf;
        guest.Run(0x0F, 0xA2);
        return ((uint)guest.State->Gpr[0], (uint)guest.State->Gpr[3], (uint)guest.State->Gpr[1], (uint)guest.State->Gpr[2]);
    }

    private static FeatureSet Set(string names) =>
        FeatureSet.Of(names.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(name => CpuFeatures.Find(name)!.Value));

    /// <summary>What is implemented and has not all that it needs.</summary>
    private static FeatureSet Unmet(CpuModel model) => (model.Described & CpuFeatures.Implemented).Without(model.Features);
}
