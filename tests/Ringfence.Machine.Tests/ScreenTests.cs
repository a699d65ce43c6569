using Iced.Intel;
using Ringfence.Devices.Display;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>The text screen, as a guest reaches it.</summary>
public sealed class ScreenTests
{
    [Fact]
    public void AGuestWritesAndReadsTheScreen()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            Label failed = a.CreateLabel();
            a.mov(ax, unchecked((short)0xB800));
            a.mov(es, ax);
            a.xor(di, di);
            a.mov(ax, 0x0700 + 'A');
            a.mov(cx, 80);
            a.rep.stosw();
            a.mov(ebx, 0x0742_0743);
            a.mov(__dword_ptr.es[di], ebx);
            a.cmp(__word_ptr.es[di + 2], 0x0742);
            a.jne(failed);
            // The cursor behind what was written.
            foreach (int value in (int[])[0x0E, 0x520F])
            {
                a.mov(dx, 0x3D4);
                a.mov(ax, (short)value);
                a.@out(dx, ax);
            }
            a.cli();
            a.hlt();
            a.Label(ref failed);
            a.mov(al, 1);
            a.@out((byte)GuestImage.DebugExitPort, al);
        });
        using VirtualMachine machine = Machines.Create(image.Spec() with { Screen = ScreenKind.Text });
        using var limit = new CancellationTokenSource(TestLimits.Patience);
        Assert.Equal(MachineEndKind.Halted, machine.Run(limit.Token).Kind);
        TextScreen screen = machine.Screen!;
        Assert.Equal(new string('A', 80), screen.Lines[0]);
        Assert.StartsWith("CB ", screen.Lines[1], StringComparison.Ordinal);
        Assert.Equal((1, 2), (screen.CursorRow, screen.CursorColumn));
    }

    [Fact]
    public void WithoutAScreenNothingAnswers()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            a.mov(ax, unchecked((short)0xB800));
            a.mov(es, ax);
            a.mov(al, __byte_ptr.es[di]);
            a.mov(dx, 0x3DA);
            a.mov(bl, al);
            a.@in(al, dx);
            a.and(al, bl);
            a.shr(al, 1);
            a.@out((byte)GuestImage.DebugExitPort, al);
        });
        using VirtualMachine machine = Machines.Create(image.Spec());
        using var limit = new CancellationTokenSource(TestLimits.Patience);
        Assert.Equal((0x7F << 1) | 1, machine.Run(limit.Token).Code);
        Assert.Null(machine.Screen);
    }
}
