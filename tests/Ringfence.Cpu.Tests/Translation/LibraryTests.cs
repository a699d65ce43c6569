using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using Ringfence.Cpu.Translator.Library;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>What one processor has translated another need not, nor the same one again; and only what is the same code is taken.</summary>
public sealed class LibraryTests : IDisposable
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
