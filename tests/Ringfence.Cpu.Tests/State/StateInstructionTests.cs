using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.State;

/// <summary>Small instructions about the processor's own state, and the rules of those whose results the host has confirmed.</summary>
public sealed unsafe class StateInstructionTests
{
    private const int Invalid = 6;
    private const int Protection = 13;
    private const ulong FsGsBase = 1 << 16;

    /// <summary>SDM 2 RDFSBASE, WRFSBASE and those of GS: the bases, with 32 bits zero-extended; users may too.</summary>
    [Fact]
    public void BasesAreReadAndWritten()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr4 |= FsGsBase;
        guest.State->Gpr[1] = 0xFFFF_8000_1234_5678;
        Outcome end = guest.Run(a =>
        {
            a.wrfsbase(rcx);
            a.wrgsbase(ecx);
            a.rdfsbase(rax);
            a.rdgsbase(rbx);
            a.rdfsbase(esi);
        });
        Assert.Equal(-1, end.Vector);
        Assert.Equal((0xFFFF_8000_1234_5678, 0x1234_5678UL), (guest.State->Fs.Base, guest.State->Gs.Base));
        Assert.Equal((0xFFFF_8000_1234_5678, 0x1234_5678UL, 0x1234_5678UL), (guest.State->Gpr[0], guest.State->Gpr[3], guest.State->Gpr[6]));
        guest.BecomeUser();
        Assert.Equal(Guest.Code + 5, guest.Run(0xF3, 0x48, 0x0F, 0xAE, 0xC8).Rip); // rdgsbase rax, then HLT's #GP
        Assert.Equal(0UL, guest.State->Gpr[0] >> 32);
    }

    /// <summary>SDM 2 WRFSBASE: #GP for a base that is not canonical; #UD with CR4.FSGSBASE clear and outside 64-bit code.</summary>
    [Fact]
    public void BasesHaveTheirConditions()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[0] = 1UL << 62;
        byte[] write = [0xF3, 0x48, 0x0F, 0xAE, 0xD0]; // wrfsbase rax
        Assert.Equal(Invalid, guest.Run(write).Vector);
        guest.State->Cr4 |= FsGsBase;
        Assert.Equal(Protection, guest.Run(write).Vector);
        foreach (GuestMode mode in new[] { GuestMode.Compatibility, GuestMode.Protected32, GuestMode.Real })
        {
            using var other = new Guest(mode);
            other.State->Cr4 |= FsGsBase;
            Assert.Equal(Invalid, other.Run(0xF3, 0x0F, 0xAE, 0xC0).Vector);
        }
    }

    /// <summary>SDM 2 RDPID: IA32_TSC_AUX, zero-extended.</summary>
    [Fact]
    public void RdpidGivesTscAux()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->TscAux = 0x8765_4321;
        guest.State->Gpr[0] = ulong.MaxValue;
        Assert.Equal(-1, guest.Run(0xF3, 0x0F, 0xC7, 0xF8).Vector);
        Assert.Equal(0x8765_4321UL, guest.State->Gpr[0]);
    }

    /// <summary>SDM 2 RDRAND, RDSEED: CF set, OF, SF, ZF, AF and PF clear; every bit comes and goes; narrow destinations keep the rest.</summary>
    [Theory]
    [InlineData("480FC7F0", ulong.MaxValue)]
    [InlineData("480FC7F8", ulong.MaxValue)]
    [InlineData("0FC7F0", uint.MaxValue)]
    [InlineData("660FC7F8", ushort.MaxValue)]
    public void RandomNumbersVary(string hex, ulong bits)
    {
        using var guest = new Guest(GuestMode.Long);
        ulong or = 0;
        ulong and = ulong.MaxValue;
        for (int i = 0; i < 200; i++)
        {
            guest.State->Gpr[0] = 0x5555_5555_5555_5555;
            Flags.SetArithmetic(guest.State, Flags.Arithmetic & ~Flags.Carry);
            Assert.Equal(-1, guest.Run(Convert.FromHexString(hex)).Vector);
            Assert.Equal(Flags.Carry, Flags.GetArithmetic(guest.State));
            or |= guest.State->Gpr[0];
            and &= guest.State->Gpr[0];
        }
        Assert.Equal(bits, or & bits);
        Assert.Equal(0UL, and & bits);
        Assert.Equal(bits == ushort.MaxValue ? 0x5555_5555_5555_0000UL : 0, or & ~bits);
    }

    /// <summary>APM 3 CLZERO: the line that rAX lies in, and nothing around it; a write, for paging.</summary>
    [Fact]
    public void ClzeroClearsALine()
    {
        using var guest = new Guest(GuestMode.Long);
        new Span<byte>(guest.Memory.Pointer(Guest.Data, 256), 256).Fill(0xCC);
        guest.State->Gpr[0] = Guest.Data + 64 + 17;
        Assert.Equal(-1, guest.Run(0x0F, 0x01, 0xFC).Vector);
        Assert.Equal(-1, new ReadOnlySpan<byte>(guest.Memory.Pointer(Guest.Data + 64, 64), 64).IndexOfAnyExcept((byte)0));
        Assert.Equal((0xCC, 0xCC), (guest.Read<byte>(Guest.Data + 63), guest.Read<byte>(Guest.Data + 128)));
        guest.Page(Guest.Data) &= ~2UL;
        guest.Processor.StateLoaded();
        guest.State->Cr0 |= 1 << 16;
        guest.Processor.StateLoaded();
        Assert.Equal((14, 3u), (guest.Run(0x0F, 0x01, 0xFC).Vector, 3u));
    }

    /// <summary>SDM 2 CLFLUSH, CLFLUSHOPT, CLWB: page faults as for a load.</summary>
    [Theory]
    [InlineData("0FAE3E")]
    [InlineData("660FAE3E")]
    [InlineData("660FAE36")]
    public void FlushingALineIsALoad(string hex)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[6] = Guest.Data;
        guest.Page(Guest.Data) = 0;
        Outcome end = guest.Run(Convert.FromHexString(hex));
        Assert.Equal((14, 0u), (end.Vector, end.Error));
    }

    /// <summary>SDM 2 RDPMC: no counters, so #GP whatever CR4.PCE says; WBNOINVD and others are for level 0.</summary>
    [Fact]
    public void PrivilegesAreChecked()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr4 |= 0x100;
        Assert.Equal(Protection, guest.Run(0x0F, 0x33).Vector);
        foreach ((string hex, int vector) in new[] { ("F30F09", Protection), ("0F01C8", Invalid), ("0F01C9", Invalid) })
        {
            using var user = new Guest(GuestMode.Long);
            user.BecomeUser();
            Outcome end = user.Run(Convert.FromHexString(hex));
            Assert.Equal((vector, Guest.Code), (end.Vector, end.Rip));
        }
    }

    /// <summary>SDM 2 MONITOR, MWAIT: ECX has extensions that there are not; a page that is not there.</summary>
    [Fact]
    public void MonitorAndMwaitHaveTheirConditions()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[1] = 1;
        Assert.Equal(Protection, guest.Run(0x0F, 0x01, 0xC8).Vector);
        guest.State->Gpr[1] = 2;
        Assert.Equal(Protection, guest.Run(0x0F, 0x01, 0xC9).Vector);
        guest.State->Gpr[1] = 0;
        guest.State->Gpr[0] = Guest.Data;
        guest.Page(Guest.Data) = 0;
        guest.Processor.StateLoaded();
        Assert.Equal(14, guest.Run(0x0F, 0x01, 0xC8).Vector);
    }

    /// <summary>SDM 3A 10.10.4: MWAIT waits for a store to the line that MONITOR named; a store between the two ends it before it begins.</summary>
    [Fact]
    public void MwaitWaitsForAStore()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[0] = Guest.Data + 0x44;
        guest.Place(Guest.Code, 0x0F, 0x01, 0xC8, 0x0F, 0x01, 0xC9, 0xF4); // monitor; mwait; hlt
        guest.State->Rip = Guest.Code;
        Assert.Equal(RunResult.Waiting, guest.Processor.Run());
        Assert.False(guest.Processor.HasWakeEvent);
        Assert.False(guest.Processor.MonitoredLineChanged);
        guest.Write(Guest.Data + 0x80, (byte)1);
        Assert.False(guest.Processor.MonitoredLineChanged);
        guest.Write(Guest.Data + 0x7F, (byte)1);
        Assert.True(guest.Processor.MonitoredLineChanged);
        Assert.Equal(RunResult.Halted, guest.Processor.Run());
        Assert.Equal(Guest.Code + 7, guest.State->Rip);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.monitor();
            a.inc(__dword_ptr[rax]);
            a.mwait();
        }).Vector);
    }

    /// <summary>SDM 2 MWAIT: with bit 0 of ECX, an interrupt ends the wait though IF is clear.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void MaskedInterruptsEndMwaitIfAsked(uint extensions)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Processor.PrepareAsFirmware();
        guest.State->Gpr[0] = Guest.Data;
        guest.Assemble(a =>
        {
            a.xor(ecx, ecx);
            a.monitor();
            a.mov(ecx, extensions);
            a.mwait();
            a.hlt();
        });
        guest.State->Rip = Guest.Code;
        Assert.Equal(RunResult.Waiting, guest.Processor.Run());
        guest.Processor.SetExternalInterrupt(true);
        Assert.Equal(extensions == 1, guest.Processor.HasWakeEvent);
    }

    /// <summary>SDM 2 2.8: no VEX in real mode, so no BMI.</summary>
    [Theory]
    [InlineData(GuestMode.Real, Invalid)]
    [InlineData(GuestMode.Protected16, -1)]
    [InlineData(GuestMode.Protected32, -1)]
    public void RealModeHasNoVex(GuestMode mode, int vector)
    {
        using var guest = new Guest(mode);
        Assert.Equal(vector, guest.Run(0xC4, 0xE2, 0x70, 0xF2, 0xC2).Vector); // andn eax, ecx, edx
    }

    /// <summary>SDM 2 CMPXCHG16B: #GP for an operand that is not aligned, before any page fault.</summary>
    [Fact]
    public void WideExchangesAreAligned()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[6] = Guest.Data + 8;
        guest.Page(Guest.Data) = 0;
        guest.Processor.StateLoaded();
        Assert.Equal(Protection, guest.Run(0x48, 0x0F, 0xC7, 0x0E).Vector);
        guest.State->Gpr[6] = Guest.Data;
        Assert.Equal(14, guest.Run(0x48, 0x0F, 0xC7, 0x0E).Vector);
    }

    /// <summary>What hosts without BMI2 get is what those with it do.</summary>
    [Fact]
    public void BitsAreSpreadAndGatheredPortably()
    {
        Assert.SkipUnless(Bmi2.X64.IsSupported, "needs a host with BMI2 to compare with");
        var random = new Random(20250302);
        for (int i = 0; i < 20000; i++)
        {
            ulong value = (ulong)random.NextInt64() << random.Next(64);
            ulong mask = (ulong)random.NextInt64() << random.Next(64);
            Assert.Equal(Bmi2.X64.ParallelBitDeposit(value, mask), BitManipulation.DepositPortably(value, mask));
            Assert.Equal(Bmi2.X64.ParallelBitExtract(value, mask), BitManipulation.ExtractPortably(value, mask));
        }
    }
}
