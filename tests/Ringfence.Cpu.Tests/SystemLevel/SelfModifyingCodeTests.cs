using Iced.Intel;
using Ringfence.Cpu.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Code that changes is executed as changed (SDM 3A 9.1.3; here the next instruction already is).</summary>
public sealed unsafe class SelfModifyingCodeTests
{
    [Fact]
    public void TheNextInstructionOfTheSameBlock()
    {
        using var guest = new Guest(GuestMode.Long);
        // mov byte [rip+1], 42h; mov al, 1
        Assert.Equal(-1, guest.Run(0xC6, 0x05, 0x01, 0, 0, 0, 0x42, 0xB0, 0x01).Vector);
        Assert.Equal(0x42, (byte)guest.State->Gpr[0]);
    }

    [Fact]
    public void ThroughAnotherMappingOfThePage()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(0x5_0000) = Guest.Code | 7;
        Assert.Equal(-1, guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.Label(ref again);
            a.add(edx, 1);
            a.mov(__byte_ptr[0x5_0006], 16);
            a.inc(ecx);
            a.cmp(ecx, 3);
            a.jne(again);
        }).Vector);
        Assert.Equal(33UL, guest.State->Gpr[2]);
    }

    [Fact]
    public void CodeCopiedOverOldCodeAndCalledAgain()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xD000, 0xB8, 1, 0, 0, 0, 0xC3);
        guest.Place(0xD100, 0xB8, 2, 0, 0, 0, 0xC3);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.call(0xD000);
            a.mov(ebx, eax);
            a.mov(esi, 0xD100);
            a.mov(edi, 0xD000);
            a.mov(ecx, 6);
            a.rep.movsb();
            a.call(0xD000);
        }).Vector);
        Assert.Equal((1UL, 2UL), (guest.State->Gpr[3], guest.State->Gpr[0]));
    }

    /// <summary>An instruction over two pages: its tail is changed, then its second page is mapped elsewhere.</summary>
    [Fact]
    public void AnInstructionOverTwoPages()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xDFFE, 0xB8, 1, 0, 0, 0, 0xC3);
        guest.Place(0xF000, 0, 3, 0, 0xC3);
        int entry = (int)(Guest.PageTable + (0xE000 >> 9));
        Assert.Equal(-1, guest.Run(a =>
        {
            a.call(0xDFFE);
            a.mov(ebx, eax);
            a.mov(__byte_ptr[0xE000], 7);
            a.call(0xDFFE);
            a.mov(esi, eax);
            a.mov(__qword_ptr[entry], 0xF007);
            a.invlpg(__[0xE000]);
            a.call(0xDFFE);
        }).Vector);
        Assert.Equal((1UL, 0x0701UL, 0x03_0001UL), (guest.State->Gpr[3], guest.State->Gpr[6], guest.State->Gpr[0]));
    }

    [Fact]
    public void DataBesideCode()
    {
        using var guest = new Guest(GuestMode.Long);
        long before = guest.Processor.Blocks.Built;
        Assert.Equal(-1, guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 1000);
            a.Label(ref again);
            a.inc(__dword_ptr[(int)Guest.Code + 0x800]);
            a.dec(ecx);
            a.jne(again);
        }).Vector);
        Assert.Equal(1000, guest.Read<int>(Guest.Code + 0x800));
        Assert.InRange(guest.Processor.Blocks.Built - before, 1, 10);
    }

    [Fact]
    public void APageMappedElsewhereIsOtherCode()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xD000, 0xB8, 1, 0, 0, 0, 0xC3);
        guest.Place(0xE000, 0xB8, 2, 0, 0, 0, 0xC3);
        int entry = (int)(Guest.PageTable + (0xD000 >> 9));
        Assert.Equal(-1, guest.Run(a =>
        {
            a.call(0xD000);
            a.mov(ebx, eax);
            a.mov(__qword_ptr[entry], 0xE007);
            a.invlpg(__[0xD000]);
            a.call(0xD000);
        }).Vector);
        Assert.Equal((1UL, 2UL), (guest.State->Gpr[3], guest.State->Gpr[0]));
    }

    /// <summary>What was decoded from other parts of the page stays, and finds what comes in place of the code that it jumps to, be that longer or shorter.</summary>
    [Fact]
    public void OtherCodeOfThePageFindsWhatWasRewritten()
    {
        using var guest = new Guest(GuestMode.Long);
        // At D000: jmp D100. At D100 in turn: add eax, 1; ret and lea eax, [rax+rax+1] with nops before, ret.
        guest.Place(0xD000, 0xE9, 0xFB, 0, 0, 0);
        guest.Place(0xD100, 0x83, 0xC0, 1, 0xC3);
        guest.Place(0xE000, 0x90, 0x90, 0x90, 0x90, 0x90, 0x8D, 0x44, 0x00, 1, 0xC3);
        guest.Place(0xE010, 0x83, 0xC0, 1, 0xC3, 0, 0, 0, 0, 0, 0);
        long before = guest.Processor.Blocks.Built;
        Assert.Equal(-1, guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.xor(eax, eax);
            a.mov(edx, 10);
            a.Label(ref again);
            a.call(0xD000);
            Copy(a, 0xE000);
            a.call(0xD000);
            a.call(0xD000);
            Copy(a, 0xE010);
            a.call(0xD000);
            a.dec(edx);
            a.jne(again);
        }).Vector);
        uint expected = 0;
        for (int i = 0; i < 10; i++)
        {
            expected = ((((expected + 1) * 2) + 1) * 2) + 1 + 1;
        }
        Assert.Equal(expected, (uint)guest.State->Gpr[0]);
        // Twice 10 times what is rewritten, and what there was at first; translations go by the page.
        Assert.InRange(guest.Processor.Blocks.Built - before, 20, EngineUnderTest.Translators is null ? 40 : 60);

        static void Copy(Assembler a, int from)
        {
            a.mov(esi, from);
            a.mov(edi, 0xD100);
            a.mov(ecx, 10);
            a.rep.movsb();
        }
    }

    /// <summary>Immediates of every size and sign are rewritten where they stand, with nothing decoded again.</summary>
    [Theory]
    [InlineData(GuestMode.Long)]
    [InlineData(GuestMode.Protected32)]
    public void AnImmediateThatBecomesAnother(GuestMode mode)
    {
        using var guest = new Guest(mode);
        byte[] code =
        [
            0xB8, 0, 0, 0, 0, // D000: mov eax, imm32
            0x83, 0xC0, 0, // D005: add eax, sign-extended imm8
            0x66, 0x81, 0xF1, 0, 0, // D008: xor cx, imm16
            0x80, 0xCB, 0, // D00D: or bl, imm8
            0xC7, 0x04, 0x25, 0x00, 0xC8, 0, 0, 0, 0, 0, 0, // D010: mov dword [C800], imm32
            0x81, 0xC2, 0, 0, 0, 0, // D01B: add edx, imm32
            0xC3,
        ];
        if (mode == GuestMode.Protected32)
        {
            // Without the SIB byte that an address without base needs in 64-bit code.
            code = [.. code[..0x11], 0x05, 0x00, 0xC8, 0, 0, 0, 0, 0, 0, 0x90, .. code[0x1B..]];
        }
        int store = mode == GuestMode.Long ? 0xD017 : 0xD016;
        guest.Place(0xD000, code);
        long before = guest.Processor.Blocks.Built;
        Assert.Equal(-1, guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.xor(ecx, ecx);
            a.xor(ebx, ebx);
            a.xor(edx, edx);
            a.mov(edi, 200);
            a.Label(ref again);
            a.inc(__dword_ptr[0xD001]);
            a.dec(__byte_ptr[0xD007]);
            a.add(__word_ptr[0xD00B], 0x0101);
            a.mov(__byte_ptr[0xD00F], 0x81);
            a.sub(__dword_ptr[store], 3);
            a.mov(__byte_ptr[0xD01D + 3], 0x80); // The top byte alone.
            a.mov(__byte_ptr[0xD01D], 1);
            a.call(0xD000);
            a.dec(edi);
            a.jne(again);
        }).Vector);
        ushort changed = 0;
        for (int i = 1; i <= 200; i++)
        {
            changed ^= (ushort)(i * 0x0101);
        }
        Assert.Equal(200U + (uint)unchecked((sbyte)-200), (uint)guest.State->Gpr[0]);
        Assert.Equal(changed, (ushort)guest.State->Gpr[1]);
        Assert.Equal(0x81, (byte)guest.State->Gpr[3]);
        Assert.Equal(200 * 0x8000_0001UL & uint.MaxValue, guest.State->Gpr[2]);
        Assert.Equal(-600, guest.Read<int>(0xC800));
        if (EngineUnderTest.Translators is null)
        {
            // Tests translate at once, and translations go by the page.
            Assert.InRange(guest.Processor.Blocks.Built - before, 1, 20);
        }
    }

    /// <summary>Immediates of 64 bits and sign-extended ones of 32.</summary>
    [Fact]
    public void AnImmediateOfALongInstructionThatBecomesAnother()
    {
        using var guest = new Guest(GuestMode.Long);
        // At D000: mov rax, imm64; at D00A: add rax, sign-extended imm32; ret.
        guest.Place(0xD000, 0x48, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0x05, 0, 0, 0, 0, 0xC3);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.call(0xD000);
            a.mov(__dword_ptr[0xD002 + 4], 0x1234_5678);
            a.mov(__dword_ptr[0xD00C], -2);
            a.call(0xD000);
        }).Vector);
        Assert.Equal(0x1234_5677_FFFF_FFFEUL, guest.State->Gpr[0]);
    }

    /// <summary>More than an immediate: its last byte and the opcode behind it; the opcode and its first.</summary>
    [Fact]
    public void MoreThanAnImmediate()
    {
        using var guest = new Guest(GuestMode.Long);
        // At D000: mov eax, 1; inc ecx; inc ecx; ret.
        guest.Place(0xD000, 0xB8, 1, 0, 0, 0, 0xFF, 0xC1, 0xFF, 0xC1, 0xC3);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.call(0xD000);
            a.mov(esi, eax);
            // The top byte of the immediate, and inc edx for the first inc ecx.
            a.mov(__byte_ptr[0xD006], 0xC2);
            a.mov(__word_ptr[0xD004], unchecked((short)0xFF01));
            a.call(0xD000);
            a.mov(edi, eax);
            // mov edx, imm32
            a.mov(__word_ptr[0xD000], 0x07BA);
            a.call(0xD000);
        }).Vector);
        Assert.Equal((1UL, 0x0100_0001UL, 4UL, 0x0100_0008UL), (guest.State->Gpr[6], guest.State->Gpr[7], guest.State->Gpr[1], guest.State->Gpr[2]));
    }

    /// <summary>A page whose code is gone is a page of data again.</summary>
    [Fact]
    public void CodeThatGivesWayToData()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Place(0xD000, 0xB8, 1, 0, 0, 0, 0xC3);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.call(0xD000);
            a.mov(__qword_ptr[0xD000], 1);
            a.mov(__qword_ptr[0xD008], 2);
            a.mov(__qword_ptr[0xD010], 3);
            a.mov(__qword_ptr[0xD018], 4);
        }).Vector);
        Assert.False(guest.Processor.Blocks.HasCode(0xD000));
        TlbEntry* entry = guest.State->Tlb + 0xD;
        Assert.Equal(0xD000UL, entry->Write);
        Assert.Equal((1UL, 2UL, 3UL), (guest.Read<ulong>(0xD000), guest.Read<ulong>(0xD008), guest.Read<ulong>(0xD010)));
    }

    /// <summary>The page at linear address 0 is like any other: made writable before it holds code, it is watched from then on.</summary>
    [Theory]
    [InlineData(GuestMode.Real)]
    [InlineData(GuestMode.Protected32)]
    [InlineData(GuestMode.Long)]
    public void CodeInTheFirstPageIsNotedToo(GuestMode mode)
    {
        using var guest = new Guest(mode);
        // MOV AL, 1; RET
        guest.Place(0x500, 0xB0, 1, 0xC3);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.mov(__byte_ptr[0x600], 0);
            a.call(0x500);
            a.mov(bl, al);
            a.mov(__byte_ptr[0x501], 2);
            a.call(0x500);
        }).Vector);
        Assert.Equal((1, 2), ((byte)guest.State->Gpr[3], (byte)guest.State->Gpr[0]));
    }
}
