using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.State;

/// <summary>
/// All of one processor that instruction handlers touch, in native memory with constant offsets, so that decoded instructions name
/// operands by offset and a translator can share it. The most used fields come first: they share few cache lines.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CpuState
{
    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, in encoding order.</summary>
    public fixed ulong Gpr[16];
    /// <summary>Always 0: the base, index or segment base of an operand that has none.</summary>
    public ulong Zero;
    /// <summary>Between blocks the instruction pointer; inside one, the address of the block's first instruction (CS base not added).</summary>
    public ulong Rip;
    /// <summary>The last result, sign-extended to 64 bits, and beside it the carries: see <see cref="Flags"/>.</summary>
    public ulong FlagResult;
    public ulong FlagCarry;
    /// <summary>The translation table for the present privilege: one of <see cref="TlbSupervisor"/>, <see cref="TlbUser"/>, <see cref="TlbSupervisorAc"/>.</summary>
    public TlbEntry* Tlb;
    /// <summary>~0 in long mode, 0xFFFFFFFF elsewhere: linear addresses wrap there.</summary>
    public ulong LinearMask;
    /// <summary>Not 0 when the outer loop must look before the next block: an interrupt, a timer, a request to stop. Other threads set it.</summary>
    public int Attention;
    /// <summary>What kind of code runs: <see cref="CodeMode"/> bits. Part of every block's key.</summary>
    public uint Mode;
    /// <summary>Instructions retired, brought up to date at block ends.</summary>
    public long Retired;
    /// <summary>Direct-mapped table from linear address to block.</summary>
    public JumpCacheEntry* JumpCache;
    /// <summary>While translated code runs: the linear address of the page it came from. RIP is this and what the code knows.</summary>
    public ulong CodePage;
    /// <summary>While translated code runs: the arithmetic flags when the host's register does not hold them. As LAHF and SETO leave them: OF in
    /// bit 0, SF ZF AF PF CF in the high byte.</summary>
    public ushort HostFlags;
    /// <summary>The host's vector registers and MXCSR hold the guest's.</summary>
    public byte VectorsLoaded;
    /// <summary>The host's x87 unit holds the guest's. Right behind the other: one comparison looks at both.</summary>
    public byte X87Loaded;
    /// <summary>The table whose entries translated code may keep beside an access; see <see cref="TranslatedState"/>.</summary>
    public TlbEntry* SiteTlb;
    /// <summary>Where the link to the next block belongs once it is found, or null.</summary>
    public Op** LinkSlot;
    /// <summary>Why the block was left early, when it was.</summary>
    public ExitEvent Event;
    /// <summary>The exception to deliver when <see cref="Event"/> says so.</summary>
    public uint FaultVector;
    /// <summary>Added to <see cref="Rip"/> gives the instruction that is making an exit, for traces.</summary>
    public uint ExitIp;
    public uint FaultError;
    public ulong FaultAddress;

    /// <summary>RFLAGS without the six arithmetic flags, which live in <see cref="FlagResult"/> and <see cref="FlagCarry"/>.</summary>
    public ulong SystemFlags;
    public SegmentRegister Es;
    public SegmentRegister Cs;
    public SegmentRegister Ss;
    public SegmentRegister Ds;
    public SegmentRegister Fs;
    public SegmentRegister Gs;
    public SegmentRegister Ldtr;
    public SegmentRegister Tr;
    public ulong GdtBase;
    public ulong IdtBase;
    public uint GdtLimit;
    public uint IdtLimit;
    /// <summary>Current privilege level, 0 to 3.</summary>
    public uint Cpl;
    /// <summary>For the one instruction after STI or MOV SS, before which no interrupt is taken: <see cref="State.InterruptShadow"/>.</summary>
    public uint InterruptShadow;
    public ulong Cr0;
    public ulong Cr2;
    public ulong Cr3;
    public ulong Cr4;
    public ulong Efer;
    /// <summary>Which components of the extended state the system has enabled (SDM 1 13.3).</summary>
    public ulong Xcr0;
    /// <summary>Likewise the supervisor's components: IA32_XSS.</summary>
    public ulong Xss;
    /// <summary>The pointers to PAE's four page directories, as they were when CR3 was loaded (SDM 3A 4.4.1).</summary>
    public fixed ulong Pdpte[4];
    public fixed ulong Dr[8];
    public ulong KernelGsBase;
    public ulong Star;
    public ulong LStar;
    public ulong CStar;
    public ulong SFMask;
    public ulong SysenterCs;
    public ulong SysenterEsp;
    public ulong SysenterEip;
    public ulong Pat;
    public ulong TscAux;
    /// <summary>Added to the clock's cycles to give the guest's time-stamp counter.</summary>
    public ulong TscOffset;

    /// <summary>Rights of protection keys 0 to 15, two bits each, access disable and write disable: for user pages (PKRU), and for
    /// supervisor pages (IA32_PKRS). SDM 3A 4.6.2.</summary>
    public uint Pkru;
    public uint Pkrs;

    /// <summary>Iterations of a repeated string instruction held back from RCX while it runs; added to RCX when its block is left.</summary>
    public ulong RepeatRest;

    /// <summary>Where slow paths leave what they read, so that fast paths take no address of a local (that would forbid tail calls).</summary>
    public fixed byte Scratch[64];

    /// <summary>Not 0 between <see cref="GuestAccess.ModifyAtomic"/> and <see cref="GuestAccess.Settle"/> if the latter has work to do.</summary>
    public ulong Unsettled;

    /// <summary>A GCHandle to the <see cref="Processor"/> that owns this state.</summary>
    public nint Owner;
    public TlbEntry* TlbSupervisor;
    public TlbEntry* TlbUser;
    public TlbEntry* TlbSupervisorAc;

    public uint Mxcsr;
    public uint Reserved;
    /// <summary>What belongs to translated code and is touched rarely.</summary>
    public TranslatedState Translated;
    public X87State X87;
    /// <summary>32 vector registers of 64 bytes each; XMM n is the low 16 bytes of register n.</summary>
    public fixed byte Vectors[32 * 64];
}

/// <summary>A segment register with its hidden part.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct SegmentRegister
{
    public ulong Base;
    /// <summary>In bytes, expanded by the granularity: the last valid offset of an expand-up segment.</summary>
    public uint Limit;
    /// <summary>As VMX access rights (SDM 3C 25.4.1): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.</summary>
    public uint Attributes;
    public uint Selector;
    public uint Reserved;

    public readonly uint Dpl => (Attributes >> 5) & 3;
    public readonly bool Usable => (Attributes & SegmentAttributes.Unusable) == 0;
    public readonly bool Is(uint attribute) => (Attributes & attribute) != 0;
}

/// <summary>Bits of <see cref="SegmentRegister.Attributes"/>.</summary>
public static class SegmentAttributes
{
    public const uint Accessed = 1;
    public const uint Writable = 2;
    public const uint Conforming = 4;
    public const uint ExpandDown = 4;
    public const uint Code = 8;
    public const uint NotSystem = 0x10;
    public const uint Present = 0x80;
    public const uint Long = 0x2000;
    public const uint Big = 0x4000;
    public const uint Granular = 0x8000;
    public const uint Unusable = 0x10000;
}

/// <summary>Values of <see cref="CpuState.InterruptShadow"/> (SDM 3A 6.8.3).</summary>
public static class InterruptShadow
{
    public const uint None = 0;
    public const uint Sti = 1;
    /// <summary>No single-step trap either.</summary>
    public const uint MovSs = 2;
}

/// <summary>Why a block was left early.</summary>
public enum ExitEvent : uint
{
    None,
    /// <summary>An exception is to be delivered: <see cref="CpuState.FaultVector"/>.</summary>
    Fault,
    /// <summary>HLT was executed; RIP is past it.</summary>
    Halt,
    /// <summary>MWAIT was executed; RIP is past it.</summary>
    Wait,
    /// <summary>The instruction at RIP is to be run alone, decoded anew.</summary>
    Step,
    /// <summary>The code at RIP has changed since it was decoded: what the jump cache has of it is worth nothing.</summary>
    Redecode,
    /// <summary>A triple fault.</summary>
    Shutdown,
    /// <summary>The instruction at RIP is one to stop before.</summary>
    Stop,
}

/// <summary>Bits of <see cref="CpuState.Mode"/>: all that decoding depends on.</summary>
public static class CodeMode
{
    public const uint Bits16 = 0;
    public const uint Bits32 = 1;
    public const uint Bits64 = 2;
    public const uint BitsMask = 3;
    /// <summary>The stack segment is 32 bits wide (in 64-bit code the stack is always 64 bits wide).</summary>
    public const uint Stack32 = 4;
    /// <summary>ES, CS, SS and DS are flat: base 0, limit 4 GiB, readable, the data ones writable. Always set in 64-bit code.</summary>
    public const uint Flat = 8;
    /// <summary>CR0.PE is set and EFLAGS.VM clear: selectors index descriptor tables.</summary>
    public const uint Protected = 16;
    /// <summary>x87 and MMX instructions raise #NM (CR0.EM or TS).</summary>
    public const uint NoX87 = 32;
    /// <summary>SSE instructions raise #UD (CR0.EM or not CR4.OSFXSR).</summary>
    public const uint InvalidSse = 64;
    /// <summary>SSE instructions raise #NM (CR0.TS).</summary>
    public const uint NoSse = 128;
    /// <summary>AVX instructions raise #UD (not CR4.OSXSAVE, or XCR0 without SSE and AVX state, or real or virtual-8086 mode).</summary>
    public const uint InvalidAvx = 256;
    /// <summary>A breakpoint for code is armed.</summary>
    public const uint Breakpoints = 512;
    /// <summary>Privilege level 3: what translated code keeps of rights is for one privilege.</summary>
    public const uint User = 1024;
    /// <summary>All of the above fit in so many bits.</summary>
    public const int Width = 11;
}
