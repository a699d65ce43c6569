using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.State;

/// <summary>Locked operations of several processors on the same bytes (SDM 3A 9.1.2): none is lost, wherever the operand lies.</summary>
public sealed unsafe class LockTests
{
    private const int Rounds = 20_000;
    private const ulong Page = Guest.Data + 0x1000;

    /// <summary>On the host's locks as they are, on those of a host whose locks must be aligned, and with none of 16 bytes.</summary>
    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    public void WideAndNarrowOperationsMix(bool wide, bool withinLine)
    {
        // Two exchange 16 bytes, adding 1 below and 3 above; one adds 5 to the upper half alone, on a page of its own.
        const ulong At = Page + 0x20;
        byte[] exchange =
        [
            0x48, 0x8B, 0x06, 0x48, 0x8B, 0x56, 0x08,               // mov rax, [rsi]; mov rdx, [rsi+8]
            0x48, 0x8D, 0x58, 0x01, 0x48, 0x8D, 0x4A, 0x03,         // again: lea rbx, [rax+1]; lea rcx, [rdx+3]
            0xF0, 0x48, 0x0F, 0xC7, 0x0E, 0x75, 0xF1,               // lock cmpxchg16b [rsi]; jne again
            0xFF, 0xCD, 0x75, 0xE6, 0xF4,                           // dec ebp; jnz start; hlt
        ];
        byte[] add = [0xF0, 0x48, 0x83, 0x46, 0x08, 0x05, 0xFF, 0xCD, 0x75, 0xF6, 0xF4]; // lock add qword [rsi+8], 5; dec ebp; jnz; hlt
        using var machine = new SharedGuest(3, wide, withinLine);
        machine.Run(Rounds, [(exchange, At), (exchange, At), (add, At)]);
        Assert.Equal(2UL * Rounds, machine.Guest.Read<ulong>(At));
        Assert.Equal((2UL * Rounds * 3) + (5UL * Rounds), machine.Guest.Read<ulong>(At + 8));
    }

    /// <summary>Operands over the end of a line, of a page, and within a line but not aligned, against aligned ones on a part of them.</summary>
    [Theory]
    [InlineData(Page + 0x3C, true)]
    [InlineData(Page + 0x3C, false)]
    [InlineData(Page - 4, true)]
    [InlineData(Page - 4, false)]
    [InlineData(Page + 0x14, false)]
    public void SplitOperationsAreAtomic(ulong at, bool withinLine)
    {
        byte[] add = [0xF0, 0x48, 0x83, 0x06, 0x01, 0xFF, 0xCD, 0x75, 0xF7, 0xF4];            // lock add qword [rsi], 1; dec ebp; jnz; hlt
        byte[] exchangeAdd = [0x31, 0xC0, 0xFF, 0xC0, 0xF0, 0x48, 0x0F, 0xC1, 0x06, 0xFF, 0xCD, 0x75, 0xF3, 0xF4]; // xor; inc eax; lock xadd [rsi], rax...
        byte[] upper = [0xF0, 0xFF, 0x46, 0x04, 0xFF, 0xCD, 0x75, 0xF8, 0xF4];                // lock inc dword [rsi+4]
        using var machine = new SharedGuest(3, true, withinLine);
        machine.Run(Rounds, [(add, at), (exchangeAdd, at), (upper, at)]);
        ulong value = machine.Guest.Read<uint>(at) | ((ulong)machine.Guest.Read<uint>(at + 4) << 32);
        Assert.Equal((2UL * Rounds) | ((ulong)Rounds << 32), value);
    }

    /// <summary>A split operand whose second page is missing, read-only or has code: nothing of the first is changed; the code is decoded anew.</summary>
    [Fact]
    public void BothPagesAreLookedAt()
    {
        byte[] add = [0xF0, 0x48, 0x83, 0x06, 0x01]; // lock add qword [rsi], 1
        using var guest = new Guest(GuestMode.Long);
        guest.State->Cr0 |= 1 << 16;
        guest.State->Gpr[6] = Page - 4;
        guest.Write(Page - 4, uint.MaxValue);
        guest.Page(Page) = 0;
        guest.Processor.StateLoaded();
        Outcome end = guest.Run(add);
        Assert.Equal((14, 2u, Page), (end.Vector, end.Error, guest.State->Cr2));
        guest.Page(Page) = Page | 1;
        guest.Page(Page - 1) &= ~0x60UL;
        guest.Processor.StateLoaded();
        Assert.Equal((14, 3u), (guest.Run(add).Vector, 3u));
        Assert.Equal(uint.MaxValue, guest.Read<uint>(Page - 4));
        Assert.Equal(0UL, guest.Page(Page - 1) & 0x40);

        // mov eax, imm32; hlt on the second page: run, changed by the carry out of the first, run again.
        guest.Page(Page) = Page | 3;
        guest.Processor.StateLoaded();
        guest.Place(Page, 0x04, 0x10, 0xF4, 0x90); // add al, 10h; hlt
        guest.State->Gpr[0] = 0;
        guest.Start(Page);
        Assert.Equal(0x10UL, guest.State->Gpr[0]);
        guest.Place(Guest.Code, [.. add, 0xF4]);
        guest.Start(Page);
        guest.Start(Guest.Code);
        Assert.Equal(0x05, guest.Read<byte>(Page));
        guest.Write(Page, (byte)0x05);
        guest.State->Gpr[0] = 0;
        // add eax, imm32 now: 10 F4 90 00
        guest.Write(Page + 4, (byte)0);
        guest.Write(Page + 5, (byte)0xF4);
        guest.Start(Page);
        Assert.Equal(0x90_F410UL, guest.State->Gpr[0]);
    }
}
