using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>What becomes of exits that are taken for the first time. Code comes out with an odd number in place of an op's address: region and exit. It is
/// replaced by the op once that is known, which for blocks that the interpreter has never run means to decode them.</summary>
internal sealed unsafe class NativeExits(BlockTranslator translator, Processor processor)
{
    /// <summary>Bits of an exit's number within its region.</summary>
    private const int ExitBits = 16;
    public const int MaximumExits = 1 << ExitBits;

    private readonly CpuState* _s = processor.State;

    /// <summary>What stands in place of an op's address.</summary>
    public static long Mark(int region, int exit) => ((((long)region << ExitBits) | (uint)exit) << 1) | 1;

    public static bool IsMark(Op* op) => ((nint)op & 1) != 0;

    /// <summary>The op to go on with. RIP and count are those of the block's start; an edge's those of its target.</summary>
    public Op* Follow(long mark)
    {
        RegionCode region = translator.RegionAt((int)(mark >> (ExitBits + 1)));
        ref readonly RegionExit exit = ref region.Exits[(int)(mark >> 1) & (MaximumExits - 1)];
        if (exit.Kind == ExitKind.Edge)
        {
            return FollowEdge(region, in exit);
        }
        Op* ops = region.IsStale ? null : OpsOf(region, exit.Block);
        if (ops == null)
        {
            return translator.Redecode(in exit);
        }
        Op* op = ops + exit.Op;
        if (exit.Kind == ExitKind.Aside)
        {
            op = translator.CopyOps(region, op, in exit);
        }
        translator.Lead(region, in exit, op);
        return op;
    }

    /// <summary>A direct jump whose target was not translated: it may be by now.</summary>
    private Op* FollowEdge(RegionCode region, in RegionExit exit)
    {
        if (!region.IsStale)
        {
            translator.Link(region, in exit);
        }
        return ControlFlow.Dispatch(_s);
    }

    private Op* OpsOf(RegionCode region, int block)
    {
        if (region.Ops[block] == 0)
        {
            ref readonly RegionEntry entry = ref region.Entries[block];
            ulong physical = region.Page + entry.Offset;
            Op* known = processor.Blocks.At(physical);
            if (known == null || known->Source <= HotBlock.WayOnly || !IsOf(known, region, block))
            {
                if (!processor.Blocks.HasRoom)
                {
                    // The region is gone with all others.
                    processor.Blocks.Flush();
                    return null;
                }
                known = processor.Blocks.BuildApart(physical);
                if (region.IsStale || known == null || !IsOf(known, region, block))
                {
                    // Another processor has written to it, and is about to tell.
                    processor.Blocks.DropPage(region.Page);
                    return null;
                }
            }
            region.Ops[block] = (nint)known;
        }
        return (Op*)region.Ops[block];
    }

    private static bool IsOf(Op* hot, RegionCode region, int block) =>
        hot->Scale is HotBlock.Counts or HotBlock.Translated or HotBlock.Passes && hot->Displacement == region.Entries[block].Bytes
        && HotBlock.IsOf(hot, region.Sums[block]);
}
