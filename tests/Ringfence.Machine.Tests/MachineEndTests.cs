using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>Every way in which a guest ends its machine.</summary>
public sealed class MachineEndTests
{
    // Where there is nothing, and so an interrupt table pointer that leads to none: below the boot sector, and after the multiboot image.
    private const int LowZeroes = 0x600;
    private const int HighZeroes = 0x10_8000;
    private const int PageDirectory = 0x10_C000;

    [Fact]
    public void AcpiPowersOff() => Expect(MachineEndKind.PoweredOff, a =>
    {
        // PM1a control: SLP_TYP 5, SLP_EN.
        a.mov(dx, 0x604);
        a.mov(ax, (5 << 10) | (1 << 13));
        a.@out(dx, ax);
    });

    [Fact]
    public void TheWordShutdownPowersOff() => Expect(MachineEndKind.PoweredOff, a =>
    {
        a.mov(dx, 0x8900);
        // "Shut" that is not followed up must not disturb the word that is.
        foreach (char c in "ShutShutdown")
        {
            a.mov(al, (sbyte)c);
            a.@out(dx, al);
        }
    });

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 3)]
    [InlineData(0x10, 0x21)]
    [InlineData(0x7F, 0xFF)]
    public void TheDebugExitPortGivesACode(int value, int code)
    {
        MachineEnd end = Expect(MachineEndKind.DebugExit, a =>
        {
            a.mov(al, (sbyte)value);
            a.@out((byte)GuestImage.DebugExitPort, al);
        });
        Assert.Equal(code, end.Code);
    }

    [Fact]
    public void WithoutADebugExitPortTheWriteIsNothing()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            a.mov(al, 3);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.cli();
            a.hlt();
        });
        Assert.Equal(MachineEndKind.Halted, Machines.RunToEnd(image.Spec() with { DebugExitPort = null }).Kind);
    }

    [Theory]
    [InlineData(0xCF9, 0x06)]
    [InlineData(0xCF9, 0x0E)]
    [InlineData(0x64, 0xFE)]
    [InlineData(0x92, 0x01)]
    public void ResetPortsResetWhichMayBeTheEnd(int port, int value) => Expect(MachineEndKind.Reset, a =>
    {
        a.mov(dx, (short)port);
        a.mov(al, unchecked((sbyte)value));
        a.@out(dx, al);
    });

    /// <summary>PCI's address register lies around the reset register, which only answers to bytes.</summary>
    [Fact]
    public void LookingForPciDoesNotReset() => Expect(MachineEndKind.Halted, a =>
    {
        a.mov(dx, 0xCF8);
        a.mov(eax, unchecked((int)0x8000_0E00));
        a.@out(dx, eax);
        a.@out(dx, ax);
        a.@in(eax, dx);
        Label present = a.CreateLabel();
        a.cmp(eax, -1);
        a.jne(present);
        a.cli();
        a.hlt();
        a.Label(ref present);
        a.nop();
    });

    [Fact]
    public void HaltWithInterruptsOffIsForGood() => Expect(MachineEndKind.Halted, a =>
    {
        a.cli();
        a.hlt();
    });

    [Fact]
    public void ABiosCallReturns() => Expect(MachineEndKind.Halted, a =>
    {
        // There is no BIOS, but a call of one comes back.
        a.mov(ah, 0x0E);
        a.@int(0x10);
        a.cli();
        a.hlt();
    });

    /// <summary>There is no BIOS, but its interrupt handlers end the interrupts of both controllers: the timer's comes again and again.</summary>
    [Fact]
    public void InterruptsInRealModeAreEnded()
    {
        MachineEnd end = Expect(MachineEndKind.DebugExit, a =>
        {
            // The master at 08h with only the timer let through, 1193 Hz.
            foreach ((byte port, byte value) in ((byte, byte)[])
                [(0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xFE), (0x43, 0x34), (0x40, 0xE8), (0x40, 0x03)])
            {
                a.mov(al, unchecked((sbyte)value));
                a.@out(port, al);
            }
            Label again = a.CreateLabel();
            a.mov(cx, 5);
            a.Label(ref again);
            a.sti();
            a.hlt();
            a.loop(again);
            a.@int(0x70);
            a.mov(al, 5);
            a.@out((byte)GuestImage.DebugExitPort, al);
        });
        Assert.Equal(11, end.Code);
    }

    [Fact]
    public void ATripleFaultInRealModeIsReported()
    {
        Assert.SkipWhen(EngineUnderTest.EmulatesSupervisor, "this host's KVM emulates real mode, and takes interrupts in it without looking at IDTR's limit");
        MachineEnd end = Expect(MachineEndKind.TripleFault, a =>
        {
            a.mov(ebx, 0x1234_5678);
            a.lidt(__[LowZeroes]);
            a.ud2();
        });
        Assert.Contains("triple fault on CPU 0: #UD(0) at 0:7c", end.Report!, StringComparison.Ordinal);
        Assert.Contains("#GP", end.Report!, StringComparison.Ordinal);
        Assert.Contains("#DF", end.Report!, StringComparison.Ordinal);
        Assert.Contains("RBX=0000000012345678", end.Report!, StringComparison.Ordinal);
        Assert.Contains("0f0b  ud2", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void ATripleFaultInProtectedModeIsReported()
    {
        MachineEnd end = ExpectMultiboot(MachineEndKind.TripleFault, a =>
        {
            a.lidt(__[HighZeroes]);
            a.xor(ecx, ecx);
            a.mov(eax, 0x55);
            a.div(ecx);
        });
        Assert.Contains("#DE", end.Report!, StringComparison.Ordinal);
        Assert.Contains("RAX=0000000000000055", end.Report!, StringComparison.Ordinal);
        Assert.Contains("f7f1  div ecx", end.Report!, StringComparison.Ordinal);
        Assert.Contains("RIP=0000000000100", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void APageFaultThatNobodyCanHandleIsReportedWithItsAddress()
    {
        MachineEnd end = ExpectMultiboot(MachineEndKind.TripleFault, a =>
        {
            a.lidt(__[HighZeroes]);
            // The first 4 MiB, and nothing else.
            a.mov(__dword_ptr[PageDirectory], 0x83);
            a.mov(eax, PageDirectory);
            a.mov(cr3, eax);
            a.mov(eax, cr4);
            a.or(eax, 0x10);
            a.mov(cr4, eax);
            a.mov(eax, cr0);
            a.or(eax, unchecked((int)0x8000_0000));
            a.mov(cr0, eax);
            a.mov(__dword_ptr[0x0ABC_DEF0], eax);
        });
        Assert.Contains("#PF(2)", end.Report!, StringComparison.Ordinal);
        Assert.Contains("cr2=abcdef0", end.Report!, StringComparison.Ordinal);
        Assert.Contains("CR2=000000000abcdef0", end.Report!, StringComparison.Ordinal);
        Assert.Contains("a3f0debc0a  mov [0ABCDEF0h],eax", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void ATripleFaultInLongModeIsReported()
    {
        MachineEnd end = Check(MachineEndKind.TripleFault, GuestImage.LongMode(Fenced(a =>
        {
            a.lidt(__[HighZeroes]);
            a.mov(r15, 0xFFFF_8000_1234_5678);
            a.mov(__qword_ptr[r15 + 0x10], rax);
        })));
        Assert.Contains("#PF(2)", end.Report!, StringComparison.Ordinal);
        Assert.Contains("cr2=ffff800012345688", end.Report!, StringComparison.Ordinal);
        Assert.Contains("R15=ffff800012345678", end.Report!, StringComparison.Ordinal);
        Assert.Contains("49894710  mov [r15+10h],rax", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void AReportSaysWhenTheInstructionCannotBeRead()
    {
        MachineEnd end = ExpectMultiboot(MachineEndKind.TripleFault, a =>
        {
            a.lidt(__[HighZeroes]);
            // Beyond RAM, and no device there: all ones, which is no instruction.
            a.mov(eax, 0xE000_0000);
            a.jmp(eax);
        });
        Assert.Contains("RIP=00000000e0000000", end.Report!, StringComparison.Ordinal);
        Assert.Contains("10:e0000000: the instruction cannot be read", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void TheFirstEndCounts()
    {
        MachineEnd end = Expect(MachineEndKind.DebugExit, a =>
        {
            a.mov(al, 5);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.mov(al, 6);
            a.@out((byte)GuestImage.DebugExitPort, al);
            a.cli();
            a.hlt();
        });
        Assert.Equal(11, end.Code);
    }

    /// <summary>A BIOS would have left the interrupt controllers with IRQ 0 to 2 let through; the timer's request is there in 55 ms.</summary>
    [Fact]
    public void AMultibootKernelFindsWhatABiosLeaves()
    {
        MachineEnd end = ExpectMultiboot(MachineEndKind.DebugExit, a =>
        {
            Label wait = a.CreateLabel();
            a.@in(al, 0x21);
            a.mov(bl, al);
            a.mov(al, 0x0A);
            a.@out(0x20, al);
            a.Label(ref wait);
            a.@in(al, 0x20);
            a.test(al, 1);
            a.jz(wait);
            a.mov(al, bl);
            a.@out(unchecked((byte)GuestImage.DebugExitPort), al);
        });
        Assert.Equal((0xF8 << 1) | 1, end.Code);
    }

    private static MachineEnd Expect(MachineEndKind kind, Action<Assembler> code) => Check(kind, GuestImage.BootSector(Fenced(code)));

    private static MachineEnd ExpectMultiboot(MachineEndKind kind, Action<Assembler> code) => Check(kind, GuestImage.Multiboot(Fenced(code)));

    private static MachineEnd Check(MachineEndKind kind, GuestImage image)
    {
        MachineEnd end = Machines.RunToEnd(image);
        Assert.True(kind == end.Kind, $"{end.Kind} instead of {kind} {end.Report}");
        return end;
    }

    /// <summary>A guest that goes on where it should have ended stays in a loop until the test gives up.</summary>
    private static Action<Assembler> Fenced(Action<Assembler> code) => a =>
    {
        code(a);
        Label forever = a.CreateLabel();
        a.Label(ref forever);
        a.jmp(forever);
    };
}
