using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using Ringfence.Cpu.Translator.Library;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>What one processor has translated another need not, nor the same one again; and only what is the same code is taken.</summary>
public sealed unsafe class LibraryTests : IDisposable
{
    private readonly TranslationLibrary _library = new();

    private TranslatorOptions Options => EngineUnderTest.Eager with { Library = _library };

    public void Dispose() => _library.Dispose();

    [Theory]
    [InlineData(GuestMode.Long)]
    [InlineData(GuestMode.Protected32)]
    [InlineData(GuestMode.Compatibility)]
    public void AnotherProcessorTakesWhatTheFirstHasTranslated(GuestMode mode)
    {
        using var first = new BothEngines(mode, Options);
        first.Run(Loop);
        Assert.InRange(first.Statistics.Regions, 1, 10);
        using var second = new BothEngines(mode, Options);
        second.Run(Loop);
        Assert.Equal(0, second.Statistics.Regions);
        Assert.InRange(second.Statistics.Installed, 1, 10);
    }

    [Fact]
    public void AfterAFlushNothingIsTranslatedAgain()
    {
        using var both = new BothEngines(GuestMode.Long, Options);
        both.Run(Loop);
        long regions = both.Statistics.Regions;
        both.Both(guest => guest.Processor.StateLoaded());
        both.Start(Guest.Code);
        Assert.Equal(regions, both.Statistics.Regions);
        Assert.InRange(both.Statistics.Installed, 1, 10);
    }

    [Fact]
    public void WhatWasGivenBackIsTakenAgain()
    {
        using var both = new BothEngines(GuestMode.Long, Options);
        both.Run(Loop);
        long regions = both.Statistics.Regions;
        for (int i = 1; i < 4; i++)
        {
            Assert.NotEqual(0, both.Translated.Processor.SpareCodeBytes);
            both.Both(guest => guest.Processor.GiveBackCode());
            Assert.Equal(0, both.Translated.Processor.SpareCodeBytes);
            both.Start(Guest.Code);
            Assert.Equal(i, both.Statistics.GivenBack);
        }
        Assert.Equal(regions, both.Statistics.Regions);
        Assert.InRange(both.Statistics.Installed, 3, 30);
    }

    [Fact]
    public void OtherConstantsAreTheSameCode()
    {
        for (uint i = 0; i < 8; i++)
        {
            using var both = new BothEngines(GuestMode.Long, Options);
            uint constant = 0x1234_5678 + (i * 0x0101_1010);
            uint data = (uint)Guest.Data + (i * 0x1008);
            both.Run(a =>
            {
                Label loop = a.CreateLabel();
                a.mov(eax, constant);
                a.mov(ecx, 50);
                a.mov(rdx, (ulong)unchecked((uint)-0x10_0000));
                a.movsxd(rdx, edx);
                a.Label(ref loop);
                a.imul(eax, eax, (int)constant);
                // One look at a site for both, at a distance that is the same each time.
                a.mov(__dword_ptr[rdx + (int)(0x10_0000 + data)], eax);
                a.xor(eax, __dword_ptr[rdx + (int)(0x10_0000 + data + 4)]);
                a.push((int)constant);
                a.pop(rbx);
                a.add(eax, ebx);
                a.cmp(eax, (int)constant);
                a.dec(ecx);
                a.jne(loop);
            });
            Assert.Equal(i == 0, both.Statistics.Regions != 0);
        }
    }

    [Fact]
    public void OperandsAtOtherDistancesAreOtherCode()
    {
        for (int distance = 4; distance < 64; distance += 4)
        {
            using var both = new BothEngines(GuestMode.Long, Options);
            both.Run(a =>
            {
                Label loop = a.CreateLabel();
                a.mov(ecx, 20);
                a.xor(edx, edx);
                a.Label(ref loop);
                a.mov(__dword_ptr[rdx + (int)Guest.Data], ecx);
                a.add(__dword_ptr[rdx + ((int)Guest.Data + distance)], ecx);
                a.sub(eax, __dword_ptr[rdx + (int)Guest.Data]);
                a.dec(ecx);
                a.jne(loop);
            });
        }
    }

    [Fact]
    public void AnotherInstructionIsOtherCode()
    {
        using var first = new BothEngines(GuestMode.Long, Options);
        first.Run(Loop);
        using var second = new BothEngines(GuestMode.Long, Options);
        second.Assemble(a =>
        {
            Loop(a);
            a.hlt();
        });
        // ADD becomes SUB.
        second.Both(guest => guest.Write<byte>(Guest.Code + 15, 0x29));
        second.Start(Guest.Code);
        Assert.NotEqual(0, second.Statistics.Regions);
    }

    [Fact]
    public void CodeThatChangesItselfIsTakenOnlyWhileItIsTheSame()
    {
        for (int round = 0; round < 3; round++)
        {
            using var both = new BothEngines(GuestMode.Long, Options);
            both.Run(a =>
            {
                Label loop = a.CreateLabel();
                Label changed = a.CreateLabel();
                Label skip = a.CreateLabel();
                a.mov(ecx, 400);
                a.lea(rbx, __[changed]);
                a.Label(ref loop);
                a.test(ecx, 15);
                a.jne(skip);
                // ADD EAX, imm32 and SUB EAX, imm32 in turn.
                a.xor(__byte_ptr[rbx], 0x28);
                a.Label(ref skip);
                a.nop();
                a.Label(ref changed);
                a.add(eax, 0x1111_1111);
                a.dec(ecx);
                a.jne(loop);
            });
        }
    }

    /// <summary>What follows a block decides where it ends. An instruction that crosses the page's end is none of it, a shorter one in its place is.</summary>
    [Theory]
    [InlineData(0)]
    // So many that the page's blocks are decoded before they are looked for.
    [InlineData(8)]
    public void ABlockThatEndsElsewhereIsAnotherBlock(int changes)
    {
        using var both = new BothEngines(GuestMode.Long, Options with { Threshold = 2 });
        const int Calls = 64;
        const int Start = 0xFF6;
        both.Both(guest =>
        {
            // MOV AL, 0; RET.
            guest.Write(Guest.Data, 0x00C3_00B0);
            // ADD EAX, 11111111h; ADD ECX, 1; then INC RAX in two pages; RET.
            guest.Write(Guest.Data + Start, 0x8311_1111_1105UL);
            guest.Write(Guest.Data + Start + 6, 0x00C3_C0FF_4801_C1UL);
        });
        both.Run(a =>
        {
            a.xor(ecx, ecx);
            a.mov(ebx, (uint)Guest.Data);
            Call(Calls);
            for (int i = 0; i < changes; i++)
            {
                a.inc(__byte_ptr[rbx + 1]);
                Repeat(2 * 2, () => a.call(rbx));
            }
            // NOP; RET.
            a.mov(__word_ptr[rbx + Start + 8], 0xC390);
            Call(Calls);

            void Call(int times)
            {
                a.lea(rsi, __[rbx + Start]);
                Repeat(times, () => a.call(rsi));
            }

            void Repeat(int times, Action action)
            {
                Label again = a.CreateLabel();
                a.mov(edi, times);
                a.Label(ref again);
                action();
                a.dec(edi);
                a.jne(again);
            }
        });
        Assert.Equal(2UL * Calls, both.Interpreted.State->Gpr[1]);
        Assert.InRange(both.Statistics.Regions + both.Statistics.Installed, 2, Calls / 2);
    }

    /// <summary>A guest that compiles, or never stops changing its code, would fill any memory.</summary>
    [Fact]
    public void WhatKeepsChangingIsNotKept()
    {
        using var both = new BothEngines(GuestMode.Long, Options);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ecx, 0x200);
            a.mov(edi, (uint)Guest.Data);
            a.mov(__byte_ptr[rdi + 2], 0xC3);
            a.Label(ref loop);
            // One of eight operations on EAX with one of eight registers.
            a.mov(edx, ecx);
            a.and(edx, 7);
            a.shl(edx, 3);
            a.or(edx, 1);
            a.mov(__byte_ptr[rdi], dl);
            a.mov(edx, ecx);
            a.and(edx, 0x38);
            a.or(edx, 0xC0);
            a.mov(__byte_ptr[rdi + 1], dl);
            a.call(rdi);
            a.dec(ecx);
            a.jne(loop);
        });
        Assert.InRange(both.Statistics.Regions, 64, long.MaxValue);
        Assert.InRange(_library.Describe()["regions added"], 1, 20);
    }

    [Fact]
    public void ProcessorsMayAddAtOnce()
    {
        Parallel.For(0, 4, seed =>
        {
            for (int round = 0; round < 12; round++)
            {
                using var both = new BothEngines(GuestMode.Long, Options);
                both.Run(a =>
                {
                    Label loop = a.CreateLabel();
                    a.mov(ecx, 30);
                    a.mov(edi, (uint)Guest.Data);
                    a.Label(ref loop);
                    for (int i = 0; i <= round; i++)
                    {
                        Label over = a.CreateLabel();
                        a.rol(eax, (byte)(1 + i));
                        a.add(__dword_ptr[rdi + (i * 4)], eax);
                        a.jc(over);
                        a.xor(eax, __dword_ptr[rdi + (seed * 8)]);
                        a.Label(ref over);
                        a.inc(eax);
                    }
                    a.dec(ecx);
                    a.jne(loop);
                });
            }
        });
    }

    [Fact]
    public void WhatTheInterpreterDoesAfterAnExitIsDecodedThen()
    {
        for (int round = 0; round < 2; round++)
        {
            using var both = new BothEngines(GuestMode.Long, Options);
            both.Run(a =>
            {
                Label loop = a.CreateLabel();
                a.mov(ecx, 40);
                a.mov(r8d, 0);
                a.Label(ref loop);
                a.mov(r9d, ecx);
                a.xor(eax, eax);
                a.xor(ecx, ecx);
                // Left to its op, in the middle of a block.
                a.cpuid();
                a.add(r8d, eax);
                a.mov(ecx, 5);
                a.mov(esi, (uint)Guest.Data);
                a.mov(edi, (uint)Guest.Data + 64);
                a.rep.movsb();
                a.mov(ecx, r9d);
                a.dec(ecx);
                a.jne(loop);
            });
            Assert.Equal(round == 0, both.Statistics.Regions != 0);
        }
    }

    private static void Loop(Assembler a)
    {
        Label loop = a.CreateLabel();
        a.mov(eax, 0);
        a.mov(ecx, 1_000);
        a.mov(edi, (uint)Guest.Data);
        a.Label(ref loop);
        a.add(eax, ecx);
        a.mov(__dword_ptr[edi], eax);
        a.rol(eax, 3);
        a.xor(eax, __dword_ptr[edi]);
        a.dec(ecx);
        a.jne(loop);
    }
}
