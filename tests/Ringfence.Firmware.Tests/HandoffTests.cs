using Iced.Intel;
using Ringfence.Firmware.Monitor;
using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Firmware.Tests;

/// <summary>
/// A loaded guest must start on any PC. Here it starts on QEMU's, with no firmware: memory is put there as the loader left it, and
/// a ROM, which also holds the BIOS area with the ACPI tables, brings the processor into the loader's entry state.
/// </summary>
public class HandoffTests
{
    private const ulong Size = 256UL << 20;
    private const ulong Pointers = 0xF_FD00;
    private const ulong RealModeStart = 0xF_FD80;
    private const ulong ProtectedModeStart = 0xF_FE00;
    private const ulong LongModeStart = 0xF_FF80;

    [Fact]
    public void TheMonitorStarts()
    {
        string output = Run(new LoadRequest { Kernel = EmbeddedGuest.CreateFile() }, "mem\n", "KiB of RAM");
        Assert.Contains("0000000000100000-000000000fffffff RAM", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void LinuxStartsAndBelievesTheTables(bool entry64)
    {
        string? path = Environment.GetEnvironmentVariable("RINGFENCE_KERNEL");
        Assert.SkipWhen(string.IsNullOrEmpty(path), "RINGFENCE_KERNEL names no Linux bzImage");
        byte[] kernel = File.ReadAllBytes(path!);
        kernel[0x236] = (byte)(entry64 ? kernel[0x236] : kernel[0x236] & ~1);
        var request = new LoadRequest
        {
            Kernel = new GuestFile(path!, kernel),
            CommandLine = "console=ttyS0 earlyprintk=serial",
            Modules = [new GuestModule(new GuestFile("initrd", new byte[8192]))],
            Vcpus = 2,
        };
        string output = Run(request, "", "ACPI: PM: (supports S0 S5)");
        Assert.Contains("Command line: console=ttyS0 earlyprintk=serial", output, StringComparison.Ordinal);
        Assert.Contains("RAMDISK: [mem 0x0fffe000-0x0fffffff]", output, StringComparison.Ordinal);
        Assert.Contains("INT_SRC_OVR (bus 0 bus_irq 9 global_irq 9 high level)", output, StringComparison.Ordinal);
        Assert.Contains("Brought up 1 node, 2 CPUs", output, StringComparison.Ordinal);
        Assert.Contains("1 ACPI AML tables successfully acquired and loaded", output, StringComparison.Ordinal);
        Assert.DoesNotContain("ACPI Error", output, StringComparison.Ordinal);
        Assert.DoesNotContain("ACPI BIOS", output, StringComparison.Ordinal);
    }

    private static string Run(LoadRequest request, string input, string until)
    {
        using var memory = new GuestMemory(Size);
        BootState state = GuestLoader.Load(memory, request);
        string directory = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string Store(string name, byte[] content)
            {
                string path = Path.Combine(directory, name);
                File.WriteAllBytes(path, content);
                return path;
            }
            string low = Store("low", memory.Bytes(0, (int)GuestMemory.VgaWindow));
            string high = Store("high", memory.Bytes(BoardLayout.BiosEnd, (int)(Size - BoardLayout.BiosEnd)));
            string rom = Store("rom", Rom(memory, state));
            return Qemu.Run(
                input, until, "-m", "256", "-cpu", "max", "-smp", $"{request.Vcpus}", "-bios", rom,
                "-device", $"loader,file={low},addr=0,force-raw=on", "-device", $"loader,file={high},addr=0x100000,force-raw=on");
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static byte[] Rom(GuestMemory memory, BootState state)
    {
        byte[] rom = memory.Bytes(BoardLayout.BiosBase, 0x1_0000);
        void Put(ulong address, ReadOnlySpan<byte> bytes) => bytes.CopyTo(rom.AsSpan((int)(address - BoardLayout.BiosBase)));
        void Assemble(int bits, ulong address, Action<Assembler> body)
        {
            var assembler = new Assembler(bits);
            body(assembler);
            using var stream = new MemoryStream();
            assembler.Assemble(new StreamCodeWriter(stream), address);
            Put(address, stream.ToArray());
        }

        // A GDT for the way, and the pointers to it and to the loader's.
        const uint Flat = (uint)Pointers + 0x10;
        Put(Pointers, [0x17, 0, .. BitConverter.GetBytes(Flat)]);
        Put(Pointers + 8, [.. BitConverter.GetBytes(state.GdtLimit), .. BitConverter.GetBytes((uint)state.GdtBase)]);
        Put(Flat + 8, BitConverter.GetBytes(0x00CF_9B00_0000_FFFFUL));
        Put(Flat + 16, BitConverter.GetBytes(0x00CF_9300_0000_FFFFUL));
        // jmp F000:FD80; there: cli, lgdt cs:[FD00], set CR0.PE, jmp 8:FFE00.
        Put(0xF_FFF0, [0xEA, 0x80, 0xFD, 0x00, 0xF0]);
        Put(RealModeStart, [0xFA, 0x66, 0x2E, 0x0F, 0x01, 0x16, 0x00, 0xFD, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0]);
        Put(RealModeStart + 16, [0x66, 0xEA, 0x00, 0xFE, 0x0F, 0x00, 0x08, 0x00]);
        bool isLong = state.Mode == BootMode.Long64;
        Assemble(32, ProtectedModeStart, a =>
        {
            a.mov(eax, 0x10);
            a.mov(ds, eax);
            a.lgdt(__[Pointers + 8]);
            if (isLong)
            {
                a.mov(eax, (uint)state.Cr4);
                a.mov(cr4, eax);
                a.mov(eax, (uint)state.Cr3);
                a.mov(cr3, eax);
                a.mov(ecx, 0xC000_0080);
                a.mov(eax, (uint)state.Efer & 0x100);
                a.xor(edx, edx);
                a.wrmsr();
            }
            a.mov(eax, (uint)state.Cr0);
            a.mov(cr0, eax);
            a.mov(eax, state.Ds.Selector);
            foreach (AssemblerRegisterSegment segment in new[] { ds, es, ss, fs, gs })
            {
                a.mov(segment, eax);
            }
            AssemblerRegister32[] registers = [eax, ecx, edx, ebx, esp, ebp, esi, edi];
            for (int i = 0; i < registers.Length; i++)
            {
                a.mov(registers[i], (uint)state.Registers[i]);
            }
            a.push(state.Cs.Selector);
            a.push((int)(isLong ? LongModeStart : state.Rip));
            a.retf();
        });
        if (isLong)
        {
            Assemble(64, LongModeStart, a =>
            {
                a.mov(r15, state.Rip);
                a.jmp(r15);
            });
        }
        return rom;
    }
}
