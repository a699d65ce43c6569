using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>The log of written pages, and memory that cannot be written.</summary>
public sealed class MemoryTests
{
    private const ulong First = 0x10_0000;
    private const ulong Second = 0x14_3000;
    private const ulong FromDevice = 0x18_7000;
    private const ulong Never = 0x1C_0000;
    private const ulong RomPage = 0xFFFF_F000;

    public static TheoryData<string> Engines => ["software", "kvm", "kvm split", "kvm kernel", "moved"];

    /// <summary>Whoever wrote is in the log, once: guest code, on whichever engine, and devices.</summary>
    [Theory]
    [MemberData(nameof(Engines))]
    public void WrittenPagesAreToldOnce(string name)
    {
        using TinyGuest guest = new(Engine(name), a =>
        {
            a.mov(rax, __qword_ptr[Never]);
            a.mov(rbx, First);
            a.mov(__qword_ptr[rbx], rax);
            a.mov(rbx, Second);
            a.@lock.inc(__dword_ptr[rbx + 0xFF8]);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        if (name == "moved")
        {
            ((IMovableVm)guest.Vm).Engine = "software";
        }
        IDirtyLog log = Assert.IsAssignableFrom<IDirtyLog>(guest.Vm);
        Assert.Throws<InvalidOperationException>(log.CollectDirtyPages);
        // What was written before is not in it, nor opened to writes.
        guest.Run();
        log.StartDirtyLog();
        guest.Vcpu.Load(guest.Vcpu.Save() with { Rip = TinyGuest.Code });
        guest.Run();
        guest.Vm.NoteMemoryWritten(FromDevice + 0xFF0, 0x20);
        HashSet<ulong> written = Pages(guest, log.CollectDirtyPages());
        Assert.Superset(new HashSet<ulong> { First, Second, FromDevice, FromDevice + 0x1000 }, written);
        Assert.DoesNotContain(Never, written);
        Assert.InRange(written.Count, 4, 12);
        Assert.Empty(Pages(guest, log.CollectDirtyPages()));
        guest.Vcpu.Load(guest.Vcpu.Save() with { Rip = TinyGuest.Code });
        guest.Run();
        written = Pages(guest, log.CollectDirtyPages());
        Assert.Superset(new HashSet<ulong> { First, Second }, written);
        Assert.DoesNotContain(FromDevice, written);
        log.StopDirtyLog();
        Assert.Throws<InvalidOperationException>(log.CollectDirtyPages);
        guest.Vcpu.Load(guest.Vcpu.Save() with { Rip = TinyGuest.Code });
        guest.Run();
    }

    /// <summary>An instruction that KVM cannot emulate is our processor's, and what it writes is in the log too.</summary>
    [Fact]
    public void WhatOurProcessorWritesInKvmsPlaceIsToldToo()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            a.mov(rdi, First);
            a.@lock.cmpxchg16b(__xmmword_ptr[rdi]);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        IDirtyLog log = (IDirtyLog)guest.Vm;
        log.StartDirtyLog();
        guest.Run();
        Assert.Contains(First, Pages(guest, log.CollectDirtyPages()));
    }

    /// <summary>A write to ROM changes nothing, and reads find what was there, with every instruction and on every engine.</summary>
    [Theory]
    [MemberData(nameof(Engines))]
    public void RomKeepsWhatItHolds(string name)
    {
        byte[] rom = [.. Enumerable.Range(0, 4096).Select(i => (byte)(i * 3))];
        using TinyGuest guest = new(Engine(name), a =>
        {
            a.mov(rbx, RomPage);
            a.mov(__dword_ptr[rbx], 0x1234_5678);
            a.inc(__byte_ptr[rbx + 8]);
            a.mov(rdi, RomPage + 0x10);
            a.mov(ecx, 4);
            a.rep.stosd();
            a.mov(rax, __qword_ptr[rbx]);
            a.mov(rdx, __qword_ptr[rbx + 8]);
            a.mov(rsi, __qword_ptr[rbx + 0x10]);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        }, rom: rom);
        if (name == "moved")
        {
            ((IMovableVm)guest.Vm).Engine = "software";
        }
        Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        ulong[] registers = guest.Vcpu.Save().Registers;
        Assert.Equal(
            [BitConverter.ToUInt64(rom, 0), BitConverter.ToUInt64(rom, 8), BitConverter.ToUInt64(rom, 16)], [registers[0], registers[2], registers[6]]);
        Assert.Equal(rom, RomOf(guest.Memory));
        // Nor does the board hear of it.
        Assert.Empty(guest.Bus.Seen);
    }

    private static unsafe byte[] RomOf(GuestMemory memory) => [.. new ReadOnlySpan<byte>(memory.Rom.Pointer, (int)memory.Rom.Length)];

    private static IEngine Engine(string name) => name switch
    {
        "software" => TinyGuest.Software(),
        "kvm split" => KvmHost.Engine(InterruptChip.Split),
        "kvm kernel" => KvmHost.Engine(InterruptChip.Kernel),
        _ => KvmHost.Engine(),
    };

    private static HashSet<ulong> Pages(TinyGuest guest, IReadOnlyList<ulong[]> bitmaps)
    {
        Assert.Equal(guest.Memory.Regions.Count, bitmaps.Count);
        HashSet<ulong> pages = [];
        foreach ((MemoryRegion region, ulong[] bits) in guest.Memory.Regions.Zip(bitmaps))
        {
            for (ulong page = 0; page < region.Length / GuestMemory.PageSize; page++)
            {
                if ((bits[page / 64] & (1UL << (int)(page % 64))) != 0)
                {
                    pages.Add(region.Address + (page * GuestMemory.PageSize));
                }
            }
        }
        return pages;
    }
}
