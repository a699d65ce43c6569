using System.Globalization;
using Iced.Intel;
using Ringfence.Machine;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Breakpoints in code, of both kinds, and the guest's own beside them.</summary>
public sealed class BreakpointTests
{
    private const int Rcx = 2;

    [Theory]
    [InlineData("0", "swbreak:;")]
    [InlineData("1", "hwbreak:;")]
    public void ABreakpointStopsBeforeItsInstructionEachTime(string kind, string reason)
    {
        using GuestCode code = new(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 5);
            a.Label(ref again);
            a.nop();
            a.Place("middle");
            a.dec(rcx);
            a.jnz(again);
            a.Exit(3);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        ulong before = gdb.Memory(code["middle"], 8);
        for (ulong left = 5; left > 0; left--)
        {
            gdb.Point("Z" + kind, code["middle"]);
            Assert.Equal("T05thread:1;" + reason, gdb.Ask("vCont;c"));
            Assert.Equal((left, code["middle"]), (gdb.Register(Rcx), gdb.Rip));
            Assert.Equal(before, gdb.Memory(code["middle"], 8));
            // As debuggers do: taken out for the step over it.
            gdb.Point("z" + kind, code["middle"]);
            gdb.Step();
        }
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 7), machine.WaitForEnd());
    }

    [Fact]
    public void AStepPassesOverABreakpointAtItsOwnInstruction()
    {
        using GuestCode code = new(a =>
        {
            a.Place("first");
            a.nop();
            a.Place("second");
            a.nop();
            a.Exit(3);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.Point("Z0", code["first"]);
        gdb.Point("Z0", code["second"]);
        Assert.Contains("swbreak", gdb.Ask("vCont;c"), StringComparison.Ordinal);
        Assert.Equal(code["second"], gdb.Step());
        Assert.Equal("W00", Continue(gdb, code["second"]));
    }

    /// <summary>A page has one place for each of its addresses: at an alias that is not mapped yet a breakpoint waits, and the same code elsewhere runs by.</summary>
    [Fact]
    public void ABreakpointIsAtAnAddressThatNeedNotBeMappedYet()
    {
        const ulong Alias = 0xFFFF_FF00_0000_0000;
        using GuestCode code = new(a =>
        {
            Label place = a.CreateLabel();
            Label done = a.CreateLabel();
            a.xor(ebx, ebx);
            a.Place("place", ref place);
            a.inc(ebx);
            a.cmp(ebx, 2);
            a.je(done);
            // PML4 entry 510 becomes a copy of entry 0.
            a.mov(rax, cr3);
            a.mov(rdx, __qword_ptr[rax]);
            a.mov(__qword_ptr[rax + (510 * 8)], rdx);
            a.mov(rdx, Alias);
            a.lea(rax, __[place]);
            a.add(rax, rdx);
            a.jmp(rax);
            a.Label(ref done);
            a.Exit(3);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        ulong there = code["place"] + Alias;
        // Zeroes before the first instruction, for the sake of gdb; then it is told.
        Assert.Equal(0UL, gdb.Memory(there, 8));
        gdb.Step();
        Assert.Equal("E0e", gdb.Ask(string.Create(CultureInfo.InvariantCulture, $"m{there:x},1")));
        gdb.RunTo(there);
        Assert.Equal(1UL, gdb.Register(1));
        Assert.Equal(gdb.Memory(code["place"], 8), gdb.Memory(there, 8));
        Assert.Equal("W00", gdb.Ask("vCont;c"));
    }

    /// <summary>INT3 in the guest is the guest's, and so are its debug registers.</summary>
    [Fact]
    public void TheGuestsOwnBreakpointsAreItsOwn()
    {
        using GuestCode code = new(a =>
        {
            Label breakpoint = a.CreateLabel();
            Label debug = a.CreateLabel();
            Label watched = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.Gate(3, breakpoint);
            a.Gate(1, debug);
            a.xor(ebx, ebx);
            a.int3();
            a.lea(rax, __[watched]);
            a.mov(dr0, rax);
            a.mov(eax, 1);
            a.mov(dr7, rax);
            a.nop();
            a.Place("watched", ref watched);
            a.nop();
            a.Place("end");
            a.mov(eax, ebx);
            a.@out(unchecked((byte)0xF4), al);
            a.Label(ref breakpoint);
            a.inc(ebx);
            a.iretq();
            a.Place("debug", ref debug);
            a.add(ebx, 4);
            a.or(__dword_ptr[rsp + 16], 0x1_0000);
            a.iretq();
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.Point("Z1", code["debug"]);
        Assert.Contains("hwbreak", gdb.Ask("vCont;c"), StringComparison.Ordinal);
        Assert.Equal(1UL, gdb.Register(1));
        gdb.Point("z1", code["debug"]);
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 11), machine.WaitForEnd());
    }

    [Fact]
    public void CodeThatADebuggerChangesRunsChanged()
    {
        using GuestCode code = new(a =>
        {
            Label again = a.CreateLabel();
            a.mov(ecx, 100);
            a.Place("value", ref again);
            a.mov(eax, 1);
            a.dec(ecx);
            a.Place("loop");
            a.jnz(again);
            a.@out(unchecked((byte)0xF4), al);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["loop"]);
        Assert.Equal("OK", gdb.Ask(string.Create(CultureInfo.InvariantCulture, $"M{code["value"] + 1:x},1:05")));
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 11), machine.WaitForEnd());
    }

    [Fact]
    public void RegistersThatADebuggerChangesAreTheGuests()
    {
        using GuestCode code = new(a =>
        {
            a.Place("here");
            a.mov(eax, ecx);
            a.movd(edx, xmm3);
            a.add(eax, edx);
            a.@out(unchecked((byte)0xF4), al);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["here"]);
        int xmmNumber = new GdbRegisters(16).All.ToList().FindIndex(r => r.Name == "xmm3");
        int cr4Number = new GdbRegisters(16).All.ToList().FindIndex(r => r.Name == "cr4");
        int width = gdb.Ask("qXfer:features:read:target.xml:0,3fff").Contains("i386.avx", StringComparison.Ordinal) ? 16 : 0;
        Assert.Equal("OK", gdb.Ask("P2=0500000000000000"));
        Assert.Equal("OK", gdb.Ask($"P{xmmNumber:x}=06000000000000000000000000000000"));
        ulong value = gdb.Register(cr4Number + width) | 0x600;
        Assert.Equal("OK", gdb.Ask($"P{cr4Number + width:x}={Convert.ToHexStringLower(BitConverter.GetBytes(value))}"));
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 23), machine.WaitForEnd());
    }

    private static string Continue(GdbClient gdb, ulong over)
    {
        gdb.Point("z0", over);
        return gdb.Ask("vCont;c");
    }
}
