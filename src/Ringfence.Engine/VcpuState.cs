namespace Ringfence.Engine;

/// <summary>The architectural state of a vCPU, engine-neutral and whole: a processor that loads it goes on as the saved one would have.
/// General registers in encoding order: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.</summary>
public sealed record VcpuState
{
    public ulong[] Registers { get; init; } = new ulong[16];
    public ulong Rip { get; init; }
    public ulong Rflags { get; init; } = 2;
    public SegmentState Es { get; init; }
    public SegmentState Cs { get; init; }
    public SegmentState Ss { get; init; }
    public SegmentState Ds { get; init; }
    public SegmentState Fs { get; init; }
    public SegmentState Gs { get; init; }
    public SegmentState Ldtr { get; init; }
    public SegmentState Tr { get; init; }
    public ulong GdtBase { get; init; }
    public ushort GdtLimit { get; init; }
    public ulong IdtBase { get; init; }
    public ushort IdtLimit { get; init; }
    public ulong Cr0 { get; init; }
    public ulong Cr2 { get; init; }
    public ulong Cr3 { get; init; }
    public ulong Cr4 { get; init; }
    /// <summary>The pointers to PAE's four page directories that the processor holds since CR3 was loaded; null if it holds none, or when those in memory
    /// are to be loaded.</summary>
    public ulong[]? PaePointers { get; init; }
    public ulong Efer { get; init; }
    /// <summary>The time-stamp counter is the machine's clock in nanoseconds plus this.</summary>
    public ulong TscOffset { get; init; }
    public FpuState Fpu { get; init; } = new();
    public DebugRegisterState Debug { get; init; } = new();
    public MsrState Msrs { get; init; } = new();
    public ApicState Apic { get; init; } = new();
    public EventState Events { get; init; } = new();
    public ParavirtualRegisters Paravirtual { get; init; } = new();

    /// <summary>64-bit code runs: CS.L in long mode.</summary>
    public bool IsCode64 => (Efer & 0x400) != 0 && (Cs.Attributes & 0x2000) != 0;

    /// <summary>The linear address of the next instruction.</summary>
    public ulong LinearRip => IsCode64 ? Rip : (uint)(Cs.Base + Rip);
}

/// <summary>A segment register with its hidden part. <paramref name="Attributes"/> is laid out as the VMX access rights (SDM 3C 25.4.1):
/// type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.</summary>
public readonly record struct SegmentState(ushort Selector, ulong Base, uint Limit, uint Attributes);

/// <summary>One 80-bit register of the x87.</summary>
public readonly record struct X87Register(ulong Significand, ushort SignExponent);

/// <summary>The extended state: x87, vector registers, and the registers that say what of it is enabled (SDM 1 13.1). As FXSAVE has it
/// after power-on where nothing else is said.</summary>
public sealed record FpuState
{
    public const int VectorRegisters = 32;
    public const int VectorBytes = 64;

    /// <summary>ST(0) to ST(7).</summary>
    public X87Register[] Stack { get; init; } = new X87Register[8];
    public ushort ControlWord { get; init; } = 0x37F;
    public ushort StatusWord { get; init; }
    /// <summary>Bit i is set where physical register i is not empty.</summary>
    public byte Tags { get; init; }
    public ushort Opcode { get; init; }
    public ulong InstructionPointer { get; init; }
    public ushort InstructionSelector { get; init; }
    public ulong DataPointer { get; init; }
    public ushort DataSelector { get; init; }
    public uint Mxcsr { get; init; } = 0x1F80;
    /// <summary>32 registers of 64 bytes; XMM n is the low 16 bytes of register n, YMM n the low 32.</summary>
    public byte[] Vectors { get; init; } = new byte[VectorRegisters * VectorBytes];
    /// <summary>K0 to K7.</summary>
    public ulong[] Opmasks { get; init; } = new ulong[8];
    public ulong Xcr0 { get; init; } = 1;
    public uint Pkru { get; init; }
}

/// <summary>DR0 to DR3, DR6 and DR7.</summary>
public sealed record DebugRegisterState
{
    public ulong[] Addresses { get; init; } = new ulong[4];
    public ulong Status { get; init; } = 0xFFFF_0FF0;
    public ulong Control { get; init; } = 0x400;
}

/// <summary>Model-specific registers by number: those that hold something and are not told elsewhere in <see cref="VcpuState"/> (EFER,
/// the bases of FS and GS, the local APIC's, the time-stamp counter's). One that is absent stays as it is when the state is loaded.</summary>
public sealed record MsrState
{
    public const uint KernelGsBase = 0xC000_0102;

    public IReadOnlyDictionary<uint, ulong> Values { get; init; } = new Dictionary<uint, ulong>();

    /// <summary>0 for one that is absent.</summary>
    public ulong this[uint msr] => Values.GetValueOrDefault(msr);
}

/// <summary>The local APIC (SDM 3A chapter 11). Registers are as they are read.</summary>
public sealed record ApicState
{
    /// <summary>IA32_APIC_BASE.</summary>
    public ulong Base { get; init; } = 0xFEE0_0800;
    /// <summary>The ID register, ID in bits 24 to 31.</summary>
    public uint Id { get; init; }
    public uint TaskPriority { get; init; }
    public uint LogicalDestination { get; init; }
    public uint DestinationFormat { get; init; } = uint.MaxValue;
    public uint Spurious { get; init; } = 0xFF;
    public uint ErrorStatus { get; init; }
    /// <summary>Errors since the status register was written last, which it does not show yet.</summary>
    public uint Errors { get; init; }
    /// <summary>The interrupt command register, high and low half.</summary>
    public ulong Command { get; init; }
    /// <summary>IRR, ISR and TMR: eight words of 32 vectors.</summary>
    public uint[] Request { get; init; } = new uint[8];
    public uint[] Service { get; init; } = new uint[8];
    public uint[] Trigger { get; init; } = new uint[8];
    /// <summary>Timer, thermal, performance, LINT0, LINT1, error.</summary>
    public uint[] LocalVectors { get; init; } = [0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000];
    public uint DivideConfiguration { get; init; }
    public uint InitialCount { get; init; }
    /// <summary>When the timer began to count down from <see cref="InitialCount"/>, in the clock's nanoseconds.</summary>
    public long TimerStart { get; init; }
    /// <summary>The timer has an expiry to come.</summary>
    public bool TimerArmed { get; init; }
    /// <summary>IA32_TSC_DEADLINE.</summary>
    public ulong TscDeadline { get; init; }
    /// <summary>The level of the INTR wire from the 8259 pair.</summary>
    public bool ExternalInterrupt { get; init; }
    /// <summary>A message of delivery mode ExtINT has come: the 8259 pair has its vector.</summary>
    public bool ExternalMessage { get; init; }
}

/// <summary>What a guest knows of its hypervisor: kvm-clock and Hyper-V's interface, as far as the machine has them. What belongs to the whole machine is the same in
/// all its vCPUs.</summary>
public sealed record ParavirtualRegisters
{
    public const int Timers = 4;
    /// <summary>HV_X64_MSR_CRASH_P0.</summary>
    public const uint FirstCrashParameter = 0x4000_0100;
    public const int CrashParameters = 5;

    /// <summary>Time as the guest is told it is the machine's clock plus this, in nanoseconds.</summary>
    public long TimeOffset { get; init; }
    /// <summary>MSRs by number. One that is absent stays as it is when the state is loaded.</summary>
    public IReadOnlyDictionary<uint, ulong> Values { get; init; } = new Dictionary<uint, ulong>();
    /// <summary>When each of Hyper-V's synthetic timers is to expire, in units of 100 ns of reference time; 0 for one that does not run.</summary>
    public ulong[] TimerExpiries { get; init; } = new ulong[Timers];
}

/// <summary>What a vCPU is doing between two instructions (SDM 3C 25.4.2). One that waits in MWAIT is active: its wait may end at any time.</summary>
public enum VcpuActivity
{
    Active,
    /// <summary>HLT was executed, and nothing has woken the processor yet.</summary>
    Halted,
    WaitingForSipi,
}

/// <summary>Why the next instruction boundary takes no interrupt (SDM 3A 6.8.3).</summary>
public enum InterruptShadowKind
{
    None,
    Sti,
    /// <summary>MOV SS and POP SS: no single-step trap either.</summary>
    MovSs,
}

/// <summary>What is pending, blocked or waited for.</summary>
public sealed record EventState
{
    public VcpuActivity Activity { get; init; }
    public InterruptShadowKind Shadow { get; init; }
    /// <summary>How many NMIs wait, 0 to 2: beside one that waits, another may have come while one was handled.</summary>
    public int PendingNmis { get; init; }
    /// <summary>An NMI is being handled: the next waits for IRET.</summary>
    public bool NmiBlocked { get; init; }
    /// <summary>Bits of DR6 whose #DB is due at the next instruction boundary (SDM 3C 25.4.2).</summary>
    public ulong DebugTraps { get; init; }
    public bool InitPending { get; init; }
    /// <summary>The vector of a start-up message that is not acted on yet.</summary>
    public byte? SipiPending { get; init; }
}
