using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>The board's 8259 pair and IOAPIC, while the kernel has them. Inputs of the pair and pins of the IOAPIC are lines of their own, as the board's router has them.</summary>
internal sealed unsafe partial class KernelChip : IBoardChipHolder
{
    private const int PairInputs = 16;
    private const int ChipInputs = 8;
    private const int Pins = 24;
    private const ulong Masked = 1 << 16;
    private const ulong LevelTriggered = 1 << 15;
    private const byte AllMasked = 0xFF;
    private const byte NotInitialized = 1;
    private const byte MasterLevelCapable = 0xF8;
    private const byte SlaveLevelCapable = 0xDE;

    void IBoardChipHolder.LoadPair(PicChipRegisters master, PicChipRegisters slave)
    {
        // The levels first, while nothing can come of them.
        foreach (KvmIrqChipNumber chip in (ReadOnlySpan<KvmIrqChipNumber>)[KvmIrqChipNumber.Master, KvmIrqChipNumber.Slave])
        {
            _vm.WriteChip(new KvmIrqChip { Number = chip, Pic = new KvmPic { Mask = AllMasked, LevelCapable = LevelCapable(chip) } });
        }
        for (int i = 0; i < PairInputs; i++)
        {
            SetPairInput(i, (((i < ChipInputs ? master : slave).Inputs >> (i % ChipInputs)) & 1) != 0);
        }
        _vm.WriteChip(new KvmIrqChip { Number = KvmIrqChipNumber.Master, Pic = To(master, MasterLevelCapable) });
        _vm.WriteChip(new KvmIrqChip { Number = KvmIrqChipNumber.Slave, Pic = To(slave, SlaveLevelCapable) });
    }

    (PicChipRegisters Master, PicChipRegisters Slave) IBoardChipHolder.SavePair() =>
        (From(_vm.ReadChip(KvmIrqChipNumber.Master).Pic), From(_vm.ReadChip(KvmIrqChipNumber.Slave).Pic));

    void IBoardChipHolder.LoadIoApic(IoApicRegisters registers)
    {
        KvmIoApic state = new() { BaseAddress = 0xFEC0_0000, Id = registers.Id, Select = registers.Select };
        for (int i = 0; i < Pins; i++)
        {
            state.Entries[i] = Masked;
        }
        _vm.WriteChip(new KvmIrqChip { Number = KvmIrqChipNumber.IoApic, IoApic = state });
        for (int i = 0; i < Pins; i++)
        {
            SetIoApicPin(i, ((registers.Pins >> i) & 1) != 0);
        }
        for (int i = 0; i < Pins; i++)
        {
            state.Entries[i] = registers.Entries[i];
            // An edge has been served, or was lost at a mask: only a level asks again.
            state.Requests |= (registers.Entries[i] & LevelTriggered) != 0 ? registers.Pins & (1u << i) : 0;
        }
        _vm.WriteChip(new KvmIrqChip { Number = KvmIrqChipNumber.IoApic, IoApic = state });
    }

    IoApicRegisters IBoardChipHolder.SaveIoApic()
    {
        KvmIoApic state = _vm.ReadChip(KvmIrqChipNumber.IoApic).IoApic;
        ulong[] entries = [.. new ReadOnlySpan<ulong>(state.Entries, Pins)];
        return new IoApicRegisters((byte)state.Id, (byte)state.Select, entries, state.Requests);
    }

    void IBoardChipHolder.SetPairInput(int irq, bool asserted) => SetPairInput(irq, asserted);

    void IBoardChipHolder.SetIoApicPin(int pin, bool asserted) => SetIoApicPin(pin, asserted);

    private void SetPairInput(int irq, bool asserted) => _vm.SetLine((uint)irq, asserted);

    private void SetIoApicPin(int pin, bool asserted) => _vm.SetLine((uint)(PairInputs + pin), asserted);

    /// <summary>Lines 0 to 15 are the pair's inputs, those from 16 on the IOAPIC's pins.</summary>
    private static KvmRoute[] PinRoutes()
    {
        KvmRoute[] routes = new KvmRoute[PairInputs + Pins];
        for (uint i = 0; i < routes.Length; i++)
        {
            (KvmIrqChipNumber chip, uint pin) = i < ChipInputs ? (KvmIrqChipNumber.Master, i)
                : i < PairInputs ? (KvmIrqChipNumber.Slave, i - ChipInputs)
                : (KvmIrqChipNumber.IoApic, i - PairInputs);
            routes[i] = new KvmRoute { Line = i, Kind = KvmRouteKind.Chip, Chip = chip, Pin = pin };
        }
        return routes;
    }

    private static byte LevelCapable(KvmIrqChipNumber chip) => chip == KvmIrqChipNumber.Master ? MasterLevelCapable : SlaveLevelCapable;

    /// <summary>The kernel has no chip that waits for its first ICW1: such a one is masked, and without a vector.</summary>
    private static KvmPic To(PicChipRegisters chip, byte levelCapable) => new()
    {
        Inputs = chip.Inputs,
        Requests = chip.Requests,
        Mask = chip.Expects == NotInitialized ? AllMasked : chip.Mask,
        InService = chip.InService,
        HighestPriority = chip.HighestPriority,
        VectorBase = chip.VectorBase,
        ReadsInService = Bit(chip.ReadsInService),
        Poll = Bit(chip.Poll),
        SpecialMask = Bit(chip.SpecialMask),
        Expects = (byte)Math.Max(chip.Expects - 1, 0),
        AutoEoi = Bit(chip.AutoEoi),
        RotatesOnAutoEoi = Bit(chip.RotatesOnAutoEoi),
        FullyNested = Bit(chip.SpecialFullyNested),
        NeedsIcw4 = Bit(chip.NeedsIcw4),
        LevelTriggered = chip.LevelTriggered,
        LevelCapable = levelCapable,
    };

    private static PicChipRegisters From(in KvmPic chip)
    {
        bool untouched = chip is { VectorBase: 0, Expects: 0, Mask: AllMasked };
        return new PicChipRegisters
        {
            Inputs = chip.Inputs,
            Requests = chip.Requests,
            Mask = untouched ? (byte)0 : chip.Mask,
            InService = chip.InService,
            HighestPriority = chip.HighestPriority,
            VectorBase = chip.VectorBase,
            ReadsInService = chip.ReadsInService != 0,
            Poll = chip.Poll != 0,
            SpecialMask = chip.SpecialMask != 0,
            Expects = untouched ? NotInitialized : chip.Expects == 0 ? (byte)0 : (byte)(chip.Expects + 1),
            AutoEoi = chip.AutoEoi != 0,
            RotatesOnAutoEoi = chip.RotatesOnAutoEoi != 0,
            SpecialFullyNested = chip.FullyNested != 0,
            NeedsIcw4 = chip.NeedsIcw4 != 0,
            LevelTriggered = chip.LevelTriggered,
        };
    }

    private static byte Bit(bool value) => value ? (byte)1 : (byte)0;
}
