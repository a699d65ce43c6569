using System.Numerics;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Loops that run for as many turns as their operands stay in their pages (<see cref="PageRun"/>). Nothing can leave in the middle of such a run, and it
/// is short enough that an interrupt may wait for its end. What it needs of host registers are <see cref="Host.Scratch"/> and <see cref="Host.Address"/>: one for
/// each page, or for the count of turns if there is only one.
/// </summary>
internal sealed unsafe partial class RegionCompiler
{
    /// <summary>Fewer turns are not worth the preparation.</summary>
    private const int FewTurns = 3;

    /// <summary>The run that is being written.</summary>
    private PageRun? _run;

    /// <summary>Writes a run at the region's end: the loop's block goes there when it jumps back.</summary>
    private PageRun RunOf(RegionBlock block)
    {
        PageRun run = block.Run!;
        if (!block.RunIsWritten)
        {
            block.RunIsWritten = true;
            (bool vectors, RegionBlock of) = (_vectors, block);
            _cold.Add(() => WriteRun(of, run, vectors));
        }
        return run;
    }

    private void WriteRun(RegionBlock block, PageRun run, bool vectors)
    {
        (_block, _run, _vectors, _x87, _pointers, _held) = (block, run, vectors, false, default, default);
        _e.Bind(run.Start);
        Attend(block.Offset);
        PrepareRun(block, run);
        Label turn = new();
        _e.Bind(turn);
        // They are in the host's register, in that nobody will ask for those from before.
        _flags = FlagHome.Both;
        foreach (GuestInstruction i in block.Instructions.SkipLast(1))
        {
            _instruction = i;
            Translate(i, null);
        }
        _run = null;
        GuestInstruction last = block.Instructions[^1];
        Label done = new();
        FlagHome flags = _flags;
        _e.Jump(ConditionOf(last) ^ 1, done);
        CountTurn(run, turn);
        _e.Jump(block.Entry);
        _e.Bind(done);
        _flags = flags;
        ClobberFlags(last.LiveAfter);
        if (run.Accesses.Count == 2)
        {
            _e.Load(Host.Address, StateOffsets.Turns);
        }
        // This turn is done, and has not been counted down.
        _e.LoadAddress(true, Host.Address, Host.Address, -1);
        Multiply(Host.Address, block.Instructions.Count);
        _e.WithState(0x29, Host.Address, StateOffsets.Retired);
        GoTo(block.Following!.Value, last.LiveAfter, -1);
    }

    private void CountTurn(PageRun run, Label turn)
    {
        if (run.Accesses.Count == 2)
        {
            _e.StateImmediate(true, 5, StateOffsets.Turns, 1);
        }
        else
        {
            _e.Immediate(true, 5, Host.Address, 1);
        }
        _e.Jump(Condition.NotEqual, turn);
    }

    /// <summary>Finds out how many turns there are, and counts their instructions.</summary>
    private void PrepareRun(RegionBlock block, PageRun run)
    {
        _e.StoreImmediate(true, StateOffsets.Turns, PageRun.MaximumTurns - 1);
        foreach (RunAccess access in run.Accesses)
        {
            LookForRun(block, access);
            LimitTurns(access);
        }
        _e.StateImmediate(true, 7, StateOffsets.Turns, FewTurns);
        _e.Jump(Condition.Below, block.Entry);
        _e.Load(Host.Scratch, StateOffsets.Turns);
        _e.LoadAddress(true, Host.Scratch, Host.Scratch, 1);
        _e.Store(StateOffsets.Turns, Host.Scratch);
        Multiply(Host.Scratch, block.Instructions.Count);
        _e.WithState(0x01, Host.Scratch, StateOffsets.Retired);
        for (int i = 0; i < run.Accesses.Count; i++)
        {
            RunAccess access = run.Accesses[i];
            access.Host = i == 0 ? Host.Scratch : Host.Address;
            _e.Load(access.Host, access.Site + SiteOffsets.Addend);
            if (access.Constant != null)
            {
                _e.WithState(0x03, access.Host, StateOffsets.CodePage);
            }
            if (run.IsInvariant(access.Base))
            {
                _e.Add(access.Host, HostOf(access.Base));
            }
            if (run.IsInvariant(access.Index))
            {
                _e.Memory(true, 0x8D, access.Host, access.Host, HostOf(access.Index), access.ScaleLog, 0);
            }
        }
        if (run.Accesses.Count < 2)
        {
            _e.Load(Host.Address, StateOffsets.Turns);
        }
    }

    /// <summary>The host address of the lowest byte of the first turn goes to <see cref="Host.Address"/>.</summary>
    private void LookForRun(RegionBlock block, RunAccess access)
    {
        if (access.Constant is { } constant)
        {
            _e.Load(Host.Address, StateOffsets.CodePage);
            _e.LoadAddress(true, Host.Address, Host.Address, constant);
        }
        else if (access.Index < 0)
        {
            _e.LoadAddress(true, Host.Address, HostOf(access.Base), (int)access.Lowest);
        }
        else
        {
            _e.Memory(true, 0x8D, Host.Address, access.Base < 0 ? -1 : HostOf(access.Base), HostOf(access.Index), access.ScaleLog, (int)access.Lowest);
        }
        if (access.Alignment > 1)
        {
            TestAlignment(access.Alignment - 1, block.Entry);
        }
        int site = access.Site = _store.NewSite();
        Look(site, access.Span, back => AskForAll(site, access.Span, access.Write, back, () => _e.Jump(block.Entry)));
    }

    /// <summary>From the offset in the page: how often the step can be taken.</summary>
    private void LimitTurns(RunAccess access)
    {
        const int Shift = 24;
        if (access.Step == 0)
        {
            return;
        }
        int step = Math.Abs(access.Step);
        _e.Immediate(false, 4, Host.Address, Region.PageBytes - 1);
        if (access.Step > 0)
        {
            _e.Register(true, 0xF7, 3, Host.Address);
            _e.Immediate(true, 0, Host.Address, Region.PageBytes - access.Span);
        }
        if (BitOperations.IsPow2(step))
        {
            _e.Shift(true, 5, Host.Address, BitOperations.Log2((uint)step));
        }
        else
        {
            // Divides numbers of 12 bits exactly.
            Multiply(Host.Address, ((1 << Shift) + step - 1) / step);
            _e.Shift(true, 5, Host.Address, Shift);
        }
        Label more = new();
        _e.WithState(0x3B, Host.Address, StateOffsets.Turns);
        _e.Jump(Condition.AboveOrEqual, more);
        _e.Store(StateOffsets.Turns, Host.Address);
        _e.Bind(more);
    }

    private void Multiply(int register, int by)
    {
        _e.Register(true, 0x69, register, register);
        _e.Int32(by);
    }

    /// <summary>An operand of the run that is being written.</summary>
    private HostOperand RunOperand(PageRun run, GuestInstruction i)
    {
        RunAccess access = run[i];
        int displacement = access.Constant ?? (int)i.Decoded.MemoryDisplacement64;
        int moving = access.Base >= 0 && !run.IsInvariant(access.Base) ? access.Base : access.Index >= 0 && !run.IsInvariant(access.Index) ? access.Index : -1;
        return moving < 0 ? new HostOperand(access.Host, displacement)
            : new HostOperand(access.Host, displacement, HostOf(moving), moving == access.Index && moving != access.Base ? access.ScaleLog : 0);
    }
}
