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
        (int Register, Value Value)? moved = Moved(in d);
        foreach (int register in written.Of(in d))
        {
            _values[register] = New();
        }
        if (moved is { } known)
        {
            _values[known.Register] = known.Value;
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

    /// <summary>The register that an instruction makes another one's value plus a constant, and that value.</summary>
    private (int Register, Value Value)? Moved(in Instruction d)
    {
        if (d.Op0Kind != OpKind.Register || !d.Op0Register.IsGPR() || d.Op0Register.GetSize() != _word)
        {
            return null;
        }
        int to = RegionCompiler.Number(d.Op0Register);
        switch (d.Mnemonic)
        {
            case Mnemonic.Add or Mnemonic.Sub when d.Op1Kind is OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate32 or OpKind.Immediate32to64:
                long by = is64 ? (long)d.GetImmediate(1) : (int)d.GetImmediate(1);
                return (to, _values[to] with { Offset = _values[to].Offset + (d.Mnemonic == Mnemonic.Add ? by : -by) });
            case Mnemonic.Inc or Mnemonic.Dec:
                return (to, _values[to] with { Offset = _values[to].Offset + (d.Mnemonic == Mnemonic.Inc ? 1 : -1) });
            case Mnemonic.Mov when d.Op1Kind == OpKind.Register && d.Op1Register.IsGPR():
                return (to, _values[RegionCompiler.Number(d.Op1Register)]);
            case Mnemonic.Lea when d.MemoryIndex == Register.None && d.MemoryBase.IsGPR() && d.MemoryBase.GetSize() == _word:
                Value other = _values[RegionCompiler.Number(d.MemoryBase)];
                return (to, other with { Offset = other.Offset + (is64 ? (long)d.MemoryDisplacement64 : (int)d.MemoryDisplacement64) });
            default:
                return null;
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
