using Iced.Intel;
using Ringfence.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Translation, rights, accessed and dirty flags, and the TLB (SDM 3A chapter 4).</summary>
public sealed unsafe class PagingTests
{
    private const ulong Accessed = 0x20;
    private const ulong Dirty = 0x40;
    private const ulong NoExecute = 1UL << 63;

    private static int Address => (int)Guest.Data;

    /// <summary>SDM 3A 4.7: what the error code tells.</summary>
    [Theory]
    [InlineData(0UL, false, false, 0u)]
    [InlineData(0UL, true, false, 2u)]
    [InlineData(0UL, false, true, 4u)]
    [InlineData(7UL, false, false, -1)]
    [InlineData(5UL, true, true, 7u)]
    [InlineData(3UL, false, true, 5u)]
    [InlineData(1UL, true, false, 3u)]
    [InlineData(7UL | (1UL << 45), false, false, 9u)]
    [InlineData(7UL | (1UL << 45), true, true, 15u)]
    public void ErrorCodesTellTheCause(ulong rights, bool write, bool user, long error)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Guest.Data) = rights == 0 ? 0 : Guest.Data | rights;
        if (user)
        {
            guest.BecomeUser();
        }
        Assert.Equal(0UL, guest.State->Cr2);
        Outcome outcome = guest.Run(a =>
        {
            if (write)
            {
                a.mov(__byte_ptr[Address + 5], al);
            }
            else
            {
                a.mov(al, __byte_ptr[Address + 5]);
            }
            if (user)
            {
                a.ud2();
            }
        });
        if (error < 0)
        {
            Assert.Equal(-1, outcome.Vector);
            return;
        }
        Assert.Equal(new Outcome(14, (uint)error, Guest.Code), outcome);
        Assert.Equal(Guest.Data + 5, guest.State->Cr2);
    }

    [Theory]
    [InlineData(true, 3u)]
    [InlineData(false, null)]
    public void Cr0WpBindsSupervisors(bool protect, uint? error)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Guest.Data) = Guest.Data | 5;
        guest.State->Cr0 = protect ? guest.State->Cr0 : guest.State->Cr0 & ~0x1_0000UL;
        Assert.Equal(error is null ? -1 : 14, guest.Run(a => a.mov(__byte_ptr[Address], al)).Vector);
    }

    [Theory]
    [InlineData(true, 0x11u)]
    [InlineData(false, 9u)]
    public void NxForbidsFetchesOrIsReserved(bool enabled, uint error)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(Guest.Data, 0xF4);
        guest.Page(Guest.Data) |= NoExecute;
        guest.State->Efer = enabled ? guest.State->Efer : guest.State->Efer & ~0x800UL;
        Outcome outcome = guest.Run(a => a.jmp(Guest.Data));
        Assert.Equal(new Outcome(14, error, Guest.Data), outcome);
    }

    /// <summary>SDM 3A 4.8: accessed on every level at any use, dirty on the leaf at a write.</summary>
    [Fact]
    public void AccessedAndDirtyAreSetWhenUsed()
    {
        using var guest = new Guest(GuestMode.Long);
        Assert.Equal(0UL, guest.Page(Guest.Data) & (Accessed | Dirty));
        guest.Run(a => a.mov(al, __byte_ptr[Address]));
        Assert.Equal(Accessed, guest.Page(Guest.Data) & (Accessed | Dirty));
        Assert.Equal(Accessed, guest.Read<ulong>(Guest.Tables) & (Accessed | Dirty));
        guest.Run(a => a.mov(__byte_ptr[Address], al));
        Assert.Equal(Accessed | Dirty, guest.Page(Guest.Data) & (Accessed | Dirty));
        Assert.Equal(0UL, guest.Page(Guest.Data + 0x1000) & (Accessed | Dirty));
        guest.Run(a => a.mov(__byte_ptr[0x20_0000], al));
        Assert.Equal(Accessed | Dirty, guest.Read<ulong>(Guest.Tables + 0x2008) & (Accessed | Dirty));
    }

    [Fact]
    public void AReadFollowedByAWriteSetsDirty()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Run(a =>
        {
            a.mov(al, __byte_ptr[Address]);
            a.inc(__byte_ptr[Address]);
        });
        Assert.NotEqual(0UL, guest.Page(Guest.Data) & Dirty);
    }

    [Fact]
    public void AFaultingWriteSetsNoDirtyFlag()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Guest.Data) = Guest.Data | 5;
        guest.Run(a => a.mov(__byte_ptr[Address], al));
        Assert.Equal(0UL, guest.Page(Guest.Data) & Dirty);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AnAccessOverTwoPagesHappensWhollyOrNot(bool push)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Guest.Data + 0x1000) = 0;
        guest.Write(Guest.Data + 0xFFC, 0x1122_3344u);
        guest.State->Gpr[0] = ulong.MaxValue;
        guest.State->Gpr[6] = Guest.Data + 0xFFC;
        guest.State->Gpr[4] = push ? Guest.Data + 0x1004 : guest.State->Gpr[4];
        guest.Gate(14, Guest.Code64, (uint)Guest.Handlers + 0xE0, ist: 1);
        Outcome outcome = guest.Run(a =>
        {
            if (push)
            {
                a.push(rax);
            }
            else
            {
                a.xchg(__qword_ptr[rsi], rax);
            }
        });
        Assert.Equal(new Outcome(14, 2, Guest.Code), outcome);
        Assert.Equal(Guest.Data + 0x1000, guest.State->Cr2);
        Assert.Equal(0x1122_3344u, guest.Read<uint>(Guest.Data + 0xFFC));
        Assert.Equal(ulong.MaxValue, guest.State->Gpr[0]);
    }

    [Fact]
    public void AnInstructionOverTwoPagesFaultsOnTheSecond()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(Guest.Code + 0xFFD, 0x90, 0xB8, 1, 0, 0, 0, 0xF4);
        guest.Page(Guest.Code + 0x1000) = 0;
        Assert.Equal(new Outcome(14, 0x10, Guest.Code + 0xFFE), guest.Start(Guest.Code + 0xFFD));
        Assert.Equal(Guest.Code + 0x1000, guest.State->Cr2);
        guest.Page(Guest.Code + 0x1000) = (Guest.Code + 0x1000) | 7;
        Assert.Equal(-1, guest.Start(Guest.Code + 0xFFD).Vector);
        Assert.Equal(1UL, guest.State->Gpr[0]);
    }

    [Fact]
    public void ChangedEntriesTakeEffectAtInvlpg()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Write(Guest.Data, 1);
        guest.Write(Guest.Data + 0x1000, 2);
        int entry = (int)(Guest.PageTable + (Guest.Data >> 9));
        guest.Run(a =>
        {
            a.mov(ebx, __dword_ptr[Address]);
            a.mov(rax, Guest.Data + 0x1000 + 7);
            a.mov(__qword_ptr[entry], rax);
            a.invlpg(__[Address]);
            a.mov(ecx, __dword_ptr[Address]);
        });
        Assert.Equal((1UL, 2UL), (guest.State->Gpr[3], guest.State->Gpr[1]));
    }

    [Fact]
    public void InvlpgForgetsAWholeLargePage()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Run(a =>
        {
            a.mov(eax, __dword_ptr[0x20_0000]);
            a.mov(eax, __dword_ptr[0x21_5000]);
            a.mov(__qword_ptr[(int)Guest.Tables + 0x2008], 0);
            a.invlpg(__[0x20_1000]);
        });
        Assert.Equal(14, guest.Run(a => a.mov(eax, __dword_ptr[0x21_5000])).Vector);
    }

    /// <summary>SDM 3A 4.10.2.4: MOV to CR3 keeps translations of global pages; toggling CR4.PGE drops them.</summary>
    [Fact]
    public void GlobalPagesOutliveCr3()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr4 |= 0x80;
        guest.Page(Guest.Data) |= 0x100;
        guest.Page(Guest.Data + 0x1000) &= ~0x100UL;
        int entry = (int)(Guest.PageTable + (Guest.Data >> 9));
        Outcome outcome = guest.Run(a =>
        {
            a.mov(al, __byte_ptr[Address]);
            a.mov(al, __byte_ptr[Address + 0x1000]);
            a.mov(__qword_ptr[entry], 0);
            a.mov(__qword_ptr[entry + 8], 0);
            a.mov(rax, cr3);
            a.mov(cr3, rax);
            a.mov(al, __byte_ptr[Address]);
            a.mov(rdx, cr4);
            a.mov(al, __byte_ptr[Address + 0x1000]);
        });
        Assert.Equal((14, Guest.Data + 0x1000), (outcome.Vector, guest.State->Cr2));
        Assert.NotEqual(0UL, guest.State->Gpr[2]);
    }

    [Fact]
    public void RightsAreTheLeastOfAllLevels()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Write(Guest.Tables + 0x2008, 0x20_0000UL | 0x85);
        Assert.Equal(14, guest.Run(a => a.mov(__byte_ptr[0x20_0000], al)).Vector);
        guest.Write(Guest.Tables + 0x1000, (Guest.Tables + 0x2000) | 3);
        guest.BecomeUser();
        Assert.Equal(5u, guest.Run(a => a.nop()).Error & ~0x10u);
    }

    [Theory]
    [InlineData(0x20_0000UL | 0x87 | 0x2000, 9u)]   // 2 MiB page: bits 13 to 20
    [InlineData(0x20_0000UL | 0x87 | 0x1000, null)] // PAT
    public void LargePagesHaveReservedBits(ulong entry, uint? error)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Write(Guest.Tables + 0x2008, entry);
        Outcome outcome = guest.Run(a => a.mov(al, __byte_ptr[0x20_0000]));
        Assert.Equal(error is null ? -1 : 14, outcome.Vector);
        Assert.Equal(error ?? 0, outcome.Error);
    }

    [Fact]
    public void AGibibyteIsOnePage()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Write(Guest.Tables + 0x1008, 0x87UL); // 1 GiB on, the first GiB again
        guest.Write(Guest.Data, 0x7766_5544u);
        Assert.Equal(-1, guest.Run(a => a.mov(eax, __dword_ptr[0x4000_0000 + Address])).Vector);
        Assert.Equal(0x7766_5544UL, guest.State->Gpr[0]);
        guest.Write(Guest.Tables + 0x1008, 0x2087UL);
        guest.Processor.StateLoaded();
        Assert.Equal(9u, guest.Run(a => a.mov(eax, __dword_ptr[0x4000_0000 + Address])).Error);
    }

    /// <summary>32-bit paging: 4 KiB pages, and 4 MiB pages when CR4.PSE says so.</summary>
    [Fact]
    public void ThirtyTwoBitPaging()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Write(0x30_0000, 0x30_1000u | 7);
        guest.Write(0x30_0004, 0x87u);
        guest.Write(0x30_0008, 0x87u | (1 << 21));
        for (uint i = 0; i < 1024; i++)
        {
            guest.Write(0x30_1000 + (i * 4), (i << 12) | 7);
        }
        guest.Write(0x30_1000u + ((uint)Guest.Data >> 10), 0u);
        guest.State->Cr3 = 0x30_0000;
        guest.State->Cr4 |= 0x10;
        guest.State->Cr0 |= 0x8000_0000;
        guest.Write(Guest.Data, 0x0102_0304);
        Assert.Equal(new Outcome(14, 0, Guest.Code), guest.Run(a => a.mov(eax, __dword_ptr[Address])));
        Assert.Equal(-1, guest.Run(a => a.mov(eax, __dword_ptr[0x40_0000 + Address])).Vector);
        Assert.Equal(0x0102_0304UL, guest.State->Gpr[0]);
        Assert.Equal((uint)(0x87 | Accessed), guest.Read<uint>(0x30_0004));
        Assert.Equal(9u, guest.Run(a => a.mov(eax, __dword_ptr[0x80_0000])).Error);
    }

    [Fact]
    public void PaePaging()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Write(0x30_0020, 0x30_1000UL | 1);
        guest.Write(0x30_0038, 0x30_1000UL | 1);
        guest.Write(0x30_1000, 0x87UL);
        guest.Write(0x30_1008, 0x87UL | NoExecute);
        guest.State->Cr3 = 0x30_0020;
        guest.State->Cr4 |= 0x20;
        guest.State->Efer = 0x800;
        guest.State->Cr0 |= 0x8000_0000;
        guest.Write(Guest.Data, 0x0102_0304);
        Assert.Equal(-1, guest.Run(a => a.mov(eax, __dword_ptr[0xC000_0000 + (uint)Guest.Data])).Vector);
        Assert.Equal(0x0102_0304UL, guest.State->Gpr[0]);
        Assert.Equal(new Outcome(14, 0x11, 0x20_0000), guest.Run(a => a.jmp(0x20_0000)));
        Assert.Equal(14, guest.Run(a => a.mov(eax, __dword_ptr[0x4000_0000])).Vector);
    }

    /// <summary>SDM 3A 4.4.1: PAE's directory pointers are read when CR3 is loaded, and kept.</summary>
    [Fact]
    public void PaePointersAreKept()
    {
        using Guest guest = StartPae();
        guest.Write(Guest.Data, 0x0102_0304);
        Outcome outcome = guest.Run(a =>
        {
            a.mov(__dword_ptr[0x30_0020], 0);
            a.mov(eax, cr4);
            a.mov(ebx, eax);
            a.xor(eax, 4); // CR4.TSD has nothing to do with it
            a.mov(cr4, eax);
            a.mov(ecx, __dword_ptr[Address]);
            a.mov(cr4, ebx);
            a.mov(__dword_ptr[0x30_0020], 0x30_1001);
            a.mov(eax, cr3);
            a.mov(cr3, eax);
            a.mov(edx, __dword_ptr[Address]);
            a.mov(__dword_ptr[0x30_0038], 0);
            a.mov(cr3, eax);
            a.mov(edx, __dword_ptr[0xC000_0000 + (uint)Guest.Data]);
        });
        Assert.Equal((14, 0u), (outcome.Vector, outcome.Error));
        Assert.Equal((0x0102_0304UL, 0x0102_0304UL), (guest.State->Gpr[1], guest.State->Gpr[2]));
    }

    /// <summary>SDM 3A 4.4.1: reserved bits of a pointer that is present are #GP, and the register keeps its value.</summary>
    [Theory]
    [InlineData(1UL << 1, 13)]
    [InlineData(1UL << 2, 13)]
    [InlineData(1UL << 5, 13)]
    [InlineData(1UL << 8, 13)]
    [InlineData(1UL << 40, 13)]
    [InlineData(1UL << 63, 13)]
    [InlineData(0xE18UL, -1)]
    public void PaePointersAreChecked(ulong bits, int vector)
    {
        using Guest guest = StartPae();
        guest.Write(0x30_0108, bits);
        guest.Write(0x30_0100, 0x30_1001UL);
        guest.Write(0x30_0118, 0x30_1001UL);
        Assert.Equal(-1, guest.Run(a => LoadCr3(a)).Vector);
        guest.State->Cr3 = 0x30_0020;
        guest.Write(0x30_0108, bits | 1);
        Assert.Equal(vector, guest.Run(a => LoadCr3(a)).Vector);
        Assert.Equal(vector < 0 ? 0x30_0100UL : 0x30_0020, guest.State->Cr3);
        // Turning PAE paging on.
        guest.State->Cr3 = 0x30_0100;
        guest.State->Cr0 &= 0x7FFF_FFFF;
        Assert.Equal(vector, guest.Run(a =>
        {
            a.mov(eax, cr0);
            a.bts(eax, 31);
            a.mov(cr0, eax);
        }).Vector);
        Assert.Equal(vector < 0, (guest.State->Cr0 >> 31) != 0);

        static void LoadCr3(Assembler a)
        {
            a.mov(eax, 0x30_0100);
            a.mov(cr3, eax);
        }
    }

    /// <summary>SDM 3A 4.4.2, table 4-10: in PAE paging bits 40 to 62 are reserved everywhere.</summary>
    [Theory]
    [InlineData(1UL << 40)]
    [InlineData(1UL << 52)]
    [InlineData(1UL << 62)]
    [InlineData(1UL << 20)]
    public void PaeHasReservedBits(ulong bit)
    {
        using Guest guest = StartPae();
        guest.Write(0x30_1008, 0x87UL | bit);
        Assert.Equal(9u, guest.Run(a => a.mov(eax, __dword_ptr[0x20_0000])).Error);
    }

    /// <summary>SDM 3A 4.5, tables 4-15 to 4-20: reserved bits of each level.</summary>
    [Theory]
    [InlineData(Guest.Tables, 1UL << 7)]            // PS of a PML4 entry
    [InlineData(Guest.Tables, 1UL << 40)]
    [InlineData(Guest.Tables + 0x1000, 1UL << 51)]
    [InlineData(Guest.Tables + 0x2000, 1UL << 45)]
    public void EveryLevelHasReservedBits(ulong entry, ulong bit)
    {
        using var guest = new Guest(GuestMode.Long);
        // Another half GiB, so that the code's own translation is left alone.
        for (ulong table = 0; table < 3; table++)
        {
            ulong copy = 0x30_0000 + (table * 0x1000);
            guest.Write(copy, (table == 2 ? Guest.PageTable : copy + 0x1000) | 7);
        }
        guest.Write(Guest.Tables + 8, 0x30_0000UL | 7);
        if (entry == Guest.Tables)
        {
            guest.Write(Guest.Tables + 8, 0x30_0000UL | 7 | bit);
        }
        else
        {
            guest.Write(entry - Guest.Tables - 0x1000 + 0x30_0000, guest.Read<ulong>(entry - Guest.Tables - 0x1000 + 0x30_0000) | bit);
        }
        Assert.Equal(9u, guest.Run(a => a.mov(eax, __dword_ptr[rdx]), (1UL << 39) + Guest.Data).Error);
    }

    /// <summary>CPUID pdpe1gb: without it a page of 1 GiB has a reserved bit set.</summary>
    [Fact]
    public void AGibibyteComesWithTheFeature()
    {
        CpuModel model = CpuModel.Max with { Features = CpuModel.Max.Features.Without(CpuFeature.Pages1G) };
        using var guest = new Guest(GuestMode.Long, model);
        guest.Write(Guest.Tables + 0x1008, 0x87UL);
        Assert.Equal(9u, guest.Run(a => a.mov(eax, __dword_ptr[0x4000_0000])).Error);
    }

    /// <summary>SDM 3A 4.3: PSE-36 gives a page of 4 MiB address bits 32 to 39; they are reserved without it.</summary>
    [Theory]
    [InlineData(true, -1, 0u)]
    [InlineData(false, 14, 9u)]
    public void Pse36(bool has, int vector, uint error)
    {
        FeatureSet features = has ? CpuModel.Max.Features : CpuModel.Max.Features.Without(CpuFeature.Pse36);
        using Guest guest = StartLarge(CpuModel.Max with { Features = features });
        guest.Write(0x30_0008, 0x87u | (1 << 13));
        Outcome outcome = guest.Run(a => a.mov(eax, __dword_ptr[0x80_0000]));
        Assert.Equal((vector, error), (outcome.Vector, outcome.Error));
        if (has)
        {
            // Beyond RAM.
            Assert.Equal((ulong)uint.MaxValue, guest.State->Gpr[0]);
        }
    }

    /// <summary>SDM 3A 4.10.4.1: INVLPG forgets all of a page of 4 MiB, whichever half it names.</summary>
    [Theory]
    [InlineData(0x80_0000u, 0xA0_0000u)]
    [InlineData(0xA0_0000u, 0x80_0000u)]
    public void InvlpgForgetsFourMebibytes(uint used, uint named)
    {
        using Guest guest = StartLarge();
        Assert.Equal(14, guest.Run(a =>
        {
            a.mov(eax, __dword_ptr[used]);
            a.mov(__dword_ptr[0x30_0008], 0);
            a.invlpg(__[named]);
            a.mov(eax, __dword_ptr[used]);
        }).Vector);
    }

    /// <summary>SDM 3A 4.8: what was not written is not dirty, also where a write over two pages faults on the second.</summary>
    [Fact]
    public void AFaultOnTheSecondPageLeavesTheFirstClean()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Guest.Data + 0x1000) = 0;
        Assert.Equal(14, guest.Run(a => a.mov(__qword_ptr[Address + 0xFFC], rax)).Vector);
        Assert.Equal(0UL, guest.Page(Guest.Data) & Dirty);
        Assert.Equal(Guest.Data + 0x1000, guest.State->Cr2);
        guest.Page(Guest.Data) = 0;
        guest.Run(a => a.mov(__qword_ptr[Address + 0xFFC], rax));
        Assert.Equal(Guest.Data + 0xFFC, guest.State->Cr2);
    }

    /// <summary>PAE paging: directory pointers 0 and 3 lead to one directory, the first 2 MiB are a page.</summary>
    private static Guest StartPae()
    {
        var guest = new Guest(GuestMode.Protected32);
        guest.Write(0x30_0020, 0x30_1000UL | 1);
        guest.Write(0x30_0038, 0x30_1000UL | 1);
        guest.Write(0x30_1000, 0x87UL);
        guest.Write(0x30_1008, 0x20_0087UL);
        guest.State->Cr3 = 0x30_0020;
        guest.State->Cr4 |= 0x20;
        guest.State->Efer = 0x800;
        guest.State->Cr0 |= 0x8000_0000;
        return guest;
    }

    /// <summary>32-bit paging with pages of 4 MiB: the first and the third are the same.</summary>
    private static Guest StartLarge(CpuModel? model = null)
    {
        var guest = new Guest(GuestMode.Protected32, model);
        guest.Write(0x30_0000, 0x87u);
        guest.Write(0x30_0008, 0x87u);
        guest.State->Cr3 = 0x30_0000;
        guest.State->Cr4 |= 0x10;
        guest.State->Cr0 |= 0x8000_0000;
        return guest;
    }

    /// <summary>Two pages that displace each other in the TLB are both forgotten when they should be (SDM 3A 4.10.4).</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void DisplacedPagesAreForgottenToo(bool byAddress)
    {
        const ulong Distance = 4096UL << 12;
        using var guest = new Guest(GuestMode.Long);
        // The first 2 MiB again, where every page has the same place in a table of 4,096.
        guest.Write(Guest.Tables + 0x2000 + (Distance >> 21) * 8, Guest.PageTable | 7);
        guest.Write(Guest.Data, 1UL);
        guest.Write(Guest.Data + 0x1000, 2UL);
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[7] = Guest.Data + Distance;
        Outcome outcome = guest.Run(a =>
        {
            a.mov(rax, __qword_ptr[rsi]);
            a.mov(rbx, __qword_ptr[rdi]);
            a.mov(rax, __qword_ptr[rsi]);
            a.mov(__qword_ptr[rdi + 8], rbx);
            a.mov(rdx, __qword_ptr[rsi + 8]);
            // Both go to the next page now.
            a.mov(rcx, Guest.PageTable + (Guest.Data >> 12) * 8);
            a.add(__dword_ptr[rcx], 0x1000);
            if (byAddress)
            {
                a.invlpg(__byte_ptr[rsi]);
                a.invlpg(__byte_ptr[rdi]);
            }
            else
            {
                a.mov(r8, cr3);
                a.mov(cr3, r8);
            }
            a.mov(r9, __qword_ptr[rsi]);
            a.mov(r10, __qword_ptr[rdi]);
            a.hlt();
        });
        Assert.Equal(-1, outcome.Vector);
        Assert.Equal((1UL, 1UL, 1UL), (guest.State->Gpr[0], guest.State->Gpr[3], guest.State->Gpr[2]));
        Assert.Equal((2UL, 2UL), (guest.State->Gpr[9], guest.State->Gpr[10]));
    }
}
