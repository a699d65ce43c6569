using Ringfence.Devices.Interrupts;
using Ringfence.Engine;

namespace Ringfence.Machine;

/// <summary>The board's 8259 pair and IOAPIC as an engine may hold them.</summary>
internal sealed class BoardChips(Pic8259 pic, IoApic ioApic) : IBoardChips
{
    private const byte Cascade = 1 << 2;

    // Of ICW4 and ICW1 (Intel 231468-003), as far as software can tell.
    private const byte AutoEoi = 0x02;
    private const byte SpecialFullyNested = 0x10;
    private const byte Icw4Follows = 0x01;

    public void GiveTo(IBoardChipHolder holder)
    {
        pic.HandOver(state => holder.LoadPair(From(state.Master), From(state.Slave)), holder.SetPairInput);
        ioApic.HandOver(state => holder.LoadIoApic(new IoApicRegisters(state.Id, state.Select, state.Entries, state.Pins)), holder.SetIoApicPin);
    }

    public void TakeBack(IBoardChipHolder holder)
    {
        pic.TakeBack(() =>
        {
            (PicChipRegisters master, PicChipRegisters slave) = holder.SavePair();
            // The slave's request is a level here, and nothing that is latched.
            return new Pic8259State(To(master with { Requests = (byte)(master.Requests & ~Cascade) }), To(slave));
        });
        ioApic.TakeBack(() =>
        {
            IoApicRegisters registers = holder.SaveIoApic();
            return new IoApicState { Id = registers.Id, Select = registers.Select, Entries = [.. registers.Entries], Pins = registers.Pins };
        });
    }

    private static PicChipRegisters From(PicChipState state) => new()
    {
        Requests = state.Requests,
        Mask = state.Mask,
        InService = state.InService,
        Inputs = state.Inputs,
        LevelTriggered = state.LevelTriggered,
        HighestPriority = state.HighestPriority,
        VectorBase = state.VectorBase,
        Expects = state.Expects,
        NeedsIcw4 = (state.Icw1 & Icw4Follows) != 0,
        AutoEoi = (state.Icw4 & AutoEoi) != 0,
        RotatesOnAutoEoi = state.RotatesOnAutoEoi,
        SpecialMask = state.SpecialMask,
        SpecialFullyNested = (state.Icw4 & SpecialFullyNested) != 0,
        ReadsInService = state.ReadsInService,
        Poll = state.Poll,
    };

    private static PicChipState To(PicChipRegisters registers) => new()
    {
        Requests = registers.Requests,
        Mask = registers.Mask,
        InService = registers.InService,
        Inputs = registers.Inputs,
        LevelTriggered = registers.LevelTriggered,
        HighestPriority = registers.HighestPriority,
        VectorBase = registers.VectorBase,
        Expects = registers.Expects,
        Icw1 = registers.NeedsIcw4 ? Icw4Follows : (byte)0,
        Icw4 = (byte)((registers.AutoEoi ? AutoEoi : 0) | (registers.SpecialFullyNested ? SpecialFullyNested : 0)),
        RotatesOnAutoEoi = registers.RotatesOnAutoEoi,
        SpecialMask = registers.SpecialMask,
        ReadsInService = registers.ReadsInService,
        Poll = registers.Poll,
    };
}
