using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Translator.Library;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Writes a region's host code. A block counts its instructions when it is entered; what leaves it early takes the rest back. Whatever an
/// instruction's host code cannot do leaves for the instruction's op, before the instruction has changed anything.
/// </summary>
internal sealed unsafe partial class RegionCompiler
{
    private readonly Emitter _e;
    private readonly Recoder _recoder;
    private readonly Routines _routines;
    private readonly ITranslationStore _store;
    private readonly int _number;
    private readonly int _start;
    private readonly List<RegionExit> _exits = [];
    private readonly List<(int At, MovableField Field)> _fieldReferences = [];
    private int _classes;
    private readonly byte* _page;
    private readonly Region _region;
    private readonly bool _is64;
    private readonly uint _mode;
    /// <summary>What is written behind the region: ways that are taken rarely.</summary>
    private readonly List<Action> _cold = [];
    private readonly WrittenRegisters _written = new();
    private readonly AccessFinder _accesses;
    private RegionBlock _block = null!;
    private GuestInstruction _instruction = null!;
    /// <summary>Leaves for the present instruction's op; made when first needed.</summary>
    private Label? _leave;
    /// <summary>Which of the guest's vector registers are known to be in the host's: none, <see cref="Routines.LegacyLoaded"/>, <see cref="Routines.AllLoaded"/>.</summary>
    private int _vectors;

    /// <param name="number">The region's, for the marks of its exits.</param>
    public RegionCompiler(Emitter emitter, Routines routines, ITranslationStore store, byte* page, Region region, uint mode, int number)
    {
        _e = emitter;
        _recoder = new Recoder(emitter);
        _routines = routines;
        _store = store;
        _page = page;
        _region = region;
        _mode = mode;
        _number = number;
        _start = emitter.Position;
        _is64 = (mode & CodeMode.BitsMask) == CodeMode.Bits64;
        _accesses = new AccessFinder(_is64, _written);
    }

    private int WordBytes => _is64 ? 8 : 4;

    /// <summary>What notes stores when translations are checked, or null.</summary>
    public StoreLog? Log { get; init; }

    /// <summary>As of <see cref="TranslatorOptions"/>.</summary>
    public bool CountsHits { get; init; }

    /// <summary>Ways out that lead to ops.</summary>
    public RegionExit[] Exits => [.. _exits];

    public IReadOnlyList<MovableField> Fields => _region.Fields;

    /// <summary>Positions of 32 bits that a field of the guest's code has a part in.</summary>
    public IReadOnlyList<(int At, MovableField Field)> FieldReferences => _fieldReferences;

    public void Compile()
    {
        _e.SiteReferences.Clear();
        _e.RoutineReferences.Clear();
        for (int i = 0; i < _region.Blocks.Count; i++)
        {
            Compile(_region.Blocks[i], i + 1 < _region.Blocks.Count ? _region.Blocks[i + 1] : null);
        }
        for (int i = 0; i < _cold.Count; i++)
        {
            _cold[i]();
        }
        foreach (RegionBlock block in _region.Blocks)
        {
            _e.Bind(block.Stale);
            EmitExit(block.Offset);
        }
    }

    private void Compile(RegionBlock block, RegionBlock? next)
    {
        _block = block;
        block.CodeStart = _e.Position;
        _accesses.Find(block);
        block.Run = _is64 && !_region.Alone ? PageRun.Find(block, _written, i => MustBeAligned(i, i.Decoded.MemorySize.GetSize()) ? i.Decoded.MemorySize.GetSize() : 1) : null;
        MovableField.Join(block, ref _classes);
        Begin(block);
        _vectors = 0;
        _x87 = false;
        _held = default;
        Write(block, 0, next);
        block.CodeEnd = _e.Position;
    }

    /// <summary>Writes a block's instructions from one on.</summary>
    private void Write(RegionBlock block, int from, RegionBlock? next)
    {
        GuestInstruction last = block.Instructions[^1];
        for (int i = from; i < block.Instructions.Count; i++)
        {
            GuestInstruction instruction = _instruction = block.Instructions[i];
            _leave = null;
            if (block.Ended && instruction == last)
            {
                KeepPointers();
            }
            Translate(instruction, next);
        }
        if (!block.Ended)
        {
            KeepPointers();
            FallTo(block.End, last.LiveAfter, next);
        }
    }

    /// <summary>The way in: from elsewhere the flags are in the state. From the block before, if only that leads here, they may be in the host's
    /// register.</summary>
    private void Begin(RegionBlock block)
    {
        bool carried = _carries;
        _carries = false;
        int count = block.Instructions.Count;
        if (!carried || _flags == FlagHome.Memory || block.LiveIn == RflagsBits.None)
        {
            _flags = FlagHome.Memory;
            _e.Bind(block.Entry);
            if (block.IsLoop)
            {
                Attend(block.Offset);
            }
            _e.StateImmediate(true, 0, StateOffsets.Retired, count);
            return;
        }
        Label body = new();
        _e.Bind(body);
        _e.Load(Host.Scratch, StateOffsets.Retired);
        _e.LoadAddress(true, Host.Scratch, Host.Scratch, count);
        _e.Store(StateOffsets.Retired, Host.Scratch);
        _cold.Add(() =>
        {
            _e.Bind(block.Entry);
            RestoreFlags();
            _e.Jump(body);
        });
    }

    private void Translate(GuestInstruction i, RegionBlock? next)
    {
        if (i.Kind is not (NativeKind.General or NativeKind.Vector or NativeKind.Push or NativeKind.Pop or NativeKind.Call or NativeKind.Return
            or NativeKind.Leave or NativeKind.Nothing or NativeKind.LoadAddress))
        {
            _held = default;
        }
        switch (i.Kind)
        {
            case NativeKind.None: Leave(i); break;
            case NativeKind.General or NativeKind.Vector: General(i); break;
            case NativeKind.X87: X87(i); break;
            case NativeKind.Mmx: Mmx(i); break;
            case NativeKind.Nothing: break;
            case NativeKind.LoadAddress: LoadAddress(i); break;
            case NativeKind.AbsoluteMove: AbsoluteMove(i); break;
            case NativeKind.Cpuid: Cpuid(i); break;
            case NativeKind.ClearInterruptFlag: ClearInterruptFlag(i); break;
            case NativeKind.SwapGs: SwapGs(i); break;
            case NativeKind.AccessControl: AccessControl(i); break;
            case NativeKind.MoveFromSegment: MoveFromSegment(i); break;
            case NativeKind.PushFlags: PushFlags(i); break;
            case NativeKind.BitString: BitString(i); break;
            case NativeKind.Divide: Divide(i); break;
            case NativeKind.Push: Push(i); break;
            case NativeKind.Pop: Pop(i); break;
            case NativeKind.Leave: LeaveFrame(i); break;
            case NativeKind.Call: Call(i); break;
            case NativeKind.Return: Return(i); break;
            case NativeKind.Jump: Jump(i, next); break;
            case NativeKind.Conditional: Conditional(i, next); break;
        }
    }

    /// <summary>The instruction's own op runs. If it does not end the block, translated code goes on after it.</summary>
    private void Leave(GuestInstruction i)
    {
        SyncFlags(Region.AllFlags);
        KeepPointers();
        bool ends = _block.Ended && i == _block.Instructions[^1];
        if (ends)
        {
            EmitExit(To(ExitKind.Op, _block, i), _block.Offset, _block.Instructions.Count);
            return;
        }
        EmitExit(To(ExitKind.Aside, _block, i), _block.Offset, _block.Instructions.Count);
        CollectionsMarshal.AsSpan(_exits)[^1].Resume = _e.Position - _start;
        _e.StateImmediate(true, 0, StateOffsets.Retired, _block.Instructions.Count);
        _flags = FlagHome.Memory;
        _vectors = 0;
        _x87 = false;
    }

    /// <summary>The last 32 bits written are a field's value, or that and something.</summary>
    private void NoteField(MovableField? field)
    {
        if (field != null)
        {
            _fieldReferences.Add((_e.Position - MovableField.Bytes, field));
        }
    }

    private static RegionExit To(ExitKind kind, RegionBlock block, GuestInstruction i) => new()
    {
        Kind = kind,
        Block = (byte)block.Number,
        Op = (ushort)(i.First - block.Hot),
        Ops = (byte)i.Ops,
        Ordinal = i.First->Ordinal,
        IpOffset = i.First->IpOffset,
    };

    /// <summary>Goes to an op.</summary>
    /// <param name="offset">RIP, in the page.</param>
    /// <param name="uncounted">Instructions that were counted and have not run.</param>
    private void EmitExit(RegionExit exit, int offset, int uncounted)
    {
        _e.Transfer(0xE8, _routines.Exit);
        exit.Position = _e.Position - _start;
        _e.Int64(NativeExits.Mark(_number, _exits.Count));
        _exits.Add(exit);
        _e.Int32(offset);
        _e.Int32(uncounted);
    }

    /// <summary>Goes back to the outer loop.</summary>
    private void EmitExit(int offset)
    {
        _e.Transfer(0xE8, _routines.Exit);
        _e.Int64(0);
        _e.Int32(offset);
        _e.Int32(0);
    }

    /// <summary>Where to go if host code cannot do the present instruction. The flags are in the state or dead.</summary>
    private Label LeaveLabel()
    {
        if (_leave == null)
        {
            Label leave = _leave = new Label();
            RegionExit exit = To(ExitKind.Op, _block, _instruction);
            int offset = _block.Offset;
            int count = _block.Instructions.Count;
            X87Pointers pointers = _pointers;
            _cold.Add(() =>
            {
                _e.Bind(leave);
                Write(pointers);
                EmitExit(exit, offset, count);
            });
        }
        return _leave;
    }
}

/// <summary>What a region's compiler needs of the translator.</summary>
internal interface ITranslationStore
{
    /// <summary>The offset from the state's start of a new site.</summary>
    int NewSite();
}
