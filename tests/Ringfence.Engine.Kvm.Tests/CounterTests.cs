using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>Guests' time-stamp counters, and what lives by them.</summary>
public sealed class CounterTests
{
    private const byte Vector = 0x72;
    private const ulong Handler = TinyGuest.Code + 0x800;

    /// <summary>Seen: a kernel that keeps offsets; one that forgets them; Linux 6.1 where the host's counter is unstable, just after it was told and a second later.</summary>
    [Theory]
    [InlineData(0x1234_5678_9ABC, 0x1234_5678_9ABC, TscOffsets.Kept)]
    [InlineData(0x1234_5678_9ABC, 0, TscOffsets.Forgotten)]
    [InlineData(0x1234_5678_9ABC, 20_015_998_236_176, TscOffsets.Steered)]
    [InlineData(0x1234_5678_9ABC, 20_013_402_071_345, TscOffsets.Steered)]
    [InlineData(0x1234_5678_9ABC, 0x1234_5678_9ABD, TscOffsets.Steered)]
    [InlineData(0x1234_5678_9ABC, 0xFFFF_FFFF_FFFF_0000, TscOffsets.Forgotten)]
    public void OffsetsAreKnownByWhatBecomesOfThem(ulong given, ulong found, object offsets) => Assert.Equal((TscOffsets)offsets, TscOffsetProbe.Judge(given, found));

    /// <summary>SDM 3A 11.5.4.1: the interrupt of a deadline comes when the counter that the guest reads has come there, whatever the kernel does with offsets.</summary>
    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void ADeadlineComesWhenTheGuestsCounterHasComeThere(InterruptChip chip)
    {
        const long Wait = 100_000_000;
        using TinyGuest guest = Waiting(KvmHost.Engine(chip), Wait);
        guest.Run();
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        VcpuState state = guest.Vcpu.Save();
        Assert.InRange((long)(state.Registers[6] - state.Registers[3]), Wait, long.MaxValue);
    }

    /// <summary>SDM 3A 11.5.4.1: a deadline that has not come reads as it was written, 0 after it was taken back.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1UL << 50)]
    [InlineData(1UL << 62)]
    [InlineData(ulong.MaxValue)]
    public void ADeadlineReadsAsItWasWritten(ulong deadline)
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            a.mov(r8, 0xFEE0_0000UL);
            a.mov(__dword_ptr[r8 + 0xF0], 0x1FF);
            a.mov(__dword_ptr[r8 + 0x320], Vector | (2 << 17));
            a.mov(rax, deadline);
            a.mov(rdx, rax);
            a.shr(rdx, 32);
            a.mov(ecx, 0x6E0);
            a.wrmsr();
            a.rdmsr();
            a.shl(rdx, 32);
            a.or(rax, rdx);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Run();
        Assert.Equal(deadline, guest.Vcpu.Save().Registers[0]);
    }

    /// <summary>It counts the machine's time, which stands still with the machine. Where it is the host's it goes on.</summary>
    [Fact]
    public void TheCounterStandsStillWithTheMachine()
    {
        const int Pause = 300;
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            a.mov(eax, 0x4000_0010);
            a.cpuid();
            a.mov(edi, eax);
            Count(a, rbx);
            a.@out((byte)TinyGuest.ExitPort, al);
            Count(a, rsi);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        long start = guest.Now;
        guest.Run();
        guest.Clock.Pause();
        Thread.Sleep(Pause);
        guest.Clock.Resume();
        guest.Run();
        long passed = guest.Now - start;
        VcpuState state = guest.Vcpu.Save();
        long counted = (long)((Int128)(state.Registers[6] - state.Registers[3]) * 1_000_000 / (uint)state.Registers[7]);
        bool goesOn = KvmHost.Traits().TscOffsets == TscOffsets.Forgotten;
        Assert.InRange(counted, goesOn ? Pause * 1_000_000L : 0, goesOn ? long.MaxValue : passed);
    }

    /// <summary>Where the counter goes on while the machine stands still, a deadline is nearer afterwards.</summary>
    [Fact]
    public void ADeadlineIsNearerAfterAPauseInWhichTheCounterWentOn()
    {
        Assert.SkipUnless(KvmHost.Traits().TscOffsets == TscOffsets.Forgotten, "guests' counters stand still with the machine on this host");
        const ulong Wait = 10_000_000_000;
        TimeSpan pause = TimeSpan.FromSeconds(3);
        using TinyGuest guest = Waiting(KvmHost.Engine(), Wait);
        guest.Run();
        guest.Clock.Pause();
        Thread.Sleep(pause);
        long start = guest.Now;
        guest.Clock.Resume();
        guest.Run();
        VcpuState state = guest.Vcpu.Save();
        Assert.InRange(state.Registers[6] - state.Registers[3], Wait, ulong.MaxValue);
        Assert.InRange(guest.Now - start, 0, (long)pause.TotalNanoseconds);
    }

    /// <summary>Comes out with a deadline, RBX and so many counts, and again from its interrupt. RSI is then the count.</summary>
    private static TinyGuest Waiting(IEngine engine, ulong counts)
    {
        TinyGuest guest = new(engine, a =>
        {
            Label wait = a.CreateLabel();
            a.mov(r8, 0xFEE0_0000UL);
            a.mov(__dword_ptr[r8 + 0xF0], 0x1FF);
            a.mov(__dword_ptr[r8 + 0x320], Vector | (2 << 17));
            Count(a, rbx);
            a.mov(rax, counts);
            a.add(rax, rbx);
            a.mov(rdx, rax);
            a.shr(rdx, 32);
            a.mov(ecx, 0x6E0);
            a.wrmsr();
            a.@out((byte)TinyGuest.ExitPort, al);
            a.sti();
            a.Label(ref wait);
            a.hlt();
            a.jmp(wait);
        });
        guest.Assemble(Handler, a =>
        {
            Count(a, rsi);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.SetHandler(Vector, Handler);
        return guest;
    }

    private static void Count(Assembler a, AssemblerRegister64 register)
    {
        a.rdtsc();
        a.shl(rdx, 32);
        a.or(rax, rdx);
        a.mov(register, rax);
    }
}
