using Iced.Intel;
using Ringfence.Cpu.Models;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>When AVX instructions may be used, and what memory those do that touch it by elements (SDM 1 14.1, 14.9; SDM 2 2.7).</summary>
public sealed unsafe class AvxTests
{
    private const ulong Hole = Guest.Data + 0x1000;

    /// <summary>Bytes of a vector register that instructions reach: on a host without AVX-512, translated ones not those that only it has.</summary>
    private static int Reached { get; } = CpuModel.Host.Has(CpuFeature.Avx512F) ? 64 : 32;

    private static Guest Start(GuestMode mode, bool enabled = true)
    {
        var guest = new Guest(mode);
        if (enabled)
        {
            guest.State->Cr4 |= 1 << 18;
            guest.State->Xcr0 = 7;
            guest.Processor.StateLoaded();
        }
        return guest;
    }

    private static byte* Vector(Guest guest, int number) => guest.State->Vectors + (64 * number);

    /// <summary>SDM 2 2.7, table 2-13 on: #UD without CR4.OSXSAVE or XCR0[2:1] = 11b; CR4.OSFXSR and CR0.EM do not matter, CR0.TS gives #NM.</summary>
    [Theory]
    [InlineData(true, 7UL, 0UL, -1)]
    [InlineData(false, 7UL, 0UL, 6)]
    [InlineData(true, 1UL, 0UL, 6)]
    [InlineData(true, 3UL, 0UL, 6)]
    [InlineData(true, 5UL, 0UL, 6)]
    [InlineData(true, 7UL, 8UL, 7)]
    [InlineData(false, 7UL, 8UL, 6)]
    [InlineData(true, 7UL, 4UL, -1)]
    public void TheSystemEnablesThem(bool osxsave, ulong xcr0, ulong cr0, int vector)
    {
        using Guest guest = Start(GuestMode.Long, false);
        guest.State->Cr4 |= osxsave ? 1UL << 18 : 0;
        guest.State->Cr4 &= ~0x200UL;
        guest.State->Xcr0 = xcr0;
        guest.State->Cr0 |= cr0;
        guest.Processor.StateLoaded();
        foreach (Action<Assembler> code in new Action<Assembler>[]
            {
                a => a.vxorps(xmm1, xmm2, xmm3), a => a.vpaddb(ymm1, ymm2, ymm3), a => a.vfmadd132ss(xmm1, xmm2, xmm3),
                a => a.vcvtph2ps(xmm1, xmm2), a => a.vzeroupper(), a => a.vstmxcsr(__dword_ptr[Guest.Data]),
            })
        {
            Assert.Equal(vector, guest.Run(code).Vector);
        }
    }

    /// <summary>The exception of the instruction comes before those of its operands.</summary>
    [Fact]
    public void RefusedInstructionsTouchNoMemory()
    {
        using Guest guest = Start(GuestMode.Long, false);
        guest.Page(Hole) = 0;
        Assert.Equal(6, guest.Run(a => a.vmovups(ymm1, __ymmword_ptr[Hole])).Vector);
    }

    [Theory]
    [InlineData(GuestMode.Real, 6)]
    [InlineData(GuestMode.Protected16, -1)]
    [InlineData(GuestMode.Protected32, -1)]
    [InlineData(GuestMode.Compatibility, -1)]
    [InlineData(GuestMode.Long, -1)]
    public void TheyNeedProtectedMode(GuestMode mode, int vector)
    {
        using Guest guest = Start(mode);
        // vaddps ymm1, ymm1, ymm2
        Assert.Equal(vector, guest.Run(0xC5, 0xF4, 0x58, 0xCA).Vector);
    }

    /// <summary>A change of XCR0 or CR4 reaches code that was decoded before.</summary>
    [Fact]
    public void DecodedCodeFollowsTheMode()
    {
        using Guest guest = Start(GuestMode.Long);
        Assert.Equal(-1, guest.Run(a => a.vzeroupper()).Vector);
        guest.State->Xcr0 = 3;
        guest.Processor.ModeChanged();
        Assert.Equal(6, guest.Start(Guest.Code).Vector);
        guest.State->Xcr0 = 7;
        guest.Processor.ModeChanged();
        Assert.Equal(-1, guest.Start(Guest.Code).Vector);
    }

    /// <summary>SDM 1 14.1.3: legacy instructions keep what is above 128 bits, VEX ones clear it.</summary>
    [Fact]
    public void LegacyInstructionsKeepTheUpperBits()
    {
        using Guest guest = Start(GuestMode.Long);
        new Span<byte>(Vector(guest, 0), 128).Fill(0x11);
        guest.Run(a =>
        {
            a.addps(xmm0, xmm0);
            a.vaddps(xmm1, xmm1, xmm1);
        });
        Assert.True(new Span<byte>(Vector(guest, 0) + 16, Reached - 16).IndexOfAnyExcept((byte)0x11) < 0);
        Assert.True(new Span<byte>(Vector(guest, 1) + 16, Reached - 16).IndexOfAnyExcept((byte)0) < 0);
    }

    /// <summary>SDM 2 VZEROUPPER, VZEROALL: outside 64-bit mode only the first eight registers.</summary>
    [Theory]
    [InlineData(GuestMode.Long, 16)]
    [InlineData(GuestMode.Protected32, 8)]
    public void ZeroingConcernsTheRegistersOfTheMode(GuestMode mode, int registers)
    {
        foreach (bool all in new[] { false, true })
        {
            using Guest guest = Start(mode);
            new Span<byte>(Vector(guest, 0), 32 * 64).Fill(0x22);
            guest.Run(a =>
            {
                if (all)
                {
                    a.vzeroall();
                }
                else
                {
                    a.vzeroupper();
                }
            });
            for (int i = 0; i < 32; i++)
            {
                Assert.Equal(i < registers && all ? 0 : 0x22, Vector(guest, i)[15]);
                Assert.Equal(i < registers ? 0 : 0x22, Vector(guest, i)[16]);
                Assert.Equal(i < registers ? 0 : 0x22, Vector(guest, i)[Reached - 1]);
            }
        }
    }

    /// <summary>SDM 2 VMASKMOV: elements whose mask is clear cause no fault and are zero.</summary>
    [Theory]
    [InlineData(0b0011, -1)]
    [InlineData(0b0000, -1)]
    [InlineData(0b0100, 14)]
    [InlineData(0b1001, 14)]
    public void MaskedLoadsFaultOnlyWhereTheyLoad(int mask, int vector)
    {
        using Guest guest = Start(GuestMode.Long);
        guest.Page(Hole) = 0;
        SetMask(guest, 2, mask);
        guest.Write(Hole - 16, 0x1111UL);
        guest.Write(Hole - 8, 0x2222UL);
        new Span<byte>(Vector(guest, 1), 64).Fill(0x33);
        Assert.Equal(vector, guest.Run(a => a.vmaskmovpd(ymm1, ymm2, __ymmword_ptr[Hole - 16])).Vector);
        ulong* d = (ulong*)Vector(guest, 1);
        if (vector < 0)
        {
            Assert.Equal((mask & 1) != 0 ? 0x1111UL : 0, d[0]);
            Assert.Equal((mask & 2) != 0 ? 0x2222UL : 0, d[1]);
            Assert.Equal((0UL, 0UL, 0UL), (d[2], d[3], d[4]));
        }
        else
        {
            Assert.Equal((mask & 4) != 0 ? Hole : Hole + 8, guest.State->Cr2);
            Assert.Equal(0x3333_3333_3333_3333UL, d[0]);
        }
    }

    /// <summary>SDM 2 VMASKMOV: likewise stores; a fault of one element keeps all from being stored.</summary>
    [Theory]
    [InlineData(0b0011, -1)]
    [InlineData(0b0000, -1)]
    [InlineData(0b0110, 14)]
    public void MaskedStoresFaultOnlyWhereTheyStore(int mask, int vector)
    {
        using Guest guest = Start(GuestMode.Long);
        guest.Page(Hole) &= ~2UL;
        guest.State->Cr0 |= 1 << 16;
        guest.Processor.StateLoaded();
        SetMask(guest, 2, mask);
        new Span<byte>(Vector(guest, 1), 64).Fill(0x44);
        guest.Write(Hole - 16, 1UL);
        guest.Write(Hole - 8, 2UL);
        guest.Write(Hole, 3UL);
        Outcome outcome = guest.Run(a => a.vpmaskmovq(__ymmword_ptr[Hole - 16], ymm2, ymm1));
        Assert.Equal(vector, outcome.Vector);
        Assert.Equal(vector < 0 && (mask & 1) != 0 ? 0x4444_4444_4444_4444UL : 1, guest.Read<ulong>(Hole - 16));
        Assert.Equal(vector < 0 && (mask & 2) != 0 ? 0x4444_4444_4444_4444UL : 2, guest.Read<ulong>(Hole - 8));
        Assert.Equal(3UL, guest.Read<ulong>(Hole));
        if (vector == 14)
        {
            Assert.Equal((3U, Hole), (outcome.Error, guest.State->Cr2));
        }
    }

    /// <summary>SDM 2 VGATHER: a fault leaves done what is done, and the instruction goes on from there.</summary>
    [Fact]
    public void GathersGoOnAfterAFault()
    {
        using Guest guest = Start(GuestMode.Long);
        ulong page = guest.Page(Hole);
        guest.Page(Hole) = 0;
        SetMask(guest, 3, 0b1101);
        long* index = (long*)Vector(guest, 2);
        (index[0], index[1], index[2], index[3]) = (-2, 0, 0, -1);
        guest.Write(Hole - 16, 0xAAUL);
        guest.Write(Hole - 8, 0xDDUL);
        guest.Write(Hole, 0xCCUL);
        new Span<byte>(Vector(guest, 1), 64).Fill(0x55);
        guest.State->Gpr[6] = Hole;
        Assert.Equal(14, guest.Run(a => a.vpgatherqq(ymm1, __qword_ptr[rsi + ymm2 * 8], ymm3)).Vector);
        Assert.Equal(Hole, guest.State->Cr2);
        ulong* d = (ulong*)Vector(guest, 1);
        ulong* mask = (ulong*)Vector(guest, 3);
        Assert.Equal((0xAAUL, 0x5555_5555_5555_5555UL), (d[0], d[2]));
        Assert.Equal((0UL, true), (mask[0], mask[2] != 0));

        // Were it done again, the first element would be another.
        guest.Write(Hole - 16, 0xEEUL);
        guest.Page(Hole) = page;
        guest.Processor.StateLoaded();
        Assert.Equal(-1, guest.Start(Guest.Code).Vector);
        Assert.Equal((0xAAUL, 0x5555_5555_5555_5555UL, 0xCCUL, 0xDDUL, 0UL), (d[0], d[1], d[2], d[3], d[4]));
        Assert.True(new Span<byte>(mask, 64).IndexOfAnyExcept((byte)0) < 0);
    }

    /// <summary>Elements are checked against the segment one by one (SDM 3A 5.3).</summary>
    [Theory]
    [InlineData(0b0011, -1)]
    [InlineData(0b0100, 13)]
    public void MaskedElementsMayLieBeyondTheLimit(int mask, int vector)
    {
        using Guest guest = Start(GuestMode.Protected32);
        guest.Describe(Guest.Free, (uint)Guest.Data, 0xFFF, 0x4093);
        SetMask(guest, 2, mask);
        Assert.Equal(vector, guest.Run(a =>
        {
            a.mov(eax, Guest.Free);
            a.mov(ds, eax);
            a.vmaskmovpd(ymm1, ymm2, __ymmword_ptr[0x0FF0]);
        }).Vector);
    }

    /// <summary>A gather's segment has its base and its limit, its addresses the address size.</summary>
    [Theory]
    [InlineData(0x0FFC, -1)]
    [InlineData(0x0FFD, 13)]
    public void GathersObeySegments(int index, int vector)
    {
        using Guest guest = Start(GuestMode.Protected32);
        guest.Describe(Guest.Free, (uint)Guest.Data, 0xFFF, 0x4093);
        guest.Write(Guest.Data + 0xFFC, 0x1234_5678U);
        ((int*)Vector(guest, 3))[0] = -1;
        ((int*)Vector(guest, 2))[0] = index + 16;
        guest.State->Gpr[6] = unchecked((uint)-16);
        Assert.Equal(vector, guest.Run(a =>
        {
            a.mov(eax, Guest.Free);
            a.mov(fs, eax);
            a.vpgatherdd(xmm1, __dword_ptr.fs[esi + xmm2], xmm3);
        }).Vector);
        if (vector < 0)
        {
            Assert.Equal(0x1234_5678U, *(uint*)Vector(guest, 1));
        }
    }

    /// <summary>A 32-byte operand over a page's end is one access: a fault of its second part leaves memory as it was.</summary>
    [Fact]
    public void WideStoresAreWholeOrNotAtAll()
    {
        using Guest guest = Start(GuestMode.Long);
        guest.Page(Hole) = 0;
        new Span<byte>(Vector(guest, 1), 64).Fill(0x66);
        Assert.Equal(14, guest.Run(a => a.vmovups(__ymmword_ptr[Hole - 8], ymm1)).Vector);
        Assert.Equal(Hole, guest.State->Cr2);
        Assert.Equal(0UL, guest.Read<ulong>(Hole - 8));
        Assert.Equal(14, guest.Run(a => a.vpaddd(ymm1, ymm1, __ymmword_ptr[Hole - 8])).Vector);
        guest.Page(Hole) = Hole | 7;
        guest.Processor.StateLoaded();
        Assert.Equal(-1, guest.Run(a => a.vmovups(__ymmword_ptr[Hole - 8], ymm1)).Vector);
        Assert.Equal(0x6666_6666_6666_6666UL, guest.Read<ulong>(Hole + 16));
    }

    private static void SetMask(Guest guest, int register, int mask)
    {
        for (int i = 0; i < 4; i++)
        {
            ((long*)Vector(guest, register))[i] = (mask >> i & 1) != 0 ? -1 : long.MaxValue;
        }
    }
}
