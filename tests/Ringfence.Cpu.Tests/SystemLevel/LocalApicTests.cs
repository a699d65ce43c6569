using Ringfence.Cpu.Apic;
using Ringfence.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>The local APIC's registers and rules in xAPIC mode (SDM 3A chapter 11).</summary>
public sealed class LocalApicTests : IDisposable
{
    private const uint Id = 0x20, TaskPriority = 0x80, ProcessorPriority = 0xA0, Eoi = 0xB0, LogicalDestination = 0xD0, DestinationFormat = 0xE0;
    private const uint Spurious = 0xF0, Service = 0x100, Trigger = 0x180, Request = 0x200, ErrorStatus = 0x280, Command = 0x300, CommandHigh = 0x310;
    private const uint TimerLvt = 0x320, Lint0 = 0x350, ErrorLvt = 0x370, InitialCount = 0x380, CurrentCount = 0x390, Divide = 0x3E0;
    private const uint Enabled = 0x1FF;
    private const uint Masked = 1 << 16;

    private readonly Guest _guest = new(GuestMode.Long);

    public LocalApicTests() => Set(Spurious, Enabled);

    private LocalApic Apic => _guest.Processor.Apic;

    public void Dispose() => _guest.Dispose();

    /// <summary>SDM 3A 11.4.7.1: the state after power-on.</summary>
    [Fact]
    public void PowerOnState()
    {
        using Guest guest = new(GuestMode.Long);
        LocalApic apic = guest.Processor.Apic;
        Assert.Equal(0xFEE0_0900UL, apic.Base);
        Assert.Equal(0xFFu, (uint)apic.Read(Spurious, 4));
        Assert.Equal(uint.MaxValue, (uint)apic.Read(DestinationFormat, 4));
        for (uint lvt = TimerLvt; lvt <= ErrorLvt; lvt += 0x10)
        {
            Assert.Equal(Masked, (uint)apic.Read(lvt, 4));
        }
        Assert.Equal(0x14u, (uint)apic.Read(0x30, 1));
        Assert.Equal(5u, (uint)apic.Read(0x32, 1));
    }

    /// <summary>SDM 3A 11.4.7.2: a software-disabled APIC masks its LVT and takes no fixed interrupts; what it holds stays.</summary>
    [Fact]
    public void SoftwareDisable()
    {
        Set(TimerLvt, 0x40);
        Apic.Accept(0x50, false);
        Set(Spurious, 0xFF);
        Assert.Equal(Masked | 0x40, Get(TimerLvt));
        Set(TimerLvt, 0x41);
        Assert.Equal(Masked | 0x41, Get(TimerLvt));
        Apic.Accept(0x60, false);
        Assert.Equal(0u, Get(Request + 0x30));
        Assert.Equal(1u << 16, Get(Request + 0x20));
        Assert.False(Apic.IsReceiving);
    }

    /// <summary>SDM 3A 11.8.3: priorities, nesting and EOI.</summary>
    [Fact]
    public void PrioritiesAndEoi()
    {
        Apic.Accept(0x31, false);
        Apic.Accept(0x45, false);
        Assert.Equal(0x45, Apic.Acknowledge(_guest.Bus));
        Assert.Equal(0x40u, Get(ProcessorPriority));
        Assert.False(Apic.HasInterrupt);
        // The same class waits, a higher one does not.
        Apic.Accept(0x4F, false);
        Assert.False(Apic.HasInterrupt);
        Apic.Accept(0x50, false);
        Assert.Equal(0x50, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Assert.Equal(1u << 5, Get(Service + 0x20));
        Set(Eoi, 0);
        Assert.Equal(0x4F, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Set(TaskPriority, 0x35);
        Assert.Equal(0x35u, Get(ProcessorPriority));
        Assert.Equal(3u, Apic.Cr8);
        Assert.False(Apic.HasInterrupt);
        Apic.Cr8 = 2;
        Assert.Equal(0x20u, Get(TaskPriority));
        Assert.Equal(0x31, Apic.Acknowledge(_guest.Bus));
    }

    /// <summary>SDM 3A 11.8.5: EOI of a level-triggered vector goes to the IOAPICs, unless suppressed.</summary>
    [Fact]
    public void EoiBroadcasts()
    {
        Apic.Accept(0x31, true);
        Apic.Accept(0x32, false);
        Assert.Equal(1u << 17, Get(Trigger + 0x10));
        Assert.Equal(0x32, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Assert.Empty(_guest.Bus.Ended);
        Assert.Equal(0x31, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Assert.Equal([(byte)0x31], _guest.Bus.Ended);
        Assert.NotEqual(0u, Get(0x30) & (1 << 24));
        Set(Spurious, Enabled | (1 << 12));
        Apic.Accept(0x33, true);
        Apic.Acknowledge(_guest.Bus);
        Set(Eoi, 0);
        Assert.Equal([(byte)0x31], _guest.Bus.Ended);
    }

    /// <summary>SDM 3A 11.6.2: physical, flat and cluster destinations.</summary>
    [Fact]
    public void Destinations()
    {
        Set(Id, 5u << 24);
        Assert.True(Apic.Matches(5, false));
        Assert.False(Apic.Matches(4, false));
        Assert.True(Apic.Matches(uint.MaxValue, false));
        Set(LogicalDestination, 0x24u << 24);
        Assert.True(Apic.Matches(0x04, true));
        Assert.True(Apic.Matches(0x21, true));
        Assert.False(Apic.Matches(0x81, true));
        Set(DestinationFormat, 0);
        Assert.Equal(0x0FFF_FFFFu, Get(DestinationFormat));
        Assert.True(Apic.Matches(0x2F, true));
        Assert.False(Apic.Matches(0x14, true));
        Assert.False(Apic.Matches(0x2B, true));
        Assert.True(Apic.Matches(uint.MaxValue, true));
    }

    /// <summary>SDM 3A 11.6.1: the command register; in xAPIC mode FF names all.</summary>
    [Fact]
    public void Commands()
    {
        Set(CommandHigh, 0x0300_0000);
        Set(Command, 0x4031);
        Set(CommandHigh, 0xFF00_0000);
        Set(Command, 0x1000 | 0x4032);
        Assert.Equal([(0x4031u, 3u), (0x4032u, uint.MaxValue)], _guest.Bus.Interrupts);
        // Delivery is never seen under way.
        Assert.Equal(0x4032u, Get(Command));
    }

    /// <summary>SDM 3A 11.5.3: errors are latched, shown by a write, and raise the LVT's interrupt.</summary>
    [Fact]
    public void Errors()
    {
        Set(ErrorLvt, 0xFE);
        Set(Command, 0x400F);
        Assert.Empty(_guest.Bus.Interrupts);
        Assert.Equal(0u, Get(ErrorStatus));
        Set(ErrorStatus, 0);
        Assert.Equal(0x20u, Get(ErrorStatus));
        Apic.Accept(3, false);
        Get(0x3B0);
        Set(ErrorStatus, 0);
        Assert.Equal(0xC0u, Get(ErrorStatus));
        Set(ErrorStatus, 0);
        Assert.Equal(0u, Get(ErrorStatus));
        Assert.Equal(0xFE, Apic.Acknowledge(_guest.Bus));
        // An error interrupt whose vector is illegal raises no other.
        Set(ErrorLvt, 5);
        Apic.Accept(3, false);
        Set(ErrorStatus, 0);
        Assert.Equal(0x40u, Get(ErrorStatus));
        // NMI, INIT and SIPI have no vector to be wrong.
        Set(Command, 0x4400);
        Assert.Single(_guest.Bus.Interrupts);
    }

    /// <summary>SDM 3A 11.5.1: what LINT0 makes of the 8259 pair's wire.</summary>
    [Fact]
    public void Lint0Modes()
    {
        _guest.Bus.ExternalVector = 0x77;
        Set(Lint0, 0x700);
        _guest.Processor.SetExternalInterrupt(true);
        Assert.True(Apic.HasInterrupt);
        Assert.Equal(0x77, Apic.Acknowledge(_guest.Bus));
        Assert.Equal(0u, Get(Service + 0x30));
        // Fixed, edge-triggered: the wire's rise.
        Set(Lint0, 0x61);
        _guest.Processor.SetExternalInterrupt(true);
        Assert.Equal(0x61, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        // Level-triggered: as long as it is high, once for each EOI.
        Set(Lint0, 0x8062);
        Assert.Equal(0x8062u | (1 << 14), Get(Lint0));
        Assert.Equal(0x62, Apic.Acknowledge(_guest.Bus));
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Assert.Equal(0x62, Apic.Acknowledge(_guest.Bus));
        _guest.Processor.SetExternalInterrupt(false);
        Set(Eoi, 0);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        Assert.Equal(0x8062u, Get(Lint0));
        // NMI.
        Set(Lint0, 0x400);
        _guest.Processor.SetExternalInterrupt(true);
        Assert.True(_guest.Processor.HasWakeEvent);
    }

    /// <summary>SDM 3A 11.6.1: a message of delivery mode ExtINT asks the 8259 pair once.</summary>
    [Fact]
    public void ExternalMessages()
    {
        _guest.Bus.ExternalVector = 0x30;
        Apic.AcceptExternal();
        Assert.True(Apic.HasInterrupt);
        Assert.Equal(0x30, Apic.Acknowledge(_guest.Bus));
        Assert.False(Apic.HasInterrupt);
    }

    /// <summary>SDM 3A 11.5.4: one-shot; what is left of the count.</summary>
    [Theory]
    [InlineData(0xB, 1)]
    [InlineData(0x0, 2)]
    [InlineData(0x1, 4)]
    [InlineData(0x2, 8)]
    [InlineData(0x3, 16)]
    [InlineData(0x8, 32)]
    [InlineData(0x9, 64)]
    [InlineData(0xA, 128)]
    public void OneShot(uint divide, int divisor)
    {
        Set(Divide, divide);
        Set(TimerLvt, 0x40);
        Set(InitialCount, 1000);
        _guest.Clock.Advance(400 * divisor);
        Assert.Equal(600u, Get(CurrentCount));
        _guest.Clock.Advance((600 * divisor) - 1);
        Assert.Equal(1u, Get(CurrentCount));
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        _guest.Clock.Advance(1);
        Assert.Equal(0u, Get(CurrentCount));
        Assert.Equal(1000u, Get(InitialCount));
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        _guest.Clock.Advance(10_000_000);
        Set(Eoi, 0);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
    }

    /// <summary>SDM 3A 11.5.4: periodic, and changes of mode and divider while the count is under way.</summary>
    [Fact]
    public void PeriodicAndChanges()
    {
        Set(Divide, 0xB);
        Set(TimerLvt, 0x2_0040);
        Set(InitialCount, 100_000);
        _guest.Clock.Advance(130_000);
        Assert.Equal(70_000u, Get(CurrentCount));
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        // To one-shot: this count goes on to its end, and there it stays.
        Set(TimerLvt, 0x40);
        Assert.Equal(70_000u, Get(CurrentCount));
        _guest.Clock.Advance(10_000);
        // A divider of 4 for the 60,000 that are left.
        Set(Divide, 1);
        Assert.Equal(60_000u, Get(CurrentCount));
        _guest.Clock.Advance(239_999);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        _guest.Clock.Advance(1);
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        // Back to periodic: a count that has ended does not start again by itself.
        Set(TimerLvt, 0x2_0040);
        _guest.Clock.Advance(1_000_000);
        Assert.Equal(0u, Get(CurrentCount));
        Set(InitialCount, 100_000);
        Set(InitialCount, 0);
        _guest.Clock.Advance(1_000_000);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        // A masked timer counts silently.
        Set(TimerLvt, Masked | 0x40);
        Set(InitialCount, 1000);
        _guest.Clock.Advance(10_000);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
    }

    /// <summary>SDM 3A 11.5.4.1: TSC-deadline mode.</summary>
    [Fact]
    public void TscDeadline()
    {
        Apic.TscDeadline = 500;
        Assert.Equal(0u, Apic.TscDeadline);
        Set(TimerLvt, 0x4_0040);
        Set(InitialCount, 10);
        Assert.Equal(0u, Get(InitialCount));
        ulong now = _guest.Processor.TimeStamp;
        Apic.TscDeadline = now + 1000;
        Assert.Equal(now + 1000, Apic.TscDeadline);
        _guest.Clock.Advance(999);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
        _guest.Clock.Advance(1);
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        Assert.Equal(0u, Apic.TscDeadline);
        Set(Eoi, 0);
        // One that has passed is due at once; one that never comes stays.
        Apic.TscDeadline = 1;
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        Apic.TscDeadline = ulong.MaxValue;
        _guest.Clock.Advance(1_000_000);
        Assert.Equal(ulong.MaxValue, Apic.TscDeadline);
        Apic.TscDeadline = 0;
        // It is a value of the counter, also when that is set.
        Apic.TscDeadline = _guest.Processor.TimeStamp + 1_000_000;
        Assert.True(_guest.Processor.Msrs.Write(0x3B, 2_000_000));
        Assert.Equal(0x40, Apic.Acknowledge(_guest.Bus));
        Set(Eoi, 0);
        // Leaving the mode disarms.
        Apic.TscDeadline = _guest.Processor.TimeStamp + 1000;
        Set(TimerLvt, 0x40);
        Set(TimerLvt, 0x4_0040);
        _guest.Clock.Advance(10_000);
        Assert.Equal(0u, Apic.TscDeadline);
        Assert.Equal(-1, Apic.Acknowledge(_guest.Bus));
    }

    /// <summary>SDM 3A 6.7.1: two NMIs that come before the first is handled are both handled; of those that come meanwhile, one is.</summary>
    [Theory]
    [InlineData(1, 0, 1)]
    [InlineData(2, 0, 2)]
    [InlineData(5, 0, 2)]
    [InlineData(1, 1, 2)]
    [InlineData(1, 5, 2)]
    [InlineData(2, 5, 2)]
    public void NonMaskableInterrupts(int before, int meanwhile, int handled)
    {
        // The handler counts, says so to a port, and returns.
        ulong handler = Guest.Data;
        _guest.Assemble(handler, a =>
        {
            a.inc(r15);
            a.@out(0x80, al);
            a.iretq();
        });
        _guest.Gate(2, Guest.Code64, (uint)handler);
        _guest.Bus.PortWritten = _ =>
        {
            for (; meanwhile > 0; meanwhile--)
            {
                _guest.Processor.RequestNmi();
            }
        };
        for (int i = 0; i < before; i++)
        {
            _guest.Processor.RequestNmi();
        }
        _guest.Run(a =>
        {
            for (int i = 0; i < 40; i++)
            {
                Iced.Intel.Label next = a.CreateLabel();
                a.jmp(next);
                a.Label(ref next);
                a.nop();
            }
        });
        unsafe
        {
            Assert.Equal((ulong)handled, _guest.State->Gpr[15]);
        }
    }

    /// <summary>SDM 3A 11.4.3: with the APIC disabled CPUID shows none, its page is not there, and CR8 still is.</summary>
    [Fact]
    public void Disabled()
    {
        Set(Id, 7u << 24);
        Set(TimerLvt, 0x40);
        Apic.Cr8 = 5;
        Assert.True(Apic.TrySetBase(0xFEE0_0000));
        Assert.False(Apic.Covers(0xFEE0_0000));
        Assert.False(Apic.Matches(uint.MaxValue, false));
        Assert.Equal(5u, Apic.Cr8);
        _guest.Run(
            a =>
            {
                a.mov(eax, 1);
                a.cpuid();
            });
        unsafe
        {
            Assert.Equal(0u, (uint)_guest.State->Gpr[2] & (1 << 9));
        }
        Assert.True(Apic.TrySetBase(0xFED4_0000 | (1 << 11)));
        Assert.True(Apic.Covers(0xFED4_0020));
        Assert.Equal(Masked, Get(TimerLvt));
        Assert.Equal(0u, Get(Id));
        Assert.Equal(0xFFu, Get(Spurious));
        Assert.True(CpuFeature.X2Apic.Info().Implemented);
    }

    private uint Get(uint register) => (uint)Apic.Read(register, 4);

    private void Set(uint register, uint value) => Apic.Write(register, 4, value);
}
