namespace Ringfence.Engine;

/// <summary>Who does the work of a machine's interrupt chips, where an engine has the choice.</summary>
public enum InterruptChip
{
    /// <summary>All of them are ours.</summary>
    User,
    /// <summary>The local APICs are the kernel's; 8259 pair and IOAPIC are ours.</summary>
    Split,
    /// <summary>All of them are the kernel's.</summary>
    Kernel,
}

/// <summary>One 8259A.</summary>
public sealed record PicChipRegisters
{
    public byte Requests { get; init; }
    public byte Mask { get; init; }
    public byte InService { get; init; }
    /// <summary>The level of the inputs.</summary>
    public byte Inputs { get; init; }
    /// <summary>ELCR.</summary>
    public byte LevelTriggered { get; init; }
    /// <summary>The input with the highest priority.</summary>
    public byte HighestPriority { get; init; }
    public byte VectorBase { get; init; }
    /// <summary>The ICW expected next, 2 to 4; 0 when ready; 1 before the first ICW1.</summary>
    public byte Expects { get; init; }
    /// <summary>ICW1 has announced ICW4.</summary>
    public bool NeedsIcw4 { get; init; }
    public bool AutoEoi { get; init; }
    public bool RotatesOnAutoEoi { get; init; }
    public bool SpecialMask { get; init; }
    public bool SpecialFullyNested { get; init; }
    public bool ReadsInService { get; init; }
    public bool Poll { get; init; }
}

/// <summary>The IOAPIC. <paramref name="Entries"/> is the redirection table, <paramref name="Pins"/> the level of its 24 pins.</summary>
public sealed record IoApicRegisters(byte Id, byte Select, IReadOnlyList<ulong> Entries, uint Pins);

/// <summary>A board's 8259 pair and IOAPIC, which an engine may hold in the board's place for a time. Not while a vCPU runs.</summary>
public interface IBoardChips
{
    /// <summary>From now on the holder has them, and accesses of the guest's do not come to the board: it is told what they were, and each change of a line.</summary>
    void GiveTo(IBoardChipHolder holder);

    /// <summary>They are the board's again, as the holder says that they are.</summary>
    void TakeBack(IBoardChipHolder holder);
}

/// <summary>Who has a board's interrupt chips. Called with the board's locks held: it must call nothing of the board's.</summary>
public interface IBoardChipHolder
{
    void LoadPair(PicChipRegisters master, PicChipRegisters slave);

    (PicChipRegisters Master, PicChipRegisters Slave) SavePair();

    void LoadIoApic(IoApicRegisters registers);

    IoApicRegisters SaveIoApic();

    /// <summary>The level of an input of the 8259 pair, 0 to 15. Any thread.</summary>
    void SetPairInput(int irq, bool asserted);

    /// <summary>The level of a pin of the IOAPIC, 0 to 23. Any thread.</summary>
    void SetIoApicPin(int pin, bool asserted);
}
