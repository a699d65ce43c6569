using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.State;

/// <summary>Processors of one machine, in long mode on the same tables, each with code of its own.</summary>
internal sealed unsafe class SharedGuest : IDisposable
{
    private const ulong CodeStride = 0x100;

    private readonly Processor[] _processors;

    /// <param name="wide">The host exchanges 16 bytes.</param>
    /// <param name="withinLine">Its locks need no alignment within a line.</param>
    public SharedGuest(int count, bool wide = true, bool withinLine = true)
    {
        Guest = new Guest(GuestMode.Long);
        // The guest's own processor lends its registers and stays out of it.
        var shared = new SharedCode(Guest.Memory);
        _processors = new Processor[count];
        for (int i = 0; i < count; i++)
        {
            var processor = new Processor(Guest.Memory, Guest.Bus, Guest.Clock, CpuModel.Max, i, static () => { }, shared, EngineUnderTest.ForSeveral);
            _processors[i] = processor;
            CpuState* from = Guest.State;
            CpuState* to = processor.State;
            (to->Cs, to->Ss, to->Ds, to->Es, to->Fs, to->Gs) = (from->Cs, from->Ss, from->Ds, from->Es, from->Fs, from->Gs);
            (to->Cr0, to->Cr3, to->Cr4, to->Efer) = (from->Cr0, from->Cr3, from->Cr4, from->Efer);
            (to->GdtBase, to->GdtLimit, to->IdtBase, to->IdtLimit) = (from->GdtBase, from->GdtLimit, from->IdtBase, from->IdtLimit);
            processor.Locked.HostExchangesWide &= wide;
            processor.Locked.HostLocksWithinLine &= withinLine;
            processor.StateLoaded();
        }
    }

    public Guest Guest { get; }

    /// <summary>Each processor runs its code with RSI at its operand and EBP the rounds, until HLT.</summary>
    public void Run(int rounds, params (byte[] Code, ulong Operand)[] work)
    {
        var threads = new Thread[_processors.Length];
        var results = new RunResult[_processors.Length];
        for (int i = 0; i < threads.Length; i++)
        {
            int number = i;
            ulong code = Tests.SystemLevel.Guest.Code + ((ulong)i * CodeStride);
            Guest.Memory.Write(code, work[i].Code);
            CpuState* s = _processors[i].State;
            s->Rip = code;
            s->Gpr[5] = (ulong)rounds;
            s->Gpr[6] = work[i].Operand;
            threads[i] = new Thread(() => results[number] = _processors[number].Run());
        }
        foreach (Thread thread in threads)
        {
            thread.Start();
        }
        foreach (Thread thread in threads)
        {
            if (!thread.Join(60_000))
            {
                // Its memory cannot be taken away from under it.
                Environment.FailFast("a processor stands still: "
                    + string.Join(", ", _processors.Select(p => $"{p.State->Rip:x} after {p.State->Retired} instructions, attention {p.State->Attention:x}")));
            }
        }
        Assert.All(results, static r => Assert.Equal(RunResult.Halted, r));
    }

    public void Dispose()
    {
        foreach (Processor processor in _processors)
        {
            processor.Dispose();
        }
        Guest.Dispose();
    }
}
