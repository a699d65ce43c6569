using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;

namespace Ringfence.Cpu.State;

/// <summary>
/// What translated code needs of the state beside the registers. Each place in it that accesses memory keeps the translation it used last: a
/// <see cref="Site"/>. All sites, and the targets of indirect jumps that were found, are forgotten together, as soon as any
/// translation may have changed; what was filled is listed, so that this costs what was filled.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct TranslatedState
{
    /// <summary>The host's stack pointer after translated code was entered, and how far calls may take it down.</summary>
    public ulong HostStack;
    public ulong StackLimit;
    /// <summary>The host's MXCSR while the guest's is loaded.</summary>
    public ulong HostMxcsr;
    /// <summary>Operands for which there is no register.</summary>
    public ulong Spill;
    /// <summary>The last offset in a page at which what is looked for lies in it as a whole.</summary>
    public ulong LastFit;
    /// <summary>Turns that a loop still has before it has to look around.</summary>
    public ulong Turns;
    /// <summary>How often it may still not be found before <see cref="Locate"/> is asked.</summary>
    public int Patience;
    /// <summary>Bytes of the operand that is looked for; negative for a write.</summary>
    public int Size;
    /// <summary>Enters translated code: (state, address) to the op that comes next.</summary>
    public delegate* unmanaged<CpuState*, nint, Op*> Enter;
    /// <summary>Finds what neither a site nor the TLB knows: (state, linear address, site, bytes, with the sign of a write) to the host address, or 0
    /// if the operand is to be accessed the long way.</summary>
    public delegate* unmanaged<CpuState*, ulong, Site*, int, nint> Locate;
    /// <summary>Sites that are filled, as addresses.</summary>
    public Site** Filled;
    public ulong FilledCount;
    /// <summary>The op that looks for the target of an indirect jump.</summary>
    public Op* Missed;
    /// <summary>While translated code is checked: where its next store is noted.</summary>
    public byte* Stores;
    /// <summary>Counts for statistics.</summary>
    public long SiteHits;
    public long SiteMisses;
    public long TlbMisses;
    public long Entries;
    public long Links;
    public long JumpMisses;
    public CpuidTable Cpuid;
    /// <summary>What FNSAVE stores and FRSTOR loads, on the way between the host's x87 unit and <see cref="CpuState.X87"/>.</summary>
    public fixed byte X87Image[112];
    /// <summary>Room for the memory operand of an instruction that the host runs by itself: 64 bytes at a multiple of 64.</summary>
    public fixed byte Operand[128];
}

/// <summary>The last page that one memory operand of translated code was found in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct Site
{
    /// <summary>No page's address and not canonical, with five levels of paging or masking neither: an empty site is hit by no access that a program could mean. One that it hits goes to a
    /// page of nobody's.</summary>
    public const ulong Empty = 0xA4C3_7E19_4D60_B000;

    public ulong Tag;
    /// <summary>Host address minus linear address.</summary>
    public ulong Addend;
}
