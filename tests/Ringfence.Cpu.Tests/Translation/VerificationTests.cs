using System.Buffers.Binary;
using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>Translated code that does something else than the interpreter is found at its first run. What is wrong here was made wrong: a
/// constant in the host's code.</summary>
public sealed unsafe class VerificationTests
{
    private const uint Right = 0x1A2B_3C4D;

    private static TranslatorOptions Options => EngineUnderTest.Eager with { Verify = true };

    [Fact]
    public void RightCodePasses()
    {
        using var both = new BothEngines(GuestMode.Long, Options);
        both.Run(Loop);
        Assert.InRange(both.Translator.Verifier!.Instructions, 2000, long.MaxValue);
    }

    [Fact]
    public void AWrongRegisterIsFound()
    {
        string report = RunWrong(a => a.mov(ebx, Right));
        Assert.Contains("RBX", report, StringComparison.Ordinal);
        Assert.Contains("mov ebx,1A2B3C4Dh", report, StringComparison.Ordinal);
        Assert.Contains("000000001a2b3c4d", report, StringComparison.Ordinal);
        Assert.Contains("0000000055555555", report, StringComparison.Ordinal);
    }

    [Fact]
    public void AWrongStoreIsFoundAndUndone()
    {
        string report = RunWrong(a => a.mov(__dword_ptr[rdi + 16], Right), guest => Assert.Equal(Right, guest.Read<uint>(Guest.Data + 16)));
        Assert.Contains("memory", report, StringComparison.Ordinal);
        Assert.Contains("before 00000000 translated 55555555 interpreted 4d3c2b1a", report, StringComparison.Ordinal);
    }

    [Fact]
    public void AWrongFlagIsFound() => Assert.Contains(": CF\n", RunWrong(a =>
    {
        a.mov(eax, 0x2000_0000);
        a.cmp(eax, Right);
        // CF is all that differs.
        a.mov(ecx, 0);
    }).ReplaceLineEndings("\n"), StringComparison.Ordinal);

    [Fact]
    public void AWrongVectorRegisterIsFound() => Assert.Contains("vector register 3", RunWrong(a =>
    {
        a.mov(eax, Right);
        a.movd(xmm3, eax);
        a.xor(eax, eax);
    }), StringComparison.Ordinal);

    private static void Loop(Assembler a)
    {
        Label loop = a.CreateLabel();
        Label function = a.CreateLabel();
        Label end = a.CreateLabel();
        a.mov(ecx, 200);
        a.mov(edi, (uint)Guest.Data);
        a.Label(ref loop);
        a.call(function);
        a.movd(xmm0, ecx);
        a.paddd(xmm1, xmm0);
        a.movups(__xmmword_ptr[rdi + 32], xmm1);
        a.@lock.add(__dword_ptr[rdi], ecx);
        a.shl(edx, cl);
        a.imul(eax, ecx, 77);
        a.dec(ecx);
        a.jne(loop);
        a.jmp(end);
        a.Label(ref function);
        a.push(rcx);
        a.adc(edx, __dword_ptr[rdi]);
        a.pop(r12);
        a.ret();
        a.Label(ref end);
        a.nop();
    }

    /// <summary>Translates code, makes each <see cref="Right"/> in the translation something else, and runs it.</summary>
    private static string RunWrong(Action<Assembler> write, Action<Guest>? afterwards = null)
    {
        using var both = new BothEngines(GuestMode.Long, Options);
        Guest guest = both.Translated;
        // The first time round the block is translated and run; an exit in between gives us the time to spoil it.
        guest.Assemble(a =>
        {
            Label again = a.CreateLabel();
            a.mov(edi, (uint)Guest.Data);
            a.Label(ref again);
            a.nop();
            write(a);
            a.jmp(again);
        });
        guest.State->Rip = Guest.Code;
        guest.Processor.LimitTurns(200);
        Assert.Equal(RunResult.ExitRequested, guest.Processor.Run());
        guest.State->Attention = 0;
        guest.Write(Guest.Data + 16, 0u);
        Span<byte> code = new(both.Translator.Memory.Write, both.Translator.Memory.Size);
        Span<byte> right = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(right, Right);
        int at = code.IndexOf(right);
        Assert.InRange(at, 0, int.MaxValue);
        for (; at >= 0; at = code.IndexOf(right))
        {
            code.Slice(at, 4).Fill(0x55);
        }
        using var watchdog = new Timer(_ => guest.Processor.RequestExit(), null, 10_000, Timeout.Infinite);
        string report = Assert.Throws<TranslationDifferenceException>(() => guest.Processor.Run()).Message;
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        afterwards?.Invoke(guest);
        return report;
    }
}
