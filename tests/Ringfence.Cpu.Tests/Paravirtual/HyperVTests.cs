using Ringfence.Cpu.Models;
using Ringfence.Cpu.Paravirtual;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Paravirtual;

/// <summary>Hyper-V's interface as its Top-Level Functional Specification (TLFS) has it: leaves, registers, time, the local APIC.</summary>
public sealed unsafe class HyperVTests : IDisposable
{
    private const ulong Page = Guest.Data;
    private const byte Vector = 0x61;

    private readonly ParavirtualGuest _machine = new(hyperV: true);

    private Guest Guest => _machine.Guest;

    public void Dispose() => _machine.Dispose();

    /// <summary>TLFS, Feature and Interface Discovery.</summary>
    [Fact]
    public void CpuidTellsOfIt()
    {
        Assert.Equal((0x4000_0006u, 0x7263_694Du, 0x666F_736Fu, 0x7648_2074u), Leaf(0x4000_0000));
        Assert.Equal(0x3123_7648u, Leaf(0x4000_0001).Eax);
        Assert.Equal((0xAFFu, 0x30u, 0u, 0x8_0500u), Leaf(0x4000_0003));
        Assert.Equal(default, Leaf(0x4000_0007));
        Assert.Equal(default, Leaf(0x4000_0010));
    }

    /// <summary>With both, Hyper-V comes first and KVM at the next place that systems look at, as with KVM itself.</summary>
    [Fact]
    public void BothHaveTheirPlaces()
    {
        CpuModel both = _machine.First.Model with { OffersKvmClock = true };
        Assert.Equal(0x7263_694Du, Cpuid.Query(both, 0x4000_0000, 0, default).Ebx);
        Assert.Equal((0x4000_0110u, 0x4B4D_564Bu, 0x564B_4D56u, 0x4Du), Cpuid.Query(both, 0x4000_0100, 0, default));
        Assert.Equal(0x0100_000Bu, Cpuid.Query(both, 0x4000_0101, 0, default).Eax);
    }

    [Fact]
    public void WithoutItThereIsNothing()
    {
        using ParavirtualGuest other = new(kvmClock: true);
        for (uint msr = 0x4000_0000; msr <= 0x4000_0105; msr++)
        {
            Assert.False(other.First.Msrs.Read(msr, out _));
            other.Refuses(msr, 0);
        }
        other.Guest.Run(a => a.@out((byte)HyperVHypercalls.Port, eax));
        Assert.Equal([(HyperVHypercalls.Port, 4, 0u)], other.Guest.Bus.Written);
    }

    /// <summary>What is not told of is not there: idling, debugging, nested pages, TSC invariance.</summary>
    [Theory]
    [InlineData(0x4000_00F0)]
    [InlineData(0x4000_00F1)]
    [InlineData(0x4000_0118)]
    [InlineData(0x4000_0106)]
    [InlineData(0x4000_00B8)]
    public void RegistersThatThereAreNot(uint msr)
    {
        Assert.False(_machine.First.Msrs.Read(msr, out _));
        _machine.First.ForgetFault();
        _machine.Refuses(msr, 0);
    }

    /// <summary>Numbers and rates: for reading only.</summary>
    [Theory]
    [InlineData(0x4000_0002, 1)]
    [InlineData(0x4000_0022, 1_000_000_000)]
    [InlineData(0x4000_0023, 1_000_000_000)]
    [InlineData(0x4000_0081, 1)]
    public void WhatCanOnlyBeRead(uint msr, ulong value)
    {
        Assert.Equal(value, _machine.Read(msr, _machine.Second));
        _machine.Refuses(msr, value);
    }

    /// <summary>TLFS, Hypercall Interface: the page comes when the guest has said who it is, and stays where it is once it is locked.</summary>
    [Fact]
    public void TheHypercallPageIsLaidDown()
    {
        _machine.Write(0x4000_0001, Page | 1);
        Assert.Equal(Page, _machine.Read(0x4000_0001));
        _machine.Write(0x4000_0000, 0x8100_0000_0000_0000);
        _machine.Refuses(0x4000_0001, 0xFEE0_0001);
        _machine.Write(0x4000_0001, Page | 1);
        Assert.Equal(HyperVHypercalls.Code, new ReadOnlySpan<byte>(Guest.Memory.Pointer(Page, 3), 3));
        Assert.Equal(Page | 1, _machine.Read(0x4000_0001, _machine.Second));
        _machine.Write(0x4000_0000, 0);
        Assert.Equal(Page, _machine.Read(0x4000_0001));
        _machine.Write(0x4000_0000, 1);
        _machine.Write(0x4000_0001, Page | 3);
        _machine.Write(0x4000_0001, 0);
        Assert.Equal(Page | 3, _machine.Read(0x4000_0001));
    }

    /// <summary>TLFS, Timers: the counter has units of 100 ns, and setting the time-stamp counter does not change it.</summary>
    [Fact]
    public void ReferenceTimeCounts()
    {
        Guest.Clock.Advance(1_234_599);
        Assert.Equal(12_345UL, _machine.Read(0x4000_0020));
        _machine.Write(0x10, 0xFFFF_0000_0000_0000);
        Assert.Equal(12_345UL, _machine.Read(0x4000_0020));
        _machine.Refuses(0x4000_0020, 0);
    }

    /// <summary>TLFS, Timers: time is (tsc * scale &gt;&gt; 64) + offset, and is what the register says, whatever the counter is set to.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(123_456_789_123)]
    [InlineData(0x8000_0000_0000_0000)]
    public void ThePageSaysTheSame(ulong counter)
    {
        Guest.Clock.Advance(50_000_000);
        _machine.Write(0x4000_0021, Page | 1);
        uint sequence = Guest.Read<uint>(Page);
        Assert.NotEqual(0u, sequence);
        _machine.Write(0x10, counter);
        Assert.Equal(0u, Guest.Read<uint>(Page));
        Assert.Equal(500_000UL, _machine.Read(0x4000_0020));
        _machine.Write(0x10, counter, _machine.Second);
        Assert.NotEqual(sequence, Guest.Read<uint>(Page));
        for (int i = 0; i < 1000; i++)
        {
            Guest.Clock.Advance(i * 7);
            ulong time = Math.BigMul(_machine.First.TimeStamp, Guest.Read<ulong>(Page + 8), out _) + Guest.Read<ulong>(Page + 16);
            Assert.Equal(_machine.Read(0x4000_0020), time);
            Assert.InRange(time, (ulong)Guest.Clock.Now / 100, ((ulong)Guest.Clock.Now / 100) + 1);
        }
    }

    [Fact]
    public void ThePageMustBeMemory()
    {
        _machine.Refuses(0x4000_0021, 0xFEE0_0001);
        _machine.Write(0x4000_0021, 0xFEE0_0000);
        Assert.Equal(0xFEE0_0000UL, _machine.Read(0x4000_0021));
    }

    /// <summary>TLFS, Virtual Processors: time asleep is not counted.</summary>
    [Fact]
    public void RuntimeIsTimeAwake()
    {
        Guest.Clock.Advance(1_000_000_000);
        _machine.First.NoteSlept(TimeSpan.FromMilliseconds(300));
        Assert.Equal(7_000_000UL, _machine.Read(0x4000_0010));
        Assert.Equal(10_000_000UL, _machine.Read(0x4000_0010, _machine.Second));
    }

    [Fact]
    public void AResetIsAskedOfTheBoard()
    {
        _machine.Write(0x4000_0003, 0);
        Assert.Empty(Guest.Bus.Written);
        _machine.Write(0x4000_0003, 1);
        Assert.Equal([((ushort)0xCF9, 1, 6u)], Guest.Bus.Written);
    }

    /// <summary>TLFS, Virtual Interrupts: EOI, ICR and TPR are the local APIC's.</summary>
    [Fact]
    public void TheLocalApicCanBeReached()
    {
        _machine.Write(0x4000_0072, 0x30);
        Assert.Equal(0x30u, Guest.Processor.Apic.Save().TaskPriority);
        Assert.Equal(0x30UL, _machine.Read(0x4000_0072));
        _machine.Refuses(0x4000_0072, 0x100);
        _machine.Write(0x4000_0071, 0x0100_0000_0000_0000 | Vector);
        Assert.Equal([(Vector, 1u)], Guest.Bus.Interrupts);
        Assert.Equal(0x0100_0000_0000_0000UL | Vector, _machine.Read(0x4000_0071));
        _machine.First.Apic.Accept(Vector, false);
        Assert.Equal(Vector, _machine.First.Apic.Acknowledge(Guest.Bus));
        Assert.True(ParavirtualGuest.IsInService(_machine.First, Vector));
        _machine.Write(0x4000_0070, 0);
        Assert.False(ParavirtualGuest.IsInService(_machine.First, Vector));
    }

    /// <summary>TLFS, Virtual Interrupts: the page says that each EOI is needed; what else it holds is the guest's.</summary>
    [Fact]
    public void TheAssistPageIsCleared()
    {
        Guest.Write(Page, ulong.MaxValue);
        _machine.Write(0x4000_0073, Page | 1);
        Assert.Equal(0xFFFF_FFFF_0000_0000, Guest.Read<ulong>(Page));
        Assert.Equal(Page | 1, _machine.Read(0x4000_0073));
        _machine.Refuses(0x4000_0073, 0xFEE0_0001);
    }

    /// <summary>What a guest says when it crashes is kept for whoever looks.</summary>
    [Fact]
    public void CrashesAreTold()
    {
        for (uint i = 0; i < 5; i++)
        {
            _machine.Write(0x4000_0100 + i, 0xDEAD_0000 + i);
        }
        Assert.Equal(1UL << 63, _machine.Read(0x4000_0105));
        _machine.Write(0x4000_0105, 1UL << 63);
        Assert.Equal(0xDEAD_0004UL, _machine.First.SaveParavirtual()!.Registers[0x4000_0104]);
    }

    /// <summary>A processor that loads what another has saved goes on as that would have.</summary>
    [Fact]
    public void StateIsWhole()
    {
        Guest.Clock.Advance(7_000_000);
        _machine.Write(0x4000_0000, 5);
        _machine.Write(0x4000_0080, 1);
        _machine.Write(0x4000_0083, Page | 1);
        _machine.Write(0x4000_0092, Vector | 0x2_0000);
        _machine.Write(0x4000_00B1, 100_000);
        _machine.Write(0x4000_00B0, 0x2_0001);
        _machine.Write(0x4000_00B3, 500);
        _machine.Write(0x4000_00B2, 0x2_0003);
        ParavirtualState saved = _machine.First.SaveParavirtual()!;
        using ParavirtualGuest other = new(hyperV: true);
        other.Guest.Clock.Advance(2_000_000);
        other.First.LoadParavirtual(saved with { TimeOffset = saved.TimeOffset + 5_000_000 });
        ParavirtualState loaded = other.First.SaveParavirtual()!;
        Assert.Equal(saved.Registers, loaded.Registers);
        Assert.Equal(saved.TimerExpiries, loaded.TimerExpiries);
        Assert.Equal(_machine.Read(0x4000_0020), other.Read(0x4000_0020));
        other.Guest.Write(Page + 512, 0u);
        other.Guest.Clock.Advance(50_000);
        Assert.Equal(0x8000_0010u, other.Guest.Read<uint>(Page + 512));
        Assert.Equal(1u, other.Guest.Read<uint>(Page + 512 + 16));
        Assert.True(ParavirtualGuest.IsRequested(other.First, Vector));
    }

    private (uint Eax, uint Ebx, uint Ecx, uint Edx) Leaf(uint leaf) => Cpuid.Query(_machine.First.Model, leaf, 0, default);
}
