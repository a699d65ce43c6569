using Iced.Intel;
using Ringfence.Machine;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Single steps of every kind of instruction that a step could get wrong.</summary>
public sealed class SteppingTests
{
    private const int Rax = 0;
    private const int Rcx = 2;

    [Fact]
    public void EachStepIsOneInstruction()
    {
        using GuestCode code = new(a =>
        {
            Label interrupt = a.CreateLabel();
            Label call = a.CreateLabel();
            Label function = a.CreateLabel();
            Label over = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(0x80, interrupt);
            // STAR, LSTAR and EFER.SCE: SYSCALL stays at privilege level 0 here.
            a.mov(ecx, 0xC000_0080);
            a.rdmsr();
            a.or(eax, 1);
            a.wrmsr();
            a.mov(ecx, 0xC000_0081);
            a.mov(edx, cs);
            a.xor(eax, eax);
            a.wrmsr();
            a.mov(ecx, 0xC000_0082);
            a.lea(rax, __[call]);
            a.xor(edx, edx);
            a.wrmsr();
            a.Place("0 alu");
            a.add(rax, 1);
            a.Place("1 mov ss");
            a.mov(eax, ss);
            a.mov(ss, ax);
            a.Place("2 after mov ss");
            a.nop();
            a.Place("3 sti");
            a.sti();
            a.Place("4 after sti");
            a.nop();
            a.Place("5 cli");
            a.cli();
            a.Place("6 int");
            a.@int(0x80);
            a.Place("8 syscall");
            a.syscall();
            a.Place("10 call");
            a.call(function);
            a.Place("12 push");
            a.push(rax);
            a.Place("13 pushfq");
            a.pushfq();
            a.Place("14 popfq");
            a.popfq();
            a.Place("15 jump taken");
            a.jmp(over);
            a.hlt();
            a.Place("16 cpuid", ref over);
            a.cpuid();
            a.Place("17 end");
            a.Exit(5);
            a.Place("7 iretq", ref interrupt);
            a.iretq();
            a.Place("9 jmp back", ref call);
            a.jmp(rcx);
            a.Place("11 ret", ref function);
            a.ret();
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        Assert.Equal(GuestCode.Start, gdb.Rip);
        gdb.RunTo(code["0 alu"]);
        Assert.Equal(code["1 mov ss"], gdb.Step());
        gdb.Step();
        string[] order =
        [
            "2 after mov ss", "3 sti", "4 after sti", "5 cli", "6 int", "7 iretq", "8 syscall", "9 jmp back", "10 call", "11 ret", "12 push", "13 pushfq",
            "14 popfq", "15 jump taken", "16 cpuid", "17 end",
        ];
        foreach (string next in order)
        {
            Assert.Equal((next, code[next]), (next, gdb.Step()));
        }
        // The guest sees nothing of it: TF was in no pushed flags.
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 11), machine.WaitForEnd());
    }

    [Fact]
    public void AStepOfARepeatedInstructionIsOneElement()
    {
        using GuestCode code = new(a =>
        {
            a.mov(edi, GuestCode.Data);
            a.mov(ecx, 3);
            a.mov(eax, 0x55);
            a.Place("rep");
            a.rep.stosb();
            a.Place("after");
            a.Exit(1);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["rep"]);
        Assert.Equal(code["rep"], gdb.Step());
        Assert.Equal(2UL, gdb.Register(Rcx));
        Assert.Equal(0x55UL, gdb.Memory(GuestCode.Data, 2));
        Assert.Equal(code["rep"], gdb.Step());
        Assert.Equal(code["after"], gdb.Step());
        Assert.Equal(0x555555UL, gdb.Memory(GuestCode.Data, 4));
        Assert.Equal(0UL, gdb.Register(Rcx));
    }

    [Fact]
    public void AStepThatFaultsEndsAtTheHandler()
    {
        using GuestCode code = new(a =>
        {
            Label handler = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(6, handler);
            a.Place("ud2");
            a.ud2();
            a.Place("handler", ref handler);
            a.Exit(1);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["ud2"]);
        Assert.Equal(code["handler"], gdb.Step());
        Assert.Equal(code["ud2"], gdb.Memory(GuestCode.StackTop - 40, 8));
    }

    /// <summary>Interrupts wait while one steps, or every step would end in the timer's handler; a halted processor takes the one that wakes it.</summary>
    [Fact]
    public void InterruptsWaitForStepsButWakeTheHalted()
    {
        using GuestCode code = new(a =>
        {
            Label handler = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(0x40, handler);
            // The local APIC on, and an interrupt to itself, which is pending before IF is set.
            a.mov(edi, 0xFEE0_00F0);
            a.mov(__dword_ptr[rdi], 0x1FF);
            a.mov(edi, 0xFEE0_0300);
            a.mov(__dword_ptr[rdi], 0x4_0040);
            a.Place("sti");
            a.sti();
            a.Place("1");
            a.nop();
            a.Place("2");
            a.nop();
            a.Place("hlt");
            a.hlt();
            a.Place("woken");
            a.Exit(1);
            a.Place("handler", ref handler);
            a.mov(edi, 0xFEE0_00B0);
            a.mov(__dword_ptr[rdi], 0);
            a.Place("iretq");
            a.iretq();
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["sti"]);
        Assert.Equal(code["1"], gdb.Step());
        Assert.Equal(code["2"], gdb.Step());
        Assert.Equal(code["hlt"], gdb.Step());
        Assert.Equal(code["woken"], gdb.Step());
        Assert.Equal(code["handler"], gdb.Step());
        gdb.RunTo(code["iretq"]);
        Assert.Equal(code["woken"], gdb.Step());
    }

    /// <summary>TF belongs to the guest: its #DB comes though a debugger steps, and does not come because one does.</summary>
    [Fact]
    public void TheGuestsOwnSingleStepGoesOn()
    {
        using GuestCode code = new(a =>
        {
            Label handler = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(1, handler);
            a.pushfq();
            a.or(__dword_ptr[rsp], 0x100);
            a.Place("popfq");
            a.popfq();
            a.Place("traced");
            a.mov(eax, 7);
            a.Place("after");
            a.Exit(1);
            a.Place("handler", ref handler);
            a.and(__dword_ptr[rsp + 16], ~0x100);
            a.iretq();
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["popfq"]);
        Assert.Equal(code["traced"], gdb.Step());
        Assert.Equal(code["handler"], gdb.Step());
        Assert.Equal(7UL, gdb.Register(Rax));
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 3), machine.WaitForEnd());
    }
}
