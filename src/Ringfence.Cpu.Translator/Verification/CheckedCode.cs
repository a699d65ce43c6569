using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>What the interpreter does for a way into translated code: each instruction from there on, decoded anew, with ops of its own that lead
/// out after it. Kept as long as the way in is, so that checking decodes nothing twice.</summary>
internal sealed unsafe class CheckedCode : IDisposable
{
    /// <summary>As many as an instruction run alone has at most.</summary>
    private const int OpsPerStep = GuardBinder.OpsPerInstruction + 2;

    private readonly List<Step> _steps = [];
    private Op* _ops;

    /// <summary>Decodes from RIP to where a block ends at the latest. RIP stays.</summary>
    public CheckedCode(Processor processor)
    {
        CpuState* s = processor.State;
        _ops = (Op*)NativeMemory.Alloc(BlockCache.MaximumInstructions * OpsPerStep, (nuint)sizeof(Op));
        ulong rip = s->Rip;
        while (_steps.Count < BlockCache.MaximumInstructions && ((s->Rip ^ rip) & ~(Region.PageBytes - 1UL)) == 0)
        {
            Instruction instruction = processor.Blocks.Inspect();
            Op* built = instruction.IsInvalid ? null : processor.Blocks.Step();
            if (built == null)
            {
                // It belongs to the next block, and is looked at there.
                s->Event = ExitEvent.None;
                break;
            }
            Op* ops = _ops + (_steps.Count * OpsPerStep);
            new ReadOnlySpan<Op>(built, OpsPerStep).CopyTo(new Span<Op>(ops, OpsPerStep));
            _steps.Add(new Step(instruction, (nint)ops, instruction.RflagsRead, FlagScan.Kills(in instruction), FlagScan.Undefined(in instruction),
                FlagScan.WritesMemory(in instruction)));
            if (instruction.FlowControl != FlowControl.Next)
            {
                break;
            }
            s->Rip += (ulong)instruction.Length;
        }
        s->Rip = rip;
    }

    ~CheckedCode() => Free();

    public IReadOnlyList<Step> Steps => _steps;

    /// <summary>Flags that someone may read from an instruction on. Others, a block that is left there need not have made.</summary>
    public RflagsBits LiveAt(int index)
    {
        RflagsBits live = RflagsBits.None;
        RflagsBits open = Region.AllFlags;
        for (int i = index; i < _steps.Count; i++)
        {
            live |= open & _steps[i].Reads;
            open &= ~_steps[i].Kills;
        }
        return live | open;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.Free(_ops);
        _ops = null;
    }

    /// <param name="Ops">The first op.</param>
    /// <param name="Reads">Flags that it looks at.</param>
    /// <param name="Kills">Those that it leaves otherwise in any case.</param>
    /// <param name="Undefined">Those that may be anything after it.</param>
    /// <param name="Stores">Whether it writes to memory.</param>
    internal sealed record Step(Instruction Instruction, nint Ops, RflagsBits Reads, RflagsBits Kills, RflagsBits Undefined, bool Stores);
}
