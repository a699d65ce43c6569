using Ringfence.Cpu.Apic;
using Ringfence.Cpu.Models;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>x2APIC mode (SDM 3A 11.12), and what CPUID says of several processors.</summary>
public sealed class X2ApicTests : IDisposable
{
    private const ulong Disabled = 0xFEE0_0100;
    private const ulong X1 = 0xFEE0_0900;
    private const ulong X2 = 0xFEE0_0D00;
    private const ulong Invalid = 0xFEE0_0500;

    private readonly Guest _guest = new(GuestMode.Long);

    private LocalApic Apic => _guest.Processor.Apic;

    public void Dispose() => _guest.Dispose();

    /// <summary>SDM 3A figure 11-27: the transitions between the modes.</summary>
    [Theory]
    [InlineData(Disabled, new[] { Disabled, X1 })]
    [InlineData(X1, new[] { Disabled, X1, X2 })]
    [InlineData(X2, new[] { Disabled, X2 })]
    public void Transitions(ulong from, ulong[] allowed)
    {
        foreach (ulong to in (ulong[])[Disabled, X1, X2, Invalid])
        {
            using Guest guest = new(GuestMode.Long);
            Assert.True(from == X1 || guest.Processor.Apic.TrySetBase(from));
            bool done = guest.Processor.Msrs.Write(0x1B, to);
            Assert.True(allowed.Contains(to) == done, $"{from:x} to {to:x}: {done}");
            Assert.Equal(done ? to : from, guest.Processor.Apic.Base);
        }
    }

    /// <summary>SDM 3A 11.4.4: reserved bits, and the bootstrap flag, which stays as it is.</summary>
    [Fact]
    public void ReservedBitsOfTheBase()
    {
        Assert.False(Apic.TrySetBase(X1 | 1));
        Assert.False(Apic.TrySetBase(X1 | (1 << 9)));
        Assert.False(Apic.TrySetBase(X1 | (1UL << 40)));
        Assert.True(Apic.TrySetBase(X1 & ~0x100UL));
        Assert.Equal(X1, Apic.Base);
        using Guest old = new(GuestMode.Long, CpuModel.X8664V1);
        Assert.False(old.Processor.Apic.TrySetBase(X2));
    }

    /// <summary>SDM 3A table 11-6: which registers there are, and which can be written.</summary>
    [Fact]
    public void TheRegisters()
    {
        Assert.False(Apic.TryReadMsr(0x802, out _));
        Assert.False(Apic.TryWriteMsr(0x808, 0));
        Enter();
        Assert.False(Apic.Covers(0xFEE0_0000));
        uint[] readable = [0x802, 0x803, 0x808, 0x80A, 0x80D, 0x80F, .. Range(0x810, 24), 0x828, 0x830, .. Range(0x832, 8), 0x83E];
        uint[] writable = [0x808, 0x80B, 0x80F, 0x828, .. Range(0x832, 7), 0x83E];
        for (uint msr = 0x800; msr <= 0x8FF; msr++)
        {
            Assert.True(readable.Contains(msr) == Apic.TryReadMsr(msr, out _), $"reading {msr:x}");
            // Those to which 0 is a command are told apart below.
            if (msr is not (0x830 or 0x83F))
            {
                Assert.True(writable.Contains(msr) == Apic.TryWriteMsr(msr, 0), $"writing {msr:x}");
            }
            Assert.False(msr != 0x830 && Apic.TryWriteMsr(msr, 1UL << 32), $"upper half of {msr:x}");
        }
    }

    /// <summary>SDM 3A 11.12.1.2: WRMSR with reserved bits set is #GP.</summary>
    [Theory]
    [InlineData(0x808, 0x100)]
    [InlineData(0x80B, 1)]
    [InlineData(0x80F, 0x400)]
    [InlineData(0x828, 1)]
    [InlineData(0x830, 0x2000)]
    [InlineData(0x830, 0x10_0000)]
    [InlineData(0x832, 0x8_0000)]
    [InlineData(0x837, 0x400)]
    [InlineData(0x83E, 4)]
    [InlineData(0x83F, 0x100)]
    public void ReservedBits(uint msr, ulong value)
    {
        Enter();
        Assert.False(_guest.Processor.Msrs.Write(msr, value));
    }

    /// <summary>SDM 3A 11.12.9: the command register is written whole and names 32-bit destinations.</summary>
    [Fact]
    public void Commands()
    {
        Enter();
        Assert.True(Apic.TryWriteMsr(0x830, (0x1234_5678UL << 32) | 0x0C31));
        Assert.True(Apic.TryWriteMsr(0x830, (0xFFUL << 32) | 0x31));
        Assert.True(Apic.TryWriteMsr(0x830, (0xFFFF_FFFFUL << 32) | 0x31));
        Assert.Equal([(0x0C31u, 0x1234_5678u), (0x31u, 0xFFu), (0x31u, uint.MaxValue)], _guest.Bus.Interrupts);
        Assert.True(Apic.TryReadMsr(0x830, out ulong value));
        Assert.Equal(0xFFFF_FFFF_0000_0031UL, value);
    }

    /// <summary>SDM 3A 11.12.11: SELF IPI.</summary>
    [Fact]
    public void SelfIpi()
    {
        Enter();
        Apic.TryWriteMsr(0x80F, 0x1FF);
        Assert.True(Apic.TryWriteMsr(0x83F, 0x55));
        Assert.Equal(0x55, Apic.Acknowledge(_guest.Bus));
        Assert.True(Apic.TryWriteMsr(0x83F, 5));
        Assert.True(Apic.TryWriteMsr(0x828, 0));
        Assert.True(Apic.TryReadMsr(0x828, out ulong errors));
        Assert.Equal(0x20u, errors);
    }

    /// <summary>SDM 3A 11.12.10.2: logical IDs follow from the ID; 8-bit IDs of xAPIC mode are forgotten.</summary>
    [Theory]
    [InlineData(0, 0x0_0001)]
    [InlineData(5, 0x0_0020)]
    [InlineData(0x13, 0x1_0008)]
    public void LogicalIds(int id, uint logical)
    {
        using GuestMemory memory = new(2 << 20);
        using Processor processor = new(memory, new TestBus(), new ManualClock(), CpuModel.Max, id, static () => { });
        LocalApic apic = processor.Apic;
        apic.Write(0x20, 4, 0x7700_0000);
        Assert.Equal(0x77u, apic.Id);
        Assert.True(apic.TrySetBase(apic.Base | (1 << 10)));
        Assert.Equal((uint)id, apic.Id);
        Assert.True(apic.TryReadMsr(0x802, out ulong shown));
        Assert.Equal((ulong)id, shown);
        Assert.True(apic.TryReadMsr(0x80D, out shown));
        Assert.Equal(logical, shown);
        Assert.True(apic.Matches(logical, true));
        Assert.True(apic.Matches(logical | 0x8000, true));
        Assert.False(apic.Matches(logical ^ 0x1_0000, true));
        Assert.False(apic.Matches(0x77, false));
        Assert.True(apic.Matches(uint.MaxValue, true));
    }

    /// <summary>SDM 3A 9.9 and APM 3 E.4: the cores of one package.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    [InlineData(32, 5)]
    public void Topology(int processors, uint idBits)
    {
        CpuidContext context = new(1, processors, 0, 0, 0);
        (uint _, uint ebx, uint _, uint edx) = Cpuid.Query(CpuModel.Max, 1, 0, context);
        Assert.Equal((1u << 24) | ((uint)processors << 16), ebx & 0xFFFF_0000);
        Assert.Equal(processors > 1, (edx & (1 << 28)) != 0);
        (uint _, uint _, uint legacy, uint _) = Cpuid.Query(CpuModel.Max, 0x8000_0001, 0, context);
        Assert.Equal(processors > 1, (legacy & 2) != 0);
        (uint _, uint _, uint cores, uint _) = Cpuid.Query(CpuModel.Max, 0x8000_0008, 0, context);
        Assert.Equal((idBits << 12) | ((uint)processors - 1), cores);
        Assert.Equal((0u, 1u, 0x100u, 1u), Cpuid.Query(CpuModel.Max, 0xB, 0, context));
        Assert.Equal((idBits, (uint)processors, 0x201u, 1u), Cpuid.Query(CpuModel.Max, 0xB, 1, context));
        Assert.Equal((0u, 0u, 2u, 1u), Cpuid.Query(CpuModel.Max, 0xB, 2, context));
        Assert.Equal((0u, 0u, 0u, 0u), Cpuid.Query(CpuModel.X8664V1, 0xB, 0, context));
    }

    private static IEnumerable<uint> Range(uint first, int count) => Enumerable.Range((int)first, count).Select(i => (uint)i);

    private void Enter() => Assert.True(Apic.TrySetBase(X2));
}
