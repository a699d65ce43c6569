using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Alignment checks (SDM 3A 6.15, interrupt 17).</summary>
public sealed unsafe class AlignmentTests
{
    private static Guest Create(bool mask = true, bool flag = true, bool user = true, GuestMode mode = GuestMode.Long)
    {
        var guest = new Guest(mode);
        guest.State->Cr0 |= mask ? 1u << 18 : 0;
        guest.State->SystemFlags |= flag ? Flags.AlignmentCheck : 0;
        if (user)
        {
            guest.BecomeUser();
        }
        return guest;
    }

    /// <summary>Table 6-7, by operand. The instruction has had no effect.</summary>
    [Theory]
    [InlineData("8A06", 1, false)]       // mov al, [rsi]
    [InlineData("668B06", 1, true)]
    [InlineData("668B06", 2, false)]
    [InlineData("8B06", 2, true)]
    [InlineData("8B06", 4, false)]
    [InlineData("488B06", 4, true)]
    [InlineData("488B06", 8, false)]
    [InlineData("8906", 1, true)]
    [InlineData("0106", 3, true)]        // add [rsi], eax
    [InlineData("F00106", 3, true)]
    [InlineData("8706", 3, true)]        // xchg
    [InlineData("A5", 2, true)]          // movsd
    [InlineData("F3A5", 2, true)]
    [InlineData("F30F1006", 2, true)]    // movss
    [InlineData("F20F1006", 4, true)]    // movsd xmm0
    [InlineData("0F1006", 8, true)]      // movups
    [InlineData("0F1006", 16, false)]
    [InlineData("DB2E", 8, false)]       // fld tbyte
    [InlineData("DB2E", 4, true)]
    [InlineData("DD06", 4, true)]        // fld qword
    [InlineData("FF36", 4, true)]        // push [rsi]
    public void OperandsOfUsersAreChecked(string hex, int offset, bool refused)
    {
        using Guest guest = Create();
        guest.State->Gpr[6] = Guest.Data + (ulong)offset;
        guest.State->Gpr[7] = Guest.Data + 0x100;
        guest.State->Gpr[1] = 1;
        ulong before = guest.State->Gpr[6];
        byte[] code = Convert.FromHexString(hex);
        Outcome outcome = guest.Run([.. code, 0x0F, 0x0B]);
        Assert.Equal(refused ? new Outcome(17, 0, Guest.Code) : new Outcome(6, 0, Guest.Code + (ulong)code.Length), outcome);
        Assert.True(!refused || guest.State->Gpr[6] == before);
    }

    [Theory]
    [InlineData("50")]            // push rax
    [InlineData("58")]
    [InlineData("C3")]
    [InlineData("E800000000")]
    public void SoIsTheStack(string hex)
    {
        using Guest guest = Create();
        guest.State->Gpr[4] -= 4;
        Assert.Equal(new Outcome(17, 0, Guest.Code), guest.Run(Convert.FromHexString(hex)));
    }

    [Theory]
    [InlineData(false, true, true)]
    [InlineData(true, false, true)]
    [InlineData(true, true, false)]
    public void AllThreeMustAsk(bool mask, bool flag, bool user)
    {
        using Guest guest = Create(mask, flag, user);
        guest.State->Gpr[6] = Guest.Data + 1;
        Assert.Equal(6, guest.Run(0x8B, 0x06, 0x0F, 0x0B).Vector);
    }

    /// <summary>POPF makes the difference at once.</summary>
    [Fact]
    public void TheFlagTakesEffectAtOnce()
    {
        using Guest guest = Create(flag: false);
        guest.State->Gpr[6] = Guest.Data + 1;
        guest.State->Gpr[4] -= 16;
        guest.Write(guest.State->Gpr[4], 2UL | Flags.AlignmentCheck);
        guest.Write(guest.State->Gpr[4] + 8, 2UL);
        Assert.Equal(new Outcome(17, 0, Guest.Code + 3), guest.Run(0x8B, 0x06, 0x9D, 0x8B, 0x06));
        guest.BecomeUser();
        guest.State->SystemFlags &= ~(ulong)Flags.AlignmentCheck;
        guest.Processor.StateLoaded();
        guest.State->Gpr[4] -= 16;
        Assert.Equal(6, guest.Run(0x9D, 0x9D, 0x8B, 0x06, 0x0F, 0x0B).Vector);
    }

    /// <summary>A page fault comes first, whichever of the pages it is in.</summary>
    [Fact]
    public void PageFaultsComeFirst()
    {
        using Guest guest = Create();
        guest.Page(Guest.Data + 0x1000) = 0;
        guest.State->Gpr[6] = Guest.Data + 0xFFE;
        Assert.Equal(14, guest.Run(0x8B, 0x06).Vector);
        Assert.Equal(Guest.Data + 0x1000, guest.State->Cr2);
    }

    /// <summary>What the processor reads for itself is not checked: descriptors, gates, the TSS.</summary>
    [Fact]
    public void SystemTablesMayLieAnywhere()
    {
        using Guest guest = Create(mode: GuestMode.Protected32);
        guest.Memory.Write(Guest.Gdt + 0x301, new ReadOnlySpan<byte>(guest.Memory.Pointer(Guest.Gdt, 0x100), 0x100));
        guest.State->GdtBase = Guest.Gdt + 0x301;
        guest.State->Gpr[0] = Guest.UserData;
        Assert.Equal(6, guest.Run(0x8E, 0xD8, 0x0F, 0x0B).Vector);
    }
}
