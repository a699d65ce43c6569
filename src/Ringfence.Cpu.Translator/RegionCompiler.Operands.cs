using Iced.Intel;

namespace Ringfence.Cpu.Translator;

/// <summary>Operands: registers that the host has no register for, and memory.</summary>
internal sealed unsafe partial class RegionCompiler
{
    private const int FirstSpilled = 12;

    /// <summary>The host's register for a guest's, or -1 if it is in the state.</summary>
    public static int HostOf(int guest) => guest == 4 ? Host.GuestRsp : guest < FirstSpilled ? guest : -1;

    public static int Number(Register register) => register.GetFullRegister() - Register.RAX;

    /// <summary>Brings a guest's register into a host register: its own, or <paramref name="scratch"/>.</summary>
    private int Fetch(int guest, int scratch)
    {
        int host = HostOf(guest);
        if (host >= 0)
        {
            return host;
        }
        _e.Load(scratch, StateOffsets.Gpr(guest));
        return scratch;
    }

    /// <summary>Computes a memory operand's offset in its segment. Spoils <see cref="Host.Scratch"/> and <see cref="Host.Address"/>, no flags.</summary>
    /// <param name="adjust">Bytes to go on.</param>
    private void EffectiveAddress(in Instruction d, int to, bool wide, int adjust = 0)
    {
        _held = default;
        if (d.IsIPRelativeMemoryOperand)
        {
            _e.Load(to, StateOffsets.CodePage);
            _e.LoadAddress(wide, to, to, (int)Region.FromPage(d.IPRelativeMemoryAddress) + adjust);
            NoteField(_instruction.Displacement);
            return;
        }
        int displacement = (int)d.MemoryDisplacement64 + adjust;
        int @base = d.MemoryBase == Register.None ? -1 : Fetch(Number(d.MemoryBase), Host.Address);
        if (d.MemoryIndex == Register.None)
        {
            if (@base >= 0)
            {
                if (displacement == 0)
                {
                    _e.Register(wide, 0x8B, to, @base);
                    return;
                }
                _e.LoadAddress(wide, to, @base, displacement);
                NoteField(_instruction.Displacement);
                return;
            }
            if (wide)
            {
                // Sign-extended.
                _e.Register(true, 0xC7, 0, to);
                _e.Int32(displacement);
                NoteField(_instruction.Displacement);
                return;
            }
            _e.MoveImmediate(to, (uint)displacement);
            return;
        }
        int index = Fetch(Number(d.MemoryIndex), Host.Scratch);
        int scale = System.Numerics.BitOperations.TrailingZeroCount(d.MemoryIndexScale);
        _e.Memory(wide, 0x8D, to, @base, index, scale, displacement);
        NoteField(_instruction.Displacement);
    }

    /// <summary>Brings the linear address of the instruction's memory operand into <see cref="Host.Address"/>. <see cref="Host.Scratch"/> is lost, no
    /// flag.</summary>
    /// <param name="kept">Whether its offset in its segment is kept in the state's spill, for an instruction that must know it once nothing can fault
    /// any more.</param>
    private void LinearAddress(in Instruction d, int adjust, bool kept = false)
    {
        EffectiveAddress(in d, Host.Address, AddressIs64(in d), adjust);
        if (kept)
        {
            _e.Store(StateOffsets.Spill, Host.Address);
        }
        if (d.MemorySegment is Register.FS or Register.GS)
        {
            _e.Load(Host.Scratch, d.MemorySegment == Register.FS ? StateOffsets.FsBase : StateOffsets.GsBase);
            _e.Add(Host.Address, Host.Scratch);
        }
    }

    /// <summary>Says where host code finds the instruction's memory operand, after what it takes to know that, or leaves for its op. What it says is good until
    /// <see cref="Host.Address"/> changes. <see cref="Host.Scratch"/> is lost; flags that are live are kept, wherever they are then.</summary>
    /// <param name="kept">As of <see cref="LinearAddress"/>.</param>
    private HostOperand MemoryOperand(GuestInstruction i, int bytes, bool write, bool kept = false)
    {
        if (_run != null)
        {
            return RunOperand(_run, i);
        }
        int aligned = MustBeAligned(i, bytes) ? bytes : 1;
        if (Shares(i.Operand))
        {
            return new HostOperand(Host.Address, Share(i, i.Operand!, aligned, adjust => LinearAddress(in i.Decoded, adjust)));
        }
        ClobberFlags(i.LiveBefore);
        LinearAddress(in i.Decoded, 0, kept);
        // Once a device has been read nothing may stand in the instruction's way any more, or its op would read it again.
        Probe(bytes, write, aligned - 1, onlyValue: i.Kind == NativeKind.General && !write && bytes <= sizeof(ulong));
        return new HostOperand(Host.Address, 0);
    }

    /// <summary>The same for what an instruction pushes, pops, or finds where a register points to: a displacement from <see cref="Host.Address"/>.</summary>
    private int StackOperand(GuestInstruction i, int register, int displacement, bool write)
    {
        if (Shares(i.Stack))
        {
            return Share(i, i.Stack!, 1, adjust => _e.LoadAddress(_is64, Host.Address, register, displacement + adjust));
        }
        ClobberFlags(i.LiveBefore);
        _held = default;
        _e.LoadAddress(_is64, Host.Address, register, displacement);
        Probe(WordBytes, write);
        return 0;
    }

    /// <summary>From a linear address in <see cref="Host.Address"/> to the host's: by the page that this place used last.</summary>
    /// <param name="onlyValue">If it is a device's, a copy of what was read there will do.</param>
    private void Probe(int bytes, bool write, int alignment = 0, bool onlyValue = false)
    {
        Label leave = LeaveLabel();
        if (alignment != 0)
        {
            TestAlignment(alignment, leave);
        }
        int routine = onlyValue && Log == null ? _routines.MissValue(bytes) : _routines.Miss(bytes, write);
        int site = _store.NewSite();
        Look(site, bytes, back =>
        {
            _e.LoadAddress(true, Host.Scratch, Host.State, site - Host.StateBias);
            _e.Transfer(0xE8, routine);
            _e.Jump(back);
            // The routine comes back here, five bytes on, if it does not know the page either.
            _e.Jump(leave);
        });
        if (write)
        {
            Log?.Write(_e, bytes);
        }
    }

    /// <summary>Looks whether the bytes from the linear address in <see cref="Host.Address"/> on lie in the page that a site knows, and makes it the
    /// host's.</summary>
    /// <param name="missed">Writes what is done if they do not, to come back to a label with the host address.</param>
    private void Look(int site, int bytes, Action<Label> missed)
    {
        Label miss = new();
        Label back = new();
        _e.Move(Host.Scratch, Host.Address);
        _e.WithState(0x33, Host.Scratch, site + SiteOffsets.Tag);
        _e.Immediate(true, 7, Host.Scratch, Region.PageBytes - bytes);
        _e.Jump(Condition.Above, miss);
        if (CountsHits)
        {
            // INC.
            _e.Memory(true, 0xFF, 0, Host.State, StateOffsets.SiteHits - Host.StateBias);
        }
        _e.WithState(0x03, Host.Address, site + SiteOffsets.Addend);
        _e.Bind(back);
        _cold.Add(() =>
        {
            _e.Bind(miss);
            missed(back);
        });
    }

    private void TestAlignment(int mask, Label wrong)
    {
        // TEST r14b, imm8.
        _e.Bytes([0x41, 0xF6, 0xC6]);
        _e.Byte(mask);
        _e.Jump(Condition.NotEqual, wrong);
    }

    private bool AddressIs64(in Instruction d) => IsWide(in d, _is64);

    /// <summary>Whether addresses are computed with 64 bits.</summary>
    public static bool IsWide(in Instruction d, bool is64) => is64 && !(d.MemoryBase.GetSize() == 4 || d.MemoryIndex.GetSize() == 4
        || (d.MemoryBase == Register.None && d.MemoryIndex == Register.None && d.MemoryDisplSize == 4));

    /// <summary>Legacy SSE's operands of 16 bytes must lie at a multiple of 16 unless the instruction says otherwise; of AVX's only those of the
    /// instructions that say so.</summary>
    private static bool MustBeAligned(GuestInstruction i, int bytes) => i.Form.Mnemonic == Mnemonic.Cmpxchg16b || (i.Kind == NativeKind.Vector && bytes >= 16 && i.Form.Mnemonic switch
    {
        Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm
            or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm => false,
        Mnemonic.Vmovdqa => true,
        _ when FaultSuppression.MustBeAligned(i.Form.Mnemonic) => true,
        _ => i.Form.Encoding == EncodingKind.Legacy,
    });
}
