using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Real-address mode (SDM 3B 21.1) and the 16-bit forms of transfers and stack instructions.</summary>
public sealed unsafe class RealModeTests
{
    [Fact]
    public void InterruptsGoThroughTheVectorTableAndReturn()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.Write(0x21 * 4, 0x0100_0010u); // 0100:0010
        guest.Place(0x1010, 0xB0, 0x42, 0xCF); // mov al, 42h; iret
        Flags.Set(guest.State, Flags.Interrupt | Flags.Carry | 2);
        Assert.Equal(new Outcome(-1, 0, Guest.Code + 3), guest.Run(0xCD, 0x21));
        Assert.Equal((0x42UL, Guest.StackTop), (guest.State->Gpr[0], guest.State->Gpr[4]));
        Assert.Equal(Flags.Interrupt | Flags.Carry | 2UL, Flags.Get(guest.State));
    }

    [Fact]
    public void TheFrameIsThreeWords()
    {
        using var guest = new Guest(GuestMode.Real);
        Flags.Set(guest.State, Flags.Interrupt | Flags.Trap | 2);
        guest.State->SystemFlags &= ~(ulong)Flags.Trap;
        Assert.Equal(new Outcome(0x80, 0, Guest.Code + 2), guest.Run(0xCD, 0x80));
        Assert.Equal((0UL, Flags.Interrupt | 2UL), (guest.Stack(1), guest.Stack(2)));
        Assert.Equal(Guest.StackTop - 6, guest.State->Gpr[4]);
        Assert.Equal(0UL, guest.State->SystemFlags & Flags.Interrupt);
    }

    [Fact]
    public void FarCallsAndReturns()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.Place(0x1_2345, 0x8C, 0xC8, 0xCA, 4, 0); // mov ax, cs; retf 4
        Assert.Equal(-1, guest.Run(0x50, 0x50, 0x9A, 0x45, 0x03, 0x00, 0x12).Vector); // push ax twice; call 1200:0345
        Assert.Equal((0x1200UL, 0u, Guest.StackTop), (guest.State->Gpr[0], guest.State->Cs.Selector, guest.State->Gpr[4]));
    }

    [Fact]
    public void AReturnBeyondTheLimitLeavesTheStackAlone()
    {
        using var guest = new Guest(GuestMode.Real);
        Assert.Equal(13, guest.Run(a =>
        {
            a.push(0);
            a.push(0);
            a.push(1);
            a.push(0);
            a.db(0x66, 0xCB); // retf to 0:00010000
        }).Vector);
        Assert.Equal(Guest.StackTop - 8 - 6, guest.State->Gpr[4]);
    }

    [Fact]
    public void PushaKeepsTheOldStackPointerAndPopaIgnoresIt()
    {
        using var guest = new Guest(GuestMode.Real);
        for (int i = 0; i < 8; i++)
        {
            guest.State->Gpr[i] = i == 4 ? guest.State->Gpr[4] : (ulong)(0xAAAA_0000 + i);
        }
        guest.Run(0x60);
        Assert.Equal([7UL, 6, 5, Guest.StackTop, 3, 2, 1, 0], Enumerable.Range(0, 8).Select(i => guest.Stack(i)));
        guest.Run(0x61);
        Assert.Equal((Guest.StackTop, 0xAAAA_0007UL), (guest.State->Gpr[4], guest.State->Gpr[7]));
    }

    [Fact]
    public void EnterAndLeaveWithNestedFrames()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->Gpr[5] = 0x9000;
        guest.Write(0x8FFE, (ushort)0x1111);
        guest.Run(0xC8, 0x10, 0, 2); // enter 16, 2
        Assert.Equal((Guest.StackTop - 6 - 16, Guest.StackTop - 2), (guest.State->Gpr[4], guest.State->Gpr[5]));
        Assert.Equal((0x9000, 0x1111, (ushort)(Guest.StackTop - 2)),
            (guest.Read<ushort>(Guest.StackTop - 2), guest.Read<ushort>(Guest.StackTop - 4), guest.Read<ushort>(Guest.StackTop - 6)));
        guest.Run(0xC9);
        Assert.Equal((Guest.StackTop, 0x9000UL), (guest.State->Gpr[4], guest.State->Gpr[5]));
    }

    /// <summary>SDM 2 ENTER: the frame pointer is ESP by the operand size, whatever the stack's.</summary>
    [Fact]
    public void AWideFrameOnANarrowStackHasAllOfEsp()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->Gpr[4] = 0x1_0000 | Guest.StackTop;
        guest.Run(0x66, 0xC8, 0, 0, 0); // enter 0, 0 with 32 bits
        Assert.Equal((0x1_0000 | (Guest.StackTop - 4), 0x1_0000 | (Guest.StackTop - 4)), (guest.State->Gpr[4], guest.State->Gpr[5]));
    }

    [Fact]
    public void LoopsCountByTheAddressSize()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->Gpr[1] = 0x5_0003;
        guest.Run(0x43, 0xE2, 0xFD); // inc bx; loop
        Assert.Equal((3UL, 0x5_0000UL), (guest.State->Gpr[3], guest.State->Gpr[1]));
        guest.State->Gpr[1] = 0x1_0001;
        guest.State->Gpr[3] = 0;
        guest.Run(0x66, 0x43, 0x67, 0xE2, 0xFB); // inc ebx; loop by ECX
        Assert.Equal((0x1_0001UL, 0UL), (guest.State->Gpr[3], guest.State->Gpr[1]));
    }

    /// <summary>A 16-bit jump wraps at 64 KiB; running over the end faults.</summary>
    [Fact]
    public void TheInstructionPointerIsSixteenBits()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.Place(0xFFF0, 0xE9, 0x0D, 0x05); // jmp +50Dh: to 0:0500
        guest.Place(0x500, 0xF4);
        Assert.Equal(new Outcome(-1, 0, 0x501), guest.Start(0xFFF0));
        guest.Place(0xFFFE, 0x90, 0x90);
        Assert.Equal(13, guest.Start(0xFFFE).Vector);
        Assert.Equal(0UL, guest.Stack(0)); // IP is pushed as 16 bits
    }

    [Fact]
    public void AddressesWrapWithinTheSegmentByTheAddressSize()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.Write(0x600, (byte)0x5A);
        guest.State->Gpr[3] = 0xFFFF;
        guest.State->Gpr[6] = 0x601;
        Assert.Equal(-1, guest.Run(a => a.mov(al, __byte_ptr[bx + si])).Vector);
        Assert.Equal(0x5A, (byte)guest.State->Gpr[0]);
    }
}
