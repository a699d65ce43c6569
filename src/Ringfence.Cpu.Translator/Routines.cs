using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>Code that all translations share, written once at the start of the code memory: in, out, and the search for what a site does not know.</summary>
internal sealed unsafe partial class Routines
{
    /// <summary>Of memory operands; all but x87's ten bytes at the place that their logarithm says.</summary>
    private static readonly int[] Sizes = [1, 2, 4, 8, 16, 32, 64, 10];

    /// <summary>The guest's registers that stay in the host's, and where.</summary>
    private static readonly (int Guest, int Host)[] Pinned =
    [
        (0, 0), (1, 1), (2, 2), (3, 3), (4, Host.GuestRsp), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11),
    ];

    private readonly Emitter _e;
    private readonly VectorTransfer _vectors;
    private readonly bool _alone;
    private readonly bool _avx512;
    private int _locate;
    private readonly int[] _misses = new int[2 * Sizes.Length];
    private readonly int[] _missesAll = new int[2];
    private readonly int[] _missesValue = new int[sizeof(ulong) + 1];

    /// <param name="alone">Every block leaves at its end.</param>
    /// <param name="avx512">The guest may have more vector registers than sixteen.</param>
    public Routines(Emitter emitter, bool alone, bool avx512)
    {
        _e = emitter;
        _vectors = new VectorTransfer(emitter);
        _avx512 = avx512;
        _alone = alone;
        int leave = Leave = WriteLeave();
        WriteExit(leave);
        WriteDispatch(leave);
        WriteBottom();
        WriteEnter();
        WriteForgetCall();
        WriteForgetCalls();
        WriteLoadVectors();
        WriteLoadAvx512();
        WriteCpuid();
        WriteLocate();
        WriteLoadX87();
        foreach (int size in Sizes)
        {
            _misses[MissIndex(size, false)] = WriteMiss(size, false, size);
            _misses[MissIndex(size, true)] = WriteMiss(size, true, -size);
            if (size <= sizeof(ulong))
            {
                _missesValue[size] = WriteMiss(size, false, size | NativeEntry.OnlyValue);
            }
        }
        WriteMissAll(false);
        WriteMissAll(true);
    }

    /// <summary>Each by name, and where it begins.</summary>
    public IEnumerable<(string Name, int At)> Places =>
    [
        ("leave", Leave), ("enter", Enter), ("exit", Exit), ("dispatch", Dispatch), ("load vectors", LoadVectors), ("cpuid", Cpuid),
        .. _misses.Select((at, i) => ($"site miss {Sizes[i / 2]} {(i % 2 == 0 ? "read" : "write")}", at)),
        .. Sizes.Where(size => size <= sizeof(ulong)).Select(size => ($"site miss {size} value", _missesValue[size])),
        ("group miss read", _missesAll[0]), ("group miss write", _missesAll[1]),
    ];

    private int Leave { get; }

    /// <summary>Called by the C# side: (state, host address) to the next op.</summary>
    public int Enter { get; private set; }

    /// <summary>Called; behind the call are the op to go to (64 bits), RIP's offset in its page and what was counted too much (32 bits each).</summary>
    public int Exit { get; private set; }

    /// <summary>Jumped to with a linear address in <see cref="Host.Address"/>: the C# side looks for the code there.</summary>
    public int Dispatch { get; private set; }

    /// <summary>Called with a linear address in <see cref="Host.Address"/> and the site in <see cref="Host.Scratch"/>: makes it a host address and
    /// fills the site. Returns five bytes on if the TLB does not know the page.</summary>
    public int Miss(int bytes, bool write) => _misses[MissIndex(bytes, write)];

    /// <summary>The same for an operand of which only the value is wanted, which may be a device's.</summary>
    /// <param name="bytes">8 at most.</param>
    public int MissValue(int bytes) => _missesValue[bytes];

    /// <summary>The same for a group of operands whose last offset that fits is in <see cref="TranslatedState.LastFit"/>. Returns five bytes on if the TLB does not
    /// know the page, or the group goes over its end.</summary>
    public int MissAll(bool write) => _missesAll[write ? 1 : 0];

    private static int MissIndex(int bytes, bool write) => (2 * Array.IndexOf(Sizes, bytes)) + (write ? 1 : 0);

    private void WriteEnter()
    {
        Enter = _e.Position;
        foreach (int register in (ReadOnlySpan<int>)[Host.Rbx, Host.Rbp, 12, 13, 14, 15])
        {
            _e.Push(register);
        }
        _e.LoadAddress(true, Host.State, Host.Rdi, Host.StateBias);
        _e.Store(StateOffsets.HostStack, Host.Rsp);
        _e.LoadAddress(true, Host.Scratch, Host.Rsp, -CallBytes);
        _e.Store(StateOffsets.StackLimit, Host.Scratch);
        PushBottom();
        _e.Move(Host.Address, Host.Rsi);
        foreach ((int guest, int host) in Pinned)
        {
            _e.Load(host, StateOffsets.Gpr(guest));
        }
        _e.JumpIndirect(Host.Address);
    }

    /// <summary>Saves the guest's registers and returns the op in <see cref="Host.Scratch"/>.</summary>
    private int WriteLeave()
    {
        int at = _e.Position;
        Label loaded = new();
        Label noX87 = new();
        Label saved = new();
        foreach ((int guest, int host) in Pinned)
        {
            _e.Store(StateOffsets.Gpr(guest), host);
        }
        // VectorsLoaded and X87Loaded.
        _e.Byte(0x66);
        _e.StateImmediate(false, 7, StateOffsets.VectorsLoaded, 0);
        _e.Jump(Condition.NotEqual, loaded);
        _e.Bind(saved);
        _e.Move(Host.Rax, Host.Scratch);
        _e.Load(Host.Rsp, StateOffsets.HostStack);
        foreach (int register in (ReadOnlySpan<int>)[15, 14, 13, 12, Host.Rbp, Host.Rbx])
        {
            _e.Pop(register);
        }
        _e.Byte(0xC3);
        _e.Bind(loaded);
        _e.CompareStateByte(StateOffsets.X87Loaded, 0);
        _e.Jump(Condition.Equal, noX87);
        StoreX87();
        _e.Bind(noX87);
        _e.CompareStateByte(StateOffsets.VectorsLoaded, 0);
        _e.Jump(Condition.Equal, saved);
        StoreVectors();
        SetLoaded(StateOffsets.VectorsLoaded, 0);
        _e.Jump(saved);
        return at;
    }

    private void WriteExit(int leave)
    {
        Exit = _e.Position;
        _e.Pop(Host.Scratch);
        _e.Memory(true, 0x63, Host.Address, Host.Scratch, 12);
        _e.WithState(0x29, Host.Address, StateOffsets.Retired);
        _e.Memory(true, 0x63, Host.Address, Host.Scratch, 8);
        _e.WithState(0x03, Host.Address, StateOffsets.CodePage);
        _e.Store(StateOffsets.Rip, Host.Address);
        _e.Memory(true, 0x8B, Host.Scratch, Host.Scratch, 0);
        _e.Transfer(0xE9, leave);
    }

    private void WriteDispatch(int leave)
    {
        Dispatch = _e.Position;
        if (!_alone)
        {
            WriteSearch();
        }
        _e.Store(StateOffsets.Rip, Host.Address);
        _e.Load(Host.Scratch, StateOffsets.Missed);
        _e.Transfer(0xE9, leave);
    }

    /// <summary>Looks for the target in the interpreter's own cache, as <see cref="ControlFlow.Dispatch"/> does, and puts it into the table. Falls through
    /// if it is not known, or something wants the outer loop.</summary>
    private void WriteSearch()
    {
        Label leaves = new();
        Label unknown = new();
        _e.StateImmediate(false, 7, StateOffsets.Attention, 0);
        _e.Jump(Condition.NotEqual, leaves);
        _e.Memory(true, 0xFF, 0, Host.State, StateOffsets.JumpMisses - Host.StateBias);
        _e.Push(Host.Rax);
        _e.Push(Host.Rcx);
        _e.Move(Host.Rax, Host.Address);
        _e.Shift(true, 5, Host.Rax, 13);
        _e.Register(false, 0x33, Host.Rax, Host.Address);
        _e.Immediate(false, 4, Host.Rax, ControlFlow.JumpCacheEntries - 1);
        _e.Shift(false, 4, Host.Rax, 5);
        _e.WithState(0x03, Host.Rax, StateOffsets.JumpCache);
        _e.Memory(true, 0x3B, Host.Address, Host.Rax, KnownJumpOffsets.Linear);
        _e.Jump(Condition.NotEqual, unknown);
        _e.Load32(Host.Rcx, StateOffsets.Mode);
        _e.Memory(true, 0x3B, Host.Rcx, Host.Rax, KnownJumpOffsets.Mode);
        _e.Jump(Condition.NotEqual, unknown);
        _e.Move(Host.Rcx, Host.Address);
        _e.Shift(true, 5, Host.Rcx, 12);
        _e.Immediate(false, 4, Host.Rcx, Tlb.Entries - 1);
        _e.Shift(false, 4, Host.Rcx, 5);
        _e.WithState(0x03, Host.Rcx, StateOffsets.Tlb);
        _e.Memory(true, 0x8B, Host.Scratch, Host.Rcx, TlbOffsets.Execute);
        _e.Register(true, 0x33, Host.Scratch, Host.Address);
        _e.Immediate(true, 7, Host.Scratch, Region.PageBytes - 1);
        _e.Jump(Condition.Above, unknown);
        _e.Memory(true, 0x8B, Host.Scratch, Host.Rcx, TlbOffsets.Addend);
        _e.Register(true, 0x03, Host.Scratch, Host.Address);
        _e.Memory(true, 0x3B, Host.Scratch, Host.Rax, KnownJumpOffsets.HostCode);
        _e.Jump(Condition.NotEqual, unknown);
        _e.Memory(true, 0x8B, Host.Rax, Host.Rax, KnownJumpOffsets.Ops);
        _e.Memory(false, 0x80, 7, Host.Rax, OpOffsets.Scale);
        _e.Byte(HotBlock.Translated);
        _e.Jump(Condition.NotEqual, unknown);
        _e.Memory(true, 0x8B, Host.Rax, Host.Rax, OpOffsets.Immediate);
        // It is known: into the table with it.
        _e.Move32(Host.Scratch, Host.Address);
        _e.Shift(false, 5, Host.Scratch, 13);
        _e.Register(false, 0x33, Host.Scratch, Host.Address);
        _e.Immediate(false, 4, Host.Scratch, JumpTable.Entries - 1);
        _e.Shift(false, 4, Host.Scratch, JumpTable.EntryShift);
        _e.Memory(true, 0x8D, Host.Scratch, Host.State, Host.Scratch, 0, JumpTable.Offset - Host.StateBias);
        List();
        _e.Memory(true, 0x89, Host.Address, Host.Scratch, JumpTableOffsets.Linear);
        _e.Load32(Host.Rcx, StateOffsets.Mode);
        _e.Memory(true, 0x89, Host.Rcx, Host.Scratch, JumpTableOffsets.Mode);
        _e.Memory(true, 0x89, Host.Rax, Host.Scratch, JumpTableOffsets.HostCode);
        _e.Immediate(true, 4, Host.Address, -Region.PageBytes);
        _e.Store(StateOffsets.CodePage, Host.Address);
        _e.Move(Host.Address, Host.Rax);
        _e.Pop(Host.Rcx);
        _e.Pop(Host.Rax);
        _e.JumpIndirect(Host.Address);
        _e.Bind(unknown);
        _e.Pop(Host.Rcx);
        _e.Pop(Host.Rax);
        _e.Bind(leaves);
    }

    private void SetLoaded(int flag, int value)
    {
        _e.Memory(false, 0xC6, 0, Host.State, flag - Host.StateBias);
        _e.Byte(value);
    }

    /// <param name="request">What <see cref="NativeEntry.Locate"/> is asked for.</param>
    private int WriteMiss(int bytes, bool write, int request)
    {
        int at = _e.Position;
        WriteSearchTlb(write, false, () => _e.Immediate(true, 7, Host.Rcx, Region.PageBytes - bytes));
        _e.StoreImmediate(false, StateOffsets.Size, request);
        _e.Transfer(0xE9, _locate);
        return at;
    }

    private void WriteMissAll(bool write)
    {
        _missesAll[write ? 1 : 0] = _e.Position;
        WriteSearchTlb(write, true, () => _e.WithState(0x3B, Host.Rcx, StateOffsets.LastFit));
        // Others may have taken its place there, as it took theirs. But often it will never be found: a page of code is not written to in place. So after
        // a failure C# is not asked for a while.
        const int Patience = 16;
        Label refused = new();
        Label found = new();
        _e.Push(Host.Rcx);
        _e.Move(Host.Rcx, Host.Address);
        _e.Immediate(false, 4, Host.Rcx, Region.PageBytes - 1);
        _e.WithState(0x3B, Host.Rcx, StateOffsets.LastFit);
        _e.Load(Host.Rcx, StateOffsets.Tlb);
        _e.Jump(Condition.Above, refused);
        _e.WithState(0x3B, Host.Rcx, StateOffsets.SiteTlb);
        _e.Jump(Condition.NotEqual, refused);
        _e.StateImmediate(false, 5, StateOffsets.Patience, 1);
        _e.Jump(Condition.AboveOrEqual, refused);
        _e.StoreImmediate(false, StateOffsets.Patience, 0);
        _e.StoreImmediate(false, StateOffsets.Size, write ? -1 : 1);
        _e.Pop(Host.Rcx);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, -8);
        _e.Transfer(0xE8, _locate);
        _e.Jump(found);
        _e.StoreImmediate(false, StateOffsets.Patience, Patience);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, 8);
        ReturnFurther(0);
        _e.Bind(found);
        _e.LoadAddress(true, Host.Rsp, Host.Rsp, 8);
        _e.Byte(0xC3);
        _e.Bind(refused);
        _e.Pop(Host.Rcx);
        ReturnFurther(0);
    }

    /// <summary>Looks for a page in the TLB, and returns with the host address in <see cref="Host.Address"/> and the site filled. Falls through if it is not
    /// there, or <paramref name="compare"/> finds that the offset in it, in RCX, is above what may be.</summary>
    /// <param name="fills">Whether it is of use only if the site is filled: others will read it.</param>
    private void WriteSearchTlb(bool write, bool fills, Action compare)
    {
        int tag = write ? TlbOffsets.Write : TlbOffsets.Read;
        Label fail = new();
        Label done = new();
        _e.Push(Host.Rax);
        _e.Push(Host.Rcx);
        _e.Memory(true, 0xFF, 0, Host.State, StateOffsets.SiteMisses - Host.StateBias);
        _e.Move(Host.Rax, Host.Address);
        _e.Shift(true, 5, Host.Rax, 12);
        _e.Immediate(false, 4, Host.Rax, Tlb.Entries - 1);
        _e.Shift(false, 4, Host.Rax, 5);
        _e.WithState(0x03, Host.Rax, StateOffsets.Tlb);
        _e.Memory(true, 0x8B, Host.Rcx, Host.Rax, tag);
        _e.Register(true, 0x33, Host.Rcx, Host.Address);
        compare();
        _e.Jump(Condition.Above, fail);
        // What only RFLAGS.AC admits is not kept.
        _e.Load(Host.Rcx, StateOffsets.Tlb);
        _e.WithState(0x3B, Host.Rcx, StateOffsets.SiteTlb);
        _e.Jump(Condition.NotEqual, fills ? fail : done);
        List();
        _e.Memory(true, 0x8B, Host.Rcx, Host.Rax, tag);
        _e.Memory(true, 0x89, Host.Rcx, Host.Scratch, SiteOffsets.Tag);
        _e.Memory(true, 0x8B, Host.Rcx, Host.Rax, TlbOffsets.Addend);
        _e.Memory(true, 0x89, Host.Rcx, Host.Scratch, SiteOffsets.Addend);
        _e.Bind(done);
        _e.Memory(true, 0x03, Host.Address, Host.Rax, TlbOffsets.Addend);
        _e.Pop(Host.Rcx);
        _e.Pop(Host.Rax);
        _e.Byte(0xC3);
        _e.Bind(fail);
        _e.Pop(Host.Rcx);
        _e.Pop(Host.Rax);
    }

    /// <summary>Asks the C# side for the host address. The operand's size is in <see cref="TranslatedState.Size"/>.</summary>
    private void WriteLocate()
    {
        _locate = _e.Position;
        Label vectors = new();
        Label elsewhere = new();
        Label saved = new();
        Label load = new();
        Label loaded = new();
        Label refused = new();
        // With the guest's in the x87 unit no other code may run: the way out stores them.
        _e.CompareStateByte(StateOffsets.X87Loaded, 0);
        _e.Jump(Condition.NotEqual, elsewhere);
        SaveForCall(true);
        _e.CompareStateByte(StateOffsets.VectorsLoaded, 0);
        _e.Jump(Condition.NotEqual, vectors);
        _e.Bind(saved);
        _e.LoadAddress(true, Host.Rdi, Host.State, -Host.StateBias);
        _e.Move(Host.Rsi, Host.Address);
        _e.Move(Host.Rdx, Host.Scratch);
        _e.Load32(Host.Rcx, StateOffsets.Size);
        // The return address of the translated code's call leaves RSP a multiple of 16.
        _e.Memory(false, 0xFF, 2, Host.State, StateOffsets.Locate - Host.StateBias);
        _e.Move(Host.Address, Host.Rax);
        _e.CompareStateByte(StateOffsets.VectorsLoaded, 0);
        _e.Jump(Condition.NotEqual, load);
        _e.Bind(loaded);
        SaveForCall(false);
        _e.Register(true, 0x85, Host.Address, Host.Address);
        _e.Jump(Condition.Equal, refused);
        _e.Byte(0xC3);
        _e.Bind(refused);
        _e.Bind(elsewhere);
        ReturnFurther(0);
        _e.Bind(vectors);
        StoreVectors();
        _e.Jump(saved);
        _e.Bind(load);
        _e.Memory(false, 0x1AE, 2, Host.State, StateOffsets.Mxcsr - Host.StateBias);
        MoveVectors(false);
        _e.Jump(loaded);
    }

    /// <summary>The guest's registers that a call may spoil.</summary>
    private void SaveForCall(bool save)
    {
        foreach ((int guest, int host) in Pinned)
        {
            if (host is not (Host.Rbx or Host.Rbp or Host.GuestRsp))
            {
                if (save)
                {
                    _e.Store(StateOffsets.Gpr(guest), host);
                }
                else
                {
                    _e.Load(host, StateOffsets.Gpr(guest));
                }
            }
        }
    }

    /// <summary>Puts the site, or the entry of the jump table, in <see cref="Host.Scratch"/> on the list of those that are filled, if it is empty.
    /// RCX is lost.</summary>
    private void List()
    {
        Label listed = new();
        _e.MoveImmediate(Host.Rcx, unchecked((long)Site.Empty));
        _e.Memory(true, 0x3B, Host.Rcx, Host.Scratch, 0);
        _e.Jump(Condition.NotEqual, listed);
        _e.Push(Host.Rdx);
        _e.Load(Host.Rcx, StateOffsets.FilledCount);
        _e.Load(Host.Rdx, StateOffsets.Filled);
        _e.Memory(true, 0x89, Host.Scratch, Host.Rdx, Host.Rcx, 3, 0);
        _e.Memory(true, 0xFF, 0, Host.State, StateOffsets.FilledCount - Host.StateBias);
        _e.Pop(Host.Rdx);
        _e.Bind(listed);
    }

    /// <summary>Returns past the jump that follows the call. The return address is at RSP.</summary>
    private void ReturnFurther(int offset)
    {
        const int JumpBytes = 5;
        _e.Memory(true, 0x83, 0, Host.Rsp, offset);
        _e.Byte(JumpBytes);
        _e.Byte(0xC3);
    }
}
