using Iced.Intel;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>What kernels execute so often that going out for it would be felt. Where the privilege or the mode make it anything but plain, its op runs.</summary>
internal sealed unsafe partial class RegionCompiler
{
    /// <summary>CPUID, if it has been asked for this leaf before.</summary>
    private void Cpuid(GuestInstruction i)
    {
        ClobberFlags(i.LiveBefore);
        Label known = new();
        _e.Transfer(0xE8, _routines.Cpuid);
        _e.Jump(known);
        _e.Jump(LeaveLabel());
        _e.Bind(known);
    }

    /// <summary>CLI at level 0.</summary>
    private void ClearInterruptFlag(GuestInstruction i)
    {
        ClobberFlags(i.LiveBefore);
        OnlyAtLevel0();
        _e.StateImmediate(true, 4, StateOffsets.SystemFlags, unchecked((int)~Flags.Interrupt));
    }

    /// <summary>SWAPGS at level 0.</summary>
    private void SwapGs(GuestInstruction i)
    {
        ClobberFlags(i.LiveBefore);
        OnlyAtLevel0();
        _e.Load(Host.Scratch, StateOffsets.GsBase);
        _e.Load(Host.Address, StateOffsets.KernelGsBase);
        _e.Store(StateOffsets.KernelGsBase, Host.Scratch);
        _e.Store(StateOffsets.GsBase, Host.Address);
    }

    /// <summary>CLAC and STAC at level 0: another table of translations. Sites hold nothing that only RFLAGS.AC admits.</summary>
    private void AccessControl(GuestInstruction i)
    {
        bool set = i.Form.Mnemonic == Mnemonic.Stac;
        ClobberFlags(i.LiveBefore);
        OnlyAtLevel0();
        _e.Load(Host.Scratch, set ? StateOffsets.TlbSupervisorAc : StateOffsets.SiteTlb);
        _e.StateImmediate(true, set ? 1 : 4, StateOffsets.SystemFlags, set ? (int)Flags.AlignmentCheck : unchecked((int)~Flags.AlignmentCheck));
        _e.Store(StateOffsets.Tlb, Host.Scratch);
    }

    /// <summary>MOV from a segment register: the selector.</summary>
    private void MoveFromSegment(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        int selector = StateOffsets.Selector(d.Op1Register - Register.ES);
        int guest = Number(d.Op0Register);
        int host = HostOf(guest);
        _e.Load32(host < 0 ? Host.Scratch : host, selector);
        if (host < 0)
        {
            _e.Store(StateOffsets.Gpr(guest), Host.Scratch);
        }
    }

    /// <summary>PUSHFQ, PUSHFD: the flags are put together from where they are.</summary>
    private void PushFlags(GuestInstruction i)
    {
        ClobberFlags(Region.AllFlags);
        _e.Memory(false, 0x1B7, Host.Scratch, Host.State, StateOffsets.HostFlags - Host.StateBias);
        _e.Move32(Host.Address, Host.Scratch);
        _e.Shift(false, 5, Host.Scratch, 8);
        _e.Immediate(false, 4, Host.Scratch, (int)(Flags.Arithmetic & 0xFF));
        _e.Immediate(false, 4, Host.Address, 1);
        _e.Shift(false, 4, Host.Address, 11);
        _e.Register(false, 0x0B, Host.Scratch, Host.Address);
        _e.WithState(0x0B, Host.Scratch, StateOffsets.SystemFlags);
        _e.Immediate(true, 1, Host.Scratch, (int)Flags.Fixed);
        // VM and RF are pushed as 0.
        _e.Immediate(true, 4, Host.Scratch, unchecked((int)~(Flags.Virtual8086 | Flags.Resume)));
        _e.Store(StateOffsets.Spill, Host.Scratch);
        int displacement = StackOperand(i, Host.GuestRsp, -WordBytes, true);
        _e.Load(Host.Scratch, StateOffsets.Spill);
        StorePushed(Host.Scratch, displacement);
        MoveStack(-WordBytes);
    }

    /// <summary>BT, BTS, BTR and BTC of a bit string in memory: the bit's number chooses the word too.</summary>
    private void BitString(GuestInstruction i)
    {
        ref Instruction d = ref i.Decoded;
        int bytes = d.MemorySize.GetSize();
        bool wide = bytes == 8;
        int log = wide ? 6 : 5;
        int guest = Number(d.Op1Register);
        ClobberFlags(i.LiveBefore);
        LinearAddress(in d, 0);
        Word();
        _e.Memory(AddressIs64(in d), 0x8D, Host.Address, Host.Address, Host.Scratch, wide ? 3 : 2, 0);
        Probe(bytes, i.Form.Mnemonic != Mnemonic.Bt);
        int bit = Host.Scratch;
        if ((i.LiveAfter & ~i.Kills) == RflagsBits.None)
        {
            _e.Move(Host.Scratch, Fetch(guest, Host.Scratch));
            _e.Immediate(false, 4, Host.Scratch, (bytes * 8) - 1);
        }
        else
        {
            // ZF is to stay: the host goes the same way from the string's start, without masking.
            Word();
            _e.Register(true, 0xF7, 3, Host.Scratch);
            _e.Memory(true, 0x8D, Host.Address, Host.Address, Host.Scratch, wide ? 3 : 2, 0);
            NeedFlags();
            bit = Fetch(guest, Host.Scratch);
        }
        if (d.HasLockPrefix)
        {
            _e.Byte(0xF0);
        }
        int opcode = i.Form.Mnemonic switch
        {
            Mnemonic.Bt => 0x1A3,
            Mnemonic.Bts => 0x1AB,
            Mnemonic.Btr => 0x1B3,
            _ => 0x1BB,
        };
        _e.Memory(wide, opcode, bit, Host.Address, 0);
        _flags = FlagHome.Host;

        // How many words on it lies.
        void Word()
        {
            if (wide)
            {
                _e.Move(Host.Scratch, Fetch(guest, Host.Scratch));
            }
            else
            {
                _e.Register(true, 0x63, Host.Scratch, Fetch(guest, Host.Scratch));
            }
            _e.Shift(true, 7, Host.Scratch, log);
        }
    }

    private void OnlyAtLevel0()
    {
        _e.StateImmediate(false, 7, StateOffsets.Cpl, 0);
        _e.Jump(Condition.NotEqual, LeaveLabel());
    }
}
