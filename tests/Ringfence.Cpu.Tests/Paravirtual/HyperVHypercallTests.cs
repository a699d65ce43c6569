using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Paravirtual;

/// <summary>Hypercalls through the page (TLFS, Hypercall Interface): input value in RCX, parameters in RDX and R8 or where these point, result in RAX.</summary>
public sealed unsafe class HyperVHypercallTests
{
    private const ulong Page = Guest.Data;
    private const ulong Parameters = Guest.Data + 0x1000;
    private const ulong Fast = 1 << 16;
    private const byte Vector = 0x77;

    /// <summary>Status codes: 2 invalid call code, 3 invalid input, 5 invalid parameter, 12h invalid connection.</summary>
    [Theory]
    [InlineData(0x0008 | Fast, 0)]
    [InlineData(0x0008, 0)]
    [InlineData(0x0008 | (1UL << 32), 3)]
    [InlineData(0x0008 | (1UL << 60), 3)]
    [InlineData(0x0008 | (1UL << 17), 3)]
    [InlineData(0x0002, 2)]
    [InlineData(0x0003, 2)]
    [InlineData(0x0013, 2)]
    [InlineData(0x7777, 2)]
    [InlineData(0x005C, 0x12)]
    [InlineData(0x005D | Fast, 0x12)]
    public void CallsAreAnswered(ulong input, ulong status)
    {
        using ParavirtualGuest machine = Open();
        Assert.Equal(status, Call(machine, input, Vector, 0));
    }

    /// <summary>Nothing but RAX changes, and the call comes back.</summary>
    [Fact]
    public void OtherRegistersAreKept()
    {
        using ParavirtualGuest machine = Open();
        Guest guest = machine.Guest;
        for (int i = 0; i < 16; i++)
        {
            guest.State->Gpr[i] = i == 4 ? Guest.StackTop : (ulong)i * 0x1111_1111;
        }
        guest.State->Gpr[1] = 0x8 | Fast;
        guest.State->Gpr[9] = Page;
        guest.Run(a => a.call(r9));
        Assert.Equal(0UL, guest.State->Gpr[0]);
        for (int i = 2; i < 16; i++)
        {
            Assert.Equal(i == 4 ? Guest.StackTop : i == 9 ? Page : (ulong)i * 0x1111_1111, guest.State->Gpr[i]);
        }
        Assert.Empty(guest.Bus.Written);
    }

    /// <summary>32-bit code has it all in pairs: EDX:EAX, EBX:ECX, EDI:ESI.</summary>
    [Fact]
    public void CodeOf32BitsCallsInPairs()
    {
        using ParavirtualGuest machine = Open(GuestMode.Protected32);
        Guest guest = machine.Guest;
        (guest.State->Gpr[2], guest.State->Gpr[0]) = (0, 0x0B | Fast);
        (guest.State->Gpr[3], guest.State->Gpr[1]) = (0, Vector);
        (guest.State->Gpr[7], guest.State->Gpr[6]) = (0, 2);
        guest.Run(a =>
        {
            a.mov(ebp, (uint)Page);
            a.call(ebp);
        });
        Assert.Equal((0UL, 0UL), (guest.State->Gpr[0], guest.State->Gpr[2]));
        Assert.True(ParavirtualGuest.IsRequested(machine.Second, Vector));
    }

    /// <summary>The port is the system's, as every port is without IOPL; and with IOPL level 3 gets nothing.</summary>
    [Theory]
    [InlineData(0, 13)]
    [InlineData(0x3000, 13)]
    public void OnlyTheSystemMayCall(ulong iopl, int vector)
    {
        using ParavirtualGuest machine = Open();
        Guest guest = machine.Guest;
        guest.BecomeUser();
        guest.State->SystemFlags |= iopl;
        (guest.State->Gpr[0], guest.State->Gpr[1]) = (0x99, 8 | Fast);
        Assert.Equal(vector, guest.Run(a => a.@out(0x5C, eax)).Vector);
        Assert.Equal(0x99UL, guest.State->Gpr[0]);
    }

    /// <summary>TLFS, HvCallSendSyntheticClusterIpi: registers or memory.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void InterruptsAreSentToAMask(bool fast)
    {
        using ParavirtualGuest machine = Open();
        machine.Guest.Write(Parameters, (ulong)Vector);
        machine.Guest.Write(Parameters + 8, 2UL);
        ulong status = fast ? Call(machine, 0x0B | Fast, Vector, 2) : Call(machine, 0x0B, Parameters, 0);
        Assert.Equal(0UL, status);
        Assert.False(ParavirtualGuest.IsRequested(machine.First, Vector));
        Assert.True(ParavirtualGuest.IsRequested(machine.Second, Vector));
    }

    [Theory]
    [InlineData(0x0B | Fast, 0x0F, 5)]
    [InlineData(0x0B | Fast, 0x100, 5)]
    [InlineData(0x0B, Parameters + 4, 4)]
    [InlineData(0x0B, Parameters + 0xFF8, 4)]
    [InlineData(0x0B, 0xFEE0_0000, 5)]
    [InlineData(0x15 | Fast, Vector, 3)]
    public void InterruptsThatCannotBe(ulong input, ulong first, ulong status)
    {
        using ParavirtualGuest machine = Open();
        Assert.Equal(status, Call(machine, input, first, 3));
    }

    /// <summary>TLFS, HvCallSendSyntheticClusterIpiEx: all, or banks of 64 of which the input value says how many there are.</summary>
    [Theory]
    [InlineData(0, 1, 2, 1, 0, 2)]
    [InlineData(0, 1, 3, 1, 0, 3)]
    [InlineData(0, 2, 3, 1, 0, 0)]
    [InlineData(1, 0, 0, 0, 0, 3)]
    [InlineData(0, 1, 2, 0, 3, 0)]
    [InlineData(2, 1, 2, 1, 5, 0)]
    public void InterruptsAreSentToASet(ulong format, ulong valid, ulong bank, int banks, ulong status, int reached)
    {
        using ParavirtualGuest machine = Open();
        machine.Guest.Write(Parameters, (ulong)Vector);
        machine.Guest.Write(Parameters + 8, format);
        machine.Guest.Write(Parameters + 16, valid);
        machine.Guest.Write(Parameters + 24, bank);
        Assert.Equal(status, Call(machine, 0x15 | ((ulong)banks << 17), Parameters, 0));
        Assert.Equal((reached & 1) != 0, ParavirtualGuest.IsRequested(machine.First, Vector));
        Assert.Equal((reached & 2) != 0, ParavirtualGuest.IsRequested(machine.Second, Vector));
    }

    private static ParavirtualGuest Open(GuestMode mode = GuestMode.Long)
    {
        ParavirtualGuest machine = new(hyperV: true, mode: mode);
        machine.Write(0x4000_0000, 1);
        machine.Write(0x4000_0001, Page | 1);
        return machine;
    }

    private static ulong Call(ParavirtualGuest machine, ulong input, ulong first, ulong second)
    {
        ulong* gpr = machine.Guest.State->Gpr;
        (gpr[0], gpr[1], gpr[2], gpr[8], gpr[9]) = (0xBAD, input, first, second, Page);
        Assert.Equal(-1, machine.Guest.Run(a => a.call(r9)).Vector);
        return gpr[0];
    }
}
