using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Operands of a loop that lie at known distances of each other and move on by the same step each turn.</summary>
internal sealed class RunAccess(int @base, int index, int scaleLog, int step, int? constant)
{
    /// <summary>Guest registers of the address, or -1.</summary>
    public int Base => @base;

    public int Index => index;

    public int ScaleLog => scaleLog;

    /// <summary>Bytes from one turn to the next.</summary>
    public int Step => step;

    /// <summary>For operands relative to RIP: the first one's offset in the code's page.</summary>
    public int? Constant => constant;

    /// <summary>The range that is accessed in a turn, relative to the registers at its start.</summary>
    public long Lowest { get; set; }

    public long End { get; set; }

    public int Span => (int)(End - Lowest);

    public bool Write { get; set; }

    /// <summary>A power of two that the address of <see cref="Lowest"/> must be a multiple of.</summary>
    public int Alignment { get; set; } = 1;

    public int Site { get; set; }

    /// <summary>The host register that, with what changes from turn to turn, makes the address.</summary>
    public int Host { get; set; }
}

/// <summary>
/// A block that jumps back to itself, and of whose operands in memory it is known how they move. Then one can say for how many turns all of them
/// stay in the pages where they are; for so many turns it runs as it would on the host, with no look at anything.
/// </summary>
internal sealed class PageRun
{
    /// <summary>Turns without looking whether the outer loop is wanted.</summary>
    public const int MaximumTurns = 1024;
    private const int MaximumSpan = 1024;
    private const int MaximumStep = 256;

    private readonly Dictionary<GuestInstruction, RunAccess> _of = [];
    private readonly List<RunAccess> _accesses = [];
    /// <summary>What a turn adds to each register; null if it does something else to it.</summary>
    private readonly long?[] _steps = new long?[16];

    private PageRun()
    {
    }

    /// <summary>At most two: so many host registers are free.</summary>
    public IReadOnlyList<RunAccess> Accesses => _accesses;

    /// <summary>Where it is prepared.</summary>
    public Label Start { get; } = new();

    public RunAccess this[GuestInstruction i] => _of[i];

    public bool IsInvariant(int register) => register >= 0 && _steps[register] == 0;

    /// <summary>Null if a block is no such loop.</summary>
    /// <param name="alignmentOf">What the address of an instruction's operand must be a multiple of.</param>
    public static PageRun? Find(RegionBlock block, WrittenRegisters written, Func<GuestInstruction, int> alignmentOf)
    {
        GuestInstruction last = block.Instructions[^1];
        if (last.Kind != NativeKind.Conditional || block.Taken != block.Offset || block.LiveIn != RflagsBits.None)
        {
            return null;
        }
        PageRun run = new();
        return run.FollowRegisters(block, written) && run.FindAccesses(block, alignmentOf) ? run : null;
    }

    private bool FollowRegisters(RegionBlock block, WrittenRegisters written)
    {
        Array.Fill(_steps, 0);
        foreach (GuestInstruction i in block.Instructions)
        {
            if (!IsPlain(i))
            {
                return false;
            }
            RegisterSum? added = Added(in i.Decoded);
            foreach (int register in written.Of(in i.Decoded))
            {
                _steps[register] = added?.To == register ? _steps[register] + added.Value.By : null;
            }
        }
        return true;
    }

    /// <summary>Nothing that could leave in the middle, and no register that the host has none for in a place where one is needed.</summary>
    private static bool IsPlain(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        bool pinned = IsPinned(d.MemoryBase) && IsPinned(d.MemoryIndex);
        return i.Kind switch
        {
            NativeKind.Nothing or NativeKind.Conditional => true,
            NativeKind.LoadAddress => pinned && IsPinned(d.Op0Register),
            NativeKind.General or NativeKind.Vector => RegionCompiler.ScratchNeeded(i) == 0
                && (RegionCompiler.MemoryIndex(i) < 0
                    || (pinned && d.MemorySegment is not (Register.FS or Register.GS) && RegionCompiler.IsWide(in d, true) && !d.HasLockPrefix)),
            _ => false,
        };
    }

    private static bool IsPinned(Register register) => !register.IsGPR() || RegionCompiler.HostOf(RegionCompiler.Number(register)) >= 0;

    /// <summary>By how much an instruction moves a register on, if it does.</summary>
    private static RegisterSum? Added(in Instruction d) => RegisterSum.Of(in d, true) is { } sum && sum.To == sum.From ? sum : null;

    private bool FindAccesses(RegionBlock block, Func<GuestInstruction, int> alignmentOf)
    {
        long[] moved = new long[16];
        foreach (GuestInstruction i in block.Instructions)
        {
            if (i.Kind is NativeKind.General or NativeKind.Vector && RegionCompiler.MemoryIndex(i) >= 0 && !Add(i, moved, alignmentOf(i)))
            {
                return false;
            }
            if (Added(in i.Decoded) is { } added)
            {
                moved[added.To] += added.By;
            }
        }
        return _accesses.TrueForAll(a => a.Span <= MaximumSpan && Math.Abs(a.Step) <= MaximumStep && a.Step % a.Alignment == 0);
    }

    private bool Add(GuestInstruction i, long[] moved, int alignment)
    {
        ref Instruction d = ref i.Decoded;
        int @base = -1;
        int index = -1;
        int scaleLog = 0;
        int? constant = null;
        long step = 0;
        long offset = (long)d.MemoryDisplacement64;
        if (d.IsIPRelativeMemoryOperand)
        {
            constant = (int)Region.FromPage(d.IPRelativeMemoryAddress);
            offset = 0;
        }
        else
        {
            @base = d.MemoryBase == Register.None ? -1 : RegionCompiler.Number(d.MemoryBase);
            index = d.MemoryIndex == Register.None ? -1 : RegionCompiler.Number(d.MemoryIndex);
            scaleLog = index < 0 ? 0 : System.Numerics.BitOperations.Log2((uint)d.MemoryIndexScale);
            if ((@base < 0 && index < 0) || (@base >= 0 && _steps[@base] == null) || (index >= 0 && _steps[index] == null)
                || (@base >= 0 && index >= 0 && !IsInvariant(@base) && !IsInvariant(index)))
            {
                return false;
            }
            step = (@base < 0 ? 0 : _steps[@base]!.Value) + (index < 0 ? 0 : _steps[index]!.Value << scaleLog);
            offset += (@base < 0 ? 0 : moved[@base]) + (index < 0 ? 0 : moved[index] << scaleLog);
        }
        if (offset is < int.MinValue / 2 or > int.MaxValue / 2 || step is < int.MinValue or > int.MaxValue)
        {
            return false;
        }
        RunAccess? access = _accesses.Find(a => a.Base == @base && a.Index == index && a.ScaleLog == scaleLog && a.Constant == constant);
        int bytes = d.MemorySize.GetSize();
        if (access == null)
        {
            if (_accesses.Count == 2)
            {
                return false;
            }
            _accesses.Add(access = new RunAccess(@base, index, scaleLog, (int)step, constant) { Lowest = offset, End = offset + bytes });
        }
        else if (alignment > 1 || access.Alignment > 1)
        {
            // All at multiples of the largest from the lowest.
            int largest = Math.Max(alignment, access.Alignment);
            if ((offset - access.Lowest) % largest != 0)
            {
                return false;
            }
        }
        access.Alignment = Math.Max(access.Alignment, alignment);
        access.Lowest = Math.Min(access.Lowest, offset);
        access.End = Math.Max(access.End, offset + bytes);
        access.Write |= RegionCompiler.WritesOperand(i);
        _of.Add(i, access);
        return true;
    }
}
