using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Exceptions, interrupts, traps and what holds them back (SDM 3A chapter 6, 3B 18.3).</summary>
public sealed unsafe class ExceptionTests
{
    private const uint Trap = Flags.Trap;

    [Theory]
    [InlineData("F7F1", 0, 0)]          // div ecx, ECX being 0: a fault
    [InlineData("0F0B", 6, 0)]          // ud2
    [InlineData("CC", 3, 1)]            // int3: a trap
    [InlineData("CD80", 0x80, 2)]       // int 80h
    [InlineData("CE", 4, 1)]            // into, OF being set
    [InlineData("62042500000200", 5, 0)] // bound eax, [20000h], both bounds being 0
    [InlineData("F1", 1, 1)]            // int1
    public void FaultsPointAtTheirInstructionAndTrapsPastIt(string hex, int vector, int length)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.State->Gpr[0] = 5;
        Flags.Set(guest.State, Flags.Overflow | Flags.Fixed);
        Outcome outcome = guest.Run(Convert.FromHexString(hex));
        Assert.Equal(new Outcome(vector, 0, Guest.Code + (ulong)length), outcome);
    }

    /// <summary>RF is set in the image of a fault and clear in that of a trap (SDM 3B 18.3.1.1).</summary>
    [Theory]
    [InlineData("0F0B", true)]
    [InlineData("CC", false)]
    public void FaultsSetResume(string hex, bool set)
    {
        using var guest = new Guest(GuestMode.Long);
        Outcome outcome = guest.Run(Convert.FromHexString(hex));
        Assert.Equal(set, (guest.FrameFlags(outcome) & Flags.Resume) != 0);
    }

    [Theory]
    [InlineData(8, 7, "D9E8")]   // TS: fld1
    [InlineData(4, 7, "D9E8")]   // EM
    [InlineData(8, 7, "0F58C1")] // TS: addps
    [InlineData(4, 6, "0F58C1")] // EM: #UD
    [InlineData(0xA, 7, "9B")]   // MP and TS: fwait
    [InlineData(8, -1, "9B")]
    public void TheFloatingPointUnitMayBeAway(uint cr0, int vector, string hex)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr0 |= cr0;
        Assert.Equal(vector, guest.Run(Convert.FromHexString(hex)).Vector);
    }

    /// <summary>Table 6-5: two contributory exceptions are a double fault.</summary>
    [Fact]
    public void AFaultOnTheWayToAContributoryHandlerIsADoubleFault()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(13, Guest.Code64, 0, present: false);
        Outcome outcome = guest.Run(a => a.mov(rax, __qword_ptr[rdx]), rdx: 1UL << 62);
        Assert.Equal((8, 0u, Guest.Code), (outcome.Vector, outcome.Error, outcome.Rip));
    }

    [Fact]
    public void ABenignExceptionIsReplacedByWhatItsDeliveryRaises()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(6, Guest.Code64, 0, present: false);
        // The gate's index, IDT, and EXT: an exception was being delivered.
        Assert.Equal(new Outcome(11, (6 * 8) + 3, Guest.Code), guest.Run(a => a.ud2()));
    }

    [Fact]
    public void APageFaultInDeliveringAPageFaultIsADoubleFault()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(8, Guest.Code64, (uint)Guest.Handlers + 0x80, ist: 1);
        guest.Page(0x7000) = 0;
        Outcome outcome = guest.Run(a => a.mov(rax, __qword_ptr[0x7FF8]));
        Assert.Equal(8, outcome.Vector);
        Assert.Equal(Guest.IstTop - 48, guest.State->Gpr[4]);
    }

    [Fact]
    public void AThirdFaultShutsDownWithAReport()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->IdtLimit = 0;
        Assert.Equal(-2, guest.Run(a => a.ud2()).Vector);
        Assert.Contains("#UD", guest.Processor.ShutdownReport, StringComparison.Ordinal);
        Assert.Contains("#DF", guest.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    [Fact]
    public void AnInterruptThatCannotBeDeliveredShutsDown()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->IdtLimit = 0;
        guest.Processor.RequestNmi();
        Assert.Equal(-2, guest.Run(a => a.nop()).Vector);
    }

    /// <summary>SDM 3A 6.14: frames of 64-bit mode are aligned to 16 and have SS:RSP always.</summary>
    [Fact]
    public void LongModeFramesAreAligned()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[4] = Guest.StackTop - 3;
        guest.Run(a => a.ud2());
        Assert.Equal(Guest.StackTop - 16 - 40, guest.State->Gpr[4]);
        Assert.Equal(Guest.StackTop - 3, guest.Stack(3));
        Assert.Equal((ulong)Guest.FlatData, guest.Stack(4));
    }

    [Fact]
    public void AnIstStackIsTakenAtTheSameLevelToo()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(6, Guest.Code64, (uint)Guest.Handlers + 0x60, ist: 1);
        guest.Run(a => a.ud2());
        Assert.Equal(Guest.IstTop - 40, guest.State->Gpr[4]);
    }

    [Theory]
    [InlineData(14u, 0u)]
    [InlineData(15u, Flags.Interrupt)]
    public void OnlyInterruptGatesClearIf(uint type, uint expected)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(0x80, Guest.Code64, (uint)Guest.Handlers + 0x800, type);
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.Run(a => a.@int(0x80));
        Assert.Equal(expected, guest.State->SystemFlags & Flags.Interrupt);
    }

    [Fact]
    public void SoftwareInterruptsNeedTheGatesLevel()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.BecomeUser();
        Assert.Equal(new Outcome(13, (0x80 * 8) + 2, Guest.Code), guest.Run(a => a.@int(0x80)));
        guest.Gate(0x80, Guest.Code64, (uint)Guest.Handlers + 0x800, dpl: 3);
        guest.BecomeUser();
        Assert.Equal(0x80, guest.Run(a => a.@int(0x80)).Vector);
        Assert.Equal(Guest.InnerStackTop - 40, guest.State->Gpr[4]);
        Assert.Equal(Guest.UserStackTop, guest.Stack(3));
        guest.BecomeUser();
        // INT1 is the processor's own: the gate's level does not matter.
        Assert.Equal(1, guest.Run(0xF1).Vector);
    }

    [Fact]
    public void TooLongAnInstructionIsAGeneralProtectionFault()
    {
        using var guest = new Guest(GuestMode.Long);
        Assert.Equal(13, guest.Run([.. Enumerable.Repeat((byte)0x66, 15), 0x90]).Vector);
        Assert.Equal(-1, guest.Run([.. Enumerable.Repeat((byte)0x66, 14), 0x90]).Vector);
    }

    /// <summary>POPF's new TF takes effect after the instruction that follows (SDM 3B 18.3.1.4).</summary>
    [Fact]
    public void TheTrapComesAfterTheInstructionThatFollowsPopf()
    {
        using var guest = new Guest(GuestMode.Long);
        Outcome outcome = guest.Run(a =>
        {
            a.pushfq();
            a.or(__dword_ptr[rsp], (int)Trap);
            a.popfq();
            a.nop();
            a.nop();
        });
        Assert.Equal((1, Guest.Code + 10), (outcome.Vector, outcome.Rip));
        Assert.Equal(0x4000UL, guest.State->Dr[6] & 0x4000);
        Assert.Equal(0UL, guest.State->SystemFlags & Trap);
        Assert.NotEqual(0UL, guest.FrameFlags(outcome) & Trap);
    }

    [Fact]
    public void ClearingTfStillTrapsOnce()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Trap;
        guest.State->Gpr[4] -= 8;
        guest.Write(guest.State->Gpr[4], 2UL);
        Assert.Equal((1, Guest.Code + 1), Of(guest.Run(a =>
        {
            a.popfq();
            a.nop();
        })));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(2, 3)]
    public void IretsNewTfTrapsAfterTheNextInstruction(int nops, int after)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Assemble(a =>
        {
            a.iretq();
        });
        guest.Place(Guest.Code + 0x100, 0x90, 0x90, 0x90, 0x90, 0x90);
        ulong target = Guest.Code + 0x100 + (ulong)nops;
        ulong at = Guest.StackTop - 40;
        foreach (ulong value in (ulong[])[target, Guest.Code64, 2 | Trap, Guest.StackTop, Guest.FlatData])
        {
            guest.Write(at, value);
            at += 8;
        }
        guest.State->Gpr[4] = Guest.StackTop - 40;
        Assert.Equal((1, Guest.Code + 0x100 + (ulong)after), Of(guest.Start(Guest.Code)));
    }

    /// <summary>SDM 3A 6.8.3: no trap between MOV SS and the instruction after it.</summary>
    [Fact]
    public void MovSsHoldsTheTrapBack()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Trap;
        guest.State->Gpr[0] = Guest.FlatData;
        Assert.Equal((1, Guest.Code + 3), Of(guest.Run(0x8E, 0xD0, 0x90, 0x90))); // mov ss, eax; nop; nop
    }

    /// <summary>SDM 2 REP: a repeated instruction traps after each iteration.</summary>
    [Fact]
    public void RepTrapsAfterEachIteration()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Trap;
        guest.State->Gpr[1] = 3;
        guest.State->Gpr[7] = Guest.Data;
        Assert.Equal((1, Guest.Code), Of(guest.Run(0xF3, 0xAA, 0x90))); // rep stosb
        Assert.Equal((2UL, Guest.Data + 1), (guest.State->Gpr[1], guest.State->Gpr[7]));
        guest.State->SystemFlags |= Trap;
        guest.State->Gpr[1] = 1;
        Assert.Equal((1, Guest.Code + 2), Of(guest.Start(Guest.Code)));
        Assert.Equal(0UL, guest.State->Gpr[1]);
    }

    /// <summary>SDM 3B 18.3.1.4: INT n clears TF, so it is not followed by a trap.</summary>
    [Fact]
    public void SoftwareInterruptsAreNotFollowedByATrap()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Trap;
        Outcome outcome = guest.Run(a => a.@int(0x80));
        Assert.Equal(0x80, outcome.Vector);
        Assert.NotEqual(0UL, guest.FrameFlags(outcome) & Trap);
    }

    [Fact]
    public void HltUnderTfTraps()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Trap;
        Assert.Equal((1, Guest.Code + 1), Of(guest.Run()));
    }

    [Fact]
    public void StiHoldsInterruptsBackForOneInstruction()
    {
        using var guest = new Guest(GuestMode.Long);
        WithExternal(guest, 0x30);
        Assert.Equal((0x30, Guest.Code + 2), Of(guest.Run(a =>
        {
            a.sti();
            a.nop();
            a.nop();
        })));
    }

    [Fact]
    public void StiThenHltDoesNotLoseTheInterrupt()
    {
        using var guest = new Guest(GuestMode.Long);
        WithExternal(guest, 0x30);
        Assert.Equal(RunResult.Halted, RunBare(guest, 0xFB, 0xF4, 0x90, 0xF4));
        Assert.Equal(Guest.Code + 2, guest.State->Rip);
        Assert.True(guest.Processor.HasWakeEvent);
        Assert.Equal((0x30, Guest.Code + 2), Of(guest.Continue()));
    }

    [Fact]
    public void MovSsHoldsInterruptsBack()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.State->Gpr[0] = Guest.FlatData;
        guest.Bus.PortWritten = _ => WithExternal(guest, 0x30);
        // out 80h, al; mov ss, eax; nop: the interrupt is taken before MOV SS at once, so raise it from there.
        Assert.Equal((0x30, Guest.Code + 2), Of(guest.Run(0xE6, 0x80, 0x8E, 0xD0, 0x90)));
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.State->InterruptShadow = InterruptShadow.MovSs;
        WithExternal(guest, 0x30);
        Assert.Equal((0x30, Guest.Code + 1), Of(guest.Run(0x90, 0x90)));
    }

    /// <summary>SDM 3A 6.7.1: no NMI until IRET, even one that faults.</summary>
    [Fact]
    public void NmisWaitForIret()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Processor.RequestNmi();
        Assert.Equal((2, Guest.Code), Of(guest.Run(a => a.nop())));
        guest.Processor.RequestNmi();
        Assert.Equal(-1, guest.Run(a => a.nop()).Vector);
        guest.State->Gpr[4] = 1UL << 62; // IRET faults
        guest.Gate(12, Guest.Code64, (uint)Guest.Handlers + 0xC0, ist: 1);
        guest.Gate(2, Guest.Code64, (uint)Guest.Handlers + 0x20, ist: 2);
        guest.Write(Guest.Tss + 0x2C, Guest.UserStackTop);
        Assert.Equal(2, guest.Run(a => a.iretq()).Vector);
    }

    [Fact]
    public void AMaskedInterruptDoesNotWakeHlt()
    {
        using var guest = new Guest(GuestMode.Long);
        WithExternal(guest, 0x30);
        Assert.Equal(RunResult.Halted, RunBare(guest, 0xF4));
        Assert.False(guest.Processor.HasWakeEvent);
        guest.Processor.RequestNmi();
        Assert.True(guest.Processor.HasWakeEvent);
    }

    /// <summary>SDM 3B 18.2.4: with DR7.GD, MOV DR is a #DB that clears GD and sets DR6.BD.</summary>
    [Fact]
    public void GeneralDetectGuardsTheDebugRegisters()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Dr[7] |= 1 << 13;
        Assert.Equal((1, Guest.Code), Of(guest.Run(a => a.mov(rax, dr0))));
        Assert.Equal(0UL, guest.State->Dr[7] & (1 << 13));
        Assert.NotEqual(0UL, guest.State->Dr[6] & (1 << 13));
    }

    [Fact]
    public void Dr4IsDr6UnlessDebugExtensions()
    {
        using var guest = new Guest(GuestMode.Long);
        Assert.Equal(-1, guest.Run(0x0F, 0x21, 0xE0).Vector);
        Assert.Equal(0xFFFF_0FF0UL, guest.State->Gpr[0]);
        guest.State->Cr4 |= 8;
        Assert.Equal(6, guest.Run(0x0F, 0x21, 0xE0).Vector);
    }

    /// <summary>SDM 1 3.3.7.1: a non-canonical address is #SS through the stack, #GP elsewhere.</summary>
    [Theory]
    [InlineData("488B00", 13)]     // mov rax, [rax]
    [InlineData("488B0424", 12)]   // mov rax, [rsp]
    [InlineData("488B4500", 12)]   // mov rax, [rbp+0]
    [InlineData("50", 12)]         // push rax
    [InlineData("58", 12)]
    [InlineData("E800000000", 12)]
    [InlineData("C3", 12)]
    [InlineData("C9", 12)]
    [InlineData("FF30", 13)]       // push [rax]
    [InlineData("48CF", 12)]
    [InlineData("A4", 13)]         // movsb
    public void NonCanonicalAddressesFault(string hex, int vector)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Gate(12, Guest.Code64, (uint)Guest.Handlers + 0xC0, ist: 1);
        guest.Gate(13, Guest.Code64, (uint)Guest.Handlers + 0xD0, ist: 1);
        guest.State->Gpr[0] = guest.State->Gpr[4] = guest.State->Gpr[5] = guest.State->Gpr[6] = 1UL << 62;
        Assert.Equal(new Outcome(vector, 0, Guest.Code), guest.Run(Convert.FromHexString(hex)));
    }

    private static (int Vector, ulong Rip) Of(Outcome outcome) => (outcome.Vector, outcome.Rip);

    private static RunResult RunBare(Guest guest, params ReadOnlySpan<byte> code)
    {
        guest.Place(Guest.Code, code);
        guest.State->Rip = Guest.Code;
        return guest.Processor.Run();
    }

    private static void WithExternal(Guest guest, int vector)
    {
        Assert.True(guest.Processor.Apic.TrySetBase(0xFEE0_0100)); // off: INTR reaches the processor as it is
        guest.Bus.ExternalVector = vector;
        guest.Processor.SetExternalInterrupt(true);
    }
}
