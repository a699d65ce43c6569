using System.Globalization;
using Ringfence.Machine;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Watchpoints stop after the instruction that made the access, whichever kind it is.</summary>
public sealed class WatchpointTests
{
    private const uint Watched = GuestCode.Data + 0x100;

    /// <summary>Accesses to the four bytes at <see cref="Watched"/>, and beside them.</summary>
    private static GuestCode Accesses() => new(a =>
    {
        a.mov(rax, cr4);
        a.or(eax, 0x600);
        a.mov(cr4, rax);
        a.mov(esp, Watched + 16);
        a.mov(ebx, Watched);
        a.mov(ecx, 1);
        a.Place("start");
        a.mov(__dword_ptr[rbx - 4], ecx);
        a.mov(__dword_ptr[rbx + 4], ecx);
        a.mov(__dword_ptr[rbx], ecx);
        a.Place("after write");
        a.mov(edx, __dword_ptr[rbx]);
        a.Place("after read");
        a.mov(dl, __byte_ptr[rbx + 3]);
        a.Place("after last byte read");
        a.mov(dl, __byte_ptr[rbx + 4]);
        a.inc(__dword_ptr[rbx]);
        a.Place("after inc");
        a.@lock.add(__dword_ptr[rbx], ecx);
        a.Place("after locked add");
        a.xchg(__dword_ptr[rbx], ecx);
        a.Place("after xchg");
        a.push(rcx);
        a.push(rcx);
        a.Place("after push");
        a.movups(__xmmword_ptr[rbx - 14], xmm0);
        a.Place("after vector store");
        a.lea(rdi, __[rbx - 2]);
        a.mov(ecx, 4);
        a.Place("rep");
        a.rep.stosb();
        a.Place("after rep");
        a.Exit(3);
    });

    [Fact]
    public void EveryWriteIsSeen() => Check(
        "Z2", "watch",
        ["after write", "after inc", "after locked add", "after xchg", "after push", "after vector store", "rep", "after rep"]);

    [Fact]
    public void EveryReadIsSeen() => Check(
        "Z3", "rwatch", ["after read", "after last byte read", "after inc", "after locked add", "after xchg"]);

    [Fact]
    public void EveryAccessIsSeen() => Check(
        "Z4", "awatch",
        [
            "after write", "after read", "after last byte read", "after inc", "after locked add", "after xchg", "after push", "after vector store", "rep",
            "after rep",
        ]);

    [Fact]
    public void AStepOverAnAccessTellsOfTheAccess()
    {
        using GuestCode code = Accesses();
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["start"]);
        gdb.Point("Z2", Watched, 4);
        Assert.Equal("T05thread:1;", gdb.Ask("vCont;s:1"));
        Assert.Equal("T05thread:1;", gdb.Ask("vCont;s:1"));
        Assert.Contains("watch:", gdb.Ask("vCont;s:1"), StringComparison.Ordinal);
        Assert.Equal(code["after write"], gdb.Rip);
    }

    [Fact]
    public void DeliveringAnInterruptIsAnAccessToo()
    {
        using GuestCode code = new(a =>
        {
            Iced.Intel.Label handler = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(6, handler);
            a.mov(esp, Watched + 16);
            a.Place("ud2");
            a.ud2();
            a.Place("handler", ref handler);
            a.Exit(1);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["ud2"]);
        gdb.Point("Z2", Watched, 4);
        Assert.Contains("watch:", gdb.Ask("vCont;c"), StringComparison.Ordinal);
        Assert.Equal(code["handler"], gdb.Rip);
    }

    private static void Check(string kind, string name, string[] places)
    {
        using GuestCode code = Accesses();
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["start"]);
        gdb.Point(kind, Watched, 4);
        foreach (string place in places)
        {
            string reply = gdb.Ask("vCont;c");
            Assert.Equal((place, string.Create(CultureInfo.InvariantCulture, $"T05thread:1;{name}:{Watched:x};")), (place, reply));
            ulong rip = gdb.Rip;
            if (place is "rep")
            {
                // One element of several, and then more: it stays where it is until all are done.
                while (rip == code["rep"])
                {
                    reply = gdb.Ask("vCont;c");
                    Assert.Contains(name, reply, StringComparison.Ordinal);
                    rip = gdb.Rip;
                }
                Assert.Equal(code["after rep"], rip);
                break;
            }
            Assert.Equal((place, code[place]), (place, rip));
        }
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 7), machine.WaitForEnd());
    }
}
