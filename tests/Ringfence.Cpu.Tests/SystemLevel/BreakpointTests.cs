using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Breakpoints of the debug registers (SDM 3B 18.2, 18.3).</summary>
public sealed unsafe class BreakpointTests
{
    private const int Execute = 0;
    private const int Write = 1;
    private const int Port = 2;
    private const int Access = 3;

    private static Guest Create(int number, ulong address, int kind, int length = 1, bool global = false, GuestMode mode = GuestMode.Long)
    {
        var guest = new Guest(mode);
        Arm(guest, number, address, kind, length, global);
        return guest;
    }

    private static void Arm(Guest guest, int number, ulong address, int kind, int length = 1, bool global = false)
    {
        int code = length switch { 1 => 0, 2 => 1, 8 => 2, _ => 3 };
        guest.State->Dr[number] = address;
        guest.State->Dr[7] |= (1UL << ((2 * number) + (global ? 1 : 0))) | ((ulong)(kind | (code << 2)) << (16 + (4 * number)));
        guest.Processor.StateLoaded();
    }

    private static ulong Met(Guest guest) => guest.State->Dr[6] & 0xE00F;

    /// <summary>18.3.1.1: a fault before the instruction; RF in the image is as it was.</summary>
    [Theory]
    [InlineData(0, false)]
    [InlineData(3, true)]
    public void CodeStopsBeforeTheInstruction(int number, bool global)
    {
        using Guest guest = Create(number, Guest.Code + 2, Execute, global: global);
        Outcome outcome = guest.Run(0x90, 0x90, 0x0F, 0x0B);
        Assert.Equal(new Outcome(1, 0, Guest.Code + 2), outcome);
        Assert.Equal((1UL << number, 0UL), (Met(guest), guest.FrameFlags(outcome) & Flags.Resume));
    }

    [Fact]
    public void NothingStopsUnlessEnabled()
    {
        using Guest guest = Create(0, Guest.Code, Execute);
        guest.State->Dr[7] = 0x400;
        guest.Processor.StateLoaded();
        Assert.Equal(-1, guest.Run(0x90).Vector);
    }

    /// <summary>The guest arms it itself, over code that has run already; only the first byte of an instruction counts.</summary>
    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, -1)]
    public void ABreakpointIsFoundInCodeThatRanBefore(int offset, int vector)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xD000, 0x90, 0x48, 0x89, 0xC0, 0xC3); // nop; mov rax, rax; ret
        guest.Processor.StateLoaded();
        Outcome outcome = guest.Run(a =>
        {
            a.mov(esi, 0xD000);
            a.call(rsi);
            a.lea(rax, __qword_ptr[rsi + 1 + offset]);
            a.mov(dr1, rax);
            a.mov(eax, 0x404);
            a.mov(dr7, rax);
            a.call(rsi);
        });
        Assert.Equal(vector, outcome.Vector);
        if (vector == 1)
        {
            Assert.Equal((0xD001UL, 2UL), (outcome.Rip, Met(guest)));
        }
    }

    /// <summary>18.3.1.1: RF lets one instruction pass and ends as that begins.</summary>
    [Fact]
    public void ResumePassesOnce()
    {
        using Guest guest = Create(0, Guest.Code, Execute);
        guest.State->SystemFlags |= Flags.Resume;
        Assert.Equal(-1, guest.Run(0x90).Vector);
        Assert.Equal(0UL, guest.State->SystemFlags & Flags.Resume);
        // IRET brings it back, and the same instruction would stop again without.
        ulong at = Guest.StackTop - 40;
        foreach (ulong value in (ulong[])[Guest.Code, Guest.Code64, 2 | Flags.Resume, Guest.StackTop, Guest.FlatData])
        {
            guest.Write(at, value);
            at += 8;
        }
        guest.State->Gpr[4] = Guest.StackTop - 40;
        guest.Place(0xD000, 0x48, 0xCF);
        Assert.Equal(new Outcome(-1, 0, Guest.Code + 2), guest.Start(0xD000));
        Assert.Equal(new Outcome(1, 0, Guest.Code), guest.Start(Guest.Code));
    }

    /// <summary>3A 6.8.3: MOV SS suppresses a breakpoint on the instruction after it; not so AMD's.</summary>
    [Theory]
    [InlineData("GenuineIntel", -1)]
    [InlineData("AuthenticAMD", 1)]
    public void MovSsSuppressesTheNextBreakpoint(string vendor, int vector)
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Max with { Vendor = vendor });
        Arm(guest, 0, Guest.Code + 2, Execute);
        guest.State->Gpr[0] = Guest.FlatData;
        Assert.Equal(vector, guest.Run(0x8E, 0xD0, 0x90, 0x90).Vector);
    }

    /// <summary>18.2.2: where an access and a breakpoint overlap, by kind and length.</summary>
    [Theory]
    [InlineData(Write, 4, 0, "890E", true)]    // mov [rsi], ecx
    [InlineData(Write, 4, 0, "8B0E", false)]   // mov ecx, [rsi]
    [InlineData(Access, 4, 0, "8B0E", true)]
    [InlineData(Write, 1, 3, "890E", true)]
    [InlineData(Write, 1, 4, "890E", false)]
    [InlineData(Write, 2, -2, "890E", false)]
    [InlineData(Write, 4, 1, "890E", true)]    // the low bits of its address are ignored
    [InlineData(Write, 8, 7, "880E", true)]    // mov [rsi], cl
    [InlineData(Write, 4, 0, "010E", true)]    // add [rsi], ecx
    [InlineData(Write, 4, 0, "F0010E", true)]  // lock add
    [InlineData(Write, 4, 0, "870E", true)]    // xchg
    [InlineData(Access, 4, 0, "FF36", true)]   // push [rsi]
    [InlineData(Access, 4, 0, "0F100E", true)] // movups xmm1, [rsi]
    [InlineData(Write, 4, 0, "0F110E", true)]
    [InlineData(Access, 4, 0, "D906", true)]   // fld dword [rsi]
    [InlineData(Access, 1, 0, "A4", true)]     // movsb
    [InlineData(Write, 1, 0x100, "A4", true)]
    public void DataStopsAfterTheInstruction(int kind, int length, int offset, string hex, bool met)
    {
        using Guest guest = Create(2, (ulong)((long)Guest.Data + offset), kind, length);
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[7] = Guest.Data + 0x100;
        guest.State->Gpr[1] = 0x11;
        byte[] code = Convert.FromHexString(hex);
        Outcome outcome = guest.Run([0xFF, 0xC3, .. code, 0xFF, 0xC3]); // inc ebx; ...; inc ebx
        Assert.Equal(met ? new Outcome(1, 0, Guest.Code + 2 + (ulong)code.Length) : new Outcome(-1, 0, Guest.Code + 5 + (ulong)code.Length), outcome);
        Assert.Equal((met ? 4UL : 0, met ? 1UL : 2), (Met(guest), guest.State->Gpr[3]));
        if (hex is "010E" or "F0010E")
        {
            Assert.Equal(0x11u, guest.Read<uint>(Guest.Data));
        }
    }

    [Theory]
    [InlineData("50", 8)]          // push rax
    [InlineData("E800000000", 8)]  // call
    [InlineData("9C", 8)]          // pushfq
    public void TheStackIsDataToo(string hex, int below)
    {
        using Guest guest = Create(0, Guest.StackTop - (ulong)below, Write, 8);
        byte[] code = Convert.FromHexString(hex);
        guest.Gate(1, Guest.Code64, (uint)Guest.Handlers + 0x10, ist: 1);
        Assert.Equal(new Outcome(1, 0, Guest.Code + (ulong)code.Length), guest.Run(code));
    }

    /// <summary>18.3.1.2: a repeated string instruction stops after the iteration, with RF in the image.</summary>
    [Fact]
    public void ARepeatedStringStopsAfterTheIteration()
    {
        using Guest guest = Create(0, Guest.Data + 5, Write);
        guest.State->Gpr[7] = Guest.Data;
        guest.State->Gpr[1] = 16;
        Outcome outcome = guest.Run(0xF3, 0xAA);
        Assert.Equal(new Outcome(1, 0, Guest.Code), outcome);
        Assert.Equal((10UL, Guest.Data + 6), (guest.State->Gpr[1], guest.State->Gpr[7]));
        Assert.NotEqual(0UL, guest.FrameFlags(outcome) & Flags.Resume);
    }

    /// <summary>3A 6.8.3: what MOV SS meets is held until after the next instruction, be that INT n.</summary>
    [Theory]
    [InlineData("90", 1, 3)]
    [InlineData("CD80", 1, -1)]
    [InlineData("F1", 1, 3)]
    public void WhatMovSsMeetsIsHeld(string next, int vector, int at)
    {
        using Guest guest = Create(0, Guest.Data, Access, 2);
        guest.Write(Guest.Data, Guest.FlatData);
        guest.State->Gpr[6] = Guest.Data;
        Outcome outcome = guest.Run([0x8E, 0x16, .. Convert.FromHexString(next), 0x90, 0x90]); // mov ss, [rsi]
        if (next == "F1")
        {
            // INT1's own exception tells of it; there is no second.
            guest.Place(Guest.Handlers + 0x10, 0x48, 0xCF);
            guest.State->Dr[6] = 0xFFFF_0FF0;
            guest.State->Gpr[4] = Guest.StackTop;
            Assert.Equal(new Outcome(-1, 0, Guest.Code + 6), guest.Start(Guest.Code));
            Assert.Equal(1UL, Met(guest));
            return;
        }
        Assert.Equal((vector, at < 0 ? Guest.Handlers + 0x800 : Guest.Code + (ulong)at), (outcome.Vector, outcome.Rip));
        Assert.Equal(1UL, Met(guest));
    }

    [Fact]
    public void SingleStepAndBreakpointAreOneException()
    {
        using Guest guest = Create(0, Guest.Data, Write, 4);
        guest.State->Gpr[6] = Guest.Data;
        guest.State->SystemFlags |= Flags.Trap;
        Assert.Equal(new Outcome(1, 0, Guest.Code + 2), guest.Run(0x89, 0x0E, 0x90));
        Assert.Equal(0x4001UL, Met(guest));
    }

    /// <summary>A fault of the instruction comes in place of what it met.</summary>
    [Fact]
    public void AFaultComesFirst()
    {
        using Guest guest = Create(0, Guest.Data, Access, 4);
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[7] = 1UL << 62;
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(0xA4));
        Assert.Equal(0UL, Met(guest));
    }

    /// <summary>18.2.4: ports, with CR4.DE only.</summary>
    [Theory]
    [InlineData(8u, 0x81, "E682", -1)]
    [InlineData(8u, 0x81, "E680", -1)]
    [InlineData(8u, 0x81, "E581", 1)]    // in eax, 81h
    [InlineData(8u, 0x81, "E681", 1)]
    [InlineData(8u, 0x82, "E580", 1)]    // reaches to 83h
    [InlineData(0u, 0x81, "E681", -1)]
    public void PortsNeedDebugExtensions(uint cr4, int port, string hex, int vector)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr4 |= cr4;
        Arm(guest, 1, (ulong)port, Port);
        Outcome outcome = guest.Run([.. Convert.FromHexString(hex), 0x90]);
        Assert.Equal(vector, outcome.Vector);
        if (vector == 1)
        {
            Assert.Equal((Guest.Code + 2, 2UL), (outcome.Rip, Met(guest)));
        }
    }

    /// <summary>CR4.DE written later makes the difference too.</summary>
    [Fact]
    public void DebugExtensionsMayBeSetLater()
    {
        using Guest guest = Create(0, 0x80, Port);
        Assert.Equal(1, guest.Run(a =>
        {
            a.mov(rax, cr4);
            a.or(eax, 8);
            a.mov(cr4, rax);
            a.@out(0x80, al);
        }).Vector);
    }

    [Fact]
    public void AHaltThatFollowsABreakpointIsNotReached()
    {
        using Guest guest = Create(0, Guest.Data, Write, 8, mode: GuestMode.Protected32);
        guest.State->Dr[7] = 0xD_0401; // 4 bytes
        guest.Processor.StateLoaded();
        Assert.Equal(new Outcome(1, 0, Guest.Code + 10), guest.Run(a => a.mov(__dword_ptr[(long)Guest.Data], 5)));
    }

    /// <summary>18.3.1.4: every taken jump is a step, also to code that is known.</summary>
    [Fact]
    public void JumpsAreStepsToo()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xD000, 0x90, 0x90, 0xC3);
        guest.Place(Guest.Code, 0xE8, 0xFB, 0x0F, 0, 0, 0xF4); // call 0D000h
        Assert.Equal(-1, guest.Start(Guest.Code).Vector);
        guest.State->Gpr[4] = Guest.StackTop;
        guest.State->SystemFlags |= Flags.Trap;
        Assert.Equal(new Outcome(1, 0, 0xD000), guest.Start(Guest.Code));
    }

    /// <summary>18.2.3: DR6 and DR7 as they can be read back.</summary>
    [Fact]
    public void FixedBitsAreFixed()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.State->Gpr[0] = 0xABCD_0000_FFFF_DFFF; // what is above 32 bits does not count here
        Assert.Equal(-1, guest.Run(0x0F, 0x23, 0xF0, 0x0F, 0x23, 0xF8, 0x0F, 0x21, 0xF1, 0x0F, 0x21, 0xFA, 0x31, 0xC0, 0x0F, 0x23, 0xF8).Vector);
        Assert.Equal((0xFFFF_CFFFUL, 0xFFFF_07FFUL), (guest.State->Gpr[1] & ~0x2000UL, guest.State->Gpr[2]));
    }
}
