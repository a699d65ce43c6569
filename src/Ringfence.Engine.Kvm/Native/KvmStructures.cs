using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm.Native;

/// <summary>A bit of guest-physical memory and where it is in this process (struct kvm_userspace_memory_region).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMemoryRegion
{
    public uint Slot;
    public uint Flags;
    public ulong GuestAddress;
    public ulong Size;
    public ulong UserAddress;
}

/// <summary>General registers (struct kvm_regs).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmRegisters
{
    public ulong Rax, Rbx, Rcx, Rdx, Rsi, Rdi, Rsp, Rbp;
    public ulong R8, R9, R10, R11, R12, R13, R14, R15;
    public ulong Rip, Rflags;
}

/// <summary>A segment register with its hidden part (struct kvm_segment).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSegment
{
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public byte Type, Present, Dpl, Big, System, Long, Granularity, Available, Unusable, Padding;
}

/// <summary>GDTR or IDTR (struct kvm_dtable).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmTable
{
    public ulong Base;
    public ushort Limit;
    private readonly ushort _padding0, _padding1, _padding2;
}

/// <summary>Segments, tables and control registers: what both kinds of system registers begin with.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmSystemHead
{
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss, Tr, Ldt;
    public KvmTable Gdt, Idt;
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8, Efer, ApicBase;
}

/// <summary>System registers (struct kvm_sregs).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmSystemRegisters
{
    public KvmSystemHead Head;
    /// <summary>An external interrupt that is put in.</summary>
    public fixed ulong InterruptBitmap[4];
}

/// <summary>System registers with PAE's pointers (struct kvm_sregs2).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmSystemRegisters2
{
    public KvmSystemHead Head;
    /// <summary>1: <see cref="Pointers"/> are valid.</summary>
    public ulong Flags;
    public fixed ulong Pointers[4];
}

/// <summary>Debug registers (struct kvm_debugregs).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDebugRegisters
{
    public fixed ulong Address[4];
    public ulong Dr6, Dr7, Flags;
    private fixed ulong _reserved[9];
}

/// <summary>What is pending, blocked, or under way (struct kvm_vcpu_events).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmEvents
{
    public byte ExceptionInjected, ExceptionVector, ExceptionHasError, ExceptionPending;
    public uint ExceptionError;
    public byte InterruptInjected, InterruptVector, InterruptSoft, InterruptShadow;
    public byte NmiInjected, NmiPending, NmiMasked;
    private readonly byte _nmiPadding;
    public uint SipiVector;
    public uint Flags;
    public byte SmiSmm, SmiPending, SmiInsideNmi, SmiLatchedInit;
    public byte TripleFaultPending;
    private fixed byte _reserved[26];
    public byte ExceptionHasPayload;
    public ulong ExceptionPayload;
}

/// <summary>An extended control register (struct kvm_xcr).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmXcr
{
    public uint Number;
    private readonly uint _reserved;
    public ulong Value;
}

/// <summary>Extended control registers (struct kvm_xcrs).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmXcrs
{
    public uint Count, Flags;
    public KvmXcrArray Registers;
    private fixed ulong _padding[16];
}

[InlineArray(16)]
internal struct KvmXcrArray
{
    private KvmXcr _first;
}

/// <summary>One MSR (struct kvm_msr_entry).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsr
{
    public uint Index;
    private readonly uint _reserved;
    public ulong Value;
}

/// <summary>One answer of CPUID (struct kvm_cpuid_entry2).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmCpuidEntry
{
    public uint Leaf, Subleaf, Flags, Eax, Ebx, Ecx, Edx;
    private fixed uint _padding[3];
}

/// <summary>Something to turn on (struct kvm_enable_cap).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmEnable
{
    public uint Capability, Flags;
    public fixed ulong Arguments[4];
    private fixed byte _padding[64];
}

/// <summary>A named value of a descriptor (struct kvm_device_attr).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmAttribute
{
    public uint Flags, Group;
    public ulong Attribute;
    public ulong Address;
}

/// <summary>MSRs that a filter names (struct kvm_msr_filter_range).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmMsrRange
{
    public uint Flags, Count, First;
    public byte* Bitmap;
}

/// <summary>Which MSR accesses the kernel sees to (struct kvm_msr_filter).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmMsrFilter
{
    public uint Flags;
    public KvmMsrRangeArray Ranges;
}

[InlineArray(16)]
internal struct KvmMsrRangeArray
{
    private KvmMsrRange _first;
}

/// <summary>The page that a vCPU's descriptor maps (struct kvm_run): what to do at the next entry, and why the last one ended.</summary>
[StructLayout(LayoutKind.Explicit, Size = 2352)]
internal unsafe struct KvmRun
{
    [FieldOffset(0)] public byte RequestInterruptWindow;
    [FieldOffset(1)] public byte ImmediateExit;
    [FieldOffset(8)] public KvmExitReason ExitReason;
    [FieldOffset(12)] public byte ReadyForInterrupt;
    [FieldOffset(13)] public byte InterruptFlag;
    [FieldOffset(14)] public ushort Flags;
    [FieldOffset(16)] public ulong Cr8;
    [FieldOffset(24)] public ulong ApicBase;
    [FieldOffset(32)] public KvmPortExit Port;
    [FieldOffset(32)] public KvmMemoryExit Memory;
    [FieldOffset(32)] public KvmMsrExit Msr;
    [FieldOffset(32)] public KvmInternalError InternalError;
    [FieldOffset(32)] public ulong HardwareReason;
    /// <summary>The vector of <see cref="KvmExitReason.EndOfInterrupt"/>.</summary>
    [FieldOffset(32)] public byte EndedVector;
    /// <summary>What the kernel leaves in <see cref="Registers"/>, <see cref="System"/> and <see cref="Events"/> at each exit: <see cref="KvmSync"/>.</summary>
    [FieldOffset(288)] public KvmSync ValidRegisters;
    /// <summary>What it takes from there at the next entry.</summary>
    [FieldOffset(296)] public KvmSync DirtyRegisters;
    [FieldOffset(304)] public KvmRegisters Registers;
    [FieldOffset(448)] public KvmSystemRegisters System;
    [FieldOffset(760)] public KvmEvents Events;
}

[Flags]
internal enum KvmSync : ulong
{
    None = 0,
    Registers = 1,
    System = 2,
    Events = 4,
    All = 7,
}

/// <summary>A port was read or written; the bytes are <see cref="DataOffset"/> behind the page's start.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmPortExit
{
    public byte IsWrite, Size;
    public ushort Number;
    public uint Count;
    public ulong DataOffset;
}

/// <summary>Memory was read or written where there is none.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal unsafe struct KvmMemoryExit
{
    [FieldOffset(0)] public ulong Address;
    [FieldOffset(8)] public fixed byte Data[8];
    [FieldOffset(16)] public uint Size;
    [FieldOffset(20)] public byte IsWrite;
}

/// <summary>An MSR that the kernel does not see to.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct KvmMsrExit
{
    /// <summary>To be set to 1 for #GP.</summary>
    [FieldOffset(0)] public byte Error;
    [FieldOffset(8)] public uint Reason;
    [FieldOffset(12)] public uint Index;
    [FieldOffset(16)] public ulong Value;
}

/// <summary>The kernel cannot go on.</summary>
[StructLayout(LayoutKind.Explicit, Size = 136)]
internal unsafe struct KvmInternalError
{
    [FieldOffset(0)] public uint Suberror;
    [FieldOffset(4)] public uint Count;
    [FieldOffset(8)] public fixed ulong Data[16];
}
