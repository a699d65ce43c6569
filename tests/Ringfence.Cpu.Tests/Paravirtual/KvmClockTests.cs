using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Paravirtual;

/// <summary>kvm-clock and KVM's hypercalls (Linux's Documentation/virt/kvm/x86: cpuid.rst, msr.rst, hypercalls.rst).</summary>
public sealed unsafe class KvmClockTests : IDisposable
{
    private const uint WallClock = 0x4B56_4D00;
    private const uint SystemTime = 0x4B56_4D01;
    private const ulong Page = Guest.Data;
    private const ulong OtherPage = Guest.Data + 0x100;
    private const ulong Pairing = Guest.Data + 0x200;

    private readonly ParavirtualGuest _machine = new(kvmClock: true);

    private Guest Guest => _machine.Guest;

    public void Dispose() => _machine.Dispose();

    /// <summary>cpuid.rst: signature, and the features; the rates of VMware's leaf stay where they are.</summary>
    [Fact]
    public void CpuidTellsOfIt()
    {
        Assert.Equal((0x4000_0010u, 0x4B4D_564Bu, 0x564B_4D56u, 0x4Du), Cpuid.Query(_machine.First.Model, 0x4000_0000, 0, default));
        Assert.Equal((0x0100_000Bu, 0u, 0u, 0u), Cpuid.Query(_machine.First.Model, 0x4000_0001, 0, default));
        Assert.Equal((1_000_000u, 1_000_000u, 0u, 0u), Cpuid.Query(_machine.First.Model, 0x4000_0010, 0, new CpuidContext { ClockHertz = 1_000_000_000, ApicHertz = 1_000_000_000 }));
        Assert.Equal(default, Cpuid.Query(_machine.First.Model, 0x4000_0100, 0, default));
    }

    [Fact]
    public void WithoutItThereIsNothing()
    {
        using ParavirtualGuest other = new();
        Assert.Equal((0x4000_0010u, 0x676E_6952u, 0x636E_6566u, 0x4D4D_5665u), Cpuid.Query(other.First.Model, 0x4000_0000, 0, default));
        Assert.Equal(default, Cpuid.Query(other.First.Model, 0x4000_0001, 0, default));
        foreach (uint msr in (uint[])[0x11, 0x12, WallClock, SystemTime])
        {
            Assert.False(other.First.Msrs.Read(msr, out _));
            other.Refuses(msr, 0);
        }
        // What is not told of is not there with it either: asynchronous page faults, steal time, EOI, polling.
        for (uint msr = 0x4B56_4D02; msr <= 0x4B56_4D08; msr++)
        {
            _machine.Refuses(msr, 0);
        }
    }

    /// <summary>msr.rst: time is system_time + ((tsc - tsc_timestamp) &lt;&lt; shift) * multiplier &gt;&gt; 32, and the version is even.</summary>
    [Fact]
    public void TimeFollowsFromThePage()
    {
        Guest.Clock.Advance(123_456_789);
        Guest.State->Gpr[0] = Page | 1;
        Guest.Run(a =>
        {
            a.mov(ecx, SystemTime);
            a.xor(edx, edx);
            a.wrmsr();
        });
        Assert.Equal(123_456_789UL, Time(Page));
        Guest.Clock.Advance(1_000_000_007);
        Assert.Equal(1_123_456_796UL, Time(Page));
        Assert.Equal(Page | 1, _machine.Read(0x12));
    }

    /// <summary>A counter that is set, by itself or through its adjustment, does not move time.</summary>
    [Theory]
    [InlineData(0x10, 5)]
    [InlineData(0x10, 0x7000_0000_0000_0000)]
    [InlineData(0x3B, 77_777)]
    [InlineData(0x3B, 0xFFFF_FFFF_FFFF_FF00)]
    public void SettingTheCounterDoesNotMoveTime(uint msr, ulong value)
    {
        Guest.Clock.Advance(1_000_000);
        _machine.Write(SystemTime, Page | 1);
        uint version = Guest.Read<uint>(Page);
        _machine.Write(msr, value);
        Assert.NotEqual(version, Guest.Read<uint>(Page));
        Assert.Equal(1_000_000UL, Time(Page));
        Guest.Clock.Advance(12_345);
        Assert.Equal(1_012_345UL, Time(Page));
    }

    /// <summary>msr.rst, flag 0: what processors read is monotonic among all of them as long as their counters are the same.</summary>
    [Fact]
    public void ProcessorsWhoseCountersDifferAreToldSo()
    {
        const int Flags = 29;
        _machine.Write(SystemTime, Page | 1);
        _machine.Write(SystemTime, OtherPage | 1, _machine.Second);
        Guest.Clock.Advance(1000);
        Assert.Equal((1, 1), (Guest.Read<byte>(Page + Flags), Guest.Read<byte>(OtherPage + Flags)));
        _machine.Write(0x3B, 500, _machine.Second);
        Assert.Equal((0, 0), (Guest.Read<byte>(Page + Flags), Guest.Read<byte>(OtherPage + Flags)));
        Assert.Equal(1000UL, Time(Page));
        Assert.Equal(1000UL, Time(OtherPage, _machine.Second));
        _machine.Write(0x3B, 500);
        Assert.Equal((1, 1), (Guest.Read<byte>(Page + Flags), Guest.Read<byte>(OtherPage + Flags)));
        Assert.Equal(1000UL, Time(Page));
    }

    /// <summary>The same of counters that only in the long run count what they should, also by Hyper-V's page (TLFS, Timers: a sequence of 0).</summary>
    [Fact]
    public void CountersThatCannotBeReliedUponAreSaidToBe()
    {
        const ulong ReferencePage = 0x2000;
        using GuestMemory memory = new(1 << 20);
        ManualClock clock = new();
        SharedCode shared = new(memory);
        ParavirtualPlatform platform = new(memory, shared, clock, Processor.TscHertz, clock, countersAreSteady: false);
        CpuModel model = CpuModel.Max with { OffersKvmClock = true, OffersHyperV = true };
        using Processor processor = new(memory, new TestBus(), clock, model, 0, static () => { }, shared, EngineUnderTest.Translators, platform);
        Assert.True(processor.Msrs.Write(SystemTime, 0x1000 | 1));
        Assert.True(processor.Msrs.Write(0x4000_0021, ReferencePage | 1));
        byte[] page = new byte[32];
        Assert.True(memory.TryRead(0x1000, page));
        Assert.Equal((2, 0), (page[0], page[29]));
        Assert.True(memory.TryRead(ReferencePage, page));
        Assert.Equal(new byte[4], page[..4]);
    }

    /// <summary>msr.rst: bit 0 turns it off; INIT does too, as under KVM.</summary>
    [Fact]
    public void ItIsOffUntilAskedFor()
    {
        _machine.Write(SystemTime, Page);
        Assert.Equal(0u, Guest.Read<uint>(Page));
        _machine.Write(SystemTime, Page | 1);
        uint version = Guest.Read<uint>(Page);
        Assert.Equal(2u, version);
        _machine.First.Init();
        Assert.Equal(0UL, _machine.Read(SystemTime));
        _machine.Write(0x10, 99);
        Assert.Equal(version, Guest.Read<uint>(Page));
    }

    /// <summary>Where there is no RAM nothing is told, and nothing else happens.</summary>
    [Theory]
    [InlineData(0xFEE0_0000)]
    [InlineData(Guest.MemorySize - 8)]
    [InlineData(0xFFFF_FFFF_FFFF_FFF8)]
    public void PagesOutsideMemoryAreIgnored(ulong address)
    {
        _machine.Write(SystemTime, address | 1);
        _machine.Write(WallClock, address);
        Assert.Equal(address | 1, _machine.Read(SystemTime));
    }

    /// <summary>msr.rst, MSR_KVM_WALL_CLOCK_NEW: the wall-clock time at which system time was 0.</summary>
    [Fact]
    public void TheWallClockTellsWhenTimeBegan()
    {
        Guest.Clock.Advance(5_000_000_000);
        _machine.Write(0x11, Page);
        long start = new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds();
        Assert.Equal((2u, (uint)start, 0u), (Guest.Read<uint>(Page), Guest.Read<uint>(Page + 4), Guest.Read<uint>(Page + 8)));
        Assert.Equal(Page, _machine.Read(WallClock));
    }

    /// <summary>What a guest has decoded where the page is written is not run any more.</summary>
    [Fact]
    public void CodeUnderThePageIsDecodedAnew()
    {
        // INC EAX and HLT, where the multiplier will be: 00 00 00 80, ADD [RAX], AL twice with what follows it.
        Guest.Place(Page + 24, 0xFF, 0xC0, 0xF4);
        Guest.State->Gpr[0] = 0;
        Guest.Start(Page + 24);
        Assert.Equal(1UL, Guest.State->Gpr[0]);
        Guest.Memory.Write(Page + 32, (byte)0xF4);
        _machine.Write(SystemTime, Page | 1);
        Guest.State->Gpr[0] = Guest.Data + 0x800;
        Guest.Start(Page + 24);
        Assert.Equal(Guest.Data + 0x800, Guest.State->Gpr[0]);
        Assert.Equal(Page + 33, Guest.State->Rip);
    }

    /// <summary>hypercalls.rst: both instructions call; what is not known is answered with -KVM_ENOSYS, in 64 bits or 32.</summary>
    [Theory]
    [InlineData(GuestMode.Long, true, 0x1234, 0xFFFF_FFFF_FFFF_FC18)]
    [InlineData(GuestMode.Long, false, 0x1234, 0xFFFF_FFFF_FFFF_FC18)]
    [InlineData(GuestMode.Protected32, true, 0x1234, 0xFFFF_FC18)]
    [InlineData(GuestMode.Long, true, 1, 0)]
    public void HypercallsAreAnswered(GuestMode mode, bool intel, ulong number, ulong answer)
    {
        using ParavirtualGuest machine = new(kvmClock: true, mode: mode);
        machine.Guest.State->Gpr[0] = number;
        Assert.Equal(-1, machine.Guest.Run(0x0F, 0x01, intel ? (byte)0xC1 : (byte)0xD9).Vector);
        Assert.Equal(answer, machine.Guest.State->Gpr[0]);
    }

    [Fact]
    public void OnlyTheSystemMayCall()
    {
        Guest.BecomeUser();
        Guest.State->Gpr[0] = 1;
        Assert.Equal(13, Guest.Run(0x0F, 0x01, 0xC1).Vector);
        Assert.Equal(ulong.MaxValue, Guest.State->Gpr[0]);
    }

    [Theory]
    [InlineData(0xC1)]
    [InlineData(0xD9)]
    public void WithoutTheSignatureThereAreNoHypercalls(byte last)
    {
        using ParavirtualGuest machine = new(hyperV: true);
        Assert.Equal(6, machine.Guest.Run(0x0F, 0x01, last).Vector);
    }

    /// <summary>hypercalls.rst, KVM_HC_CLOCK_PAIRING: the host's time and the guest's counter.</summary>
    [Fact]
    public void ClocksArePaired()
    {
        Guest.Clock.Advance(3_000_000_500);
        (Guest.State->Gpr[0], Guest.State->Gpr[3], Guest.State->Gpr[1]) = (9, Pairing, 0);
        Guest.Run(0x0F, 0x01, 0xC1);
        Assert.Equal(0UL, Guest.State->Gpr[0]);
        long start = new DateTimeOffset(2024, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeSeconds();
        Assert.Equal((start + 3, 500L, 3_000_000_500L), (Guest.Read<long>(Pairing), Guest.Read<long>(Pairing + 8), Guest.Read<long>(Pairing + 16)));
        (Guest.State->Gpr[0], Guest.State->Gpr[1]) = (9, 1);
        Guest.Run(0x0F, 0x01, 0xC1);
        Assert.Equal(unchecked((ulong)-95L), Guest.State->Gpr[0]);
    }

    /// <summary>Rates of hosts' counters: exact to 31 bits at least.</summary>
    [Theory]
    [InlineData(1_000_000_000)]
    [InlineData(2_449_998_000)]
    [InlineData(3_700_000_000)]
    [InlineData(999_999_000)]
    [InlineData(250_000_000)]
    [InlineData(12_000_000_000)]
    public void AnyRateCanBeTold(long hertz)
    {
        TimeScale scale = TimeScale.Of(hertz);
        Assert.InRange(scale.Multiplier, 0x8000_0000u, uint.MaxValue);
        ulong day = (ulong)hertz * 86400;
        Assert.InRange(scale.ToNanoseconds(day), 86_400_000_000_000 - 50_000UL, 86_400_000_000_000UL);
        ReferenceScale reference = ReferenceScale.Of(hertz);
        Assert.InRange(reference.ToUnits(day), 864_000_000_000UL - 1, 864_000_000_000UL);
        for (ulong units = 0; units < 50; units++)
        {
            ulong ticks = (ulong)reference.ToTicks(units * 1_234_567);
            Assert.Equal(units * 1_234_567, reference.ToUnits(ticks));
            Assert.True(ticks == 0 || reference.ToUnits(ticks - 1) < units * 1_234_567);
        }
    }

    private ulong Time(ulong page, Processor? processor = null)
    {
        Assert.Equal(0u, Guest.Read<uint>(page) & 1);
        ulong delta = (processor ?? _machine.First).TimeStamp - Guest.Read<ulong>(page + 8);
        sbyte shift = Guest.Read<sbyte>(page + 28);
        delta = shift >= 0 ? delta << shift : delta >> -shift;
        return Guest.Read<ulong>(page + 16) + (ulong)(((UInt128)delta * Guest.Read<uint>(page + 24)) >> 32);
    }
}
