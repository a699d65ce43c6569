using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Cpu.Translator;

/// <summary>One guest instruction of a region.</summary>
internal sealed unsafe class GuestInstruction
{
    public Instruction Decoded;

    /// <summary>Offset of its first byte in its page.</summary>
    public int Offset { get; init; }

    /// <summary>Its first op, to go back to; <see cref="Ops"/> is how many it has.</summary>
    public Op* First { get; init; }

    public int Ops { get; set; }

    public required CodeForm Form { get; init; }

    public NativeKind Kind { get; set; }

    /// <summary>It may use registers that only AVX-512 has.</summary>
    public bool NeedsAvx512 { get; set; }

    /// <summary>Arithmetic flags (<see cref="RflagsBits"/>) that it reads, that it leaves otherwise than they were, and of these those that it
    /// leaves so in any case.</summary>
    public RflagsBits Reads { get; set; }

    public RflagsBits Writes { get; set; }

    public RflagsBits Kills { get; set; }

    /// <summary>Its memory operand, and what it pushes or pops, where they may have a look at the site in common with others of the block.</summary>
    public MemoryAccess? Operand { get; set; }

    public MemoryAccess? Stack { get; set; }

    /// <summary>Its fields of 32 bits that may have other values in code that is otherwise the same.</summary>
    public MovableField? Displacement { get; set; }

    public MovableField? Immediate { get; set; }

    /// <summary>Flags that someone may read after it.</summary>
    public RflagsBits LiveAfter { get; set; }

    public RflagsBits LiveBefore => Reads | (LiveAfter & ~Kills);

    public int Next => Offset + Decoded.Length;
}

/// <summary>A block of the interpreter's within a region.</summary>
internal sealed unsafe class RegionBlock
{
    public int Offset { get; init; }

    /// <summary>Its place among the region's.</summary>
    public int Number { get; init; }

    /// <summary>Its op that counts: what becomes the way in.</summary>
    public Op* Hot { get; init; }

    public List<GuestInstruction> Instructions { get; } = [];

    /// <summary>Where it goes on, as offsets in the page, which may be outside: at the last instruction's jump, and after it.</summary>
    public int? Taken { get; set; }

    public int? Following { get; set; }

    public RflagsBits LiveIn { get; set; } = Region.AllFlags;

    /// <summary>Where it is entered, with the flags in <see cref="CpuState.HostFlags"/>.</summary>
    public Label Entry { get; } = new();

    /// <summary>Where its code goes when it is worth nothing any more.</summary>
    public Label Stale { get; } = new();

    public int Predecessors { get; set; }

    /// <summary>Where its code lies in the code memory, but for the ways that are taken rarely.</summary>
    public int CodeStart { get; set; }

    public int CodeEnd { get; set; }

    /// <summary>A jump of the region leads back to it: it looks whether the outer loop is wanted.</summary>
    public bool IsLoop { get; set; }

    /// <summary>If it jumps back to itself: how it runs for several turns at once.</summary>
    public PageRun? Run { get; set; }

    public bool RunIsWritten { get; set; }

    /// <summary>The last instruction ends it: a transfer, or one that changes the mode.</summary>
    public bool Ended { get; set; }

    public int End => Instructions.Count == 0 ? Offset : Instructions[^1].Next;
}

/// <summary>
/// What is translated at once: blocks of one page that the interpreter has run and that reach each other by direct jumps. So loops become
/// loops, and which flags are dead is known across blocks.
/// </summary>
internal sealed unsafe class Region
{
    public const RflagsBits AllFlags = RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF;
    public const int PageBytes = 4096;
    private const int MaximumBlocks = 24;
    private const int MaximumInstructions = 256;

    /// <summary>Added to offsets in a page for decoding, so that targets before the page stay positive.</summary>
    private const ulong Bias = 0x4000_0000;

    private readonly byte* _page;
    private readonly bool _is64;
    private readonly Func<int, nint> _find;
    private readonly Action<GuestInstruction> _refine;
    private readonly PageReader _reader;
    private readonly Decoder _decoder;
    private readonly Dictionary<int, RflagsBits> _outside = [];
    private int _instructions;

    /// <param name="alone">One block only, of which all ways lead out: for <see cref="Verifier"/>.</param>
    /// <param name="page">The page's bytes, which nobody writes to meanwhile.</param>
    /// <param name="find">The first op of the block at an offset, 0 if none is known.</param>
    /// <param name="refine">Has the last word on how an instruction is translated.</param>
    public Region(byte* page, bool is64, Func<int, nint> find, Action<GuestInstruction> refine, bool alone = false)
    {
        Alone = alone;
        _refine = refine;
        _page = page;
        _is64 = is64;
        _find = find;
        _reader = new PageReader(page);
        _decoder = Decoder.Create(is64 ? 64 : 32, _reader);
    }

    /// <summary>What decoding made of an address, as a distance from the page's start.</summary>
    public static long FromPage(ulong address) => (long)(address - Bias);

    public bool Alone { get; }

    /// <summary>In the order in which code is to be laid out: a block's follower comes after it where possible.</summary>
    public List<RegionBlock> Blocks { get; } = [];

    public List<MovableField> Fields { get; } = [];

    /// <summary>Bytes elsewhere in the page that say that flags are dead.</summary>
    public List<(int Offset, int Bytes)> Witnesses { get; } = [];

    public Dictionary<int, RegionBlock> ByOffset { get; } = [];

    private int Limit => Alone ? 1 : MaximumBlocks;

    /// <summary>Takes in what can be reached from a block.</summary>
    public void Grow(int offset)
    {
        Stack<int> waiting = new();
        waiting.Push(offset);
        while (waiting.TryPop(out int next) && Blocks.Count < Limit && _instructions < MaximumInstructions)
        {
            // A run of blocks that follow each other; what is jumped to waits.
            for (int? at = next; at is >= 0 and < PageBytes && !ByOffset.ContainsKey(at.Value) && Blocks.Count < Limit;)
            {
                if (Decode(at.Value) is not { } block)
                {
                    break;
                }
                if (block.Taken is { } taken && !block.Instructions[^1].Decoded.Code.IsCallNear())
                {
                    waiting.Push(taken);
                }
                if (block.Instructions[^1].Kind == NativeKind.Call)
                {
                    // Where it returns to.
                    waiting.Push(block.End);
                }
                at = block.Following;
                if (at == null && block.Taken is { } jumped && !block.Instructions[^1].Decoded.Code.IsCallNear())
                {
                    at = jumped;
                }
            }
        }
        foreach (RegionBlock block in Blocks)
        {
            Note(block.Taken);
            Note(block.Following);
            if (!Alone && block.Taken <= block.Instructions[^1].Offset && ByOffset.TryGetValue(block.Taken.Value, out RegionBlock? head))
            {
                head.IsLoop = true;
            }
        }
        FindDeadFlags();
    }

    private void Note(int? successor)
    {
        if (successor is { } at && ByOffset.TryGetValue(at, out RegionBlock? block))
        {
            block.Predecessors++;
        }
    }

    private RegionBlock? Decode(int offset)
    {
        Op* hot = (Op*)_find(offset);
        if (hot == null || NativeEntry.IsEntry(hot) || !HotBlock.IsOf(hot, new ReadOnlySpan<byte>(_page + offset, hot->Displacement)))
        {
            return null;
        }
        RegionBlock block = new() { Offset = offset, Number = Blocks.Count, Hot = hot };
        Op* op = hot + 1;
        Op* end = hot + hot->Source;
        int limit = offset + hot->Displacement;
        _reader.Position = offset;
        _decoder.IP = Bias + (ulong)offset;
        int at = offset;
        while (at < limit)
        {
            _decoder.Decode(out Instruction decoded);
            CodeForm form = CodeForm.Of(decoded.Code);
            GuestInstruction instruction = new() { Decoded = decoded, Offset = at, First = op, Form = form, Kind = form.Kind };
            ushort from = op->IpOffset;
            while (op < end && op->IpOffset == from && op->Length != 0)
            {
                op++;
                instruction.Ops++;
            }
            _refine(instruction);
            SetFlags(instruction);
            if (_is64)
            {
                MovableField.Note(instruction, _decoder.GetConstantOffsets(in decoded), new ReadOnlySpan<byte>(_page + at, decoded.Length), block, Fields);
            }
            block.Instructions.Add(instruction);
            at += decoded.Length;
            _instructions++;
        }
        if (block.Instructions.Count == 0)
        {
            return null;
        }
        GuestInstruction last = block.Instructions[^1];
        if (last.Decoded.FlowControl is FlowControl.ConditionalBranch or FlowControl.UnconditionalBranch or FlowControl.Call
            && last.Kind is NativeKind.Conditional or NativeKind.Jump or NativeKind.Call && last.Decoded.Op0Kind is OpKind.NearBranch32 or OpKind.NearBranch64)
        {
            block.Taken = _is64 ? (int)(long)(last.Decoded.NearBranchTarget - Bias) : (int)((uint)last.Decoded.NearBranchTarget - (uint)Bias);
        }
        // A block that no transfer ends goes on with the next instruction.
        block.Ended = end[-1].Length != 0;
        if (!block.Ended || last.Kind == NativeKind.Conditional)
        {
            block.Following = block.End;
        }
        Blocks.Add(block);
        ByOffset.Add(offset, block);
        return block;
    }

    private static void SetFlags(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        i.Reads = d.RflagsRead & AllFlags;
        i.Writes = d.RflagsModified & AllFlags;
        i.Kills = MayKeepFlags(in d) ? RflagsBits.None : i.Writes;
        if (i.Kind == NativeKind.None)
        {
            // Its op may look at any, and what it leaves is not followed.
            i.Reads = AllFlags;
            i.Kills = RflagsBits.None;
        }
    }

    /// <summary>Shifts by CL: a count of 0 leaves all flags as they were.</summary>
    public static bool MayKeepFlags(in Instruction d) => d.Mnemonic is (Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror
        or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld or Mnemonic.Shrd) && d.GetOpRegister(d.OpCount - 1) == Register.CL;

    private void FindDeadFlags()
    {
        foreach (RegionBlock block in Blocks)
        {
            block.LiveIn = RflagsBits.None;
        }
        bool changed = true;
        while (changed)
        {
            changed = false;
            for (int b = Blocks.Count - 1; b >= 0; b--)
            {
                RegionBlock block = Blocks[b];
                RflagsBits live = LiveOut(block);
                for (int i = block.Instructions.Count - 1; i >= 0; i--)
                {
                    block.Instructions[i].LiveAfter = live;
                    live = block.Instructions[i].LiveBefore;
                }
                changed |= live != block.LiveIn;
                block.LiveIn = live;
            }
        }
    }

    private RflagsBits LiveOut(RegionBlock block)
    {
        GuestInstruction last = block.Instructions[^1];
        if (block.Taken == null && block.Following == null)
        {
            return AllFlags;
        }
        return LiveAt(block.Taken) | LiveAt(block.Following);
    }

    public RflagsBits LiveAt(int? offset) =>
        offset is not { } at ? RflagsBits.None
            : Alone ? AllFlags
            : ByOffset.TryGetValue(at, out RegionBlock? block) ? block.LiveIn : LiveOutside(at);

    /// <summary>Which flags may be read at a block of the page that is not of the region, as far as its first instructions tell. Those become part of what the
    /// region is made of.</summary>
    private RflagsBits LiveOutside(int offset)
    {
        if (!_outside.TryGetValue(offset, out RflagsBits live))
        {
            _outside.Add(offset, live = Look(offset, out int bytes));
            if (live != AllFlags)
            {
                Witnesses.Add((offset, bytes));
            }
        }
        return live;
    }

    private RflagsBits Look(int offset, out int bytes)
    {
        const int MostInstructions = 8;
        bytes = 0;
        Op* hot = offset is >= 0 and < PageBytes ? (Op*)_find(offset) : null;
        if (hot == null || !HotBlock.IsOf(hot, new ReadOnlySpan<byte>(_page + offset, hot->Displacement)))
        {
            return AllFlags;
        }
        RflagsBits live = RflagsBits.None;
        RflagsBits open = AllFlags;
        _reader.Position = offset;
        _decoder.IP = Bias + (ulong)offset;
        for (int i = 0; i < MostInstructions && open != RflagsBits.None && bytes < hot->Displacement; i++)
        {
            _decoder.Decode(out Instruction decoded);
            ConstantOffsets offsets = _decoder.GetConstantOffsets(in decoded);
            GuestInstruction instruction = new() { Decoded = decoded, Form = CodeForm.Of(decoded.Code), Kind = CodeForm.Of(decoded.Code).Kind };
            _refine(instruction);
            if (decoded.FlowControl != FlowControl.Next || instruction.Kind == NativeKind.None
                || offsets.DisplacementSize == MovableField.Bytes || offsets.ImmediateSize == MovableField.Bytes)
            {
                // Constants may be others where the rest is the same.
                break;
            }
            SetFlags(instruction);
            live |= open & instruction.Reads;
            open &= ~instruction.Kills;
            bytes += decoded.Length;
        }
        return bytes == 0 ? AllFlags : live | open;
    }

    /// <summary>The bytes of one page; past its end there is nothing.</summary>
    private sealed class PageReader(byte* page) : CodeReader
    {
        public int Position { get; set; }

        public override int ReadByte() => Position < PageBytes ? page[Position++] : -1;
    }
}
