using Iced.Intel;
using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Limits and rights of segments (SDM 3A 5.3, 5.5; SDM 1 20.1).</summary>
public sealed unsafe class SegmentLimitTests
{
    private const ushort Small = Guest.Free;

    private static Outcome Protected(uint limit, uint attributes, Action<Assembler> code, Action<Guest>? prepare = null, GuestMode mode = GuestMode.Protected32)
    {
        using var guest = new Guest(mode);
        guest.Describe(Small, (uint)Guest.Data, limit, attributes);
        prepare?.Invoke(guest);
        return guest.Run(a =>
        {
            a.mov(eax, Small);
            a.mov(ds, eax);
            code(a);
        });
    }

    [Theory]
    [InlineData(0x0FFC, -1)]
    [InlineData(0x0FFD, 13)]
    [InlineData(0x1000, 13)]
    [InlineData(-1, 13)]
    public void AnAccessMustEndWithinTheLimit(int offset, int vector)
    {
        Outcome outcome = Protected(0xFFF, 0x4093, a => a.mov(ecx, __dword_ptr[offset]));
        Assert.Equal(vector, outcome.Vector);
        Assert.Equal(0u, outcome.Error);
    }

    [Theory]
    [InlineData(0x0FFF, 0x4097, 13)]
    [InlineData(0x1000, 0x4097, -1)]
    [InlineData(-4, 0x4097, -1)]
    [InlineData(-3, 0x4097, 13)]
    [InlineData(0xFFFC, 0x0097, -1)]
    [InlineData(0xFFFD, 0x0097, 13)]
    public void ExpandDownSegmentsAreTheOtherSideOfTheLimit(int offset, uint attributes, int vector) =>
        Assert.Equal(vector, Protected(0xFFF, attributes, a => a.mov(ecx, __dword_ptr[offset])).Vector);

    /// <summary>SDM 2 ARPL: it writes, and needs the right to, only where the RPL rises.</summary>
    [Theory]
    [InlineData(3, -1)]
    [InlineData(1, 13)]
    public void ArplWritesOnlyWhatChanges(int rpl, int vector) => Assert.Equal(vector, Protected(0xF_FFFF, 0xC091, a =>
    {
        a.mov(ecx, 2);
        a.arpl(__word_ptr[16], cx);
    }, guest => guest.Write(Guest.Data + 16, (ushort)rpl)).Vector);

    [Theory]
    [InlineData(0x4091, false, -1)]
    [InlineData(0x4091, true, 13)]
    [InlineData(0x409B, false, -1)]
    [InlineData(0x409B, true, 13)]
    public void RightsOfTheTypeHold(uint attributes, bool write, int vector) => Assert.Equal(vector, Protected(0xF_FFFF, attributes | 0x8000, a =>
    {
        if (write)
        {
            a.add(__dword_ptr[16], ecx);
        }
        else
        {
            a.cmp(__dword_ptr[16], ecx);
        }
    }).Vector);

    [Fact]
    public void CodeSegmentsAreNotWrittenEvenFlatOnes()
    {
        using var guest = new Guest(GuestMode.Protected32);
        Assert.Equal(13, guest.Run(a => a.mov(__dword_ptr.cs[(int)Guest.Data], eax)).Vector);
        guest.State->Cs = guest.Load(Guest.Code32);
        Assert.Equal(-1, guest.Run(a => a.mov(eax, __dword_ptr.cs[(int)Guest.Data])).Vector);
    }

    [Fact]
    public void NullSegmentsAreUnusable()
    {
        using var guest = new Guest(GuestMode.Protected32);
        Outcome outcome = guest.Run(a =>
        {
            a.xor(eax, eax);
            a.mov(fs, eax);
            a.mov(ecx, __dword_ptr.fs[0x100]);
        });
        Assert.Equal((13, 0u), (outcome.Vector, outcome.Error));
    }

    [Fact]
    public void AFaultInTheStackSegmentIsAStackFault()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4093);
        guest.Gate(12, 0x70, 0, 5); // none: a task gate is refused, so that the report tells
        Assert.Equal(-2, guest.Run(a =>
        {
            a.mov(eax, Small);
            a.mov(ss, eax);
            a.mov(ebp, 0x1000);
            a.mov(eax, __dword_ptr[ebp]);
        }).Vector);
        Assert.StartsWith("#SS(0)", guest.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    /// <summary>Every instruction that uses the stack, with a stack pointer too low to push or too high to pop.</summary>
    [Theory]
    [InlineData("50", 0)]
    [InlineData("6A01", 0)]
    [InlineData("1E", 0)]
    [InlineData("9C", 0)]
    [InlineData("60", 0)]
    [InlineData("E800000000", 0)]
    [InlineData("FFD0", 0)]
    [InlineData("C8000000", 0)]
    [InlineData("CC", 0)]
    [InlineData("9A000000002000", 0)]
    [InlineData("58", 0xFFFE)]
    [InlineData("1F", 0xFFFE)]
    [InlineData("9D", 0xFFFE)]
    [InlineData("61", 0xFFF0)]
    [InlineData("C3", 0xFFFE)]
    [InlineData("CB", 0xFFFA)]
    [InlineData("CF", 0xFFF6)]
    [InlineData("8F052000", 0xFFFE)]
    public void StackInstructionsKeepToTheLimit(string hex, uint pointer)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFFF, 0x4093);
        guest.Gate(12, 0x70, 0, 5);
        guest.State->Ss = guest.Load(Small);
        guest.State->Gpr[4] = pointer;
        guest.State->IdtLimit = hex == "CC" ? guest.State->IdtLimit : 0;
        byte[] code = Convert.FromHexString(hex);
        Assert.Equal(-2, guest.Run(code).Vector);
        Assert.StartsWith("#SS(0)", guest.Processor.ShutdownReport, StringComparison.Ordinal);
        Assert.Equal(pointer, guest.State->Gpr[4]);
    }

    /// <summary>SDM 1 20.1.1: in real mode too an operand must not reach over 64 KiB; a stack pointer wraps.</summary>
    [Fact]
    public void RealModeSegmentsEndAt64KiB()
    {
        using var guest = new Guest(GuestMode.Real);
        Assert.Equal(13, guest.Run(a => a.mov(ax, __word_ptr[0xFFFF])).Vector);
        Assert.Equal(-1, guest.Run(a => a.mov(al, __byte_ptr[0xFFFF])).Vector);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(bx, 0xFFFF);
            a.mov(ax, __word_ptr[bx + 1]);
        }).Vector);
        Assert.Equal(13, guest.Run(a =>
        {
            a.mov(ebx, 0x1_0000);
            a.mov(al, __byte_ptr[ebx]);
        }).Vector);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(bx, sp);
            a.xor(sp, sp);
            a.push(0x1234);
            a.mov(cx, sp);
            a.mov(sp, bx);
        }).Vector);
        Assert.Equal(0xFFFEu, (ushort)guest.State->Gpr[1]);
        Assert.Equal(0x1234, guest.Read<ushort>(0xFFFE));
    }

    /// <summary>A limit loaded in protected mode stays when real mode loads the register ("unreal" mode).</summary>
    [Fact]
    public void UnrealLimitsStay()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->GdtBase = Guest.Gdt;
        guest.State->GdtLimit = 0x7FF;
        guest.Write(Guest.Data + 0x1_0000, 0x7788_99AAu);
        Outcome outcome = guest.Run(a =>
        {
            a.mov(eax, cr0);
            a.or(al, 1);
            a.mov(cr0, eax);
            a.mov(bx, Guest.FlatData);
            a.mov(ds, bx);
            a.and(al, 0xFE);
            a.mov(cr0, eax);
            a.xor(ax, ax);
            a.mov(ds, ax);
            a.mov(ebx, (uint)Guest.Data + 0x1_0000);
            a.mov(ecx, __dword_ptr[ebx]);
        });
        Assert.Equal(-1, outcome.Vector);
        Assert.Equal(0x7788_99AAUL, guest.State->Gpr[1]);
    }

    [Theory]
    [InlineData(0xF3, 0xAA, false)]  // rep stosb
    [InlineData(0xF3, 0xA4, false)]  // rep movsb
    [InlineData(0xF2, 0xAE, false)]  // repne scasb
    [InlineData(0xF3, 0xAC, true)]   // rep lodsb
    public void ARepeatedStringFaultsWhereTheLimitIs(int prefix, int opcode, bool source)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4093);
        Outcome outcome = guest.Run([
            0x66, 0xB8, (byte)Small, 0, source ? (byte)0x8E : (byte)0x8E, source ? (byte)0xD8 : (byte)0xC0, // mov ds/es, ax
            0xB0, 1, 0xBE, 0xF0, 0x0F, 0, 0, 0xBF, 0xF0, 0x0F, 0, 0, 0xB9, 0, 1, 0, 0, (byte)prefix, (byte)opcode]);
        Assert.Equal(13, outcome.Vector);
        Assert.Equal(Guest.Code + 23, outcome.Rip);
        Assert.Equal(0xF0UL, guest.State->Gpr[1]);
        Assert.Equal(0x1000UL, guest.State->Gpr[source ? 6 : 7]);
    }

    [Fact]
    public void ARepeatedStringRunsThroughAndComparesAsEver()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4093);
        guest.Write(Guest.Data + 0x100, (byte)7);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(eax, Small);
            a.mov(es, eax);
            a.mov(al, 7);
            a.xor(edi, edi);
            a.mov(ecx, 0x2000);
            a.repne.scasb();
        }).Vector);
        Assert.Equal(0x101UL, guest.State->Gpr[7]);
        Assert.Equal(0x2000UL - 0x101, guest.State->Gpr[1]);
        Assert.True(Flags.IsZero(guest.State));
    }

    [Fact]
    public void NothingIsCheckedWhenTheCountIsZero()
    {
        using var guest = new Guest(GuestMode.Protected32);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.xor(ecx, ecx);
            a.mov(es, ecx);
            a.rep.stosb();
        }).Vector);
    }

    [Fact]
    public void DownwardStringsStopAtTheBottom()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4093);
        Outcome outcome = guest.Run(a =>
        {
            a.mov(eax, Small);
            a.mov(es, eax);
            a.mov(edi, 0x1F);
            a.mov(ecx, 0x40);
            a.std();
            a.rep.stosb();
        });
        Assert.Equal(13, outcome.Vector);
        Assert.Equal((0x20UL, 0xFFFF_FFFFUL), (guest.State->Gpr[1], guest.State->Gpr[7]));
    }

    [Fact]
    public void BitStringsAreCheckedWhereTheBitIs()
    {
        Assert.Equal(13, Protected(0xFFF, 0x4093, a =>
        {
            a.mov(ecx, 0x8000);
            a.bt(__dword_ptr[0], ecx);
        }).Vector);
        Assert.Equal(-1, Protected(0xFFF, 0x4093, a =>
        {
            a.mov(ecx, 0x7FE0);
            a.bt(__dword_ptr[0], ecx);
        }).Vector);
    }

    [Fact]
    public void PopToMemoryUsesThePointerAfterThePop()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, (uint)Guest.Data, 0xFFF, 0x4093);
        guest.State->Ss = guest.Load(Small);
        guest.State->Gpr[4] = 0xFF8;
        guest.Write(Guest.Data + 0xFF8, 0x55u);
        Assert.Equal(-1, guest.Run(a => a.pop(__dword_ptr[esp])).Vector);
        Assert.Equal(0x55u, guest.Read<uint>(Guest.Data + 0xFFC));
        guest.State->Gpr[4] = 0xFFC;
        guest.State->IdtLimit = 0;
        Assert.Equal(-2, guest.Run(a => a.pop(__dword_ptr[esp])).Vector);
    }

    [Fact]
    public void CodeEndsAtItsLimit()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, 0, 0xC00F, 0x409B);
        guest.Place(0xC000, [.. Enumerable.Repeat((byte)0x90, 0x20), 0xF4]);
        guest.Start(0xC000); // decoded with a limit that lets it run through
        guest.State->Cs = guest.Load(Small);
        guest.Processor.StateLoaded();
        Outcome outcome = guest.Start(0xC000);
        Assert.Equal((13, 0u, 0xC010UL), (outcome.Vector, outcome.Error, outcome.Rip));
    }

    [Fact]
    public void AnInstructionMustEndWithinTheCodeLimit()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Small, 0, 0xC003, 0x409B);
        guest.Place(0xC000, 0x90, 0xB8, 1, 0, 0, 0, 0xF4);
        guest.State->Cs = guest.Load(Small);
        guest.Processor.StateLoaded();
        Assert.Equal(new Outcome(13, 0, 0xC001), guest.Start(0xC000));
    }
}
