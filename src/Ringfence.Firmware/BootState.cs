namespace Ringfence.Firmware;

/// <summary>The processor mode at the guest's first instruction.</summary>
public enum BootMode
{
    Real16,
    /// <summary>Flat 4 GiB segments, paging off.</summary>
    Protected32,
    /// <summary>Paging on: the first 4 GiB identity-mapped.</summary>
    Long64,
}

/// <summary>What kind of image was recognised.</summary>
public enum GuestKind
{
    LinuxBzImage,
    /// <summary>ELF with a XEN_ELFNOTE_PHYS32_ENTRY note.</summary>
    Pvh,
    Elf,
    Multiboot,
    BootSector,
    /// <summary>Firmware that starts at the reset vector.</summary>
    Bios,
}

/// <summary>A segment register with its hidden part; <paramref name="Attributes"/> as VMX access rights (SDM 3C 25.4.1).</summary>
public readonly record struct BootSegment(ushort Selector, ulong Base, uint Limit, uint Attributes);

/// <summary>The state in which the bootstrap processor starts. What is not here is as after reset.</summary>
public sealed record BootState
{
    public required GuestKind Kind { get; init; }
    public required BootMode Mode { get; init; }
    /// <summary>For people, one line: what was loaded and how it is entered.</summary>
    public required string Description { get; init; }

    /// <summary>General registers in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.</summary>
    public ulong[] Registers { get; init; } = new ulong[16];
    public ulong Rip { get; init; }
    public ulong Rflags { get; init; } = 2;
    public BootSegment Es { get; init; }
    public BootSegment Cs { get; init; }
    public BootSegment Ss { get; init; }
    public BootSegment Ds { get; init; }
    public BootSegment Fs { get; init; }
    public BootSegment Gs { get; init; }
    public BootSegment Ldtr { get; init; }
    public BootSegment Tr { get; init; }
    public ulong GdtBase { get; init; }
    public ushort GdtLimit { get; init; }
    public ulong IdtBase { get; init; }
    public ushort IdtLimit { get; init; }
    public ulong Cr0 { get; init; }
    public ulong Cr3 { get; init; }
    public ulong Cr4 { get; init; }
    public ulong Efer { get; init; }
}
