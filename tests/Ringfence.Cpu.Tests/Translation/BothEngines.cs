using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>The same guest twice: translated from the first instruction, and interpreted.</summary>
internal sealed unsafe class BothEngines : IDisposable
{
    public BothEngines(GuestMode mode, TranslatorOptions? options = null)
    {
        Assert.SkipUnless(TranslatorFactory.IsSupported, "the translator is for Linux on x86-64");
        Translated = new Guest(mode, new TranslatorFactory(options ?? EngineUnderTest.Eager));
        Interpreted = new Guest(mode, translators: null);
    }

    public Guest Translated { get; }

    public Guest Interpreted { get; }

    public BlockTranslator Translator => (BlockTranslator)Translated.Processor.Translator!;

    public TranslatorStatistics Statistics => Translator.Statistics;

    public void Both(Action<Guest> prepare)
    {
        prepare(Translated);
        prepare(Interpreted);
    }

    public void Assemble(Action<Assembler> write) => Both(guest => guest.Assemble(write));

    /// <summary>Assembles at <see cref="Guest.Code"/>, adds HLT, and runs on both.</summary>
    public Outcome Run(Action<Assembler> write)
    {
        Assemble(a =>
        {
            write(a);
            a.hlt();
        });
        return Start(Guest.Code);
    }

    /// <summary>Runs both to their end and compares all there is.</summary>
    public Outcome Start(ulong rip)
    {
        Outcome translated = Translated.Start(rip);
        Outcome interpreted = Interpreted.Start(rip);
        Assert.Equal(interpreted, translated);
        Compare();
        return translated;
    }

    public void Compare()
    {
        CpuState* t = Translated.State;
        CpuState* i = Interpreted.State;
        Assert.Equal(new ReadOnlySpan<ulong>(i->Gpr, 16).ToArray(), new ReadOnlySpan<ulong>(t->Gpr, 16).ToArray());
        Assert.Equal(i->Rip, t->Rip);
        Assert.Equal(Flags.Get(i), Flags.Get(t));
        Assert.Equal(i->Retired, t->Retired);
        Assert.Equal(i->Cr2, t->Cr2);
        Assert.Equal(i->Mxcsr, t->Mxcsr);
        Assert.True(new ReadOnlySpan<byte>(i->Vectors, 32 * 64).SequenceEqual(new ReadOnlySpan<byte>(t->Vectors, 32 * 64)), "vector registers");
        Assert.True(Memory(Interpreted).SequenceEqual(Memory(Translated)), "memory");
    }

    public void Dispose()
    {
        Translated.Dispose();
        Interpreted.Dispose();
    }

    private static ReadOnlySpan<byte> Memory(Guest guest) => new(guest.Memory.Pointer(0), (int)Guest.MemorySize);
}
