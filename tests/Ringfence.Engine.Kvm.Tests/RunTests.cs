using System.Diagnostics;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>Guest code under KVM: its accesses, its interrupts, its ends.</summary>
public sealed class RunTests
{
    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void PortsAndDevicesMemoryGoToTheBus(InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), a =>
        {
            a.mov(eax, 0x1122_3344);
            a.@out(0x30, al);
            a.@out(0x31, ax);
            a.@out(0x32, eax);
            a.@in(al, 0x33);
            a.mov(rbx, 0xFEA0_0010UL);
            a.mov(__dword_ptr[rbx], eax);
            a.mov(rcx, __qword_ptr[rbx + 8]);
            a.mov(__byte_ptr[rbx + 1], cl);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Bus.Answer = 0x8877_6655_4433_2299;
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        Assert.Equal(
            ["out 30 1 44", "out 31 2 3344", "out 32 4 11223344", "in 33 1", "write fea00010 4 11223399", "read fea00018 8", "write fea00011 1 99"], guest.Bus.Seen);
        Assert.Equal(0x8877_6655_4433_2299, guest.Vcpu.Save().Registers[1]);
    }

    [Fact]
    public void AStringOfPortAccessesIsAsLongAsItIs()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            a.mov(rsi, TinyGuest.Data);
            a.mov(ecx, 100);
            a.mov(edx, TinyGuest.DataPort);
            a.rep.outsb();
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        byte[] text = [.. Enumerable.Range(0, 100).Select(i => (byte)(i * 7))];
        guest.Memory.Write(TinyGuest.Data, text);
        guest.Run();
        Assert.Equal(text, guest.Bus.Out.Select(value => (byte)value));
        Assert.Equal(TinyGuest.Data + 100, guest.Vcpu.Save().Registers[6]);
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void AHaltWithInterruptsOffIsForGood(InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), a => a.hlt());
        Assert.Equal(VcpuExitReason.Halted, guest.Run().Reason);
        Assert.Equal(VcpuActivity.Halted, guest.Vcpu.Save().Events.Activity);
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void ABusyGuestComesOutWheneverItIsAsked(InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), a =>
        {
            var forever = a.CreateLabel();
            a.mov(rbx, TinyGuest.Data);
            a.Label(ref forever);
            a.inc(__dword_ptr[rbx]);
            a.jmp(forever);
        });
        List<double> waits = [];
        Stopwatch watch = new();
        for (int i = 0; i < 100; i++)
        {
            bool ran = false;
            Thread asker = new(() =>
            {
                uint before = guest.Read(TinyGuest.Data);
                ran = SpinWait.SpinUntil(() => guest.Read(TinyGuest.Data) != before, TimeSpan.FromSeconds(20));
                Thread.Sleep(2);
                watch.Restart();
                guest.Vcpu.RequestExit();
            });
            asker.Start();
            Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
            asker.Join();
            Assert.True(ran);
            waits.Add(watch.Elapsed.TotalMilliseconds);
        }
        Assert.InRange(waits.Order().ElementAt(50), 0, 100);
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void AnInterruptWakesAndIsHandledOnce(InterruptChip chip)
    {
        const int Count = 50;
        const byte Vector = 0x40;
        const ulong Handler = TinyGuest.Code + 0x100;
        // The kernel's IOAPIC does not tell us of an end.
        bool level = chip != InterruptChip.Kernel;
        using TinyGuest guest = new(KvmHost.Engine(chip), a =>
        {
            var again = a.CreateLabel();
            a.mov(rbx, TinyGuest.Data);
            a.Label(ref again);
            a.sti();
            a.hlt();
            a.cli();
            a.cmp(__dword_ptr[rbx], Count);
            a.jb(again);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Assemble(Handler, a =>
        {
            a.inc(__dword_ptr[rbx]);
            a.mov(rax, 0xFEE0_00B0UL);
            a.mov(__dword_ptr[rax], 0);
            a.iretq();
        });
        guest.SetHandler(Vector, Handler);
        Thread sender = new(() =>
        {
            for (uint i = 0; i < Count; i++)
            {
                guest.Vm.DeliverInterrupt(Vector, 0, false, 0, level);
                SpinWait.SpinUntil(() => guest.Read(TinyGuest.Data) > i, TimeSpan.FromSeconds(10));
            }
        });
        sender.Start();
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        sender.Join();
        // The kernel tells of an end at its next entry into the guest: of the last one it may not have.
        Assert.InRange(guest.Bus.Seen.Count(seen => seen == "eoi 40"), !level ? 0 : chip == InterruptChip.User ? Count : Count - 1, level ? Count : 0);
        Assert.Equal((uint)Count, guest.Read(TinyGuest.Data));
        if (chip == InterruptChip.User)
        {
            Assert.Equal(Count, guest.Vcpu.Statistics.Exits["interrupt"]);
        }
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void WhatKvmCannotEmulateOurProcessorDoes(InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), a =>
        {
            a.mov(rdi, TinyGuest.Data);
            a.mov(rax, 0x1111);
            a.mov(rdx, 0x2222);
            a.mov(rbx, 0x3333);
            a.mov(rcx, 0x4444);
            a.@lock.cmpxchg16b(__xmmword_ptr[rdi]);
            a.setz(al);
            a.@out((byte)TinyGuest.DataPort, al);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Memory.Write(TinyGuest.Data, 0x1111UL);
        guest.Memory.Write(TinyGuest.Data + 8, 0x2222UL);
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        Assert.Equal([1u], guest.Bus.Out);
        Span<byte> there = stackalloc byte[16];
        Assert.True(guest.Memory.TryRead(TinyGuest.Data, there));
        Assert.Equal(0x3333UL, BitConverter.ToUInt64(there));
        Assert.Equal(0x4444UL, BitConverter.ToUInt64(there[8..]));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Join(", ", guest.Vcpu.Statistics.Exits));
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void ATripleFaultIsAShutdown(InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), a => a.ud2());
        guest.Vcpu.Load(guest.Vcpu.Save() with { IdtLimit = 0 });
        VcpuExit exit = guest.Run();
        Assert.Equal(VcpuExitReason.Shutdown, exit.Reason);
        Assert.NotNull(exit.Detail);
    }

    [Fact]
    public void MsrsThatAreNotTheKernelsAreOurs()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            foreach (uint msr in (uint[])[0x1B, 0xFE, 0x2FF])
            {
                a.mov(ecx, msr);
                a.rdmsr();
                a.@out((byte)TinyGuest.DataPort, eax);
            }
            a.mov(ecx, 0x200);
            a.mov(eax, 0x1234_5006);
            a.xor(edx, edx);
            a.wrmsr();
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Run();
        Assert.Equal([0xFEE0_0900u, 0x508u, 0x806u], guest.Bus.Out);
        Assert.Equal(0x1234_5006UL, guest.Vcpu.Save().Msrs[0x200]);
    }

    [Theory]
    [MemberData(nameof(KvmHost.Chips), MemberType = typeof(KvmHost))]
    public void ManyMachinesLeaveNoDescriptors(InterruptChip chip)
    {
        KvmEngine engine = KvmHost.Engine(chip);
        int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;
        using (TinyGuest first = new(engine, a => a.hlt()))
        {
            first.Run();
        }
        int before = Descriptors();
        for (int i = 0; i < 50; i++)
        {
            using TinyGuest guest = new(engine, a => a.hlt());
            guest.Run();
        }
        Assert.InRange(Descriptors(), 0, before);
    }
}
