using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>That code is translated at all, that memory for it may be as small as one likes, and that changed code is noticed.</summary>
public sealed class TranslationTests
{
    [Theory]
    [InlineData(GuestMode.Long)]
    [InlineData(GuestMode.Protected32)]
    [InlineData(GuestMode.Compatibility)]
    public void ALoopBecomesHostCode(GuestMode mode)
    {
        using var both = new BothEngines(mode);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(eax, 0);
            a.mov(ecx, 100_000);
            a.mov(edi, (uint)Guest.Data);
            a.Label(ref loop);
            a.add(eax, ecx);
            a.mov(__dword_ptr[edi], eax);
            a.rol(eax, 3);
            a.xor(eax, __dword_ptr[edi]);
            a.dec(ecx);
            a.jne(loop);
        });
        // All but HLT; and one way in is enough for the whole loop.
        Assert.InRange(both.Statistics.NativeInstructions, 9, 30);
        Assert.InRange(both.Statistics.Instructions - both.Statistics.NativeInstructions, 0, 2);
        Assert.InRange(both.Translator.Describe()["entries"], 1, 10);
    }

    [Fact]
    public void CodeThatRunsRarelyIsInterpreted()
    {
        using var both = new BothEngines(GuestMode.Long, new TranslatorOptions(CodeBytes: 1 << 20, Threshold: 24, Sites: 1 << 14));
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ecx, 20);
            a.Label(ref loop);
            a.dec(ecx);
            a.jne(loop);
        });
        Assert.Equal(0, both.Statistics.Regions);
    }

    [Fact]
    public void AFullCodeCacheIsEmptiedAndTheGuestGoesOn()
    {
        const ulong Start = 0x20_0000;
        using var both = new BothEngines(GuestMode.Long, new TranslatorOptions(CodeBytes: 1 << 20, Threshold: 1, Sites: 1 << 14));
        both.Both(guest => guest.Assemble(Start, a =>
        {
            Label again = a.CreateLabel();
            a.mov(ebx, 3);
            a.mov(edi, (uint)Guest.Data);
            a.Label(ref again);
            for (uint i = 0; i < 40_000; i++)
            {
                a.add(eax, i * 0x9E37_79B9);
                a.xor(__dword_ptr[rdi + ((i & 255) * 4)], eax);
                if (i % 5 == 0)
                {
                    Label over = a.CreateLabel();
                    a.js(over);
                    a.inc(edx);
                    a.Label(ref over);
                    a.nop();
                }
            }
            a.dec(ebx);
            a.jne(again);
            a.hlt();
        }));
        Assert.Equal(-1, both.Start(Start).Vector);
        Assert.InRange(both.Statistics.Evictions, 3, 1000);
        // More was translated than there is room for.
        Assert.InRange(both.Statistics.CodeBytes, 3 << 20, long.MaxValue);
        Assert.InRange(both.Statistics.NativeInstructions, 250_000, long.MaxValue);
    }

    [Fact]
    public void TheRunningBlockChangesWhatComesNext()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label changed = a.CreateLabel();
            a.mov(ecx, 200);
            a.xor(eax, eax);
            a.lea(rbx, __[changed]);
            a.Label(ref loop);
            a.mov(__dword_ptr[rbx + 1], ecx);
            a.Label(ref changed);
            a.mov(edx, 0x1111_1111);
            a.add(eax, edx);
            a.dec(ecx);
            a.jne(loop);
        });
        // Each time round the constant was the one just written.
        Assert.Equal(20_100UL, ReadRax(both));
    }

    [Fact]
    public void TheRunningBlockChangesOnlyWhatWasThere()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label start = a.CreateLabel();
            Label changed = a.CreateLabel();
            a.mov(ecx, 50);
            a.lea(rbx, __[changed]);
            a.Label(ref start);
            a.nop();
            a.Label(ref changed);
            a.nop();
            a.dec(ecx);
            a.jne(start);
            // INC EDX for one of the two places, from the outside, in turn with NOPs.
            a.inc(esi);
            a.mov(__word_ptr[rbx - 1], unchecked((ushort)0xC2FF));
            a.cmp(esi, 2);
            a.mov(ecx, 50);
            a.jb(start);
        });
    }

    [Fact]
    public void DataBesideCodeInOnePage()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label data = a.CreateLabel();
            Label end = a.CreateLabel();
            a.mov(ecx, 3_000);
            a.lea(rbx, __[data]);
            a.Label(ref loop);
            a.add(__dword_ptr[rbx], ecx);
            a.mov(eax, __dword_ptr[rbx]);
            a.mov(__dword_ptr[rbx + 512], eax);
            a.push(rax);
            a.pop(rdx);
            a.dec(ecx);
            a.jne(loop);
            a.jmp(end);
            a.Label(ref data);
            for (int i = 0; i < 80; i++)
            {
                a.dq(0);
            }
            a.Label(ref end);
            a.nop();
        });
        Assert.Equal(3_000UL * 3_001 / 2, ReadRax(both));
    }

    [Fact]
    public void CodeIsMadeAndRunAndMadeAgain()
    {
        using var both = new BothEngines(GuestMode.Long);
        const uint Made = 0x2_4000;
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ecx, 300);
            a.mov(ebx, Made);
            a.Label(ref loop);
            // LEA EAX, [RAX + n]; RET
            a.mov(__dword_ptr[rbx], 0x808D);
            a.mov(__dword_ptr[rbx + 2], ecx);
            a.mov(__byte_ptr[rbx + 6], 0xC3);
            a.call(rbx);
            a.call(rbx);
            a.dec(ecx);
            a.jne(loop);
        });
        Assert.Equal(300UL * 301, ReadRax(both));
    }

    private static unsafe ulong ReadRax(BothEngines both) => both.Translated.State->Gpr[0];

    /// <summary>While one NMI is handled others wait (SDM 3A 6.7.1), and code goes on; one of them comes after IRET.</summary>
    [Fact]
    public unsafe void LoopsGetOnWhileAnNmiWaits()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Assemble(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(ecx, 1000);
            a.Label(ref loop);
            a.add(eax, ecx);
            a.dec(ecx);
            a.jne(loop);
            a.hlt();
        });
        both.Both(guest =>
        {
            guest.Processor.NmiBlocked = true;
            for (int i = 0; i < 3; i++)
            {
                guest.Processor.RequestNmi();
            }
        });
        Assert.Equal(-1, both.Start(Guest.Code).Vector);
        Assert.Equal(500_500UL, both.Translated.State->Gpr[0]);
        both.Both(guest => Assert.Equal(2, guest.Processor.PendingNmis));
        both.Both(guest => guest.Processor.NmiBlocked = false);
        Assert.Equal(2, both.Start(Guest.Code).Vector);
        both.Both(guest => Assert.Equal(1, guest.Processor.PendingNmis));
    }
}
