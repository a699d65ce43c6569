using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Virtual-8086 mode extensions and protected-mode virtual interrupts (SDM 3B 21.3, 21.4).</summary>
public sealed unsafe class VirtualInterruptTests
{
    private const uint Vme = 1;
    private const uint Pvi = 2;
    private const ulong Program = 0x3_0010;
    private const uint Stack = 0x2_8FFE;
    private const uint Vif = Flags.VirtualInterrupt;
    private const uint Vip = Flags.VirtualInterruptPending;

    /// <summary>A program in virtual-8086 mode at 3000:0010. HLT ends it with #GP at its address.</summary>
    private static Guest Create(uint flags, uint cr4 = Vme)
    {
        var guest = new Guest(GuestMode.Protected32);
        CpuState* s = guest.State;
        s->Cr4 |= cr4;
        s->SystemFlags |= Flags.Virtual8086 | flags;
        s->Cpl = 3;
        for (int i = 0; i < 6; i++)
        {
            ushort selector = (ushort)(i == 1 ? 0x3000 : 0x2800);
            *(&s->Es + i) = new SegmentRegister { Selector = selector, Base = (ulong)selector << 4, Limit = 0xFFFF, Attributes = 0xF3 };
        }
        s->Gpr[4] = 0xFFE;
        guest.Processor.StateLoaded();
        return guest;
    }

    private static Outcome Run(Guest guest, params ReadOnlySpan<byte> code)
    {
        guest.Place(guest.Place(Program, code), 0xF4);
        return guest.Start(0x10);
    }

    private static void AssertEnded(Outcome outcome, int length) => Assert.Equal(new Outcome(13, 0, 0x10 + (ulong)length), outcome);

    /// <summary>21.3.2: CLI and STI change VIF; a pending interrupt makes STI fault. IF stays.</summary>
    [Theory]
    [InlineData(0u, Vme, "FB", true, Vif)]
    [InlineData(Vif, Vme, "FA", true, 0u)]
    [InlineData(Vif | Vip, Vme, "FA", true, Vip)]
    [InlineData(Vip, Vme, "FB", false, Vip)]
    [InlineData(0u, 0u, "FB", false, 0u)]
    [InlineData(0u, 0u, "FA", false, 0u)]
    [InlineData(0u, Pvi, "FA", false, 0u)]
    public void CliAndStiActOnVif(uint flags, uint cr4, string hex, bool done, uint expected)
    {
        using Guest guest = Create(flags | Flags.Interrupt, cr4);
        Outcome outcome = Run(guest, Convert.FromHexString(hex));
        AssertEnded(outcome, done ? 1 : 0);
        Assert.Equal(expected | Flags.Interrupt, guest.FrameFlags(outcome) & (Vif | Vip | Flags.Interrupt));
    }

    /// <summary>With IOPL 3 they are the real flag's.</summary>
    [Fact]
    public void WithIopl3TheFlagIsReal()
    {
        using Guest guest = Create(Flags.Iopl | Flags.Interrupt | Vif);
        Outcome outcome = Run(guest, 0xFA);
        AssertEnded(outcome, 1);
        Assert.Equal((ulong)Vif, guest.FrameFlags(outcome) & (Vif | Flags.Interrupt));
    }

    /// <summary>SDM 2 PUSHF: VIF in the place of IF, IOPL 3; 32 bits are refused.</summary>
    [Theory]
    [InlineData(Vif, 0x3202)]
    [InlineData(Flags.Interrupt, 0x3002)]
    public void PushfShowsTheVirtualFlag(uint flags, int image)
    {
        using Guest guest = Create(flags);
        AssertEnded(Run(guest, 0x9C), 1);
        Assert.Equal(image, guest.Read<ushort>(Stack - 2));
    }

    [Theory]
    [InlineData("669C")]
    [InlineData("669D")]
    [InlineData("66CF")]
    public void WideFlagsAreRefused(string hex)
    {
        using Guest guest = Create(0);
        AssertEnded(Run(guest, Convert.FromHexString(hex)), 0);
    }

    /// <summary>SDM 2 POPF, IRET: VIF is set from IF; TF, or VIF with VIP, goes to the monitor.</summary>
    [Theory]
    [InlineData(0u, 0x202, true, Vif)]
    [InlineData(Vif, 0x002, true, 0u)]
    [InlineData(Vip, 0x002, true, Vip)]
    [InlineData(Vip, 0x202, false, Vip)]
    [InlineData(0u, 0x102, false, 0u)]
    [InlineData(0u, 0x3ED7, true, Vif)]
    public void PopfAndIretSetTheVirtualFlag(uint flags, int image, bool done, uint expected)
    {
        foreach (bool iret in (bool[])[false, true])
        {
            using Guest guest = Create(flags | Flags.Interrupt);
            uint at = iret ? 6u : 2;
            guest.State->Gpr[4] = 0xFFE - at;
            guest.Write(Stack - at, (ushort)(iret ? 0x11 : image));
            if (iret)
            {
                guest.Write(Stack - 4, (ushort)0x3000);
                guest.Write(Stack - 2, (ushort)image);
            }
            Outcome outcome = Run(guest, iret ? (byte)0xCF : (byte)0x9D);
            AssertEnded(outcome, done ? 1 : 0);
            ulong now = guest.FrameFlags(outcome);
            Assert.Equal(expected | Flags.Interrupt, now & (Vif | Vip | Flags.Interrupt | Flags.Iopl));
            Assert.Equal(done ? (uint)image & 0xCD5 : 0, (uint)now & 0xCD5);
        }
    }

    /// <summary>21.3.3: INT n whose bit is clear goes to the program's own handler, by the table at 0.</summary>
    [Theory]
    [InlineData(0u, 0x3002, 0u, Flags.Interrupt)]
    [InlineData(Vif, 0x3202, 0u, Flags.Interrupt)]
    [InlineData(Flags.Iopl, 0x3202, 0u, 0u)]
    public void InterruptsAreRedirected(uint flags, int image, uint vif, uint interrupt)
    {
        using Guest guest = Create(flags | Flags.Interrupt);
        guest.Write(0x21 * 4, 0x3000_0040u);
        guest.Place(0x3_0040, 0xF4);
        // HLT at the handler, still in virtual-8086 mode.
        Outcome outcome = Run(guest, 0xCD, 0x21);
        Assert.Equal(new Outcome(13, 0, 0x40), outcome);
        Assert.Equal((0x12, 0x3000, image), (guest.Read<ushort>(Stack - 6), guest.Read<ushort>(Stack - 4), guest.Read<ushort>(Stack - 2)));
        Assert.Equal(vif | interrupt, guest.FrameFlags(outcome) & (Vif | Flags.Interrupt));
    }

    /// <summary>With the bit set, IOPL decides: the monitor by #GP, or by the IDT's gate. INT3 always takes the gate.</summary>
    [Theory]
    [InlineData(0u, "CD21", 13)]
    [InlineData(Flags.Iopl, "CD21", 0x21)]
    [InlineData(0u, "CC", 3)]
    public void InterruptsOfTheMonitorAreNot(uint flags, string hex, int vector)
    {
        using Guest guest = Create(flags);
        guest.Write(Guest.Tss + 0x1E4, (byte)2);
        guest.Gate(0x21, Guest.Code32, (uint)Guest.Handlers + 0x210, dpl: 3);
        guest.Gate(3, Guest.Code32, (uint)Guest.Handlers + 0x30, dpl: 3);
        Assert.Equal(vector, Run(guest, Convert.FromHexString(hex)).Vector);
    }

    /// <summary>SDM 1 19.5.2: in virtual-8086 mode the bitmap alone decides, whatever IOPL.</summary>
    [Fact]
    public void PortsGoByTheBitmap()
    {
        using Guest guest = Create(Flags.Iopl);
        guest.State->Tr.Limit = 0x2FF;
        guest.Write(Guest.Tss + 0x210, (byte)2);
        AssertEnded(Run(guest, 0xE6, 0x80, 0xE6, 0x81), 2);
        Assert.Single(guest.Bus.Written);
    }

    /// <summary>21.4: at level 3 of protected mode CLI and STI act on VIF; PUSHF shows IF as it is.</summary>
    [Theory]
    [InlineData(0u, Pvi, "FB", true, Vif)]
    [InlineData(Vif, Pvi, "FA", true, 0u)]
    [InlineData(Vip, Pvi, "FB", false, Vip)]
    [InlineData(0u, Vme, "FB", false, 0u)]
    public void ProtectedModeHasVirtualInterruptsToo(uint flags, uint cr4, string hex, bool done, uint expected)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.State->Cr4 |= cr4;
        guest.State->SystemFlags |= flags | Flags.Interrupt;
        guest.BecomeUser();
        Outcome outcome = guest.Run([.. Convert.FromHexString(hex), 0x9C, 0x0F, 0x0B]);
        Assert.Equal(done ? new Outcome(6, 0, Guest.Code + 2) : new Outcome(13, 0, Guest.Code), outcome);
        Assert.Equal(expected | Flags.Interrupt, guest.FrameFlags(outcome) & (Vif | Vip | Flags.Interrupt));
        Assert.True(!done || (guest.Read<uint>(Guest.UserStackTop - 4) & (Flags.Interrupt | Flags.Iopl)) == Flags.Interrupt);
    }

    /// <summary>2.5: the bits of CR4 are there with the feature.</summary>
    [Theory]
    [InlineData(true, -1)]
    [InlineData(false, 13)]
    public void TheBitsComeWithTheFeature(bool has, int vector)
    {
        CpuModel model = has ? CpuModel.Max : CpuModel.Max with { Features = CpuModel.Max.Features.Without(CpuFeature.Vme) };
        using var guest = new Guest(GuestMode.Protected32, model);
        guest.State->Gpr[0] = 0x603;
        Assert.Equal(vector, guest.Run(0x0F, 0x22, 0xE0).Vector);
    }
}
