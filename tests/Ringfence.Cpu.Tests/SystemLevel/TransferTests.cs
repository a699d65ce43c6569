using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Near transfers at the end of a segment, system calls of both makers, prefixes that are refused, exceptions on top of each other.</summary>
public sealed unsafe class TransferTests
{
    private const ushort Small = Guest.Free;

    private static CpuModel Intel { get; } = CpuModel.Max with { Vendor = "GenuineIntel" };

    /// <summary>SDM 2 JMP, Jcc, LOOP, CALL, RET: a target beyond the limit is the transfer's own #GP(0), and nothing has changed.</summary>
    [Theory]
    [InlineData("E900010000")]     // jmp
    [InlineData("0F8400010000")]   // je, ZF being set
    [InlineData("E800010000")]
    [InlineData("FFE0")]           // jmp eax
    [InlineData("FFD0")]           // call eax
    [InlineData("C3")]
    [InlineData("C20800")]
    [InlineData("E27F")]           // loop
    public void BeyondTheLimitIsTheTransfersFault(string hex)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, 0, 0xC040, 0x409B);
        guest.State->Cs = guest.Load(Small);
        guest.State->Gpr[0] = 0xC041;
        guest.State->Gpr[1] = 5;
        guest.Write(Guest.StackTop, 0xC041u);
        Flags.Set(guest.State, Flags.Zero | Flags.Fixed);
        Outcome outcome = guest.Run([0x90, .. Convert.FromHexString(hex)]);
        Assert.Equal(new Outcome(13, 0, Guest.Code + 1), outcome);
        Assert.Equal((5UL, Guest.StackTop - 16), (guest.State->Gpr[1], guest.State->Gpr[4]));
    }

    [Theory]
    [InlineData("E93A000000", 0xC040)]     // to the last byte
    [InlineData("0F8500010000", 0xC007)]   // not taken
    public void UpToTheLimitIsNot(string hex, int at)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, 0, 0xC040, 0x409B);
        guest.State->Cs = guest.Load(Small);
        Flags.Set(guest.State, Flags.Zero | Flags.Fixed);
        guest.Place(0xC040, 0xF4);
        Assert.Equal(new Outcome(-1, 0, (ulong)at + 1), guest.Run([0x90, .. Convert.FromHexString(hex)]) with { Rip = (ulong)at + 1 });
        Assert.Equal((ulong)at + 1, guest.State->Rip);
    }

    /// <summary>APM 2 6.1.1: SYSCALL and SYSRET of AMD's processors in legacy mode, by STAR alone.</summary>
    [Fact]
    public void SystemCallsInLegacyModeAreAmds()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.State->Efer = 1;
        guest.State->Star = 0xD000 | ((ulong)Guest.Code32 << 32) | ((ulong)Guest.UserData << 48);
        guest.Place(0xD000, 0x89, 0xC8, 0x0F, 0x07); // mov eax, ecx; sysret
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.BecomeUser();
        Outcome outcome = guest.Run(0x0F, 0x05, 0x0F, 0x0B);
        Assert.Equal((6, Guest.Code + 2), (outcome.Vector, outcome.Rip));
        Assert.Equal((Guest.Code + 2, (ulong)Guest.UserData | 3), (guest.State->Gpr[0], guest.Stack(1)));
        Assert.NotEqual(0UL, guest.FrameFlags(outcome) & Flags.Interrupt);
        using var intel = new Guest(GuestMode.Protected32, Intel);
        intel.State->Efer = 1;
        Assert.Equal(new Outcome(6, 0, Guest.Code), intel.Run(0x0F, 0x05));
        Assert.Equal(new Outcome(6, 0, Guest.Code), intel.Run(0x0F, 0x07));
    }

    /// <summary>SDM 2 SYSCALL: Intel's is of 64-bit code only; AMD's from compatibility mode goes by CSTAR.</summary>
    [Theory]
    [InlineData(false, -1)]
    [InlineData(true, 6)]
    public void SystemCallsInCompatibilityMode(bool intel, int vector)
    {
        using var guest = new Guest(GuestMode.Compatibility, intel ? Intel : CpuModel.Max);
        guest.State->Star = (ulong)Guest.Code64 << 32;
        guest.State->CStar = 0xD000;
        guest.Place(0xD000, 0xF4);
        Assert.Equal(vector, guest.Run(0x0F, 0x05).Vector);
        Assert.True(intel || guest.State->Rip == 0xD001);
    }

    /// <summary>SDM 3B 18.3.1.4: SYSRET that sets TF is trapped, at the address it goes to.</summary>
    [Fact]
    public void SysretIsTrappedByTheFlagsItLoads()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Star = ((ulong)Guest.Code64 << 32) | ((ulong)(Guest.UserCode64 - 16) << 48);
        guest.State->Gpr[1] = 0xD000;
        guest.State->Gpr[11] = Flags.Trap | 2;
        Assert.Equal(new Outcome(1, 0, 0xD000), guest.Run(0x48, 0x0F, 0x07));
    }

    /// <summary>APM 2 6.1.2: AMD's processors have no SYSENTER in long mode; SDM 2: Intel's goes to 64-bit code.</summary>
    [Theory]
    [InlineData(GuestMode.Long)]
    [InlineData(GuestMode.Compatibility)]
    public void SysenterInLongModeIsIntels(GuestMode mode)
    {
        using var amd = new Guest(mode);
        amd.State->SysenterCs = Guest.Code64;
        Assert.Equal(new Outcome(6, 0, Guest.Code), amd.Run(0x0F, 0x34));
        Assert.Equal(new Outcome(6, 0, Guest.Code), amd.Run(0x0F, 0x35));
        using var guest = new Guest(mode, Intel);
        guest.State->SysenterCs = Guest.Code64;
        guest.State->SysenterEip = 0xD000;
        guest.State->SysenterEsp = Guest.IstTop;
        guest.Place(0xD000, 0x48, 0x89, 0xE3, 0xF4); // mov rbx, rsp; hlt
        Assert.Equal(new Outcome(-1, 0, 0xD004), guest.Run(0x0F, 0x34));
        Assert.Equal((Guest.IstTop, Guest.Code64 + 8u), (guest.State->Gpr[3], guest.State->Ss.Selector));
    }

    /// <summary>SDM 2 SYSEXIT, SYSRET: a non-canonical target is Intel's instruction's fault.</summary>
    [Theory]
    [InlineData("480F35", 2)]
    [InlineData("480F35", 1)]
    [InlineData("480F07", 1)]
    public void ReturnsToNonCanonicalAddresses(string hex, int register)
    {
        using var guest = new Guest(GuestMode.Long, Intel);
        guest.State->SysenterCs = Guest.Code64;
        guest.State->Gpr[register] = 1UL << 62;
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(Convert.FromHexString(hex)));
    }

    /// <summary>SDM 2 LOCK: only before these, and only when they write memory.</summary>
    [Theory]
    [InlineData("F00106", true)]     // add [rsi], eax
    [InlineData("F00306", false)]    // add eax, [rsi]
    [InlineData("F001C0", false)]
    [InlineData("F03906", false)]    // cmp
    [InlineData("F08506", false)]    // test
    [InlineData("F08906", false)]    // mov
    [InlineData("F0FF06", true)]     // inc
    [InlineData("F0FF0E", true)]
    [InlineData("F0F716", true)]     // not
    [InlineData("F0F71E", true)]
    [InlineData("F0F726", false)]    // mul
    [InlineData("F08706", true)]     // xchg
    [InlineData("F087C6", false)]
    [InlineData("F00FB106", true)]   // cmpxchg
    [InlineData("F00FC106", true)]   // xadd
    [InlineData("F00FC706", false)]  // not a memory form of group 9
    [InlineData("F00FC70E", true)]   // cmpxchg8b
    [InlineData("F00FA306", false)]  // bt
    [InlineData("F00FAB06", true)]   // bts
    [InlineData("F00FBA3601", true)] // btr
    [InlineData("F00FBA2601", false)]
    [InlineData("F0D126", false)]    // shl
    [InlineData("F0FF36", false)]    // push
    [InlineData("F0A4", false)]      // movsb
    [InlineData("F090", false)]
    [InlineData("F00F0B", false)]
    [InlineData("F00F22C0", false)]  // mov cr0
    [InlineData("F00F5806", false)]  // addps
    [InlineData("F0D806", false)]    // fadd
    [InlineData("F0EB00", false)]
    [InlineData("F0CD80", false)]
    [InlineData("F0FA", false)]
    [InlineData("F00F0106", false)]  // sgdt
    public void LockIsForSomeInstructions(string hex, bool legal)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[6] = guest.State->Gpr[7] = Guest.Data;
        Outcome outcome = guest.Run(Convert.FromHexString(hex));
        Assert.Equal(legal ? -1 : 6, outcome.Vector);
    }

    /// <summary>3A table 6-5: which second exception makes a double fault of a first, and which is delivered in its place.</summary>
    [Theory]
    [InlineData(6, "absent", 11)]      // benign, contributory: #NP
    [InlineData(6, "unmapped", 14)]    // benign, page fault
    [InlineData(0, "absent", 8)]       // contributory, contributory
    [InlineData(0, "unmapped", 14)]    // contributory, page fault
    [InlineData(14, "absent", 8)]      // page fault, contributory
    [InlineData(14, "unmapped", 8)]    // page fault, page fault
    [InlineData(13, "bad", 8)]
    [InlineData(5, "bad", 13)]
    public void ExceptionsOnTopOfEachOther(int first, string gate, int delivered)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Write(Guest.Tables + 0x1000, 0x83u);       // by 4 MiB pages: all but the second
        guest.State->Cr3 = Guest.Tables + 0x1000;
        guest.State->Cr4 |= 0x10;
        guest.State->Cr0 |= 0x8000_0000;
        guest.Describe(Small, 0x40_0000, 0xF_FFFF, 0x4093);
        guest.Processor.StateLoaded();
        if (gate == "absent")
        {
            guest.Gate(first, Guest.Code32, 0, present: false);
        }
        else if (gate == "bad")
        {
            guest.Gate(first, Guest.FlatData, 0);
        }
        else
        {
            // A handler behind a descriptor that cannot be read: the LDT is unmapped.
            guest.State->Ldtr = guest.Load(Guest.LdtSelector) with { Base = 0x40_0000 };
            guest.Gate(first, 4, 0);
            guest.Gate(first, 0xC, 0);
        }
        guest.State->Gpr[0] = 5;
        guest.State->Gpr[2] = 1;
        Outcome outcome = guest.Run(Convert.FromHexString(first switch
        {
            0 => "F7F1",             // div ecx
            5 => "62042500000200",   // bound eax, [20000h]
            6 => "0F0B",
            13 => "B8001000008ED8",
            _ => "A100004000",       // mov eax, [400000h]
        }));
        Assert.Equal(delivered, outcome.Vector);
    }

    /// <summary>SDM 2 ENTER: the new top of the stack must be writable, and within the limit.</summary>
    [Fact]
    public void EnterTouchesTheNewTop()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(0x6000) = 0;
        guest.State->Gpr[4] = 0x7100;
        Assert.Equal(new Outcome(14, 2, Guest.Code), guest.Run(0xC8, 0x10, 1, 0)); // enter 110h, 0
        Assert.Equal(0x6FE8UL, guest.State->Cr2);
        Assert.Equal(0x7100UL, guest.Stack(4));
        using var small = new Guest(GuestMode.Protected32);
        small.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4097);
        small.State->Ss = small.Load(Small);
        small.State->Gpr[4] = 0x1010;
        small.State->IdtLimit = 0;
        Assert.Equal(-2, small.Run(0xC8, 0x20, 0, 0).Vector);
        Assert.StartsWith("#SS(0)", small.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    /// <summary>SDM 2 UD0, UD1, UD2.</summary>
    [Theory]
    [InlineData("0FFFC0")]
    [InlineData("0FB9C0")]
    [InlineData("0F0B")]
    public void UndefinedInstructionsAreUndefined(string hex)
    {
        using var guest = new Guest(GuestMode.Long);
        Assert.Equal(new Outcome(6, 0, Guest.Code), guest.Run(Convert.FromHexString(hex)));
    }
}
