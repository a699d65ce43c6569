using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>When AVX-512 instructions may be used, what enables them, and what they do to the rest of the registers (SDM 1 13, 15; SDM 2 2.7).</summary>
public sealed unsafe class Avx512SystemTests
{
    private const int Translated = 1;
    private const int OneByOne = 1 << 30;

    /// <summary>SDM 2 2.7.11: #UD without CR4.OSXSAVE, or XCR0[7:5] and XCR0[2:1] all set; CR0.TS gives #NM, CR0.EM and CR4.OSFXSR do not matter.</summary>
    [Theory]
    [InlineData(true, 0xE7UL, 0UL, -1)]
    [InlineData(false, 0xE7UL, 0UL, 6)]
    [InlineData(true, 7UL, 0UL, 6)]
    [InlineData(true, 3UL, 0UL, 6)]
    [InlineData(true, 0xE7UL, 8UL, 7)]
    [InlineData(true, 7UL, 8UL, 6)]
    [InlineData(true, 0xE7UL, 4UL, -1)]
    public void TheSystemEnablesThem(bool osxsave, ulong xcr0, ulong cr0, int vector)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated, false);
        guest.State->Cr4 |= osxsave ? WideGuest.OsXsave : 0;
        guest.State->Cr4 &= ~0x200UL;
        guest.State->Xcr0 = xcr0;
        guest.State->Cr0 |= cr0;
        guest.Processor.StateLoaded();
        foreach (Action<Assembler> code in new Action<Assembler>[]
            {
                a => a.vpaddd(zmm1, zmm2, zmm3), a => a.vpaddd(xmm1.k1, xmm2, xmm3), a => a.vaddps(ymm17, ymm2, ymm3), a => a.kmovw(k1, eax),
                a => a.kortestq(k1, k2), a => a.vmovdqu8(zmm1, __zmmword_ptr[Guest.Data]),
            })
        {
            Assert.Equal(vector, guest.Run(a =>
            {
                a.PreferVex = false;
                code(a);
            }).Vector);
        }
    }

    [Theory]
    [InlineData(GuestMode.Real, 6)]
    [InlineData(GuestMode.Protected16, -1)]
    [InlineData(GuestMode.Protected32, -1)]
    [InlineData(GuestMode.Compatibility, -1)]
    [InlineData(GuestMode.Long, -1)]
    public void TheyNeedProtectedMode(GuestMode mode, int vector)
    {
        foreach (int threshold in new[] { Translated, OneByOne })
        {
            using Guest guest = WideGuest.Start(mode, threshold);
            new Span<byte>(WideGuest.Vector(guest, 2), 64).Fill(1);
            // vpaddb zmm1, zmm2, zmm2; kmovw k2, eax
            guest.State->Gpr[0] = 0x1234;
            Assert.Equal(vector, guest.Run(0x62, 0xF1, 0x6D, 0x48, 0xFC, 0xCA, 0xC5, 0xF8, 0x92, 0xD0).Vector);
            Assert.Equal(vector < 0 ? 0x0202_0202_0202_0202UL : 0, *(ulong*)(WideGuest.Vector(guest, 1) + 56));
            Assert.Equal(vector < 0 ? 0x1234UL : 0, guest.State->Opmasks[2]);
        }
    }

    /// <summary>SDM 2 XSETBV: bits 5 to 7 are set together, and only with AVX.</summary>
    [Theory]
    [InlineData(0xE7U, -1)]
    [InlineData(7U, -1)]
    [InlineData(0xE3U, 13)]
    [InlineData(0x67U, 13)]
    [InlineData(0xA7U, 13)]
    [InlineData(0xC7U, 13)]
    [InlineData(0x27U, 13)]
    public void Xcr0HasAllOfItOrNone(uint value, int vector)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        Assert.Equal(vector, guest.Run(a =>
        {
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.mov(eax, value);
            a.xsetbv();
        }).Vector);
    }

    /// <summary>Sizes and places of the components (CPUID leaf 0DH) are the host's, if it is of the same vendor.</summary>
    [Fact]
    public void CpuidTellsOfTheComponents()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        (int, int, int)[] expected = [(5, 64, 832), (6, 512, 896), (7, 1024, 1408)];
        foreach ((int component, int size, int offset) in expected)
        {
            guest.Run(a =>
            {
                a.mov(eax, 0xD);
                a.mov(ecx, component);
                a.cpuid();
            });
            Assert.Equal(((ulong)size, (ulong)offset, 0UL), (guest.State->Gpr[0], guest.State->Gpr[3], guest.State->Gpr[1]));
        }
        var intel = new ExtendedStateLayout(CpuModel.Host with { Vendor = "GenuineIntel" });
        Assert.Equal((1088, 1152, 1664, 2688), (intel.Offset(5), intel.Offset(6), intel.Offset(7), intel.Offset(9)));
        Assert.Equal((2432, 2440), (new ExtendedStateLayout(CpuModel.Host).Size(0xE7), new ExtendedStateLayout(CpuModel.Host).Size(0x2E7)));
    }

    /// <summary>SDM 1 15.5: what VEX and EVEX instructions write is 0 above the result; legacy SSE keeps it.</summary>
    [Theory]
    [InlineData(Translated)]
    [InlineData(OneByOne)]
    public void UpperBitsBecomeZeroOrStay(int threshold)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
        new Span<byte>(WideGuest.Vector(guest, 0), 32 * 64).Fill(0x11);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.vpaddb(zmm16, zmm16, zmm16);
            a.PreferVex = false;
            a.vpaddb(ymm17, ymm16, ymm16);
            a.vpaddb(xmm18, xmm16, xmm16);
            a.vpaddb(xmm3, xmm19, xmm19);
            a.PreferVex = true;
            a.addps(xmm0, xmm0);
            a.vaddps(xmm1, xmm1, xmm1);
            a.vaddps(ymm2, ymm2, ymm2);
        }).Vector);
        foreach ((int register, int kept) in new[] { (16, 64), (17, 32), (18, 16), (0, 64), (1, 16), (2, 32), (3, 16) })
        {
            var value = new ReadOnlySpan<byte>(WideGuest.Vector(guest, register), 64);
            Assert.True(value[..kept].IndexOf((byte)0) < 0 && value[kept..].IndexOfAnyExcept((byte)0) < 0, $"register {register}");
        }
    }

    /// <summary>VZEROUPPER and VZEROALL concern ZMM0 to ZMM15 only.</summary>
    [Theory]
    [InlineData(Translated)]
    [InlineData(OneByOne)]
    public void HighRegistersAreNotZeroed(int threshold)
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, threshold);
        new Span<byte>(WideGuest.Vector(guest, 0), 32 * 64).Fill(0x11);
        guest.Run(a =>
        {
            a.vpaddb(zmm16, zmm16, zmm16);
            a.vzeroall();
            a.vpaddb(zmm17, zmm16, zmm0);
        });
        Assert.True(new ReadOnlySpan<byte>(WideGuest.Vector(guest, 0), 16 * 64).IndexOfAnyExcept((byte)0) < 0);
        Assert.True(new ReadOnlySpan<byte>(WideGuest.Vector(guest, 16), 2 * 64).IndexOfAnyExcept((byte)0x22) < 0);
        Assert.True(new ReadOnlySpan<byte>(WideGuest.Vector(guest, 18), 14 * 64).IndexOfAnyExcept((byte)0x11) < 0);
    }

    /// <summary>A change of XCR0 reaches code that was decoded and translated before.</summary>
    [Fact]
    public void DecodedCodeFollowsTheMode()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        Assert.Equal(-1, guest.Run(a => a.vpaddb(zmm16, zmm16, zmm16)).Vector);
        guest.State->Xcr0 = 7;
        guest.Processor.ModeChanged();
        Assert.Equal(6, guest.Start(Guest.Code).Vector);
        guest.State->Xcr0 = WideGuest.Enabled;
        guest.Processor.ModeChanged();
        Assert.Equal(-1, guest.Start(Guest.Code).Vector);
    }

    /// <summary>SDM 3A 17.3.1.4: a trap follows each instruction, those that are passed on too.</summary>
    [Fact]
    public void SingleStepsStopBehindEach()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        new Span<byte>(WideGuest.Vector(guest, 1), 64).Fill(1);
        Outcome outcome = guest.Run(a =>
        {
            a.pushfq();
            a.or(__dword_ptr[rsp], 0x100);
            a.popfq();
            a.vpaddb(zmm16, zmm1, zmm1);
            a.vpaddb(zmm17, zmm1, zmm1);
        });
        Assert.Equal(1, outcome.Vector);
        Assert.Equal(2, *WideGuest.Vector(guest, 16));
        Assert.Equal(0, *WideGuest.Vector(guest, 17));
    }

    /// <summary>The checker compares up to an instruction that only the host can run, and again behind it.</summary>
    [Fact]
    public void TheVerifierLeavesThemOut()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated, verify: true);
        new Span<byte>(WideGuest.Vector(guest, 1), 64).Fill(1);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal(-1, guest.Run(a =>
            {
                a.mov(eax, 5);
                a.imul(eax, eax);
                a.vpaddb(zmm16, zmm1, zmm1);
                a.kmovw(k1, eax);
                a.vmovdqu8(__zmmword_ptr[Guest.Data].k1, zmm16);
                a.add(eax, 3);
                a.vaddps(xmm2, xmm3, xmm4);
                a.mov(__dword_ptr[Guest.Data + 64], eax);
            }).Vector);
        }
        Assert.Equal((28UL, 28u, 0x0200_0002u), (guest.State->Gpr[0], guest.Read<uint>(Guest.Data + 64), guest.Read<uint>(Guest.Data)));
        Assert.True(((Ringfence.Cpu.Translator.BlockTranslator)guest.Processor.Translator!).Describe()["instructions checked"] > 0);
    }

    /// <summary>A loop with masks, memory and both kinds of registers is host code as a whole.</summary>
    [Fact]
    public void ALoopBecomesHostCode()
    {
        using Guest guest = WideGuest.Start(GuestMode.Long, Translated);
        Assert.Equal(-1, guest.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(eax, 1);
            a.vpbroadcastd(zmm17, eax);
            a.vpxord(zmm16, zmm16, zmm16);
            a.mov(eax, 0x5555);
            a.kmovw(k1, eax);
            a.mov(ecx, 100_000);
            a.mov(rdi, Guest.Data);
            a.Label(ref loop);
            a.vpaddd(zmm16.k1, zmm16, zmm17);
            a.vmovdqu32(__zmmword_ptr[rdi], zmm16);
            a.vpaddd(ymm2, ymm2, __ymmword_ptr[rdi]);
            a.vpcmpeqd(k2, zmm16, __dword_bcst[rdi]);
            a.kortestw(k2, k2);
            a.dec(ecx);
            a.jne(loop);
        }).Vector);
        Assert.Equal((100_000u, 0u), (guest.Read<uint>(Guest.Data), guest.Read<uint>(Guest.Data + 4)));
        Assert.InRange(((Ringfence.Cpu.Translator.BlockTranslator)guest.Processor.Translator!).Describe()["entries"], 1, 10);
    }

    /// <summary>As many distinct instructions as one likes: memory for their host code is used again.</summary>
    [Fact]
    public void CodeForSingleInstructionsIsBounded()
    {
        const ulong Start = 0x20_0000;
        using Guest guest = WideGuest.Start(GuestMode.Long, OneByOne);
        guest.Assemble(Start, a =>
        {
            Label again = a.CreateLabel();
            a.mov(ebx, 2);
            a.vpxorq(zmm16, zmm16, zmm16);
            a.mov(eax, 1);
            a.vpbroadcastd(zmm17, eax);
            a.Label(ref again);
            for (int i = 0; i < 40_000; i++)
            {
                a.vpaddd(zmm16, zmm16, zmm17);
            }
            a.dec(ebx);
            a.jne(again);
            a.hlt();
        });
        Assert.Equal(-1, guest.Start(Start).Vector);
        Assert.Equal(80_000, ((int*)WideGuest.Vector(guest, 16))[15]);
    }

    /// <summary>Only a processor that translates can be one of them.</summary>
    [Fact]
    public void TheInterpreterAloneCannot()
    {
        Assert.SkipUnless(CpuModel.Host.Has(CpuFeature.Avx512F), "needs an x86-64 host with AVX-512");
        using var memory = new GuestMemory(1 << 20);
        ArgumentException wrong = Assert.Throws<ArgumentException>(() => new Processor(memory, new TestBus(), new ManualClock(), CpuModel.Host, 0, static () => { }));
        Assert.Contains("translate", wrong.Message, StringComparison.Ordinal);
    }
}
