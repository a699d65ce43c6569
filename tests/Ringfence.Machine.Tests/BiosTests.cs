using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>A machine that starts with a BIOS image: at the reset vector, in memory that cannot be changed.</summary>
public sealed class BiosTests
{
    [Fact]
    public void ABiosRunsFromTheResetVectorAndCannotBeWritten()
    {
        byte[] rom = new byte[0x1_0000];
        // At FFFF0000 the code's own segment is the ROM; F0000 is RAM with a copy of it.
        byte[] code = Assemble(a =>
        {
            a.mov(__byte_ptr.cs[0x100], 7);
            a.@lock.inc(__byte_ptr.cs[0x101]);
            a.mov(bl, __byte_ptr.cs[0x100]);
            a.add(bl, __byte_ptr.cs[0x101]);
            a.mov(ax, (short)-0x1000);
            a.mov(ds, ax);
            a.mov(__byte_ptr[0x102], 5);
            a.add(bl, __byte_ptr[0x102]);
            a.mov(al, bl);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.hlt();
        });
        code.CopyTo(rom, 0);
        (rom[0x100], rom[0x101]) = (0x10, 0x20);
        byte[] jump = [0xE9, 0x0D, 0x00]; // to 0 of the segment
        jump.CopyTo(rom, 0xFFF0);
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, rom);
            MachineEnd end = Machines.RunToEnd(new MachineSpec { Bios = path, Memory = 1 << 20, DebugExitPort = GuestImage.DebugExitPort });
            Assert.Equal((MachineEndKind.DebugExit, (0x35 << 1) | 1), (end.Kind, end.Code));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(16);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }
}
