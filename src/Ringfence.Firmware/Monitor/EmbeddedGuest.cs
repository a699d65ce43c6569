using System.Buffers.Binary;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Firmware.Monitor;

/// <summary>
/// The guest that comes with Ringfence: a small monitor on COM1, assembled when asked for. A flat multiboot image, so other
/// loaders take it too. It enters long mode, counts timer interrupts at 100 Hz, sleeps in HLT between them, and takes commands.
/// </summary>
public static class EmbeddedGuest
{
    /// <summary>The first line it prints.</summary>
    public const string Banner = "ringfence monitor";
    /// <summary>What it prints when it waits for a command.</summary>
    public const string Prompt = "ringfence> ";

    /// <summary>The name that <see cref="CreateFile"/> gives the image.</summary>
    public const string FileName = "monitor";

    private const int DescriptorTableOffset = 0x20;
    private const int DescriptorTablePointerOffset = 0x38;
    private const int EntryOffset = 0x40;
    private const int LongModeOffset = 0x400;
    private const ushort CodeSelector = 8;
    private const ushort DataSelector = 16;

    /// <summary>The image, under 8 KiB; loads at 1 MiB and needs RAM up to <see cref="MonitorMemory.End"/>.</summary>
    public static byte[] Build()
    {
        byte[] start = Assemble(StartCode(), MonitorMemory.Image + EntryOffset);
        byte[] monitor = Assemble(new MonitorCode().Build(), MonitorMemory.Image + LongModeOffset);
        if (EntryOffset + start.Length > LongModeOffset || LongModeOffset + monitor.Length > (int)(MonitorMemory.Tables - MonitorMemory.Image))
        {
            throw new InvalidOperationException("the monitor has outgrown its layout");
        }
        byte[] image = new byte[LongModeOffset + monitor.Length];
        WriteHeader(image);
        start.CopyTo(image, EntryOffset);
        monitor.CopyTo(image, LongModeOffset);
        return image;
    }

    /// <summary><see cref="Build"/> as the loader takes it.</summary>
    public static GuestFile CreateFile() => new(FileName, Build());

    private static void WriteHeader(byte[] image)
    {
        const uint Magic = 0x1BAD_B002;
        const uint MemoryInformation = 1 << 1;
        const uint AddressFields = 1 << 16;
        uint flags = MemoryInformation | AddressFields;
        uint imageAddress = (uint)MonitorMemory.Image;
        ReadOnlySpan<uint> header =
        [
            Magic, flags, 0 - (Magic + flags), imageAddress, imageAddress, imageAddress + (uint)image.Length, (uint)MonitorMemory.End,
            imageAddress + EntryOffset,
        ];
        for (int i = 0; i < header.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(i * 4), header[i]);
        }
        ReadOnlySpan<ulong> descriptors = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];
        for (int i = 0; i < descriptors.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(DescriptorTableOffset + i * 8), descriptors[i]);
        }
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(DescriptorTablePointerOffset), (ushort)(descriptors.Length * 8 - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(DescriptorTablePointerOffset + 2), imageAddress + DescriptorTableOffset);
    }

    /// <summary>From multiboot's protected mode to long mode, the first 4 GiB identity-mapped in 2 MiB pages.</summary>
    private static Assembler StartCode()
    {
        const int EferMsr = unchecked((int)0xC000_0080);
        const uint LongModeEnable = 1 << 8;
        const uint Paging = 1U << 31;
        const uint PhysicalAddressExtension = 1 << 5;
        const uint PresentWritable = 3;
        const uint PresentWritableLarge = 0x83;
        uint root = (uint)MonitorMemory.Tables;
        uint directories = root + 0x2000;
        var a = new Assembler(32);
        Label fill = a.CreateLabel();
        a.cli();
        a.cld();
        a.mov(__dword_ptr[MonitorMemory.BootInformation], ebx);
        a.mov(__dword_ptr[root], root + 0x1000 + PresentWritable);
        for (uint i = 0; i < 4; i++)
        {
            a.mov(__dword_ptr[root + 0x1000 + i * 8], directories + i * 0x1000 + PresentWritable);
        }
        a.mov(edi, directories);
        a.mov(eax, PresentWritableLarge);
        a.mov(ecx, 2048);
        a.Label(ref fill);
        a.mov(__dword_ptr[edi], eax);
        a.add(eax, 1 << 21);
        a.add(edi, 8);
        a.dec(ecx);
        a.jnz(fill);

        a.mov(eax, root);
        a.mov(cr3, eax);
        a.mov(eax, cr4);
        a.or(eax, PhysicalAddressExtension);
        a.mov(cr4, eax);
        a.mov(ecx, EferMsr);
        a.rdmsr();
        a.or(eax, LongModeEnable);
        a.wrmsr();
        a.mov(eax, cr0);
        a.or(eax, Paging);
        a.mov(cr0, eax);
        a.lgdt(__[MonitorMemory.Image + DescriptorTablePointerOffset]);
        a.mov(eax, DataSelector);
        a.mov(ds, eax);
        a.mov(es, eax);
        a.mov(ss, eax);
        a.mov(esp, (uint)MonitorMemory.StackTop);
        a.push(CodeSelector);
        a.push((int)(MonitorMemory.Image + LongModeOffset));
        a.retf();
        return a;
    }

    private static byte[] Assemble(Assembler assembler, ulong address)
    {
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        return stream.ToArray();
    }
}
