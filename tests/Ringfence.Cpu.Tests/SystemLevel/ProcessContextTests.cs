using Iced.Intel;
using Ringfence.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Process-context identifiers and INVPCID (SDM 3A 4.10.1, 4.10.4; SDM 2 INVPCID).</summary>
public sealed unsafe class ProcessContextTests
{
    private const ulong Pcide = 1 << 17;
    private const ulong Keep = 1UL << 63;

    private static int Address => (int)Guest.Data;

    private static int Entry => (int)(Guest.PageTable + (Guest.Data >> 9));

    /// <summary>Where INVPCID's operand is.</summary>
    private static int Operand => (int)Guest.Data + 0x3000;

    private static Guest Start(ulong cr4 = Pcide)
    {
        var guest = new Guest(GuestMode.Long);
        guest.State->Cr4 |= cr4;
        guest.Write(Guest.Data, 1);
        guest.Write(Guest.Data + 0x1000, 2);
        return guest;
    }

    private static void LoadCr3(Assembler a, ulong value)
    {
        a.mov(rax, value);
        a.mov(cr3, rax);
    }

    /// <summary>Maps the data page to the next one, unnoticed.</summary>
    private static void Remap(Assembler a, bool global = false)
    {
        a.mov(rax, Guest.Data + 0x1007 + (global ? 0x100u : 0));
        a.mov(__qword_ptr[Entry], rax);
    }

    /// <summary>SDM 3A 4.10.1: CR4.PCIDE needs long mode and CR3[11:0] = 0.</summary>
    [Theory]
    [InlineData(GuestMode.Long, Guest.Tables, -1)]
    [InlineData(GuestMode.Long, Guest.Tables | 8, 13)]
    [InlineData(GuestMode.Protected32, Guest.Tables, 13)]
    public void SettingPcideIsChecked(GuestMode mode, ulong tables, int vector)
    {
        using var guest = new Guest(mode);
        guest.State->Cr3 = tables;
        guest.State->Gpr[2] = guest.State->Cr4 | Pcide;
        Assert.Equal(vector, (mode == GuestMode.Long ? guest.Run(a => a.mov(cr4, rdx)) : guest.Run(a => a.mov(cr4, edx))).Vector);
    }

    /// <summary>SDM 2 MOV to CR0: paging cannot be left with CR4.PCIDE set.</summary>
    [Theory]
    [InlineData(Pcide, 13)]
    [InlineData(0UL, -1)]
    public void PcidesKeepPagingOn(ulong cr4, int vector)
    {
        using var guest = new Guest(GuestMode.Compatibility);
        guest.State->Cr4 |= cr4;
        guest.State->Gpr[2] = guest.State->Cr0 & 0x7FFF_FFFF;
        Assert.Equal(vector, guest.Run(a => a.mov(cr0, edx)).Vector);
    }

    /// <summary>SDM 2 MOV to CR3: bit 63 is reserved without CR4.PCIDE, and never stored.</summary>
    [Theory]
    [InlineData(0UL, Keep, 13)]
    [InlineData(Pcide, Keep, -1)]
    [InlineData(Pcide, Keep | (1UL << 40), 13)]
    [InlineData(Pcide, 0xFFFUL, -1)]
    [InlineData(0UL, 1UL << 60, 13)]
    public void Cr3IsChecked(ulong cr4, ulong bits, int vector)
    {
        using Guest guest = Start(cr4);
        Assert.Equal(vector, guest.Run(a => a.mov(cr3, rdx), Guest.Tables | bits).Vector);
        Assert.Equal(vector < 0 ? Guest.Tables | (bits & ~Keep) : Guest.Tables, guest.State->Cr3);
    }

    /// <summary>SDM 3A 4.10.4.1: with bit 63 a context's translations are kept, without it they are forgotten.</summary>
    [Theory]
    [InlineData(Keep, 1UL)]
    [InlineData(0UL, 2UL)]
    public void AContextIsKeptOrNot(ulong keep, ulong expected)
    {
        using Guest guest = Start();
        guest.Run(a =>
        {
            a.mov(ebx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | 1);
            Remap(a);
            a.mov(ecx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | keep);
            a.mov(ebx, __dword_ptr[Address]);
        });
        Assert.Equal((2UL, expected), (guest.State->Gpr[1], guest.State->Gpr[3]));
    }

    /// <summary>More contexts than are remembered, each with a page of its own at the same address.</summary>
    [Fact]
    public void ContextsAreApart()
    {
        const int Contexts = 20;
        using Guest guest = Start();
        for (uint i = 0; i < Contexts; i++)
        {
            // A copy of the tables, with a data page that tells whose it is.
            ulong tables = 0x20_0000 + (i * 0x5000);
            for (ulong table = 0; table < 4; table++)
            {
                guest.Memory.Write(tables + (table * 0x1000), new ReadOnlySpan<byte>(guest.Memory.Pointer(Guest.Tables + (table * 0x1000), 4096), 4096));
            }
            guest.Write(tables, (tables + 0x1000) | 7);
            guest.Write(tables + 0x1000, (tables + 0x2000) | 7);
            guest.Write(tables + 0x2000, (tables + 0x3000) | 7);
            guest.Write(tables + 0x3000 + (Guest.Data >> 9), (tables + 0x4000) | 7);
            guest.Write(tables + 0x4000, i);
        }
        guest.State->Gpr[4] = Guest.UserStackTop;
        guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.xor(ebx, ebx);
            a.mov(ebp, 10_000);
            a.mov(edi, 1);
            a.Label(ref again);
            a.imul(edi, edi, 1_103_515_245);
            a.add(edi, 12_345);
            a.mov(eax, edi);
            a.shr(eax, 16);
            a.xor(edx, edx);
            a.mov(ecx, Contexts);
            a.div(ecx);
            a.imul(eax, edx, 0x5000);
            a.lea(rax, __[rax + rdx + 0x20_0001]);
            a.bts(rax, 63);
            a.mov(cr3, rax);
            a.mov(ecx, __dword_ptr[Address]);
            a.xor(ecx, edx);
            a.or(ebx, ecx);
            a.dec(ebp);
            a.jnz(again);
        });
        Assert.Equal((0UL, 0UL), (guest.State->Gpr[5], guest.State->Gpr[3]));
    }

    /// <summary>SDM 3A 4.10.4.1: INVLPG forgets a global page in every context.</summary>
    [Fact]
    public void InvlpgReachesGlobalPagesEverywhere()
    {
        using Guest guest = Start(Pcide | 0x80);
        guest.Page(Guest.Data) |= 0x100;
        guest.Run(a =>
        {
            a.mov(ebx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | 1 | Keep);
            a.mov(ebx, __dword_ptr[Address]);
            Remap(a, true);
            a.invlpg(__[Address]);
            LoadCr3(a, Guest.Tables | Keep);
            a.mov(ebx, __dword_ptr[Address]);
        });
        Assert.Equal(2UL, guest.State->Gpr[3]);
    }

    /// <summary>SDM 2 INVPCID: what each kind forgets of context 0 and of context 1, for a page that is global or not.</summary>
    [Theory]
    [InlineData(0, false, 1, 2)]
    [InlineData(1, false, 1, 2)]
    [InlineData(2, false, 2, 2)]
    [InlineData(3, false, 2, 2)]
    [InlineData(1, true, 1, 1)]
    [InlineData(2, true, 2, 2)]
    [InlineData(3, true, 1, 1)]
    public void InvpcidForgetsWhatItNames(int kind, bool global, int inZero, int inOne)
    {
        using Guest guest = Start(Pcide | 0x80);
        guest.Page(Guest.Data) |= global ? 0x100UL : 0;
        guest.Write((ulong)Operand, 1UL);
        guest.Write((ulong)Operand + 8, Guest.Data + 0x123);
        guest.Run(a =>
        {
            a.mov(ebx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | 1);
            a.mov(ebx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | Keep);
            Remap(a, global);
            a.mov(eax, kind);
            a.invpcid(rax, __xmmword_ptr[Operand]);
            a.mov(ebx, __dword_ptr[Address]);
            LoadCr3(a, Guest.Tables | 1 | Keep);
            a.mov(ecx, __dword_ptr[Address]);
        });
        Assert.Equal(((ulong)inZero, (ulong)inOne), (guest.State->Gpr[3], guest.State->Gpr[1]));
    }

    /// <summary>SDM 2 INVPCID: what raises #GP.</summary>
    [Theory]
    [InlineData(Pcide, 4UL, 0UL, 0UL, 13)]
    [InlineData(Pcide, 1UL << 32, 0UL, 0UL, 13)]
    [InlineData(Pcide, 3UL, 0x1000UL, 0UL, 13)]     // bits 63 to 12 of the descriptor
    [InlineData(0UL, 0UL, 1UL, 0UL, 13)]            // a PCID where there are none
    [InlineData(0UL, 1UL, 1UL, 0UL, 13)]
    [InlineData(0UL, 2UL, 1UL, 0UL, -1)]
    [InlineData(0UL, 1UL, 0UL, 0UL, -1)]
    [InlineData(Pcide, 0UL, 1UL, 1UL << 57, 13)]
    [InlineData(Pcide, 0UL, 1UL, 1UL << 50, -1)]    // the processor has 57 bits, whatever CR4.LA57
    [InlineData(Pcide, 1UL, 1UL, 1UL << 57, -1)]
    public void InvpcidChecksItsOperands(ulong cr4, ulong kind, ulong pcid, ulong linear, int vector)
    {
        using Guest guest = Start(cr4);
        guest.Write((ulong)Operand, pcid);
        guest.Write((ulong)Operand + 8, linear);
        Assert.Equal(vector, guest.Run(a => a.invpcid(rdx, __xmmword_ptr[Operand]), kind).Vector);
    }

    [Fact]
    public void InvpcidIsPrivilegedAndItsOperandIsRead()
    {
        using Guest guest = Start();
        guest.Page((ulong)Operand) = 0;
        Assert.Equal(14, guest.Run(a => a.invpcid(rdx, __xmmword_ptr[Operand]), 2).Vector);
        guest.BecomeUser();
        Assert.Equal(13, guest.Run(a => a.invpcid(rdx, __xmmword_ptr[Operand]), 2).Vector);
        CpuModel without = CpuModel.Max with { Features = CpuModel.Max.Features.Without(CpuFeature.Invpcid) };
        using var old = new Guest(GuestMode.Long, without);
        Assert.Equal(6, old.Run(a => a.invpcid(rdx, __xmmword_ptr[Operand]), 2).Vector);
    }

    /// <summary>SDM 3A 2.5: a bit of CR4 whose feature the processor lacks is reserved.</summary>
    [Theory]
    [InlineData(CpuFeature.Umip, 11)]
    [InlineData(CpuFeature.Pcid, 17)]
    [InlineData(CpuFeature.Smep, 20)]
    [InlineData(CpuFeature.Smap, 21)]
    [InlineData(CpuFeature.ProtectionKeys, 22)]
    [InlineData(CpuFeature.SupervisorKeys, 24)]
    [InlineData(CpuFeature.LinearAddressMasking, 28)]
    public void BitsOfCr4ComeWithFeatures(CpuFeature feature, int bit)
    {
        foreach (bool has in (bool[])[true, false])
        {
            FeatureSet features = has ? CpuModel.Max.Features : CpuModel.Max.Features.Without(feature);
            using var guest = new Guest(GuestMode.Long, CpuModel.Max with { Features = features });
            for (ulong page = 0; page < 0x20_0000; page += 0x1000)
            {
                guest.Page(page) &= ~4UL;
            }
            Assert.Equal(has ? -1 : 13, guest.Run(a => a.mov(cr4, rdx), guest.State->Cr4 | (1UL << bit)).Vector);
        }
    }
}
