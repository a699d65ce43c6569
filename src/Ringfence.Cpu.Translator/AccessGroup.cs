using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Memory operands of one block that lie at known distances of each other: one look at a site is for all. The first checks that the whole range lies in
/// the page; if it does not, the rest of the block goes on in a copy in which each operand is looked for by itself.</summary>
internal sealed class AccessGroup
{
    private int _alignment = 1;
    private long _alignedAt;

    /// <summary>The range, relative to what the registers were at some point.</summary>
    public long Lowest { get; set; }

    public long End { get; set; }

    public int Span => (int)(End - Lowest);

    /// <summary>Whether any is a store: then the page must be writable.</summary>
    public bool Write { get; set; }

    public int Members { get; set; }

    /// <summary>The site, once the first member's code is written; -1 before.</summary>
    public int Site { get; set; } = -1;

    /// <summary>Whether a member before this one has shown that it is aligned.</summary>
    public bool IsAligned(long offset, int bytes) => _alignment >= bytes && (offset - _alignedAt) % bytes == 0;

    public void NoteAligned(long offset, int bytes) => (_alignment, _alignedAt) = (bytes, offset);
}

/// <param name="Offset">Where it lies relative to its group's origin.</param>
internal sealed record MemoryAccess(AccessGroup Candidates, long Offset, int Bytes, bool Write)
{
    /// <summary>Null if nothing else belongs to the group.</summary>
    public AccessGroup? Group => Candidates.Members > 1 ? Candidates : null;
}

/// <summary>Finds the groups of a block: registers are followed as what they were at some point plus a constant.</summary>
internal sealed class AccessFinder(bool is64, WrittenRegisters written)
{
    /// <summary>Of a group in bytes: the longer, the more often it goes over a page's end.</summary>
    private const int MaximumSpan = 512;
    /// <summary>Displacements near the ends of what fits leave no room to move them.</summary>
    private const long MaximumDisplacement = int.MaxValue - 4096;
    private const int Rsp = 4;
    private const int Rbp = 5;

    private readonly Value[] _values = new Value[16];
    private readonly Dictionary<Place, AccessGroup> _last = [];
    private readonly int _word = is64 ? 8 : 4;
    private int _made;

    /// <summary>What a register was when it was last changed beyond recognition, plus a constant.</summary>
    private readonly record struct Value(int Origin, long Offset);

    /// <summary>What operands have in common that lie at known distances.</summary>
    private readonly record struct Place(int Base, int Index, int Scale, Register Segment);

    public void Find(RegionBlock block)
    {
        if (block.Instructions.Count(HasAccess) < 2)
        {
            return;
        }
        Forget();
        foreach (GuestInstruction i in block.Instructions)
        {
            if (i.Kind is NativeKind.None or NativeKind.SwapGs or NativeKind.AccessControl)
            {
                // What lies where may be otherwise after it.
                Forget();
                continue;
            }
            Note(i);
            Follow(i);
        }
    }

    private static bool HasAccess(GuestInstruction i) => HasOperand(i)
        || i.Kind is NativeKind.Push or NativeKind.Pop or NativeKind.Call or NativeKind.Return or NativeKind.Leave;

    private static bool HasOperand(GuestInstruction i) => i.Kind is NativeKind.General or NativeKind.Vector or NativeKind.Mmx or NativeKind.Divide
        or NativeKind.Push or NativeKind.Call or NativeKind.Jump && RegionCompiler.MemoryIndex(i) >= 0;

    private void Note(GuestInstruction i)
    {
        if (HasOperand(i))
        {
            i.Operand = OfOperand(i);
        }
        i.Stack = i.Kind switch
        {
            NativeKind.Push or NativeKind.Call => OfStack(Rsp, -_word, true),
            NativeKind.Pop or NativeKind.Return => OfStack(Rsp, 0, false),
            NativeKind.Leave => OfStack(Rbp, 0, false),
            _ => null,
        };
    }

    private MemoryAccess OfStack(int register, int displacement, bool write) => Join(
        new Place(_values[register].Origin, 0, 0, Register.None), _values[register].Offset + displacement, _word, write);

    private MemoryAccess? OfOperand(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        bool write = RegionCompiler.WritesOperand(i);
        int bytes = d.MemorySize.GetSize();
        if (d.IsIPRelativeMemoryOperand)
        {
            long at = Region.FromPage(d.IPRelativeMemoryAddress);
            return Join(new Place(-1, (int)(at >> 12), 0, Register.None), at, bytes, write);
        }
        long displacement = is64 ? (long)d.MemoryDisplacement64 : (int)d.MemoryDisplacement64;
        if (is64 != RegionCompiler.IsWide(in d, is64) || Math.Abs(displacement) > MaximumDisplacement)
        {
            return null;
        }
        Value @base = ValueOf(d.MemoryBase);
        Value index = ValueOf(d.MemoryIndex);
        Register segment = d.MemorySegment is Register.FS or Register.GS ? d.MemorySegment : Register.None;
        int scale = d.MemoryIndex == Register.None ? 0 : d.MemoryIndexScale;
        return Join(new Place(@base.Origin, index.Origin, scale, segment), displacement + @base.Offset + (index.Offset * scale), bytes, write);
    }

    private Value ValueOf(Register register) => register == Register.None ? default : _values[RegionCompiler.Number(register)];

    private MemoryAccess Join(Place place, long offset, int bytes, bool write)
    {
        if (!_last.TryGetValue(place, out AccessGroup? group)
            || Math.Max(group.End, offset + bytes) - Math.Min(group.Lowest, offset) > MaximumSpan)
        {
            _last[place] = group = new AccessGroup { Lowest = offset, End = offset + bytes };
        }
        group.Lowest = Math.Min(group.Lowest, offset);
        group.End = Math.Max(group.End, offset + bytes);
        group.Write |= write;
        group.Members++;
        return new MemoryAccess(group, offset, bytes, write);
    }

    /// <summary>What the instruction does to registers.</summary>
    private void Follow(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        Value stack = _values[Rsp];
        Value frame = _values[Rbp];
        RegisterSum? sum = RegisterSum.Of(in d, is64);
        Value source = sum is { } before ? _values[before.From] : default;
        foreach (int register in written.Of(in d))
        {
            _values[register] = New();
        }
        if (sum is { } known)
        {
            _values[known.To] = source with { Offset = source.Offset + known.By };
        }
        switch (i.Kind)
        {
            case NativeKind.Push:
                _values[Rsp] = stack with { Offset = stack.Offset - _word };
                break;
            case NativeKind.Pop when RegionCompiler.Number(d.Op0Register) != Rsp:
                _values[Rsp] = stack with { Offset = stack.Offset + _word };
                break;
            case NativeKind.Leave:
                _values[Rsp] = frame with { Offset = frame.Offset + _word };
                break;
        }
    }

    private Value New() => new(++_made, 0);

    private void Forget()
    {
        _last.Clear();
        for (int i = 0; i < _values.Length; i++)
        {
            _values[i] = New();
        }
    }
}
