using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translator;

/// <summary>Loops whose operands move on through pages: translated, they run for many turns at once. Registers, flags, memory and the count of
/// instructions are those of the interpreter, wherever pages end, are missing, or may not be written to.</summary>
public sealed unsafe class LoopTests
{
    private const ulong First = Guest.Data;
    private const ulong Second = Guest.Data + 0x20000;
    private const int Room = 0x8000;

    public static TheoryData<string> Shapes => [.. All.Keys];

    /// <summary>Each loops at "again" until RAX has come up, or down, to RDX.</summary>
    private static readonly Dictionary<string, Action<Assembler, Label>> All = new()
    {
        ["copy quadwords by index"] = (a, again) =>
        {
            a.mov(rbx, __qword_ptr[rsi + rax]);
            a.mov(__qword_ptr[rdi + rax], rbx);
            a.add(rax, 8);
            a.cmp(rax, rdx);
            a.jne(again);
        },
        ["sum of bytes by pointer"] = (a, again) =>
        {
            a.movzx(ebx, __byte_ptr[rsi]);
            a.add(rcx, rbx);
            a.inc(rsi);
            a.inc(rax);
            a.cmp(rax, rdx);
            a.jb(again);
        },
        ["in place, aligned vectors"] = (a, again) =>
        {
            a.movdqa(xmm0, __xmmword_ptr[rdi + rax]);
            a.paddb(xmm0, __xmmword_ptr[rsi + rax]);
            a.movdqa(__xmmword_ptr[rdi + rax], xmm0);
            a.add(rax, 16);
            a.cmp(rax, rdx);
            a.jne(again);
        },
        ["unrolled, with 256 bits"] = (a, again) =>
        {
            a.vmovdqu(ymm1, __ymmword_ptr[rsi]);
            a.vpaddd(ymm1, ymm1, __ymmword_ptr[rsi + 32]);
            a.vpxor(ymm2, ymm2, __ymmword_ptr[rsi + 64]);
            a.vmovdqu(__ymmword_ptr[rdi + rax], ymm1);
            a.add(rsi, 96);
            a.add(rax, 32);
            a.cmp(rax, rdx);
            a.jb(again);
        },
        ["step of 24, pointer moved in between"] = (a, again) =>
        {
            a.mov(ebx, __dword_ptr[rsi + 4]);
            a.add(rsi, 24);
            a.add(ebx, __dword_ptr[rsi - 12]);
            a.xor(__dword_ptr[rdi + rax * 2], ebx);
            a.add(rax, 4);
            a.cmp(rax, rdx);
            a.jb(again);
        },
        ["downwards"] = (a, again) =>
        {
            a.mov(bx, __word_ptr[rsi + rcx * 2 - 2]);
            a.add(__word_ptr[rdi + rcx * 2 - 2], bx);
            a.inc(rax);
            a.dec(rcx);
            a.jnz(again);
        },
        ["accumulated in one place"] = (a, again) =>
        {
            a.mov(rbx, __qword_ptr[rsi + rax * 8]);
            a.add(__qword_ptr[rdi], rbx);
            a.adc(__qword_ptr[rdi + 8], 0);
            a.add(rax, 1);
            a.cmp(rax, rdx);
            a.jl(again);
        },
        ["until a byte is zero, whose place is not known before"] = (a, again) =>
        {
            a.add(rax, 1);
            a.cmp(__byte_ptr[rsi + rax], 0);
            a.jne(again);
        },
        ["no operand in memory"] = (a, again) =>
        {
            a.lea(rbx, rbx + rax * 2);
            a.add(rax, 1);
            a.cmp(rax, rdx);
            a.jne(again);
        },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void TranslatedLoopsDoWhatInterpretedOnesDo(string shape)
    {
        Assert.SkipUnless(Cpu.Translator.TranslatorFactory.IsSupported, "machine code is written on x86-64 Linux hosts");
        for (int seed = 0; seed < 40; seed++)
        {
            Compare(shape, seed);
        }
    }

    /// <summary>Processors on several threads share nothing while they translate.</summary>
    [Fact]
    public void SeveralProcessorsTranslateAtOnce()
    {
        Assert.SkipUnless(Cpu.Translator.TranslatorFactory.IsSupported, "machine code is written on x86-64 Linux hosts");
        string[] shapes = [.. All.Keys];
        Parallel.For(0, 4 * 400, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i => Compare(shapes[i % shapes.Length], i));
    }

    private static void Compare(string shape, int seed)
    {
        using var interpreted = new Guest(GuestMode.Long, (Cpu.Interpreter.ITranslatorFactory?)null);
        using var translated = new Guest(GuestMode.Long, new Cpu.Translator.TranslatorFactory(EngineUnderTest.Eager with { Threshold = 1 + (seed % 3) }));
        Outcome expected = Run(interpreted, shape, seed);
        Assert.Equal(expected, Run(translated, shape, seed));
        string what = $"{shape}, {seed}";
        for (int i = 0; i < 16; i++)
        {
            Assert.True(interpreted.State->Gpr[i] == translated.State->Gpr[i], $"{what}: register {i}");
        }
        // Dead ones may be older where a fault is met.
        Assert.True(expected.Vector == 14 || Flags.Get(interpreted.State) == Flags.Get(translated.State), $"{what}: flags");
        Assert.True(interpreted.State->Retired == translated.State->Retired, $"{what}: {interpreted.State->Retired} instructions, {translated.State->Retired}");
        Assert.True(new ReadOnlySpan<byte>(interpreted.State->Vectors, 256).SequenceEqual(new ReadOnlySpan<byte>(translated.State->Vectors, 256)), $"{what}: vectors");
        Assert.True(Bytes(interpreted, First).SequenceEqual(Bytes(translated, First)) && Bytes(interpreted, Second).SequenceEqual(Bytes(translated, Second)),
            $"{what}: memory");
    }

    private static ReadOnlySpan<byte> Bytes(Guest guest, ulong at) => new(guest.Memory.Pointer(at), Room);

    private static Outcome Run(Guest guest, string shape, int seed)
    {
        var random = new Random(seed);
        CpuState* s = guest.State;
        s->Cr4 |= 0x40600;
        s->Xcr0 = 7;
        guest.Processor.StateLoaded();
        random.NextBytes(new Span<byte>(guest.Memory.Pointer(First), Room));
        random.NextBytes(new Span<byte>(guest.Memory.Pointer(Second), Room));
        guest.Write(First + (ulong)random.Next(16, 0x3000), (byte)0);
        if (seed % 4 == 3)
        {
            // In the middle a page that is not there, or only to be read.
            ref ulong entry = ref guest.Page((random.Next(2) == 0 ? First : Second) + 0x1000);
            entry = random.Next(2) == 0 ? 0 : entry & ~2UL;
        }
        int misaligned = shape.Contains("aligned", StringComparison.Ordinal) && seed % 5 != 0 ? 0 : random.Next(16);
        s->Gpr[6] = First + (ulong)((random.Next(0x800) & ~15) + misaligned);
        s->Gpr[7] = Second + (ulong)((random.Next(0x800) & ~15) + misaligned);
        s->Gpr[0] = 0;
        s->Gpr[1] = (ulong)random.Next(1, 0x1800);
        s->Gpr[2] = (ulong)(random.Next(1, seed % 2 == 0 ? 4 : 0x100) * 32);
        s->Gpr[3] = (ulong)random.NextInt64();
        return guest.Run(a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            All[shape](a, again);
            a.hlt();
        });
    }
}
