using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>kvm-clock and Hyper-V's interface under KVM, and while a guest moves between the engines: the same registers, the same time.</summary>
public sealed class ParavirtualTests
{
    private const uint SystemTime = 0x4B56_4D01;
    private const ulong ClockPage = 0x3_1000;
    private const ulong CallPage = 0x3_2000;
    private const ulong ReferencePage = 0x3_3000;
    private const byte Vector = 0x71;
    private const ulong Handler = TinyGuest.Code + 0x800;
    private const int Moves = 40;

    /// <summary>The page's OUT comes out of KVM with all registers, and only RAX is another afterwards.</summary>
    [Fact]
    public void HypercallsComeOut()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            Open(a);
            a.mov(ecx, 0x1_000B);
            a.mov(edx, Vector);
            a.mov(r8d, 1);
            a.mov(r9, CallPage);
            a.mov(rax, ulong.MaxValue);
            a.call(r9);
            a.mov(rsi, rax);
            a.mov(ecx, 0x7777);
            a.call(r9);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }, kvmClock: true, hyperV: true);
        guest.Run();
        VcpuState state = guest.Vcpu.Save();
        Assert.Equal((2UL, 0UL, 0x7777UL, (ulong)Vector, 1UL), (state.Registers[0], state.Registers[6], state.Registers[1], state.Registers[2], state.Registers[8]));
        Assert.Equal(TinyGuest.Stack, state.Registers[4]);
    }

    /// <summary>The guest's own counter and the page make the machine's time, and the reference counter says the same.</summary>
    [Fact]
    public void ClocksTellTheMachinesTime()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            Open(a);
            ReadClock(a);
            a.mov(rbx, rax);
            ReadReference(a);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }, kvmClock: true, hyperV: true);
        long before = guest.Now;
        guest.Run();
        VcpuState state = guest.Vcpu.Save();
        long after = guest.Now;
        long slack = KvmHost.Traits().TscOffsets == TscOffsets.Steered ? 5_000_000 : 20_000;
        Assert.InRange((long)state.Registers[3], before - slack, after + slack);
        Assert.InRange((long)state.Registers[0] * 100, (long)state.Registers[3] - slack, after + slack);
    }

    /// <summary>msr.rst, flag 0; TLFS, a sequence of 0: what guests are told of their counters is that they cannot be relied upon where the kernel steers them.</summary>
    [Fact]
    public void GuestsAreToldWhetherTheirCountersCanBeReliedUpon()
    {
        const int Flags = 28;
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            Open(a);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }, kvmClock: true, hyperV: true);
        guest.Run();
        bool steady = KvmHost.Traits().TscOffsets != TscOffsets.Steered;
        Assert.Equal((steady, steady), ((guest.Read(ClockPage + Flags) & 0x100) != 0, guest.Read(ReferencePage) != 0));
    }

    /// <summary>A synthetic timer interrupts guest code that KVM runs.</summary>
    [Fact]
    public void TimersInterrupt()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            Label wait = a.CreateLabel();
            a.mov(r8, 0xFEE0_0000UL);
            a.mov(__dword_ptr[r8 + 0xF0], 0x1FF);
            Write(a, 0x4000_00B1, 100_000);
            Write(a, 0x4000_00B0, 3 | (1 << 12) | (Vector << 4));
            a.sti();
            a.Label(ref wait);
            a.hlt();
            a.cmp(__dword_ptr[TinyGuest.Data], 5);
            a.jb(wait);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }, kvmClock: true, hyperV: true);
        guest.Assemble(Handler, a =>
        {
            a.inc(__dword_ptr[TinyGuest.Data]);
            a.mov(__dword_ptr[r8 + 0xB0], 0);
            a.iretq();
        });
        guest.SetHandler(Vector, Handler);
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        Assert.InRange(guest.Read(TinyGuest.Data), 5u, 6u);
    }

    /// <summary>Neither clock goes back, and each call is answered, whichever engine it comes to.</summary>
    [Fact]
    public void TimeDoesNotGoBackWhileAGuestMoves()
    {
        Assert.SkipWhen(KvmHost.Traits().TscOffsets == TscOffsets.Steered, "guests' counters cannot be relied upon on this host, and guests are told so");
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            Label next = a.CreateLabel();
            Label back = a.CreateLabel();
            Open(a);
            a.xor(rbx, rbx);
            a.xor(rbp, rbp);
            a.mov(r9, CallPage);
            a.Label(ref next);
            ReadClock(a);
            a.cmp(rax, rbx);
            a.jb(back);
            a.mov(rbx, rax);
            ReadReference(a);
            a.cmp(rax, rbp);
            a.jb(back);
            a.mov(rbp, rax);
            ReadPage(a);
            a.cmp(rax, rbp);
            a.jb(back);
            a.mov(rbp, rax);
            a.mov(ecx, 0x1_0008);
            a.call(r9);
            a.test(rax, rax);
            a.jnz(back);
            a.mov(eax, 1);
            a.@out((byte)TinyGuest.DataPort, eax);
            a.jmp(next);
            a.Label(ref back);
            a.mov(eax, 0xBAD);
            a.@out((byte)TinyGuest.DataPort, eax);
            a.jmp(next);
        }, kvmClock: true, hyperV: true);
        IMovableVm vm = Assert.IsAssignableFrom<IMovableVm>(guest.Vm);
        int[] turns = new int[2];
        for (int i = 0; i < Moves; i++)
        {
            int before = guest.Bus.Out.Count;
            Thread thread = new(() => guest.Vcpu.Run());
            thread.Start();
            SpinWait.SpinUntil(() => guest.Bus.Out.Count > before + 3, TimeSpan.FromSeconds(30));
            guest.Vcpu.RequestExit();
            Assert.True(thread.Join(TimeSpan.FromSeconds(30)), "the guest did not come out");
            turns[i % 2] += guest.Bus.Out.Count - before;
            if (i % 8 == 7)
            {
                // As a debugger does.
                guest.Vcpu.Load(guest.Vcpu.Save());
            }
            vm.Engine = i % 2 == 0 ? "software" : "kvm";
        }
        Assert.All(guest.Bus.Out, value => Assert.Equal(1u, value));
        Assert.All(turns, count => Assert.NotEqual(0, count));
    }

    /// <summary>Time goes on from where it was on another machine, of either engine.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TimeGoesOnInAnotherMachine(bool fromKvm)
    {
        KvmEngine kvm = KvmHost.Engine();
        void Code(Assembler a)
        {
            ReadReference(a);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }
        using TinyGuest first = new(fromKvm ? kvm : TinyGuest.Software(), Code, kvmClock: true, hyperV: true);
        const long Hour = 3_600_000_000_000;
        VcpuState start = first.Vcpu.Save();
        first.Vcpu.Load(start with { Paravirtual = start.Paravirtual with { TimeOffset = start.Paravirtual.TimeOffset + Hour } });
        first.Run();
        VcpuState state = first.Vcpu.Save();
        using TinyGuest second = new(fromKvm ? TinyGuest.Software() : kvm, Code, kvmClock: true, hyperV: true);
        // The machine's clock is to go on too: what it lacks is put into the offset.
        long lacks = first.Now - second.Now;
        second.Vcpu.Load(state with { Rip = TinyGuest.Code, Msrs = new MsrState(), Paravirtual = state.Paravirtual with { TimeOffset = state.Paravirtual.TimeOffset + lacks } });
        second.Run();
        ulong before = state.Registers[0];
        Assert.InRange(before, (ulong)Hour / 100, ((ulong)Hour / 100) + 600_000_000);
        Assert.InRange(second.Vcpu.Save().Registers[0], before, before + 600_000_000);
    }

    private static void Write(Assembler a, uint msr, ulong value)
    {
        a.mov(ecx, msr);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }

    private static void Open(Assembler a)
    {
        Write(a, SystemTime, ClockPage | 1);
        Write(a, 0x4000_0000, 1);
        Write(a, 0x4000_0001, CallPage | 1);
        Write(a, 0x4000_0021, ReferencePage | 1);
    }

    /// <summary>RAX: kvm-clock.</summary>
    private static void ReadClock(Assembler a)
    {
        Label right = a.CreateLabel();
        Label scaled = a.CreateLabel();
        Counter(a);
        a.mov(rsi, ClockPage);
        a.sub(rax, __qword_ptr[rsi + 8]);
        a.movsx(ecx, __byte_ptr[rsi + 28]);
        a.test(ecx, ecx);
        a.js(right);
        a.shl(rax, cl);
        a.jmp(scaled);
        a.Label(ref right);
        a.neg(ecx);
        a.shr(rax, cl);
        a.Label(ref scaled);
        a.mov(edx, __dword_ptr[rsi + 24]);
        a.mul(rdx);
        a.shrd(rax, rdx, 32);
        a.add(rax, __qword_ptr[rsi + 16]);
    }

    /// <summary>RAX: the reference counter.</summary>
    private static void ReadReference(Assembler a)
    {
        a.mov(ecx, 0x4000_0020);
        a.rdmsr();
        a.shl(rdx, 32);
        a.or(rax, rdx);
    }

    /// <summary>RAX: the same by the page.</summary>
    private static void ReadPage(Assembler a)
    {
        Counter(a);
        a.mov(rsi, ReferencePage);
        a.mul(__qword_ptr[rsi + 8]);
        a.mov(rax, rdx);
        a.add(rax, __qword_ptr[rsi + 16]);
    }

    private static void Counter(Assembler a)
    {
        a.rdtsc();
        a.shl(rdx, 32);
        a.or(rax, rdx);
    }
}
