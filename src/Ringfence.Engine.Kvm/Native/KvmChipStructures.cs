using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm.Native;

/// <summary>A local APIC's page of registers (struct kvm_lapic_state): they are 16 bytes apart.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmLocalApic
{
    private fixed byte _registers[1024];

    public uint this[int offset]
    {
        get
        {
            fixed (byte* page = _registers)
            {
                return *(uint*)(page + offset);
            }
        }
        set
        {
            fixed (byte* page = _registers)
            {
                *(uint*)(page + offset) = value;
            }
        }
    }
}

/// <summary>What a vCPU with its APIC in the kernel is doing (struct kvm_mp_state).</summary>
internal enum KvmActivity : uint
{
    Runnable = 0,
    /// <summary>It waits for INIT.</summary>
    Uninitialized = 1,
    /// <summary>It waits for SIPI.</summary>
    InitReceived = 2,
    Halted = 3,
    SipiReceived = 4,
}

/// <summary>One 8259A (struct kvm_pic_state).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmPic
{
    public byte Inputs, Requests, Mask, InService, HighestPriority, VectorBase, ReadsInService, Poll, SpecialMask, Expects, AutoEoi, RotatesOnAutoEoi, FullyNested, NeedsIcw4,
        LevelTriggered, LevelCapable;
}

/// <summary>The IOAPIC (struct kvm_ioapic_state).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmIoApic
{
    public ulong BaseAddress;
    public uint Select, Id, Requests;
    private readonly uint _padding;
    public fixed ulong Entries[24];
}

/// <summary>One of the three chips (struct kvm_irqchip).</summary>
[StructLayout(LayoutKind.Explicit, Size = 520)]
internal struct KvmIrqChip
{
    [FieldOffset(0)] public KvmIrqChipNumber Number;
    [FieldOffset(8)] public KvmPic Pic;
    [FieldOffset(8)] public KvmIoApic IoApic;
}

internal enum KvmIrqChipNumber : uint
{
    Master = 0,
    Slave = 1,
    IoApic = 2,
}

/// <summary>The level of a line (struct kvm_irq_level).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KvmIrqLevel
{
    public uint Line, Level;
}

/// <summary>Where a line leads: to a chip's pin, or to a message (struct kvm_irq_routing_entry).</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct KvmRoute
{
    [FieldOffset(0)] public uint Line;
    [FieldOffset(4)] public KvmRouteKind Kind;
    [FieldOffset(8)] public uint Flags;
    [FieldOffset(16)] public KvmIrqChipNumber Chip;
    [FieldOffset(20)] public uint Pin;
    [FieldOffset(16)] public uint AddressLow;
    [FieldOffset(20)] public uint AddressHigh;
    [FieldOffset(24)] public uint Data;
}

internal enum KvmRouteKind : uint
{
    Chip = 1,
    Message = 2,
}

/// <summary>An interrupt message (struct kvm_msi), laid out as SDM 3A 11.11 has it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmMessage
{
    public uint AddressLow, AddressHigh, Data, Flags, Device;
    private fixed byte _padding[12];
}

/// <summary>A line that an eventfd raises (struct kvm_irqfd).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmIrqFd
{
    public uint Descriptor, Line, Flags, Resample;
    private fixed byte _padding[16];
}

/// <summary>An eventfd that is told of writes to an address (struct kvm_ioeventfd).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmIoEventFd
{
    public ulong Match, Address;
    public uint Length;
    public int Descriptor;
    public uint Flags;
    private fixed byte _padding[36];
}

/// <summary>Where the bitmap of a slot's written pages is to go (struct kvm_dirty_log).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct KvmDirtyLog
{
    public uint Slot;
    private readonly uint _padding;
    public void* Bitmap;
}
