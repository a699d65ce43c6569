using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>What keeps supervisors from user pages and users from what supervisors know: SMEP, SMAP, UMIP, protection keys (SDM 3A 2.5, 4.6).</summary>
public sealed unsafe class UserPageTests
{
    private const ulong Umip = 1 << 11;
    private const ulong Smep = 1 << 20;
    private const ulong Smap = 1 << 21;
    private const ulong KeysForUsers = 1 << 22;
    private const ulong KeysForSupervisors = 1 << 24;
    private const ulong AlignmentCheck = 1 << 18;
    private const ulong WriteProtect = 1 << 16;

    private static int Address => (int)Guest.Data;

    /// <summary>A guest of which only the data page, and what user code needs, belongs to users.</summary>
    private static Guest Start(ulong cr4, CpuModel? model = null)
    {
        var guest = new Guest(GuestMode.Long, model);
        for (ulong page = 0; page < 0x20_0000; page += 0x1000)
        {
            guest.Page(page) &= page == Guest.Data ? ulong.MaxValue : ~4UL;
        }
        guest.State->Cr4 |= cr4;
        guest.Processor.StateLoaded();
        return guest;
    }

    private static void BecomeUser(Guest guest)
    {
        guest.Page(Guest.Code) |= 4;
        guest.BecomeUser();
    }

    private static CpuModel Without(CpuFeature feature) => CpuModel.Max with { Features = CpuModel.Max.Features.Without(feature) };

    private static void Access(Assembler a, bool write)
    {
        if (write)
        {
            a.mov(__byte_ptr[Address], al);
        }
        else
        {
            a.mov(al, __byte_ptr[Address]);
        }
    }

    /// <summary>SDM 3A 4.6.1: supervisors fetch no instruction from user pages.</summary>
    [Theory]
    [InlineData(Smep, true, 0x11u)]
    [InlineData(Smep, false, 0x11u)] // the fetch is told even without NX
    [InlineData(0UL, true, null)]
    public void SmepForbidsFetches(ulong cr4, bool nx, uint? error)
    {
        using Guest guest = Start(cr4);
        guest.Place(Guest.Data, 0xF4);
        guest.State->Efer &= nx ? ulong.MaxValue : ~0x800UL;
        Outcome outcome = guest.Run(a => a.jmp(Guest.Data));
        Assert.Equal(error is null ? new Outcome(-1, 0, Guest.Data + 1) : new Outcome(14, error.Value, Guest.Data), outcome);
    }

    /// <summary>SDM 3A 4.6.1: supervisors touch no user page, unless RFLAGS.AC is set.</summary>
    [Theory]
    [InlineData(Smap, false, false, 1u)]
    [InlineData(Smap, false, true, 3u)]
    [InlineData(Smap, true, false, null)]
    [InlineData(Smap, true, true, null)]
    [InlineData(0UL, false, true, null)]
    public void SmapForbidsData(ulong cr4, bool ac, bool write, uint? error)
    {
        using Guest guest = Start(cr4);
        guest.State->SystemFlags |= ac ? AlignmentCheck : 0;
        Outcome outcome = guest.Run(a => Access(a, write));
        Assert.Equal((error is null ? -1 : 14, error ?? 0), (outcome.Vector, outcome.Error));
        Assert.Equal(error is null, (guest.Page(Guest.Data) & 0x20) != 0);
    }

    /// <summary>SDM 2 STAC, CLAC.</summary>
    [Fact]
    public void StacAndClacTakeEffectAtOnce()
    {
        using Guest guest = Start(Smap);
        Outcome outcome = guest.Run(a =>
        {
            a.stac();
            a.inc(__byte_ptr[Address]);
            a.pushfq();
            a.pop(rbx);
            a.clac();
            a.pushfq();
            a.pop(rcx);
            a.inc(__byte_ptr[Address]);
        });
        Assert.Equal((14, 3u), (outcome.Vector, outcome.Error));
        Assert.Equal(1, guest.Read<byte>(Guest.Data));
        Assert.Equal((AlignmentCheck, 0UL), (guest.State->Gpr[3] & AlignmentCheck, guest.State->Gpr[1] & AlignmentCheck));
    }

    /// <summary>SDM 2 CLAC: what POPF allowed, CLAC forbids, to pages that are in the TLB already too.</summary>
    [Fact]
    public void ClacEndsWhatPopfBegan()
    {
        using Guest guest = Start(Smap);
        Outcome outcome = guest.Run(a =>
        {
            a.push((int)(AlignmentCheck | 2));
            a.popfq();
            a.mov(al, __byte_ptr[Address]);
            a.clac();
            a.mov(al, __byte_ptr[Address]);
        });
        Assert.Equal((14, 1u), (outcome.Vector, outcome.Error));
    }

    /// <summary>SDM 2 STAC, CLAC: #UD for users, and where there is no SMAP.</summary>
    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void StacAndClacAreForSupervisors(bool user, bool set)
    {
        using Guest guest = Start(Smap, user ? null : Without(CpuFeature.Smap));
        if (user)
        {
            BecomeUser(guest);
        }
        else
        {
            guest.State->Cr4 &= ~Smap;
        }
        Assert.Equal(6, guest.Run(a =>
        {
            if (set)
            {
                a.stac();
            }
            else
            {
                a.clac();
            }
        }).Vector);
    }

    /// <summary>SDM 3A 4.6.1: loading a descriptor is a supervisor access whatever the CPL, and RFLAGS.AC does not help it.</summary>
    [Theory]
    [InlineData(false, Smap, 1u)]
    [InlineData(true, Smap, 1u)]
    [InlineData(false, 0UL, null)]
    [InlineData(true, 0UL, null)]
    public void DescriptorsAreReadImplicitly(bool user, ulong cr4, uint? error)
    {
        using Guest guest = Start(cr4);
        guest.Write(Guest.Data, Guest.Segment(0, 0xF_FFFF, 0xC0F3));
        guest.State->Ldtr = new SegmentRegister { Base = Guest.Data, Limit = 7, Attributes = 0x82 };
        guest.State->SystemFlags |= AlignmentCheck;
        if (user)
        {
            BecomeUser(guest);
        }
        Outcome outcome = guest.Run(a =>
        {
            a.mov(eax, user ? 7 : 4);
            a.mov(es, eax);
            a.ud2();
        });
        Assert.Equal((error is null ? 6 : 14, error ?? 0), (outcome.Vector, outcome.Error));
    }

    /// <summary>SDM 3A 4.6.1: an exception in user code pushes its frame with supervisor rights, whatever the user made of RFLAGS.AC.</summary>
    [Theory]
    [InlineData(Smap, 8)]
    [InlineData(0UL, 6)]
    public void FramesOfUserCodeDoNotGoToUserPages(ulong cr4, int vector)
    {
        using Guest guest = Start(cr4);
        guest.Write(Guest.Tss + 4, Guest.Data + 0x800);
        guest.Gate(8, Guest.Code64, (uint)Guest.Handlers + 0x80, ist: 1);
        guest.State->SystemFlags |= AlignmentCheck;
        BecomeUser(guest);
        Assert.Equal(vector, guest.Run(a => a.ud2()).Vector);
    }

    /// <summary>SDM 3A 2.5, CR4.UMIP.</summary>
    [Theory]
    [InlineData(Umip, true, 13)]
    [InlineData(Umip, false, -1)]
    [InlineData(0UL, true, 6)]
    public void UmipHidesTablesFromUsers(ulong cr4, bool user, int vector)
    {
        Action<Assembler>[] instructions =
        [
            a => a.sgdt(__[Address]),
            a => a.sidt(__[Address]),
            a => a.sldt(__word_ptr[Address]),
            a => a.str(__word_ptr[Address]),
            a => a.smsw(__word_ptr[Address]),
            a => a.sldt(eax),
            a => a.str(eax),
            a => a.smsw(rax),
        ];
        foreach (Action<Assembler> instruction in instructions)
        {
            using Guest guest = Start(cr4);
            if (user)
            {
                BecomeUser(guest);
            }
            Outcome outcome = guest.Run(a =>
            {
                instruction(a);
                if (user)
                {
                    a.ud2();
                }
            });
            Assert.Equal((vector, 0u), (outcome.Vector, outcome.Error));
        }
    }

    /// <summary>SDM 3A 4.6.2 and 4.7: PKRU's rights to user pages, for users and supervisors, and bit 5 of the error code.</summary>
    [Theory]
    [InlineData(true, false, 0u, true, null)]
    [InlineData(true, false, 1u, true, 0x25u)]
    [InlineData(true, true, 1u, true, 0x27u)]
    [InlineData(true, false, 2u, true, null)]
    [InlineData(true, true, 2u, true, 0x27u)]
    [InlineData(true, true, 2u, false, 0x27u)]
    [InlineData(false, false, 1u, true, 0x21u)]
    [InlineData(false, true, 2u, true, 0x23u)]
    [InlineData(false, true, 2u, false, null)]
    [InlineData(false, true, 1u, false, 0x23u)]
    public void KeysOfUserPages(bool user, bool write, uint rights, bool protect, uint? error)
    {
        using Guest guest = Start(KeysForUsers);
        guest.Page(Guest.Data) |= 5UL << 59;
        guest.State->Cr0 &= protect ? ulong.MaxValue : ~WriteProtect;
        guest.State->Pkru = rights << 10;
        if (user)
        {
            BecomeUser(guest);
        }
        Outcome outcome = guest.Run(a =>
        {
            Access(a, write);
            if (user)
            {
                a.ud2();
            }
        });
        Assert.Equal((error is null ? user ? 6 : -1 : 14, error ?? 0), (outcome.Vector, outcome.Error));
        Assert.Equal(error is null && write, (guest.Page(Guest.Data) & 0x40) != 0);
    }

    /// <summary>SDM 3A 4.6.2: keys say nothing about fetches, nor about anything while CR4.PKE is 0; bit 5 tells also beside other causes.</summary>
    [Fact]
    public void KeysConcernDataAlone()
    {
        using Guest guest = Start(KeysForUsers);
        guest.Place(Guest.Data, 0xF4);
        guest.Page(Guest.Data) |= 5UL << 59;
        guest.State->Pkru = uint.MaxValue;
        guest.State->Pkrs = uint.MaxValue;
        Assert.Equal(Guest.Data + 1, guest.Run(a => a.jmp(Guest.Data)).Rip);
        guest.Page(Guest.Data) &= ~2UL;
        Assert.Equal(0x23u, guest.Run(a => a.mov(__byte_ptr[Address], al)).Error);
        guest.State->Cr4 &= ~KeysForUsers;
        Assert.Equal(-1, guest.Run(a => a.mov(al, __byte_ptr[Address])).Vector);
        Assert.Equal(3u, guest.Run(a => a.mov(__byte_ptr[Address], al)).Error);
    }

    /// <summary>SDM 2 WRPKRU, RDPKRU: what is written counts from the next access on, also for pages that were used before.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    public void WrpkruTakesEffectAtOnce(int key)
    {
        using Guest guest = Start(KeysForUsers);
        guest.Page(Guest.Data) |= (ulong)key << 59;
        Outcome outcome = guest.Run(a =>
        {
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.mov(eax, 2 << (2 * key));
            a.mov(bl, __byte_ptr[Address]);
            a.mov(__byte_ptr[Address], bl);
            a.wrpkru();
            a.dec(edx);
            a.rdpkru();
            a.mov(esi, eax);
            a.mov(bl, __byte_ptr[Address]);
            a.mov(__byte_ptr[Address], bl);
        });
        Assert.Equal((14, 0x23u), (outcome.Vector, outcome.Error));
        Assert.Equal((ulong)(2 << (2 * key)), guest.State->Gpr[6]);
        Assert.Equal(0UL, guest.State->Gpr[2]);
    }

    /// <summary>SDM 2 WRPKRU, RDPKRU: #UD without CR4.PKE; #GP if ECX or, writing, EDX is not 0. CPUID tells of CR4.PKE.</summary>
    [Fact]
    public void PkruIsReachedWithZeroes()
    {
        using Guest guest = Start(0);
        guest.State->Gpr[1] = guest.State->Gpr[2] = 0;
        Assert.Equal(6, guest.Run(a => a.rdpkru()).Vector);
        Assert.Equal(6, guest.Run(a => a.wrpkru()).Vector);
        guest.State->Cr4 |= KeysForUsers;
        guest.State->Gpr[1] = 1;
        Assert.Equal(13, guest.Run(a => a.rdpkru()).Vector);
        Assert.Equal(13, guest.Run(a => a.wrpkru()).Vector);
        guest.State->Gpr[1] = 0;
        guest.State->Gpr[2] = 1;
        Assert.Equal(13, guest.Run(a => a.wrpkru()).Vector);
        Assert.Equal(-1, guest.Run(a => a.rdpkru()).Vector);
        guest.Run(a =>
        {
            a.mov(eax, 7);
            a.xor(ecx, ecx);
            a.cpuid();
        });
        Assert.Equal(0x18UL, guest.State->Gpr[1] & 0x18);
    }

    /// <summary>SDM 3A 4.6.2: IA32_PKRS' rights to supervisor pages.</summary>
    [Theory]
    [InlineData(false, 1u, true, 0x21u)]
    [InlineData(false, 2u, true, null)]
    [InlineData(true, 2u, true, 0x23u)]
    [InlineData(true, 2u, false, null)]
    [InlineData(true, 0u, true, null)]
    public void KeysOfSupervisorPages(bool write, uint rights, bool protect, uint? error)
    {
        using Guest guest = Start(KeysForSupervisors);
        guest.Page(Guest.Data) = Guest.Data | 3 | (5UL << 59);
        guest.State->Cr0 &= protect ? ulong.MaxValue : ~WriteProtect;
        guest.State->Pkru = uint.MaxValue;
        Outcome outcome = guest.Run(a =>
        {
            a.mov(bl, __byte_ptr[Address]);
            a.mov(__byte_ptr[Address], bl);
            a.mov(ecx, 0x6E1);
            a.mov(eax, rights << 10);
            a.xor(edx, edx);
            a.wrmsr();
            Access(a, write);
        });
        Assert.Equal((error is null ? -1 : 14, error ?? 0), (outcome.Vector, outcome.Error));
    }

    /// <summary>SDM 4 IA32_PKRS: bits 63 to 32 are reserved; without the feature there is no such MSR.</summary>
    [Fact]
    public void PkrsHas32Bits()
    {
        using Guest guest = Start(0);
        guest.State->Gpr[1] = 0x6E1;
        guest.State->Gpr[0] = 0x55;
        Assert.Equal(-1, guest.Run(a => a.wrmsr(), 0).Vector);
        Assert.Equal(0x55u, guest.State->Pkrs);
        Assert.Equal(13, guest.Run(a => a.wrmsr(), 1).Vector);
        using Guest old = Start(0, Without(CpuFeature.SupervisorKeys));
        old.State->Gpr[1] = 0x6E1;
        Assert.Equal(13, old.Run(a => a.rdmsr()).Vector);
    }
}
