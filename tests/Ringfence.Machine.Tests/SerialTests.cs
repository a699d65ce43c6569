using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>Nothing typed into a guest is lost or changes places, however the guest takes it.</summary>
public sealed class SerialTests
{
    private const int Amount = 64 << 10;
    private const byte Ready = (byte)'>';
    private const short Com1 = 0x3F8;
    private const int InterruptTable = 0x10_4000;
    private const int TablePointer = 0x10_4800;
    private const byte SerialVector = 0x24;

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void WhatIsTypedComesBack(bool fifo, bool interrupts)
    {
        byte[] typed = new byte[Amount];
        new Random(1).NextBytes(typed);
        var serial = new SerialTap();
        using GuestImage image = GuestImage.Multiboot(a => Echo(a, fifo, interrupts));
        using RunningMachine machine = Machines.Start(image.Spec(serial));
        Assert.True(SpinWait.SpinUntil(() => serial.Bytes is [Ready], TestLimits.Patience), "the guest is not ready");
        // In pieces of all sizes, so that the line is now full, now idle.
        for (int at = 0, piece = 1; at < Amount; at += piece, piece = (piece * 7 % 4001) + 1)
        {
            serial.Type(typed.AsSpan(at, Math.Min(piece, Amount - at)));
        }
        MachineEnd end = machine.WaitForEnd();
        Assert.True(end.Kind == MachineEndKind.PoweredOff, $"{end}");
        Assert.Equal(typed, serial.Bytes[1..]);
    }

    /// <summary>Says that it is ready, sends back what it receives, and powers off after 64 KiB.</summary>
    private static void Echo(Assembler a, bool fifo, bool interrupts)
    {
        Label start = a.CreateLabel();
        Label drain = a.CreateLabel();
        Label loop = a.CreateLabel();
        a.jmp(start);

        // Echoes what there is. EBP counts what is still to come. Clobbers EAX, EDX.
        Label empty = a.CreateLabel();
        a.Label(ref drain);
        a.mov(dx, Com1 + 5);
        a.@in(al, dx);
        a.test(al, 1);
        a.jz(empty);
        a.mov(dx, Com1);
        a.@in(al, dx);
        a.@out(dx, al);
        a.dec(ebp);
        a.jnz(drain);
        a.mov(dx, 0x604);
        a.mov(eax, (5 << 10) | (1 << 13));
        a.@out(dx, ax);
        a.cli();
        a.hlt();
        a.Label(ref empty);
        a.ret();

        Label setGate = InterruptGate.Define(a, InterruptTable, SerialVector, () =>
        {
            a.pushad();
            a.call(drain);
            // EBP is a count, not the interrupted code's.
            a.mov(__dword_ptr[esp + 8], ebp);
            a.mov(al, 0x20);
            a.@out(0x20, al);
            a.popad();
        });

        a.Label(ref start);
        a.mov(esp, 0x10_F000);
        a.mov(ebp, Amount);
        a.call(setGate);
        a.mov(__word_ptr[TablePointer], 256 * 8 - 1);
        a.mov(__dword_ptr[TablePointer + 2], InterruptTable);
        a.lidt(__[TablePointer]);
        foreach ((short port, int value) in new (short, int)[] { (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xEF), (0xA1, 0xFF) })
        {
            Out(a, port, value);
        }
        Out(a, Com1 + 3, 3);
        if (fifo)
        {
            // Trigger at 14.
            Out(a, Com1 + 2, 0xC1);
        }
        Out(a, Com1 + 4, 0x0B);
        Out(a, Com1, Ready);
        if (interrupts)
        {
            Out(a, Com1 + 1, 1);
            a.Label(ref loop);
            a.sti();
            a.hlt();
        }
        else
        {
            a.Label(ref loop);
            a.call(drain);
        }
        a.jmp(loop);
    }

    private static void Out(Assembler a, short port, int value)
    {
        a.mov(dx, port);
        a.mov(al, unchecked((sbyte)value));
        a.@out(dx, al);
    }
}
