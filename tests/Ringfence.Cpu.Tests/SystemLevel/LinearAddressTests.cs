using Iced.Intel;
using Ringfence.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Five-level paging, what is canonical, and linear-address masking (SDM 1 3.3.7.1; SDM 3A 4.4, 4.5).</summary>
public sealed unsafe class LinearAddressTests
{
    private const ulong La57 = 1 << 12;
    private const ulong LamSupervisor = 1 << 28;
    private const ulong LamUser57 = 1UL << 61;
    private const ulong LamUser48 = 1UL << 62;
    private const ulong UpperHalf = 0xFFFF_8000_0000_0000;
    /// <summary>The root of five-level tables. Its entry 1 maps what entry 0 does.</summary>
    private const ulong Root = 0x30_0000;
    private const ulong Alias = 1UL << 48;

    private static Guest Start(bool five, ulong cr3 = 0, ulong cr4 = 0, CpuModel? model = null)
    {
        var guest = new Guest(GuestMode.Long, model);
        guest.Write(Root, Guest.Tables | 7);
        guest.Write(Root + 8, Guest.Tables | 7);
        guest.Write(Root + 0xFF8, Guest.Tables | 7);
        // The upper half of four levels maps what the lower does.
        guest.Write(Guest.Tables + 0x800, (Guest.Tables + 0x1000) | 7);
        guest.State->Cr3 = (five ? Root : Guest.Tables) | cr3;
        guest.State->Cr4 |= cr4 | (five ? La57 : 0);
        guest.Processor.StateLoaded();
        guest.Write(Guest.Data, 0x1234);
        return guest;
    }

    private static CpuModel Without(CpuFeature feature) => CpuModel.Max with { Features = CpuModel.Max.Features.Without(feature) };

    /// <summary>SDM 3A 4.5: five levels translate 57 bits.</summary>
    [Theory]
    [InlineData(true, Alias, -1)]
    [InlineData(false, Alias, 13)]
    [InlineData(true, 1UL << 49, 14)]
    [InlineData(true, 1UL << 56, 13)]
    [InlineData(true, 0xFFFF_0000_0000_0000UL, -1)]
    [InlineData(false, 0xFFFF_0000_0000_0000UL, 13)]
    [InlineData(true, 0xFE00_0000_0000_0000UL, 13)]
    [InlineData(false, UpperHalf, -1)]
    public void FiveLevelsHave57Bits(bool five, ulong at, int vector)
    {
        using Guest guest = Start(five);
        Assert.Equal(vector, guest.Run(a => a.mov(eax, __dword_ptr[rdx]), at + Guest.Data).Vector);
        if (vector < 0)
        {
            Assert.Equal(0x1234UL, guest.State->Gpr[0]);
            Assert.Equal(five ? 0x20UL : 0, guest.Read<ulong>(Root + (at == Alias ? 8u : 0xFF8)) & 0x60);
        }
    }

    /// <summary>SDM 1 3.3.7.1: through the stack it is #SS.</summary>
    [Theory]
    [InlineData(true, 14)]
    [InlineData(false, 12)]
    public void StacksHave57Bits(bool five, int vector)
    {
        using Guest guest = Start(five);
        guest.Gate(vector, Guest.Code64, (uint)Guest.Handlers + ((uint)vector << 4), ist: 1);
        Assert.Equal(vector, guest.Run(a =>
        {
            a.mov(rsp, rdx);
            a.pop(rax);
        }, 1UL << 49).Vector);
    }

    /// <summary>Code runs there, and every kind of transfer reaches it.</summary>
    [Fact]
    public void CodeHas57Bits()
    {
        using Guest guest = Start(true);
        guest.Assemble(Guest.Data, 64, Alias + Guest.Data, a =>
        {
            a.inc(ebx);
            a.jmp(rsi);
        });
        guest.State->Gpr[3] = 0;
        Assert.Equal(-1, guest.Run(a =>
        {
            Label[] back = [a.CreateLabel(), a.CreateLabel(), a.CreateLabel(), a.CreateLabel()];
            a.lea(rsi, __[back[0]]);
            a.jmp(rdx);
            a.Label(ref back[0]);
            a.lea(rsi, __[back[1]]);
            a.call(rdx);
            a.Label(ref back[1]);
            a.lea(rsi, __[back[2]]);
            a.push(rdx);
            a.ret();
            a.Label(ref back[2]);
            a.lea(rsi, __[back[3]]);
            a.mov(rax, rsp);
            a.push(Guest.FlatData);
            a.push(rax);
            a.pushfq();
            a.push(Guest.Code64);
            a.push(rdx);
            a.iretq();
            a.Label(ref back[3]);
            a.nop();
        }, Alias + Guest.Data).Vector);
        Assert.Equal(4UL, guest.State->Gpr[3]);
        using Guest four = Start(false);
        Assert.Equal(13, four.Run(a => a.call(rdx), Alias + Guest.Data).Vector);
        Assert.Equal(13, four.Run(a => a.jmp(rdx), Alias + Guest.Data).Vector);
    }

    /// <summary>SDM 3A 2.5: CR4.LA57 cannot change in long mode.</summary>
    [Theory]
    [InlineData(GuestMode.Long, 13)]
    [InlineData(GuestMode.Protected32, -1)]
    public void La57IsChosenOutsideLongMode(GuestMode mode, int vector)
    {
        using var guest = new Guest(mode);
        guest.State->Gpr[2] = guest.State->Cr4 | La57;
        Assert.Equal(vector, (mode == GuestMode.Long ? guest.Run(a => a.mov(cr4, rdx)) : guest.Run(a => a.mov(cr4, edx))).Vector);
    }

    /// <summary>SDM 2 WRMSR, LGDT: registers take what the processor's widest addresses may be, whether CR4.LA57 is set or not.</summary>
    [Theory]
    [InlineData(true, 1UL << 55, -1)]
    [InlineData(true, 1UL << 56, 13)]
    [InlineData(true, 0xFF00_0000_0000_0000UL, -1)]
    [InlineData(false, 1UL << 47, 13)]
    [InlineData(false, 1UL << 46, -1)]
    public void RegistersHaveTheProcessorsWidth(bool has, ulong address, int vector)
    {
        uint[] registers = [0x175, 0x176, 0xC000_0082, 0xC000_0083, 0xC000_0100, 0xC000_0101, 0xC000_0102];
        foreach (uint register in registers)
        {
            using Guest guest = Start(false, model: has ? null : Without(CpuFeature.La57));
            guest.State->Gpr[1] = register;
            guest.State->Gpr[0] = (uint)address;
            Assert.Equal(vector, guest.Run(a => a.wrmsr(), address >> 32).Vector);
        }
        Action<Assembler>[] tables = [a => a.lgdt(__[(int)Guest.Data]), a => a.lidt(__[(int)Guest.Data])];
        foreach (Action<Assembler> table in tables)
        {
            using Guest guest = Start(false, model: has ? null : Without(CpuFeature.La57));
            guest.Write(Guest.Data, (ushort)0x7FF);
            guest.Write(Guest.Data + 2, address);
            Assert.Equal(vector, guest.Run(table).Vector);
        }
        using Guest segments = Start(false, model: has ? null : Without(CpuFeature.La57));
        segments.Write(Guest.Gdt + Guest.Free, Guest.Segment((uint)address, 0xFFF, 0x0082));
        segments.Write(Guest.Gdt + Guest.Free + 8, address >> 32);
        segments.State->GdtLimit = 0xFFF;
        Assert.Equal((vector, vector < 0 ? 0u : Guest.Free), Run(a => a.lldt(dx)));
        segments.Write(Guest.Gdt + Guest.Free, Guest.Segment((uint)address, 0xFFF, 0x0089));
        Assert.Equal((vector, vector < 0 ? 0u : Guest.Free), Run(a => a.ltr(dx)));

        (int Vector, uint Error) Run(Action<Assembler> load)
        {
            Outcome outcome = segments.Run(load, Guest.Free);
            return (outcome.Vector, outcome.Error);
        }
    }

    /// <summary>SDM 2 SYSRET, APM 3 SYSRET: Intel's faults in supervisor mode, AMD's after it. SYSEXIT always does the former.</summary>
    [Theory]
    [InlineData("GenuineIntel", true, 1UL << 50, 0u)]
    [InlineData("AuthenticAMD", true, 1UL << 50, 3u)]
    [InlineData("GenuineIntel", false, 1UL << 50, 0u)]
    public void ReturnsToUsersAreCanonical(string vendor, bool sysret, ulong target, uint level)
    {
        using Guest guest = Start(false, model: CpuModel.Max with { Vendor = vendor });
        guest.State->Star = (ulong)Guest.Code64 << 48;
        guest.State->SysenterCs = Guest.Code64;
        guest.State->Gpr[1] = target;
        guest.State->Gpr[11] = 2;
        Outcome outcome = guest.Run(a =>
        {
            if (sysret)
            {
                a.sysretq();
            }
            else
            {
                a.sysexitq();
            }
        }, target);
        Assert.Equal(13, outcome.Vector);
        Assert.Equal(level == 0 ? Guest.Code : target, outcome.Rip);
        Assert.Equal(level, (uint)guest.Read<byte>(guest.State->Gpr[4] + 16) & 3);
    }

    /// <summary>Tables of the system lie anywhere in 64 bits, also while 32-bit code runs (SDM 3A 2.4).</summary>
    [Fact]
    public void CompatibilityModeReachesHighTables()
    {
        using var guest = new Guest(GuestMode.Compatibility);
        guest.Write(Guest.Tables + 0x800, (Guest.Tables + 0x1000) | 7);
        guest.State->GdtBase += UpperHalf;
        guest.State->IdtBase += UpperHalf;
        guest.State->Tr.Base += UpperHalf;
        guest.BecomeUser();
        Assert.Equal(6, guest.Run(a =>
        {
            a.mov(eax, Guest.UserData);
            a.mov(ds, eax);
            a.ud2();
        }).Vector);
    }

    /// <summary>SDM 3A 4.4: which pointers lose which bits, at four and at five levels.</summary>
    [Theory]
    [InlineData(false, LamUser48, 0UL, 0x7FFF_0000_0000_0000UL, -1)]
    [InlineData(false, LamUser48, 0UL, 0x0000_8000_0000_0000UL, 13)]  // bit 47 must be bit 63
    [InlineData(false, LamUser57, 0UL, 0x7E00_0000_0000_0000UL, -1)]
    [InlineData(false, LamUser57, 0UL, 0x0100_0000_0000_0000UL, 13)]
    [InlineData(false, LamUser57, 0UL, 0x0001_0000_0000_0000UL, 13)]
    [InlineData(false, LamUser57 | LamUser48, 0UL, 0x0001_0000_0000_0000UL, 13)] // 57 wins
    [InlineData(false, 0UL, 0UL, 0x7E00_0000_0000_0000UL, 13)]
    [InlineData(false, 0UL, LamSupervisor, 0x7E00_0000_0000_0000UL, 13)]
    [InlineData(false, 0UL, LamSupervisor, 0x8000_8000_0000_0000UL, -1)]
    [InlineData(false, 0UL, LamSupervisor, 0x8000_0000_0000_0000UL, 13)]
    [InlineData(false, LamUser48, 0UL, 0x8000_8000_0000_0000UL, 13)]
    [InlineData(true, 0UL, LamSupervisor, 0x81FF_0000_0000_0000UL, -1)]
    [InlineData(true, 0UL, LamSupervisor, 0x80FF_0000_0000_0000UL, 13)]
    [InlineData(true, LamUser57, 0UL, 0x7E00_0000_0000_0000UL, -1)]
    [InlineData(true, LamUser57, 0UL, 0x7E01_0000_0000_0000UL, -1)]   // bit 48 is address
    [InlineData(true, LamUser57, 0UL, 0x7E02_0000_0000_0000UL, 14)]
    [InlineData(true, LamUser48, 0UL, 0x7E02_0000_0000_0000UL, -1)]   // here it is not
    [InlineData(true, LamUser48, 0UL, 0x0000_8000_0000_0000UL, 13)]
    public void MaskingMakesPointersCanonical(bool five, ulong cr3, ulong cr4, ulong tag, int vector)
    {
        using Guest guest = Start(five, cr3, cr4);
        Assert.Equal(vector, guest.Run(a =>
        {
            a.inc(__dword_ptr[rdx]);
            a.@lock.add(__dword_ptr[rdx], 2);
            a.push(__qword_ptr[rdx]);
            a.pop(__qword_ptr[rdx]);
            a.mov(rsp, rdx);
            a.pop(rax);
        }, tag + Guest.Data).Vector);
        Assert.Equal(vector < 0 ? 0x1237u : 0x1234, guest.Read<uint>(Guest.Data));
        Assert.Equal(vector < 0 ? 0x1237UL : guest.State->Gpr[0], guest.State->Gpr[0]);
    }

    /// <summary>SDM 3A 4.4.2: many tags name one page; CR2 has none; what is not data is not masked.</summary>
    [Fact]
    public void MaskingIsForData()
    {
        using Guest guest = Start(false, LamUser48);
        ulong tagged = 0x5500_0000_0000_0000;
        guest.Run(a =>
        {
            a.inc(__dword_ptr[rdx]);
            a.bts(rdx, 48);
            a.inc(__dword_ptr[rdx]);
            a.inc(__dword_ptr[(int)Guest.Data]);
            a.btr(rdx, 48);
            a.inc(__dword_ptr[rdx]);
            a.mov(eax, __dword_ptr[rdx]);
        }, tagged + Guest.Data);
        Assert.Equal(0x1238UL, guest.State->Gpr[0]);
        Assert.Equal(14, guest.Run(a => a.mov(eax, __dword_ptr[rdx]), tagged + 0x40_0000).Vector);
        Assert.Equal(0x40_0000UL, guest.State->Cr2);
        Assert.Equal(13, guest.Run(a => a.jmp(rdx), tagged + Guest.Handlers).Vector);
        // INVLPG of an address that is not canonical does nothing; INVPCID's operand is data, the address in it is not.
        Assert.Equal(-1, guest.Run(a => a.invlpg(__[rdx]), tagged + Guest.Data).Vector);
        guest.Write(Guest.Data, 0UL);
        guest.Write(Guest.Data + 8, tagged);
        guest.State->Gpr[0] = 0;
        Assert.Equal(13, guest.Run(a => a.invpcid(rax, __xmmword_ptr[rdx]), Guest.Data).Vector);
        guest.Write(Guest.Data + 8, 0UL);
        Assert.Equal(-1, guest.Run(a => a.invpcid(rax, __xmmword_ptr[rdx]), tagged + Guest.Data).Vector);
    }

    /// <summary>An address that five levels make canonical is one page to fetches and, masked, another to data.</summary>
    [Fact]
    public void FetchesAndDataMayDifferInTheSamePage()
    {
        using Guest guest = Start(true, LamUser48);
        // Entry 1 of the root maps other tables: there the data page is the next one.
        ulong tables = 0x20_0000;
        guest.Memory.Write(tables, new ReadOnlySpan<byte>(guest.Memory.Pointer(Guest.Tables, 0x4000), 0x4000));
        guest.Write(tables, (tables + 0x1000) | 7);
        guest.Write(tables + 0x1000, (tables + 0x2000) | 7);
        guest.Write(tables + 0x2000, (tables + 0x3000) | 7);
        guest.Write(tables + 0x3000 + (Guest.Data >> 9), (Guest.Data + 0x1000) | 7);
        guest.Write(Root + 8, tables | 7);
        guest.Write(Guest.Data + 0x10, 0xAAu);
        guest.Assemble(Guest.Data + 0x1000, 64, Alias + Guest.Data, a =>
        {
            a.mov(eax, __dword_ptr[rdx + 0x10]);
            a.nop();
            a.mov(ebx, __dword_ptr[rdx + 0x10]);
            a.hlt();
        });
        guest.Run(a =>
        {
            a.mov(eax, __dword_ptr[rdx + 0x10]);
            a.jmp(rdx);
        }, Alias + Guest.Data);
        Assert.Equal((0xAAUL, 0xAAUL), (guest.State->Gpr[0], guest.State->Gpr[3]));
    }

    /// <summary>SDM 2 MOV to CR3 and CR4: masking ends at once.</summary>
    [Fact]
    public void MaskingIsTurnedOff()
    {
        using Guest guest = Start(false, LamUser48, LamSupervisor);
        ulong tagged = 0x5500_0000_0000_0000 + Guest.Data;
        Outcome outcome = guest.Run(a =>
        {
            a.mov(eax, __dword_ptr[rdx]);
            a.mov(rcx, cr3);
            a.btr(rcx, 62);
            a.mov(cr3, rcx);
            a.mov(eax, __dword_ptr[rdx]);
        }, tagged);
        Assert.Equal(13, outcome.Vector);
        outcome = guest.Run(a =>
        {
            a.mov(eax, __dword_ptr[rdx]);
            a.mov(rcx, cr4);
            a.btr(rcx, 28);
            a.mov(cr4, rcx);
            a.mov(eax, __dword_ptr[rdx]);
        }, 0xAA00_8000_0000_0000 + Guest.Data);
        Assert.Equal((13, 0UL), (outcome.Vector, guest.State->Cr4 & LamSupervisor));
    }

    /// <summary>SDM 3A 2.5, CR3: without the feature its bits are reserved.</summary>
    [Theory]
    [InlineData(LamUser48)]
    [InlineData(LamUser57)]
    public void MaskingComesWithTheFeature(ulong bit)
    {
        using Guest guest = Start(false);
        Assert.Equal(-1, guest.Run(a => a.mov(cr3, rdx), Guest.Tables | bit).Vector);
        Assert.Equal(Guest.Tables | bit, guest.State->Cr3);
        using Guest old = Start(false, model: Without(CpuFeature.LinearAddressMasking));
        Assert.Equal(13, old.Run(a => a.mov(cr3, rdx), Guest.Tables | bit).Vector);
    }

    /// <summary>CPUID 0x80000008: how wide addresses are.</summary>
    [Theory]
    [InlineData(true, 0x3928UL)]
    [InlineData(false, 0x3028UL)]
    public void CpuidTellsTheWidths(bool five, ulong widths)
    {
        using Guest guest = Start(false, model: five ? null : Without(CpuFeature.La57));
        guest.State->Gpr[0] = 0x8000_0008;
        guest.Run(a => a.cpuid());
        Assert.Equal(widths, guest.State->Gpr[0]);
    }
}
