using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>Translated code leaves the host's thread as it found it, and does not keep others waiting.</summary>
public sealed unsafe class HostStateTests
{
    /// <summary>Longer than it takes on any machine: what hangs does not end at all.</summary>
    private static readonly TimeSpan Prompt = TimeSpan.FromSeconds(10);

    [Fact]
    public void RoundingX87AndDirectionAreTheHostsOwnAfterwards()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Both(guest =>
        {
            // All masked, flush to zero, toward zero; CR4 has OSFXSR.
            guest.State->Mxcsr = 0xFF80;
            guest.Write(Guest.Data, 0x9FC0u);
        });
        using var look = new HostLook();
        (uint mxcsr, ushort control, bool direction) before = look.Now();
        Outcome outcome = both.Run(a =>
        {
            Label loop = a.CreateLabel();
            a.std();
            a.mov(edi, (uint)Guest.Data);
            a.mov(ecx, 50);
            a.mov(eax, 3);
            a.cvtsi2sd(xmm1, eax);
            a.Label(ref loop);
            a.addsd(xmm0, xmm1);
            a.divsd(xmm0, xmm1);
            a.sqrtsd(xmm2, xmm0);
            a.fninit();
            a.fld1();
            a.fldpi();
            a.fdivp(st1, st0);
            a.fstp(__qword_ptr[rdi + 8]);
            a.ldmxcsr(__dword_ptr[rdi]);
            a.mulsd(xmm3, xmm2);
            a.dec(ecx);
            a.jne(loop);
            a.stmxcsr(__dword_ptr[rdi + 4]);
        });
        Assert.Equal(-1, outcome.Vector);
        Assert.Equal(before, look.Now());
        Assert.Equal(0x9FC0u, both.Translated.State->Mxcsr & 0xFFC0);
    }

    [Fact]
    public void NorAfterAFaultOfAVectorInstruction()
    {
        using var both = new BothEngines(GuestMode.Long);
        both.Both(guest =>
        {
            guest.State->Mxcsr = 0x7F80;
            guest.Page(0x3_0000) = 0;
        });
        using var look = new HostLook();
        (uint mxcsr, ushort control, bool direction) before = look.Now();
        Outcome outcome = both.Run(a =>
        {
            a.mov(edi, 0x3_0000);
            a.mov(eax, 1);
            a.cvtsi2ss(xmm0, eax);
            a.divps(xmm1, xmm0);
            a.movups(__xmmword_ptr[rdi], xmm1);
        });
        Assert.Equal(14, outcome.Vector);
        Assert.Equal(before, look.Now());
    }

    public static TheoryData<string> EndlessLoops => [.. Loops.Keys];

    [Theory]
    [MemberData(nameof(EndlessLoops))]
    public void AnEndlessLoopIsLeftWhenAsked(string loop)
    {
        using var both = new BothEngines(GuestMode.Long);
        Guest guest = both.Translated;
        guest.Assemble(Loops[loop]);
        RunAside(guest, static () => { }, runs: 3);
        Assert.InRange(both.Statistics.NativeInstructions, 1, long.MaxValue);
    }

    [Fact]
    public void GarbageCollectionDoesNotWaitForTranslatedCode()
    {
        using var both = new BothEngines(GuestMode.Long);
        Guest guest = both.Translated;
        guest.Assemble(Loops["conditional"]);
        bool waited = false;
        RunAside(guest, () =>
        {
            for (int i = 0; i < 3; i++)
            {
                var collection = Task.Factory.StartNew(() => GC.Collect(2, GCCollectionMode.Forced, blocking: true), TestContext.Current.CancellationToken,
                    TaskCreationOptions.LongRunning, TaskScheduler.Default);
                waited |= !collection.Wait(Prompt);
            }
        }, runs: 1);
        // Said only now: a guest that runs must not lose its memory.
        Assert.False(waited, "the collection waits for the guest");
    }

    private static readonly Dictionary<string, Action<Assembler>> Loops = new()
    {
        ["jump to itself"] = a =>
        {
            Label loop = a.CreateLabel();
            a.Label(ref loop);
            a.jmp(loop);
        },
        ["conditional"] = a =>
        {
            Label loop = a.CreateLabel();
            a.Label(ref loop);
            a.inc(rax);
            a.or(rax, 1);
            a.jne(loop);
            a.hlt();
        },
        ["indirect"] = a =>
        {
            Label loop = a.CreateLabel();
            a.lea(rbx, __[loop]);
            a.Label(ref loop);
            a.inc(rax);
            a.jmp(rbx);
        },
        ["call and return"] = a =>
        {
            Label loop = a.CreateLabel();
            Label function = a.CreateLabel();
            a.Label(ref loop);
            a.call(function);
            a.jmp(loop);
            a.Label(ref function);
            a.inc(rax);
            a.ret();
        },
        ["forward and back through two blocks"] = a =>
        {
            Label loop = a.CreateLabel();
            Label over = a.CreateLabel();
            a.Label(ref loop);
            a.inc(rax);
            a.test(al, 1);
            a.je(over);
            a.inc(rcx);
            a.Label(ref over);
            a.jmp(loop);
        },
        ["over two pages"] = a =>
        {
            Label loop = a.CreateLabel();
            Label far = a.CreateLabel();
            a.Label(ref loop);
            a.inc(rax);
            a.jmp(far);
            for (int i = 0; i < 0x1000; i++)
            {
                a.nop();
            }
            a.Label(ref far);
            a.inc(rcx);
            a.jmp(loop);
        },
    };

    /// <summary>Runs a guest on a thread of its own, and asks its processor to leave it so many times.</summary>
    private static void RunAside(Guest guest, Action meanwhile, int runs)
    {
        guest.State->Rip = Guest.Code;
        int left = 0;
        bool ended = false;
        var thread = new Thread(() =>
        {
            while (!ended && Volatile.Read(ref left) < runs)
            {
                ended = guest.Processor.Run() != RunResult.ExitRequested;
                Interlocked.Increment(ref left);
            }
        });
        thread.Start();
        Thread.Sleep(100);
        meanwhile();
        for (int i = 1; i <= runs; i++)
        {
            guest.Processor.RequestExit();
            if (!SpinWait.SpinUntil(() => Volatile.Read(ref left) >= i, Prompt))
            {
                // The guest's memory cannot be taken away from under it.
                Environment.FailFast("translated code is not left when asked");
            }
        }
        thread.Join();
        Assert.False(ended);
    }

    /// <summary>What a thread of the host has in MXCSR, the x87 control word and RFLAGS.DF.</summary>
    private sealed class HostLook : IDisposable
    {
        // STMXCSR [RDI]; FNSTCW [RDI+4]; PUSHFQ; POP RAX; MOV [RDI+8], RAX; RET
        private static readonly byte[] Code = [0x0F, 0xAE, 0x1F, 0xD9, 0x7F, 0x04, 0x9C, 0x58, 0x48, 0x89, 0x47, 0x08, 0xC3];
        private readonly CodeMemory _memory = new(1 << 16);

        public HostLook() => Code.CopyTo(new Span<byte>(_memory.Write, Code.Length));

        public (uint Mxcsr, ushort Control, bool Direction) Now()
        {
            ulong* seen = stackalloc ulong[2];
            ((delegate* unmanaged<ulong*, void>)_memory.Execute)(seen);
            return ((uint)seen[0] & ~0x3Fu, (ushort)(seen[0] >> 32), (seen[1] & Flags.Direction) != 0);
        }

        public void Dispose() => _memory.Dispose();
    }
}
