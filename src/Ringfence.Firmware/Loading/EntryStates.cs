using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Ringfence.Firmware.Loading;

/// <summary>The entry states of the three modes, with the descriptor tables and page tables behind them.</summary>
internal static class EntryStates
{
    private const ushort CodeSelector = 0x10;
    private const ushort DataSelector = 0x18;
    private const ushort TaskSelector = 0x20;
    private const uint Code16 = 0x9B;
    private const uint Code32 = 0xC09B;
    private const uint Code64 = 0xA09B;
    private const uint Data32 = 0xC093;
    private const uint Data16 = 0x93;
    private const uint Task = 0x8B;
    private const uint Ldt = 0x82;
    private const uint Unusable = 1 << 16;
    private const ulong ProtectionEnable = 0x11;
    private const ulong Paging = 1UL << 31;
    private const ulong PhysicalAddressExtension = 1 << 5;
    private const ulong LongModeEnableAndActive = 0x500;
    private const ulong StackSize = 4096;

    /// <summary>Protected mode as the Linux 32-bit boot protocol, multiboot and PVH want it: flat segments, paging off, interrupts off.</summary>
    public static BootState Protected32(LoadMap map, GuestKind kind, string description, ulong entry, Action<ulong[]> registers) =>
        Build(map, kind, description, entry, registers, BootMode.Protected32);

    /// <summary>Long mode as the Linux 64-bit boot protocol wants it: the first 4 GiB identity-mapped.</summary>
    public static BootState Long64(LoadMap map, GuestKind kind, string description, ulong entry, Action<ulong[]> registers) =>
        Build(map, kind, description, entry, registers, BootMode.Long64);

    /// <summary>Real mode with CS 0; IVT at 0.</summary>
    public static BootState Real16(GuestKind kind, string description, ushort ip, ulong[] registers)
    {
        var data = new BootSegment(0, 0, 0xFFFF, Data16);
        return new BootState
        {
            Kind = kind,
            Mode = BootMode.Real16,
            Description = description,
            Registers = registers,
            Rip = ip,
            Cs = new BootSegment(0, 0, 0xFFFF, Code16),
            Ds = data,
            Es = data,
            Ss = data,
            Fs = data,
            Gs = data,
            Ldtr = new BootSegment(0, 0, 0xFFFF, Ldt),
            Tr = new BootSegment(0, 0, 0xFFFF, Task),
            GdtLimit = 0xFFFF,
            IdtLimit = 0x3FF,
            Cr0 = 0x10,
        };
    }

    /// <summary>The processor as reset leaves it (SDM 3A table 10-1): real mode, at the top of the first 4 GiB.</summary>
    public static BootState AfterReset(GuestKind kind, string description) => Real16(kind, description, 0xFFF0, new ulong[16]) with
    {
        Cs = new BootSegment(0xF000, 0xFFFF_0000, 0xFFFF, Code16),
        IdtLimit = 0xFFFF,
        Cr0 = 0x6000_0010,
    };

    private static BootState Build(
        LoadMap map, GuestKind kind, string description, ulong entry, Action<ulong[]> registers, BootMode mode)
    {
        bool isLong = mode == BootMode.Long64;
        uint code = isLong ? Code64 : Code32;
        ReadOnlySpan<ulong> gdt = [0, 0, Descriptor(0xF_FFFF, code), Descriptor(0xF_FFFF, Data32), Descriptor(0x67, Task)];
        ulong gdtBase = map.PlaceData("the GDT", MemoryMarshal.AsBytes(gdt));
        ulong stack = map.PlaceData("the boot stack", StackSize, StackSize);
        var data = new BootSegment(DataSelector, 0, 0xFFFF_FFFF, Data32);
        ulong[] general = new ulong[16];
        general[4] = stack + StackSize;
        registers(general);
        return new BootState
        {
            Kind = kind,
            Mode = mode,
            Description = description,
            Registers = general,
            Rip = entry,
            Cs = new BootSegment(CodeSelector, 0, 0xFFFF_FFFF, code),
            Ds = data,
            Es = data,
            Ss = data,
            Fs = data,
            Gs = data,
            Ldtr = new BootSegment(0, 0, 0, Unusable),
            Tr = new BootSegment(TaskSelector, 0, 0x67, Task),
            GdtBase = gdtBase,
            GdtLimit = (ushort)(gdt.Length * sizeof(ulong) - 1),
            Cr0 = ProtectionEnable | (isLong ? Paging : 0),
            Cr3 = isLong ? IdentityPageTables(map) : 0,
            Cr4 = isLong ? PhysicalAddressExtension : 0,
            Efer = isLong ? LongModeEnableAndActive : 0,
        };
    }

    /// <summary>A descriptor with base 0 (SDM 3A 3.4.5) from a raw 20-bit limit and VMX access rights.</summary>
    private static ulong Descriptor(uint limit, uint attributes) =>
        (limit & 0xFFFF) | ((ulong)(limit >> 16) << 48) | ((ulong)(attributes & 0xF0FF) << 40);

    /// <summary>PML4, PDPT and four page directories of 2 MiB pages: 24 KiB.</summary>
    private static ulong IdentityPageTables(LoadMap map)
    {
        const ulong PresentWritable = 3;
        const ulong LargePage = 1 << 7;
        byte[] tables = new byte[6 * 4096];
        ulong root = map.PlaceData("the page tables", (ulong)tables.Length, 4096);
        void Put(int index, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(tables.AsSpan(index * 8), value);
        Put(0, (root + 4096) | PresentWritable);
        for (int i = 0; i < 4; i++)
        {
            Put(512 + i, (root + 8192 + (ulong)i * 4096) | PresentWritable);
        }
        for (int i = 0; i < 2048; i++)
        {
            Put(1024 + i, ((ulong)i << 21) | LargePage | PresentWritable);
        }
        map.Memory.Write(root, tables);
        return root;
    }
}
