using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>Translated code counts instructions as the interpreter does, whichever way it is left.</summary>
public sealed unsafe class CountTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(40)]
    public void ABlockInTheMiddleOfWhichAPageIsMissing(int before)
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Both(guest => guest.Page(0x3_0000) = 0);
        Outcome outcome = both.Run(a =>
        {
            a.mov(edi, 0x3_0000);
            for (int i = 0; i < before; i++)
            {
                a.add(eax, i);
            }
            a.mov(__dword_ptr[rdi], eax);
            a.inc(ebx);
            a.inc(ebx);
        });
        Assert.Equal(14, outcome.Vector);
        // MOV, the additions, and HLT of the handler.
        Assert.Equal(before + 2, both.Translated.State->Retired);
    }

    /// <summary>An operand that stays in its page is found at once, one that goes to and fro never; both pages are in the TLB.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0x1000)]
    public void LooksAtAPageAreCounted(int distance)
    {
        const int Turns = 10_000;
        using var both = new BothEngines(GuestMode.Long, EngineUnderTest.Eager with { CountsHits = true });
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label over = a.CreateLabel();
            a.mov(ecx, Turns);
            a.mov(edi, (uint)Guest.Data);
            a.Label(ref loop);
            a.add(eax, __dword_ptr[rdi]);
            // Two blocks: one alone would run through the page without a look.
            a.jc(over);
            a.Label(ref over);
            a.xor(edi, distance);
            a.dec(ecx);
            a.jne(loop);
        });
        IReadOnlyDictionary<string, long> counts = both.Translator.Describe();
        (long hits, long misses) = distance == 0 ? (Turns, 1) : (0, Turns);
        // Some of the first turns are interpreted, or in a region of their own.
        const int Few = 10;
        Assert.InRange(counts["site hits"], hits - Few, hits);
        Assert.InRange(counts["site misses"], misses - Few, misses + Few);
        Assert.InRange(counts["TLB misses"], 0, 2);
    }

    [Fact]
    public void ALoopThatRunsIntoAMissingPage()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Both(guest => guest.Page(0x3_0000) = 0);
        Outcome outcome = both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(edi, 0x2_F000);
            a.Label(ref loop);
            a.mov(rax, __qword_ptr[rdi]);
            a.lea(rdi, __[rdi + 8]);
            a.jmp(loop);
        });
        Assert.Equal(14, outcome.Vector);
        Assert.Equal(1 + (512 * 3) + 1, both.Translated.State->Retired);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    public void DivisionByZero(int divisor)
    {
        using var both = new BothEngines(GuestMode.Long);
        Outcome outcome = both.Run(a =>
        {
            a.mov(eax, 100);
            a.cdq();
            a.mov(ecx, divisor);
            a.idiv(ecx);
            a.add(eax, 1);
            a.cmp(eax, 21);
        });
        Assert.Equal(divisor == 0 ? 0 : -1, outcome.Vector);
    }

    [Fact]
    public void CallsReturnsAndInstructionsThatAreLeftToTheInterpreter()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label function = a.CreateLabel();
            Label end = a.CreateLabel();
            Label even = a.CreateLabel();
            a.mov(ebx, 1000);
            a.Label(ref loop);
            a.call(function);
            a.mov(edx, 0x80);
            a.@out(dx, al);
            a.test(bl, 1);
            a.je(even);
            a.push(rbx);
            a.pushfq();
            a.popfq();
            a.pop(r13);
            a.Label(ref even);
            a.add(r12, r13);
            a.dec(ebx);
            a.jne(loop);
            a.jmp(end);
            a.Label(ref function);
            a.lea(rax, __[rax + (rbx * 2) + 1]);
            a.mov(r14, rbx);
            a.cpuid();
            a.mov(rbx, r14);
            a.ret();
            a.Label(ref end);
            a.nop();
        });
    }

    [Fact]
    public void StringsAndVectorsBetween()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ebx, 100);
            a.Label(ref loop);
            a.mov(edi, (uint)Guest.Data);
            a.lea(esi, __[rdi + 0x800]);
            a.mov(ecx, ebx);
            a.rep.movsb();
            a.movd(xmm0, ebx);
            a.pshufd(xmm1, xmm0, 0);
            a.paddd(xmm2, xmm1);
            a.movdqu(__xmmword_ptr[rsi], xmm2);
            a.cvtdq2ps(xmm3, xmm2);
            a.addps(xmm4, xmm3);
            a.dec(ebx);
            a.jne(loop);
        });
    }
}
