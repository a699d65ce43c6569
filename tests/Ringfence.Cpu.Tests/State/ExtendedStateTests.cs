using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.State;

/// <summary>The rules of XCR0, IA32_XSS and the XSAVE family that user code on the host cannot show, or whose faults would end it.</summary>
public sealed unsafe class ExtendedStateTests
{
    private const int Invalid = 6;
    private const int NotAvailable = 7;
    private const int Protection = 13;
    private const ulong OsXsave = 1 << 18;
    private const ulong Compacted = 1UL << 63;

    private static readonly CpuModel WithAvx = CpuModel.Max with { Features = CpuModel.Max.Features.With(CpuFeature.Avx).With(CpuFeature.ProtectionKeys) };
    private static readonly CpuModel Intel = WithAvx with { Vendor = "GenuineIntel" };

    /// <summary>SDM 1 13.2, 13.3; SDM 2 XSETBV: what XCR0 may hold.</summary>
    [Theory]
    [InlineData(1, 0, -1)]
    [InlineData(3, 0, -1)]
    [InlineData(7, 0, -1)]
    [InlineData(0x207, 0, -1)]
    [InlineData(0, 0, Protection)]        // x87 is always on
    [InlineData(2, 0, Protection)]
    [InlineData(5, 0, Protection)]        // AVX without SSE
    [InlineData(0x0F, 0, Protection)]     // MPX
    [InlineData(0xE7, 0, Protection)]     // AVX-512
    [InlineData(7, 1, Protection)]        // XCR1
    public void Xcr0TakesWhatThereIs(uint value, uint register, int vector)
    {
        using Guest guest = Start(WithAvx);
        guest.State->Gpr[0] = value;
        guest.State->Gpr[1] = register;
        guest.State->Gpr[2] = 0;
        Assert.Equal(vector, guest.Run(0x0F, 0x01, 0xD1).Vector);
        Assert.Equal(vector < 0 ? value : 7UL, guest.State->Xcr0);
    }

    /// <summary>SDM 2 XSETBV: only at privilege level 0. XGETBV: at every level; #GP for a register that there is not.</summary>
    [Fact]
    public void UsersReadXcr0()
    {
        using Guest guest = Start(WithAvx);
        guest.BecomeUser();
        guest.State->Gpr[2] = ulong.MaxValue;
        // xgetbv; the end of the run is HLT's #GP
        Assert.Equal(new Outcome(Protection, 0, Guest.Code + 3), guest.Run(0x0F, 0x01, 0xD0));
        Assert.Equal(7UL, guest.State->Gpr[0]);
        Assert.Equal(0UL, guest.State->Gpr[2]);
        using Guest other = Start(WithAvx);
        other.State->Gpr[1] = 2;
        Assert.Equal(Protection, other.Run(0x0F, 0x01, 0xD0).Vector);
        using Guest third = Start(WithAvx);
        third.BecomeUser();
        third.State->Gpr[0] = 1;
        Assert.Equal(new Outcome(Protection, 0, Guest.Code), third.Run(0x0F, 0x01, 0xD1));
    }

    /// <summary>SDM 1 13.6: XGETBV with ECX 1 gives what is enabled and not in its initial state.</summary>
    [Fact]
    public void XinuseFollowsTheValues()
    {
        using Guest guest = Start(WithAvx);
        guest.State->Xcr0 = 0x207;
        Assert.Equal(0u, InUse(guest));
        guest.State->Vectors[64 + 16] = 1;
        Assert.Equal(4u, InUse(guest));
        guest.State->Vectors[64 + 16] = 0;
        guest.State->Vectors[15 * 64] = 1;
        Assert.Equal(2u, InUse(guest));
        guest.State->Vectors[15 * 64] = 0;
        guest.State->Pkru = 4;
        Assert.Equal(0x200u, InUse(guest));
        guest.State->Xcr0 = 7;
        Assert.Equal(0u, InUse(guest));
        guest.Run(0xD9, 0xE8); // fld1
        Assert.Equal(1u, InUse(guest));

        static uint InUse(Guest guest)
        {
            guest.State->Gpr[1] = 1;
            Assert.Equal(-1, guest.Run(0x0F, 0x01, 0xD0).Vector);
            return (uint)guest.State->Gpr[0];
        }
    }

    /// <summary>SDM 2 XSAVE and others, protected-mode exceptions: #UD without CR4.OSXSAVE, #NM with CR0.TS, #GP for an area that is not aligned.</summary>
    [Theory]
    [InlineData("0FAE26", false)]         // xsave [rsi]
    [InlineData("0FAE36", false)]         // xsaveopt
    [InlineData("0FC726", false)]         // xsavec
    [InlineData("0FC72E", true)]          // xsaves
    [InlineData("0FAE2E", false)]         // xrstor
    [InlineData("0FC71E", true)]          // xrstors
    public void TheFamilyHasItsConditions(string hex, bool supervisor)
    {
        byte[] code = Convert.FromHexString(hex);
        Assert.Equal(-1, End(static _ => { }));
        Assert.Equal(Invalid, End(static g => g.State->Cr4 &= ~OsXsave));
        Assert.Equal(NotAvailable, End(static g => g.State->Cr0 |= 8));
        Assert.Equal(Protection, End(static g => g.State->Gpr[6] += 32));
        using Guest user = Start(WithAvx);
        user.BecomeUser();
        Outcome outcome = user.Run(code);
        Assert.Equal(supervisor ? Guest.Code : Guest.Code + (ulong)code.Length, outcome.Rip);

        int End(Change change)
        {
            using Guest guest = Start(WithAvx);
            guest.Write(Guest.Data + 520, hex == "0FC71E" ? Compacted : 0);
            change(guest);
            guest.Processor.StateLoaded();
            return guest.Run(code).Vector;
        }
    }

    /// <summary>SDM 1 13.8, 13.12: headers that XRSTOR and XRSTORS refuse, and some that they do not.</summary>
    [Theory]
    [InlineData("0FAE2E", 0, 0, 7, -1)]
    [InlineData("0FAE2E", 0, 8, 7, Protection)]       // XSTATE_BV has what XCR0 has not
    [InlineData("0FAE2E", 0, 8, 0, Protection)]       // though nothing is asked for
    [InlineData("0FAE2E", 8, 1, 7, Protection)]       // XCOMP_BV in the standard format
    [InlineData("0FAE2E", 16, 1, 7, Protection)]
    [InlineData("0FAE2E", 24, 1, 7, -1)]
    [InlineData("0FAE2E", 56, 1, 7, -1)]
    [InlineData("0FC71E", 0, 0, 7, Protection)]       // XRSTORS wants the compacted format
    public void HeadersAreChecked(string hex, int at, ulong value, uint mask, int vector)
    {
        using Guest guest = Start(WithAvx);
        guest.Write(Guest.Data + 512 + (ulong)at, value);
        guest.State->Gpr[0] = mask;
        Assert.Equal(vector, guest.Run(Convert.FromHexString(hex)).Vector);
    }

    [Theory]
    [InlineData(0, Compacted | 7, 0, -1)]
    [InlineData(4, Compacted | 3, 0, Protection)]     // XSTATE_BV has what XCOMP_BV has not
    [InlineData(0, Compacted | 0x107, 0, Protection)] // XCOMP_BV has what XCR0 has not
    [InlineData(0, Compacted | 7, 16, Protection)]    // the rest of the header is 0
    [InlineData(0, Compacted | 7, 56, Protection)]
    public void CompactedHeadersAreChecked(ulong present, ulong components, int dirty, int vector)
    {
        foreach (string hex in new[] { "0FAE2E", "0FC71E" })
        {
            using Guest guest = Start(WithAvx);
            guest.Write(Guest.Data + 512, present);
            guest.Write(Guest.Data + 520, components);
            guest.Write(Guest.Data + 512 + (ulong)dirty, dirty == 0 ? present : 1);
            guest.State->Gpr[0] = 7;
            Assert.Equal(vector, guest.Run(Convert.FromHexString(hex)).Vector);
        }
    }

    /// <summary>SDM 1 13.8: reserved bits of MXCSR are #GP if it is loaded, and nothing has changed then.</summary>
    [Fact]
    public void MxcsrIsChecked()
    {
        using Guest guest = Start(WithAvx);
        guest.Write(Guest.Data + 24, 0x1_0000u);
        guest.Write(Guest.Data + 512, 3UL);
        guest.State->Gpr[0] = 1;
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        guest.State->Vectors[0] = 5;
        guest.State->Gpr[0] = 4;
        Assert.Equal(Protection, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        guest.State->Gpr[0] = 2;
        Assert.Equal(Protection, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        Assert.Equal(5, guest.State->Vectors[0]);
        Assert.Equal(0x1F80u, guest.State->Mxcsr);
    }

    /// <summary>SDM 1 13.5.7: PKRU is component 9; XRSTOR sets it, and it rules the next access.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void PkruIsSavedAndRestored(bool compacted)
    {
        using Guest guest = Start(WithAvx);
        guest.State->Xcr0 = 0x207;
        guest.State->Pkru = 0xC;
        guest.State->Gpr[0] = 0x200;
        Assert.Equal(-1, guest.Run(compacted ? [0x0F, 0xC7, 0x26] : [0x0F, 0xAE, 0x26]).Vector);
        ulong at = compacted ? 576UL : 832;
        Assert.Equal(0xCUL, guest.Read<ulong>(Guest.Data + at));
        Assert.Equal(0x200UL, guest.Read<ulong>(Guest.Data + 512));
        Assert.Equal(compacted ? Compacted | 0x200 : 0, guest.Read<ulong>(Guest.Data + 520));
        guest.State->Pkru = 0;
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        Assert.Equal(0xCu, guest.State->Pkru);
        guest.Write(Guest.Data + 512, 0UL);
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        Assert.Equal(0u, guest.State->Pkru);
    }

    /// <summary>SDM 1 13.7: outside 64-bit code, XMM8 to XMM15 and the upper halves of YMM8 to YMM15 stay as they are.</summary>
    [Fact]
    public void NarrowCodeHasEightRegisters()
    {
        using var guest = new Guest(GuestMode.Protected32, WithAvx);
        guest.State->Cr4 |= OsXsave;
        guest.State->Xcr0 = 7;
        guest.Processor.StateLoaded();
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[0] = 7;
        new Span<byte>(guest.State->Vectors, 16 * 64).Fill(0x55);
        new Span<byte>(guest.Memory.Pointer(Guest.Data, 0x1000), 0x1000).Fill(0xCC);
        guest.Write(Guest.Data + 512, 0UL);
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x26).Vector);
        Assert.Equal((0x55, 0xCC), (guest.Read<byte>(Guest.Data + 160 + 127), guest.Read<byte>(Guest.Data + 160 + 128)));
        Assert.Equal((0x55, 0xCC), (guest.Read<byte>(Guest.Data + 576 + 127), guest.Read<byte>(Guest.Data + 576 + 128)));
        new Span<byte>(guest.Memory.Pointer(Guest.Data + 512, 64), 64).Clear();
        guest.Write(Guest.Data + 24, 0x1F80UL);
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        Assert.Equal((0, 0x55), (guest.State->Vectors[7 * 64], guest.State->Vectors[8 * 64]));
        Assert.Equal((0, 0x55), (guest.State->Vectors[(7 * 64) + 31], guest.State->Vectors[(8 * 64) + 31]));
    }

    /// <summary>SDM 2 XSAVE: the whole area must lie within the segment's limit.</summary>
    [Fact]
    public void TheSegmentsLimitHolds()
    {
        using var guest = new Guest(GuestMode.Protected32, WithAvx);
        guest.State->Cr4 |= OsXsave;
        guest.State->Ds.Limit = (uint)Guest.Data + 575;
        guest.Processor.StateLoaded();
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[0] = 3;
        guest.State->Xcr0 = 3;
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x26).Vector);
        Assert.Equal(-1, guest.Run(0x0F, 0xAE, 0x2E).Vector);
        guest.State->Ds.Limit--;
        Assert.Equal(Protection, guest.Run(0x0F, 0xAE, 0x26).Vector);
    }

    /// <summary>SDM 2 CPUID leaf 0DH, 01H, 07H: sizes and places; OSXSAVE.</summary>
    [Fact]
    public void CpuidTellsTheLayout()
    {
        using Guest amd = Start(WithAvx);
        amd.State->Xcr0 = 3;
        Assert.Equal((0x207UL, 576UL, 840UL, 0UL), Query(amd, 0xD, 0));
        Assert.Equal((0xFUL, 576UL, 0UL, 0UL), Query(amd, 0xD, 1));
        Assert.Equal((256UL, 576UL, 0UL, 0UL), Query(amd, 0xD, 2));
        Assert.Equal((8UL, 832UL, 0UL, 0UL), Query(amd, 0xD, 9));
        Assert.Equal(default, Query(amd, 0xD, 3));
        amd.State->Xcr0 = 0x207;
        Assert.Equal(840UL, Query(amd, 0xD, 0).Ebx);
        Assert.Equal(840UL, Query(amd, 0xD, 1).Ebx);
        Assert.Equal(1UL << 27, Query(amd, 1, 0).Ecx & (1 << 27));
        using Guest intel = Start(Intel);
        intel.State->Xcr0 = 0x203;
        Assert.Equal((0x207UL, 2696UL, 2696UL, 0UL), Query(intel, 0xD, 0));
        Assert.Equal(584UL, Query(intel, 0xD, 1).Ebx);
        Assert.Equal((8UL, 2688UL, 0UL, 0UL), Query(intel, 0xD, 9));
        using var old = new Guest(GuestMode.Long, CpuModel.X8664V1);
        Assert.Equal(default, Query(old, 0xD, 0));
        Assert.Equal(0UL, Query(old, 1, 0).Ecx & (3 << 26));
    }

    /// <summary>SDM 3A 2.5: CR4.OSXSAVE and CR4.FSGSBASE can be set if the processor has the feature. SDM 4: IA32_XSS is there with XSAVES.</summary>
    [Fact]
    public void TheModelSaysWhatCanBeEnabled()
    {
        using var guest = new Guest(GuestMode.Long, WithAvx);
        Assert.Equal(-1, guest.Run(a => Set(a, 0x620 | OsXsave | (1 << 16))).Vector);
        using var old = new Guest(GuestMode.Long, CpuModel.X8664V1);
        Assert.Equal(Protection, old.Run(a => Set(a, 0x620 | OsXsave)).Vector);
        using var second = new Guest(GuestMode.Long, CpuModel.X8664V1);
        Assert.Equal(Protection, second.Run(a => Set(a, 0x620 | (1 << 16))).Vector);
        guest.State->Gpr[1] = 0xDA0;
        Assert.Equal(-1, guest.Run(0x0F, 0x32).Vector);
        guest.State->Gpr[0] = 0x100;
        Assert.Equal(Protection, guest.Run(0x0F, 0x30).Vector);
        using var third = new Guest(GuestMode.Long, CpuModel.X8664V1);
        third.State->Gpr[1] = 0xDA0;
        Assert.Equal(Protection, third.Run(0x0F, 0x32).Vector);

        static void Set(Iced.Intel.Assembler a, ulong value)
        {
            a.mov(Iced.Intel.AssemblerRegisters.rax, value);
            a.mov(Iced.Intel.AssemblerRegisters.cr4, Iced.Intel.AssemblerRegisters.rax);
        }
    }

    private static (ulong Eax, ulong Ebx, ulong Ecx, ulong Edx) Query(Guest guest, uint leaf, uint subleaf)
    {
        guest.State->Gpr[0] = leaf;
        guest.State->Gpr[1] = subleaf;
        Assert.Equal(-1, guest.Run(0x0F, 0xA2).Vector);
        return (guest.State->Gpr[0], guest.State->Gpr[3], guest.State->Gpr[1], guest.State->Gpr[2]);
    }

    /// <summary>RSI points to an area of zeros.</summary>
    private static Guest Start(CpuModel model)
    {
        var guest = new Guest(GuestMode.Long, model);
        guest.State->Cr4 |= OsXsave;
        guest.State->Xcr0 = 7;
        guest.State->Gpr[6] = Guest.Data;
        return guest;
    }

    private delegate void Change(Guest guest);
}
