using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>CPUID in translated code (SDM 2A, CPUID): answers that are known are given there, and are the interpreter's.</summary>
public sealed unsafe class CpuidTests
{
    /// <summary>CPUID.1:ECX.OSXSAVE follows CR4, and XCR0 the sizes of leaf 0DH: what was known before is not told after.</summary>
    [Fact]
    public void AnswersFollowControlRegisters()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label off = a.CreateLabel();
            a.xor(r8d, r8d);
            a.mov(esi, 64);
            a.Label(ref loop);
            foreach ((uint leaf, int subleaf) in (ReadOnlySpan<(uint, int)>)[(0, 0), (1, 0), (7, 0), (0xD, 0), (0x8000_0001, 0), (0x8000_0002, 5)])
            {
                a.mov(eax, leaf);
                a.mov(ecx, subleaf);
                a.cpuid();
                a.rol(r8, 7);
                a.add(r8, rax);
                a.rol(r8, 7);
                a.add(r8, rbx);
                a.rol(r8, 7);
                a.add(r8, rcx);
                a.rol(r8, 7);
                a.add(r8, rdx);
            }
            a.test(esi, 15);
            a.jne(off);
            a.mov(rax, cr4);
            a.xor(eax, 1 << 18);
            a.mov(cr4, rax);
            a.Label(ref off);
            a.dec(esi);
            a.jne(loop);
        });
        Assert.Equal(both.Interpreted.Processor.CountOf(ExitKind.Cpuid), both.Translated.Processor.CountOf(ExitKind.Cpuid));
        Assert.Equal(64 * 6, both.Translated.Processor.CountOf(ExitKind.Cpuid));
        Assert.InRange(both.Translated.State->Translated.Cpuid.Found, 32 * 6, 64 * 6);
    }

    /// <summary>CPUID.1:EDX.APIC follows IA32_APIC_BASE (SDM 3A 11.4.3).</summary>
    [Fact]
    public void AnAnswerFollowsTheLocalApic()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            Label on = a.CreateLabel();
            a.xor(r8d, r8d);
            a.mov(esi, 40);
            a.Label(ref loop);
            a.mov(eax, 1);
            a.xor(ecx, ecx);
            a.cpuid();
            a.shr(edx, 9);
            a.and(edx, 1);
            a.add(r8, rdx);
            a.cmp(esi, 20);
            a.jne(on);
            a.mov(ecx, 0x1B);
            a.rdmsr();
            a.and(eax, ~0x800);
            a.wrmsr();
            a.Label(ref on);
            a.dec(esi);
            a.jne(loop);
        });
        Assert.Equal(21UL, both.Translated.State->Gpr[8]);
    }

    /// <summary>Who is told of exits is told of each.</summary>
    [Fact]
    public void NoneIsHiddenFromATrace()
    {
        using var both = new BothEngines(GuestMode.Long);
        Counter counter = new();
        both.Translated.Processor.Trace = counter;
        both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.mov(esi, 50);
            a.Label(ref loop);
            a.xor(eax, eax);
            a.xor(ecx, ecx);
            a.cpuid();
            a.dec(esi);
            a.jne(loop);
        });
        Assert.Equal(50, counter.Cpuids);
    }

    private sealed class Counter : IProcessorTrace
    {
        public int Cpuids { get; private set; }

        public void Exit(ulong rip, ExitKind kind, ulong address, ulong value) => Cpuids += kind == ExitKind.Cpuid ? 1 : 0;
    }
}
