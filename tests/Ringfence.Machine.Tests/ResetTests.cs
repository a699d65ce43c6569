using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>A reset starts the guest again, with everything as at power-on but the battery-backed clock.</summary>
public sealed class ResetTests
{
    private const int Mark = 0x600;
    /// <summary>Behind the jump that a guest begins with.</summary>
    private const int ImageByte = 0x7C02;
    /// <summary>A byte of the clock's memory that nobody uses.</summary>
    private const byte Battery = 0x70;

    [Theory]
    [InlineData(0xCF9, 0x06)]
    [InlineData(0x64, 0xFE)]
    [InlineData(0x92, 0x01)]
    public void TheGuestStartsAgainWithItsImageAndEmptyMemory(int port, int value)
    {
        // Counts its lives in the battery-backed memory; its own image and memory behind it must be as they were.
        MachineEnd end = Run(a =>
        {
            Label start = a.CreateLabel();
            Label last = a.CreateLabel();
            Label wrong = a.CreateLabel();
            a.jmp(start);
            a.db(7);
            a.Label(ref start);
            a.xor(ax, ax);
            a.mov(ds, ax);
            a.cmp(__byte_ptr[Mark], 0);
            a.jne(wrong);
            a.cmp(__byte_ptr[ImageByte], 7);
            a.jne(wrong);
            a.mov(__byte_ptr[Mark], 1);
            a.mov(__byte_ptr[ImageByte], 8);
            // The serial line's scratch register is 0 after a reset.
            a.mov(dx, 0x3FF);
            a.@in(al, dx);
            a.test(al, al);
            a.jne(wrong);
            a.mov(al, 0x5A);
            a.@out(dx, al);
            NextLife(a);
            a.cmp(al, 4);
            a.je(last);
            a.mov(dx, (short)port);
            a.mov(al, unchecked((sbyte)value));
            a.@out(dx, al);
            a.Label(ref last);
            a.mov(al, 0x10);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.Label(ref wrong);
            a.mov(al, 0x20);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.cli();
            a.hlt();
        });
        Assert.Equal((MachineEndKind.DebugExit, 0x21), (end.Kind, end.Code));
    }

    [Fact]
    public void OtherProcessorsWaitForSipiAgain()
    {
        // The other processor says so in memory, then both are reset.
        MachineEnd end = Run(
            a =>
            {
                Label wait = a.CreateLabel();
                Label last = a.CreateLabel();
                a.cli();
                a.xor(ax, ax);
                a.mov(ds, ax);
                // For the other: MOV BYTE [CS:0x100], 1; HLT; and back, should it wake.
                a.mov(__dword_ptr[0x8000], 0x0006_C62E);
                a.mov(__dword_ptr[0x8004], unchecked((int)0xEBF4_0101));
                a.mov(__byte_ptr[0x8008], 0xFD);
                // Big real mode, to reach the APIC: descriptor 8 is flat data.
                a.mov(__word_ptr[Mark], 15);
                a.mov(__dword_ptr[Mark + 2], Mark + 0x10);
                a.mov(__dword_ptr[Mark + 0x18], 0xFFFF);
                a.mov(__dword_ptr[Mark + 0x1C], 0x00CF_9200);
                a.lgdt(__[Mark]);
                a.mov(eax, cr0);
                a.or(al, 1);
                a.mov(cr0, eax);
                a.mov(bx, 8);
                a.mov(fs, bx);
                a.and(al, unchecked((sbyte)0xFE));
                a.mov(cr0, eax);
                a.mov(ebx, 0xFEE0_0300);
                a.mov(__dword_ptr.fs[ebx], 0x000C_4500);
                a.mov(__dword_ptr.fs[ebx], 0x000C_4608);
                a.Label(ref wait);
                a.cmp(__byte_ptr[0x8100], 1);
                a.jne(wait);
                NextLife(a);
                a.cmp(al, 3);
                a.je(last);
                a.mov(al, 6);
                a.mov(dx, 0xCF9);
                a.@out(dx, al);
                a.Label(ref last);
                a.mov(al, 0x10);
                a.@out((byte)GuestImage.DebugExitPort, al);
            },
            cpus: 2);
        Assert.Equal((MachineEndKind.DebugExit, 0x21), (end.Kind, end.Code));
    }

    [Fact]
    public void StatisticsAreOfAllLivesAndASerialLineGoesOn()
    {
        var serial = new SerialTap();
        using GuestImage image = GuestImage.BootSector(a =>
        {
            Label wait = a.CreateLabel();
            // Prompt, echo a byte, then reset; '!' ends.
            a.mov(al, (sbyte)'>');
            a.mov(dx, 0x3F8);
            a.@out(dx, al);
            a.mov(dx, 0x3FD);
            a.Label(ref wait);
            a.@in(al, dx);
            a.test(al, 1);
            a.jz(wait);
            a.mov(dx, 0x3F8);
            a.@in(al, dx);
            a.@out(dx, al);
            a.cmp(al, (sbyte)'!');
            a.mov(al, 6);
            a.mov(dx, 0xCF9);
            Label end = a.CreateLabel();
            a.je(end);
            a.@out(dx, al);
            a.Label(ref end);
            a.cli();
            a.hlt();
        });
        using RunningMachine machine = Machines.Start(image.Spec(serial) with { NoReboot = false });
        string expected = "";
        foreach (string text in (string[])["a", "b", "c", "!"])
        {
            serial.WaitFor(expected += ">");
            serial.Type(text);
            serial.WaitFor(expected += text);
        }
        Assert.Equal(MachineEndKind.Halted, machine.WaitForEnd().Kind);
        Assert.Equal(">a>b>c>!", serial.Text);
        // What was sent to the serial line and the reset port.
        Assert.Equal(11, machine.Statistics.Vcpus[0].Exits["out"]);
    }

    [Fact]
    public void AMachineThatResetsForEverCanBeStopped()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            a.mov(dx, 0xCF9);
            a.mov(al, 6);
            a.@out(dx, al);
            a.hlt();
        });
        for (int i = 0; i < 20; i++)
        {
            using RunningMachine machine = Machines.Start(image.Spec() with { NoReboot = false });
            Thread.Sleep(i * 3);
            _ = machine.Statistics;
            Assert.Equal(MachineEndKind.Stopped, machine.Stop().Kind);
        }
    }

    private static MachineEnd Run(Action<Assembler> code, int cpus = 1)
    {
        using GuestImage image = GuestImage.BootSector(code);
        return Machines.RunToEnd(image.Spec() with { NoReboot = false, Cpus = cpus });
    }

    /// <summary>AL becomes the number of this life, from 1 on.</summary>
    private static void NextLife(Assembler a)
    {
        a.mov(al, (sbyte)Battery);
        a.@out(0x70, al);
        a.@in(al, 0x71);
        a.inc(al);
        a.@out(0x71, al);
    }
}
