using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>What is remembered of pages that accesses take the long way to, devices and code, holds no longer than a translation does (SDM 3A 4.10).</summary>
public sealed unsafe class SlowPageTests
{
    private const ulong Accessed = 0x20;
    private const ulong Dirty = 0x40;
    private const ulong Apic = 0xFEE0_0000;
    private const int Window = 0x5_0000;
    private static readonly int s_entry = (int)(Guest.PageTable + (Window >> 9));

    /// <summary>Reads of a device page do not make it dirty, the first write does (SDM 3A 4.8).</summary>
    [Fact]
    public void ADevicePageThatWasReadIsNotDirty()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Apic | 7;
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(eax, __[Window + 0x30]);
            a.mov(eax, __[Window + 0x30]);
            a.mov(ebx, __[s_entry]);
            a.mov(__dword_ptr[Window + 0x80], 0x20);
            a.mov(ecx, __[Window + 0x80]);
        }).Vector);
        Assert.Equal(Accessed, guest.State->Gpr[3] & (Accessed | Dirty));
        Assert.Equal(Accessed | Dirty, guest.Page(Window) & (Accessed | Dirty));
        Assert.Equal((0x0105_0014UL, 0x20UL), (guest.State->Gpr[0], guest.State->Gpr[1]));
    }

    [Fact]
    public void ADevicePageMayBeReadOnly()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Apic | 5;
        guest.State->Cr0 |= ControlBits.WriteProtect;
        Outcome outcome = guest.Run(a =>
        {
            a.mov(eax, __[Window + 0x30]);
            a.mov(eax, __[Window + 0x30]);
            a.mov(__dword_ptr[Window + 0x80], 0x20);
        });
        Assert.Equal((14, 3u), (outcome.Vector, outcome.Error));
        Assert.Equal((ulong)Window + 0x80, guest.State->Cr2);
    }

    /// <summary>Privileges have translations of their own.</summary>
    [Fact]
    public void ADevicePageOfTheSupervisorIsNotTheUsers()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Apic | 3;
        Assert.Equal(-1, guest.Run(a => a.mov(eax, __[Window + 0x30])).Vector);
        guest.State->Gpr[4] = Guest.StackTop;
        guest.Assemble(Guest.Code + 0x100, a => a.mov(eax, __[Window + 0x30]));
        guest.State->Cs = guest.Load(Guest.UserCode64);
        guest.State->Ss = guest.Load(Guest.UserData);
        guest.State->Cpl = 3;
        guest.Processor.ModeChanged();
        Outcome outcome = guest.Start(Guest.Code + 0x100);
        Assert.Equal((14, 5u), (outcome.Vector, outcome.Error));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ADevicePageMappedElsewhereIsMemory(bool byCr3)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Apic | 7;
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(eax, __[Window + 0x30]);
            a.mov(__qword_ptr[s_entry], (int)Guest.Data | 7);
            if (byCr3)
            {
                a.mov(rdx, cr3);
                a.mov(cr3, rdx);
            }
            else
            {
                a.invlpg(__[Window]);
            }
            a.mov(__dword_ptr[Window + 0x30], 0x55);
        }).Vector);
        Assert.Equal((0x0105_0014UL, 0x55), (guest.State->Gpr[0], guest.Read<int>(Guest.Data + 0x30)));
    }

    /// <summary>The same for a page that holds code, beside which data is written.</summary>
    [Fact]
    public void APageOfCodeMappedElsewhereIsNotWritten()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Guest.Code | 7;
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(__dword_ptr[Window + 0x800], 1);
            a.mov(__dword_ptr[Window + 0x800], 2);
            a.mov(__qword_ptr[s_entry], (int)Guest.Data | 7);
            a.invlpg(__[Window]);
            a.mov(__dword_ptr[Window + 0x800], 3);
        }).Vector);
        Assert.Equal((2, 3), (guest.Read<int>(Guest.Code + 0x800), guest.Read<int>(Guest.Data + 0x800)));
    }

    /// <summary>What may only be written is nothing to read from: the first page and that of code have one place.</summary>
    [Fact]
    public void TheFirstPageIsNotTaken()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = Guest.Code | 7;
        guest.Write(0x10, 0x55UL);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(__dword_ptr[Window + 0x800], 1);
            a.mov(__dword_ptr[Window + 0x800], 2);
            a.mov(rbx, __[0x10]);
        }).Vector);
        Assert.Equal(0x55UL, guest.State->Gpr[3]);
    }

    /// <summary>A frame that lies over two pages, and one on a page that holds code.</summary>
    [Theory]
    [InlineData(0x5_1010u)]
    [InlineData(0x5_0F00u)]
    [InlineData(0xC800u)]
    public void FramesMayLieAnywhere(uint top)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(0x40, Guest.Code64, 0xD000);
        guest.Assemble(0xD000, a =>
        {
            a.mov(rbx, __[rsp + 8]);
            a.iretq();
        });
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(esp, top);
            a.@int(0x40);
            a.@int(0x40);
            a.mov(rdi, rsp);
        }).Vector);
        Assert.Equal((Guest.Code64, (ulong)top), ((ushort)guest.State->Gpr[3], guest.State->Gpr[7]));
        Assert.Equal((top, (ulong)Guest.FlatData), (guest.Read<uint>((top & ~15u) - 16), guest.Read<ulong>((top & ~15u) - 8)));
    }

    /// <summary>Nothing moves if the lower of a frame's two pages is missing: the exception is met with the stack as it was (SDM 3A 6.5).</summary>
    [Fact]
    public void AFrameThatLacksAPageFaults()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Window) = 0;
        guest.Gate(14, Guest.Code64, (uint)Guest.Handlers + (14 << 4), ist: 1);
        Outcome outcome = guest.Run(a =>
        {
            a.mov(esp, Window + 0x1010);
            a.@int(0x40);
        });
        Assert.Equal((14, 2u), (outcome.Vector, outcome.Error));
        Assert.Equal((ulong)Window + 0x1010, guest.Stack(4));
    }
}
