using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Host;
using Ringfence.Tests;

namespace Ringfence.Cpu.Tests.Fuzz;

/// <summary>
/// A processor that runs random byte strings, a batch at a time: memory, control registers and all else are set up once for a batch, and
/// follow from its seed alone. The registers are set for each string.
/// </summary>
internal sealed unsafe class FuzzGuest : IDisposable
{
    public const int Strings = 128;
    private const int Slot = 64;
    private const int MaximumLength = 31;
    private const int Turns = 64;
    private const byte Halt = 0xF4;
    private const ulong Tables32 = 0x1_8000;
    private const ulong PointerTable = 0x1_A000;
    private const ulong PaeDirectory = 0x1_B000;
    private const ulong Level5 = 0x1_C000;
    /// <summary>Pages below belong to the system.</summary>
    private const ulong FirstUserPage = Guest.UserStackTop - 0x1000;

    private static ReadOnlySpan<ulong> Interesting =>
    [
        0, 1, 2, 0x7F, 0x80, 0xFFFF, Guest.Data, Guest.Data + 0xFFC, Guest.Code, Guest.StackTop, ulong.MaxValue, 1UL << 63, 0x7FFF_FFFF_FFFF,
        0x8000_0000, 0xFEE0_0000, 0xA_0000, 0x10_0000, Guest.Tss, Guest.Gdt, Guest.PageTable, Guest.Handlers, 0xC000_0080, 0x800, 0x1B, 0x174,
    ];

    /// <summary>Bits of CR4 that are on at random; what the model does not have stays off.</summary>
    private static ReadOnlySpan<ulong> Cr4Bits =>
    [
        ControlBits.Virtual8086Extensions, ControlBits.ProtectedVirtualInterrupts, ControlBits.TimeStampDisable, ControlBits.DebugExtensions,
        ControlBits.PageSizeExtensions, ControlBits.MachineCheck, ControlBits.PageGlobal, ControlBits.PerformanceCounters, ControlBits.Umip,
        ControlBits.FsGsBase, ControlBits.Pcid, ControlBits.Smep, ControlBits.Smap, ControlBits.ProtectionKeys, ControlBits.SupervisorKeys,
        ControlBits.LamSupervisor,
    ];

    private readonly FuzzMode _mode;
    private readonly CpuModel _model;
    private readonly Guest _guest;
    private readonly byte[] _image;
    private readonly CpuState* _s;
    private readonly (nint Jumps, nint Owner) _owned;
    private CpuState _entered;
    private CpuState _batch;
    private readonly ulong[] _at = new ulong[Strings];
    private FuzzRandom _random = new(0);

    public FuzzGuest(FuzzMode mode, CpuModel model)
    {
        _mode = mode;
        _model = model;
        _guest = new Guest(FuzzModes.Base(mode), model, GuestMemory.MinimumSize);
        _s = _guest.State;
        _owned = Owned;
        WriteTables();
        Enter();
        _entered = *_s;
        _image = MakeImage();
    }

    public Processor Processor => _guest.Processor;

    /// <summary>Instructions that strings have completed, and how many strings have ended in a shutdown.</summary>
    public long Retired { get; private set; }

    public long Shutdowns { get; private set; }

    /// <summary>The bytes of string <paramref name="index"/>, as they are now: one before may have changed them.</summary>
    public ReadOnlySpan<byte> Code(int index) => new(_guest.Memory.Pointer(_at[index]), MaximumLength);

    private (nint Jumps, nint Owner) Owned => ((nint)_s->JumpCache, _s->Owner);

    private bool User => FuzzModes.IsUser(_mode);

    public void Prepare(ulong seed)
    {
        _random = new FuzzRandom(seed);
        RestoreMemory();
        Processor.Reset();
        Restore(_entered);
        _s->TscOffset = (ulong)-_guest.Clock.Now;
        Processor.StateLoaded();
        ChooseSystem();
        // What was tried and refused is not to be delivered.
        _s->Event = ExitEvent.None;
        for (int i = 0; i < Strings; i++)
        {
            Place(i);
        }
        Processor.StateLoaded();
        _batch = *_s;
        _guest.Bus.Written.Clear();
        _guest.Bus.Ended.Clear();
        _guest.Bus.Interrupts.Clear();
    }

    /// <summary>Runs a string of the batch.</summary>
    /// <param name="watch">Told before a run that ends only when <see cref="Processor.RequestExit"/> is called.</param>
    public void Run(int index, Action watch)
    {
        Begin(_at[index]);
        if (_random.Once(64))
        {
            // Blocks follow each other as they do outside tests.
            watch();
        }
        else
        {
            Processor.LimitTurns(Turns);
        }
        RunResult result = Processor.Run();
        Shutdowns += result == RunResult.Shutdown ? 1 : 0;
        Retired += _s->Retired - _batch.Retired;
        if (result == RunResult.Halted && _random.Once(8))
        {
            Processor.RequestNmi();
            Processor.Run();
        }
        _guest.Clock.Advance(1_000);
    }

    /// <summary>What no guest can change. Null, or what is wrong.</summary>
    public string? Check() =>
        _s->Zero != 0 ? "the register that is always 0 is not"
        : Owned != _owned ? "a pointer in the state has changed"
        : _s->TlbUser == null || _s->Tlb == null ? "a table of translations is missing"
        : _s->LinearMask is not (uint.MaxValue or ulong.MaxValue) ? "the mask of linear addresses is wrong"
        : _s->Cpl > 3 ? "the privilege level is none"
        : _s->Reserved != 0 ? "what follows MXCSR has changed"
        : null;

    /// <summary>The VGA window lies between two regions of RAM in the host's mapping, and belongs to neither.</summary>
    public string? CheckMemory()
    {
        var window = new ReadOnlySpan<byte>(_guest.Memory.Regions[0].Pointer + GuestMemory.VgaWindow, (int)(GuestMemory.VgaWindowEnd - GuestMemory.VgaWindow));
        return window.ContainsAnyExcept((byte)0) ? "memory outside the guest's has changed" : null;
    }

    public void Dispose() => _guest.Dispose();

    private void Begin(ulong rip)
    {
        bool deep = SystemChanged();
        Restore(_batch);
        Processor.Delivery.NmiBlocked = false;
        Processor.Debugging.Pending = 0;
        for (int i = 0; i < 16; i++)
        {
            // Mostly near mapped memory, so that code gets further than its first access.
            if (i != 4 || _random.Once(8))
            {
                _s->Gpr[i] = _random.Once(3) ? _random.Next() >> _random.Next(64) : _random.Of(Interesting) + (ulong)_random.Next(64);
            }
        }
        ulong flags = (_random.Next() & 0xFFF & ~(_random.Once(8) ? 0UL : Flags.Trap)) | 2;
        if (_random.Once(2))
        {
            flags &= ~0x3000UL;
        }
        flags |= _random.Once(4) ? _random.Next() & 0x25_4000 : 0;
        flags |= FuzzModes.IsVirtual8086(_mode) ? Flags.Virtual8086 : 0;
        Flags.Set(_s, flags);
        _s->Rip = rip;
        if (deep)
        {
            Processor.StateLoaded();
        }
        else
        {
            Processor.ModeChanged();
            Processor.NoteInterrupts();
        }
    }

    /// <summary>Whether a string has changed what translations or breakpoints depend on.</summary>
    private bool SystemChanged()
    {
        bool changed = _s->Cr0 != _batch.Cr0 || _s->Cr3 != _batch.Cr3 || _s->Cr4 != _batch.Cr4 || _s->Efer != _batch.Efer || _s->Xcr0 != _batch.Xcr0
            || _s->Pkru != _batch.Pkru || _s->Pkrs != _batch.Pkrs;
        for (int i = 0; i < 8; i++)
        {
            changed |= _s->Dr[i] != _batch.Dr[i];
        }
        return changed;
    }

    private void Restore(in CpuState state)
    {
        // The tables are those of the address space that the processor's parts are in; they follow CR3 in StateLoaded.
        TlbEntry* now = _s->Tlb;
        TlbEntry* supervisor = _s->TlbSupervisor;
        TlbEntry* user = _s->TlbUser;
        TlbEntry* supervisorAc = _s->TlbSupervisorAc;
        TranslatedState translated = _s->Translated;
        *_s = state;
        _s->Translated = translated;
        _s->Tlb = now;
        _s->TlbSupervisor = supervisor;
        _s->TlbUser = user;
        _s->TlbSupervisorAc = supervisorAc;
        _s->JumpCache = (JumpCacheEntry*)_owned.Jumps;
        _s->Owner = _owned.Owner;
        _s->Attention = 0;
        _s->LinkSlot = null;
        _s->Event = ExitEvent.None;
        _s->RepeatRest = 0;
    }

    private void Place(int index)
    {
        int length = 8 + _random.Next(MaximumLength - 7);
        int offset = _random.Next(Slot / 2);
        // One in each page goes on in the next, whose first begins after it.
        if (index % 64 == 63)
        {
            offset = Slot - 1 - _random.Next(length - 1);
        }
        else if (index % 64 == 0)
        {
            offset = MaximumLength;
        }
        _at[index] = Guest.Code + (ulong)((index * Slot) + offset);
        FuzzCode.Fill(_random, new Span<byte>(_guest.Memory.Pointer(_at[index]), length), FuzzModes.Bits(_mode));
    }

    /// <summary>Control registers, breakpoints, MSRs, descriptors, pages: as systems have them, more or less.</summary>
    private void ChooseSystem()
    {
        CpuState* s = _s;
        SystemRegisters registers = Processor.Registers;
        foreach (ulong bit in Cr4Bits)
        {
            _ = _random.Once(2) && registers.WriteCr4(s->Cr4 | bit);
        }
        if (!_random.Once(8) && registers.WriteCr4(s->Cr4 | ControlBits.OsXsave))
        {
            _ = registers.WriteXcr0(new ExtendedStateLayout(_model).User);
        }
        s->Cr0 |= _random.Once(2) ? ControlBits.AlignmentMask : 0;
        s->Cr0 &= ~(_random.Once(4) ? ControlBits.WriteProtect : 0);
        s->Cr0 |= _random.Once(16) ? ControlBits.TaskSwitched : 0;
        s->Cr0 |= _random.Once(32) ? ControlBits.Emulation : 0;
        s->Efer |= _random.Once(2) && _model.Has(CpuFeature.Syscall) ? ControlBits.SyscallEnable : 0;
        s->Pkru = _random.Once(2) ? (uint)_random.Next() & ~3u : 0;
        s->Mxcsr = _random.Once(4) ? (uint)_random.Next() & 0xFFBF : 0x1F80;
        s->KernelGsBase = _random.Of(Interesting) & 0x7FFF_FFFF;
        s->Star = ((ulong)Guest.UserCode32 << 48) | ((ulong)Guest.Code64 << 32) | Guest.Handlers;
        s->LStar = s->CStar = s->SysenterEip = Guest.Handlers;
        s->SFMask = 0x700;
        s->SysenterCs = Guest.Code64;
        s->SysenterEsp = Guest.StackTop;
        if (_random.Once(4))
        {
            for (int i = 0; i < 4; i++)
            {
                s->Dr[i] = _random.Once(2) ? Guest.Code + (ulong)_random.Next(Strings * Slot) : Guest.Data + (ulong)_random.Next(0x1000);
            }
            s->Dr[7] = (_random.Next() & 0xFFFF_23FF) | 0x400;
        }
        _random.Fill(new Span<byte>(s->Vectors, 32 * 64));
        for (int i = 0; i < 8; i++)
        {
            _guest.Write(Guest.Gdt + Guest.Free + 0x40 + ((ulong)i * 8), _random.Next() | (_random.Once(2) ? 1UL << 47 : 0));
        }
        for (int i = 0; i < 8; i++)
        {
            ulong page = Guest.Data + ((ulong)_random.Next(32) << 12);
            ulong key = _model.Has(CpuFeature.ProtectionKeys) && _random.Once(2) ? (ulong)_random.Next(16) << 59 : 0;
            ulong noExecute = (s->Efer & ControlBits.NxEnable) != 0 && _random.Once(2) ? 1UL << 63 : 0;
            SetPage(page, page | (_random.Next() & 0x7 & ~(_random.Once(2) ? 0UL : 1)) | key | noExecute);
        }
    }

    private byte[] MakeImage()
    {
        byte[] image = new byte[GuestMemory.MinimumSize];
        GuestMemory memory = _guest.Memory;
        foreach (MemoryRegion region in memory.Regions)
        {
            new ReadOnlySpan<byte>(region.Pointer, (int)region.Length).CopyTo(image.AsSpan((int)region.Address));
        }
        // Code that runs or jumps out of its bytes soon halts.
        image.AsSpan(0x400, 0xC00).Fill(Halt);
        image.AsSpan((int)Guest.Code, 0x4000).Fill(Halt);
        image.AsSpan((int)Guest.Data).Fill(Halt);
        return image;
    }

    private void RestoreMemory()
    {
        foreach (MemoryRegion region in _guest.Memory.Regions)
        {
            _image.AsSpan((int)region.Address, (int)region.Length).CopyTo(new Span<byte>(region.Pointer, (int)region.Length));
        }
    }

    private void WriteTables()
    {
        Guest g = _guest;
        g.Write(Tables32, (uint)(Tables32 + 0x1000) | 7);
        for (ulong i = 0; i < 4; i++)
        {
            g.Write(PointerTable + (i * 8), PaeDirectory | 1);
        }
        g.Write(PaeDirectory, Guest.PageTable | 7);
        g.Write(Level5, Guest.Tables | 7);
        for (ulong page = 0; page < GuestMemory.MinimumSize; page += 0x1000)
        {
            // Level 0 has data pages of both kinds, for SMAP; its code's are its own, for SMEP.
            bool user = page >= Guest.Data ? User || (page & 0x1000) != 0 : User && page >= FirstUserPage && page < Guest.Tables;
            SetPage(page, page | (user ? 7UL : 3));
        }
        g.Describe(Guest.Free, 0, 0xFFFF, 0x00FB);
        g.Describe(Guest.Free + 8, 0, 0xFFFF, 0x00F3);
        uint level = User ? 0x60u : 0;
        g.Describe(Guest.Free + 0x10, 0, 0xF_FFFF, 0x409B | level);
        g.Describe(Guest.Free + 0x18, 0x10, 0x8_FFFF, 0x4093 | level);
        g.Describe(Guest.Free + 0x20, 0, 0x3FF, 0x4097 | level);
        // A call gate, a task gate, another task.
        g.Write(Guest.Gdt + Guest.Free + 0x28, Guest.GateOf(Guest.Code32, (uint)Guest.Handlers, 12, 3, 1));
        g.Write(Guest.Gdt + Guest.Free + 0x30, Guest.GateOf(Guest.Free + 0x38, 0, 5, 3));
        g.Describe(Guest.Free + 0x38, (uint)Guest.Tss + 0x300, 0x1FF, 0x00E9);
    }

    private void SetPage(ulong page, ulong entry)
    {
        _guest.Page(page) = entry;
        _guest.Write(Tables32 + 0x1000 + (page >> 12 << 2), (uint)entry);
    }

    private void Enter()
    {
        CpuState* s = _s;
        switch (FuzzModes.Paging(_mode))
        {
            case FuzzPaging.TwoLevel:
                s->Cr3 = Tables32;
                break;
            case FuzzPaging.Pae:
                s->Cr3 = PointerTable;
                s->Cr4 |= ControlBits.Pae;
                s->Efer |= _model.Has(CpuFeature.Nx) ? ControlBits.NxEnable : 0;
                break;
            case FuzzPaging.FiveLevel:
                s->Cr3 = Level5;
                s->Cr4 |= ControlBits.La57;
                break;
        }
        s->Cr0 |= FuzzModes.Paging(_mode) != FuzzPaging.None ? ControlBits.Paging | ControlBits.WriteProtect : 0;
        s->Ldtr = (s->Cr0 & ControlBits.ProtectedMode) != 0 ? _guest.Load(Guest.LdtSelector) : s->Ldtr;
        // Half the vectors can be called by users.
        for (int vector = 1; vector < 256 && FuzzModes.Base(_mode) != GuestMode.Real; vector += 2)
        {
            _guest.Gate(vector, FuzzModes.Paging(_mode) >= FuzzPaging.FourLevel ? Guest.Code64 : Guest.Code32,
                (uint)(Guest.Handlers + ((ulong)vector << 4)), dpl: 3);
        }
        EnterSegments();
        if (User)
        {
            s->Cpl = 3;
            s->Gpr[4] = Guest.UserStackTop;
        }
    }

    private void EnterSegments()
    {
        CpuState* s = _s;
        switch (_mode)
        {
            case FuzzMode.Virtual8086 or FuzzMode.Virtual8086Paging:
                s->Cs = s->Ss = s->Ds = s->Es = s->Fs = s->Gs = new SegmentRegister { Limit = 0xFFFF, Attributes = 0xF3 };
                // Room for a redirection bitmap before the I/O bitmap.
                _guest.Write(Guest.Tss + 102, (ushort)0x100);
                break;
            case FuzzMode.Protected16User:
                Segments(Guest.Free + 3, Guest.Free + 8 + 3, Guest.Free + 8 + 3);
                break;
            case FuzzMode.Segmented32 or FuzzMode.Segmented32User:
                int level = User ? 3 : 0;
                Segments(Guest.Free + 0x10 + level, Guest.Free + 0x18 + level, Guest.Free + 0x20 + level);
                break;
            case FuzzMode.Compatibility16:
                Segments(Guest.Code16, Guest.Data16, Guest.Data16);
                break;
            default:
                if (User)
                {
                    _guest.BecomeUser();
                }
                break;
        }
    }

    private void Segments(int code, int data, int stack)
    {
        _s->Cs = _guest.Load((ushort)code);
        _s->Ds = _s->Es = _s->Fs = _s->Gs = _guest.Load((ushort)data);
        _s->Ss = _guest.Load((ushort)stack);
    }
}
