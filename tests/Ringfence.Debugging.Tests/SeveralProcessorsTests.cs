using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Four processors: when one stops all do, and each can be moved alone.</summary>
public sealed class SeveralProcessorsTests
{
    private const int Vcpus = 4;
    /// <summary>Where the others begin, by SIPI vector 8.</summary>
    private const uint Trampoline = 0x8000;
    /// <summary>One for each processor, four bytes apart, where real mode can reach it.</summary>
    private const uint Counters = 0x9000;

    /// <summary>Each processor counts in a place of its own: the first in 64-bit mode, the others in real mode.</summary>
    private static GuestCode Counting(out uint loop)
    {
        byte[] code = RealModeCounter(out loop);
        return new GuestCode(a =>
        {
            Label from = a.CreateLabel();
            Label spin = a.CreateLabel();
            a.mov(esp, GuestCode.StackTop);
            a.lea(rsi, __[from]);
            a.mov(edi, Trampoline);
            a.mov(ecx, code.Length);
            a.rep.movsb();
            // The local APIC on; INIT and SIPI to all others.
            a.mov(edi, 0xFEE0_00F0);
            a.mov(__dword_ptr[rdi], 0x1FF);
            a.mov(edi, 0xFEE0_0300);
            a.mov(__dword_ptr[rdi], 0xC_4500);
            a.mov(__dword_ptr[rdi], 0xC_4608);
            a.mov(ebx, Counters);
            a.Place("spin", ref spin);
            a.inc(__dword_ptr[rbx]);
            a.Place("jump");
            a.jmp(spin);
            a.Label(ref from);
            a.db(code);
        });
    }

    private static byte[] RealModeCounter(out uint loop)
    {
        var a = new Assembler(16);
        Label again = a.CreateLabel();
        a.xor(ax, ax);
        a.mov(ds, ax);
        a.mov(eax, 1);
        a.cpuid();
        a.shr(ebx, 24);
        a.shl(bx, 2);
        a.add(bx, unchecked((short)Counters));
        a.Label(ref again);
        a.inc(__dword_ptr[bx]);
        a.jmp(again);
        using MemoryStream stream = new();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), 0, BlockEncoderOptions.ReturnNewInstructionOffsets);
        loop = (uint)result.GetLabelRIP(again);
        return stream.ToArray();
    }

    private static uint[] Peek(DebuggedMachine machine) => [.. Enumerable.Range(0, Vcpus).Select(i => machine.Peek(Counters + (4 * (uint)i)))];

    [Fact]
    public void WhenOneStopsAllStopAndEachIsAThread()
    {
        using GuestCode code = Counting(out uint loop);
        using DebuggedMachine machine = new(code.Image.Spec() with { Cpus = Vcpus });
        using GdbClient gdb = machine.Connect();
        Assert.Equal("m1,2,3,4", gdb.Ask("qfThreadInfo"));
        Assert.Equal("CPU 3 [waiting for SIPI]", System.Text.Encoding.ASCII.GetString(Convert.FromHexString(gdb.Ask("qThreadExtraInfo,4"))));

        // In the code of the others, by linear address: CS is 0x800.
        gdb.Point("Z1", Trampoline + loop);
        string stop = gdb.Ask("vCont;c");
        Assert.Matches("^T05thread:[234];hwbreak:;$", stop);
        gdb.Point("z1", Trampoline + loop);
        AssertStandsStill(machine);

        gdb.Tell("vCont;c");
        GdbClient.Await(() => Peek(machine).All(count => count > 1000));
        Assert.StartsWith("T02", gdb.Interrupt(), StringComparison.Ordinal);
        uint[] counts = AssertStandsStill(machine);

        // One moves, the others do not.
        for (int i = 0; i < 4; i++)
        {
            gdb.Step(3);
        }
        uint[] after = Peek(machine);
        Assert.Equal(2U, after[2] - counts[2]);
        Assert.Equal((counts[0], counts[1], counts[3]), (after[0], after[1], after[3]));

        // One steps, the others run on meanwhile, or may.
        Assert.StartsWith("T05thread:2;", gdb.Ask("vCont;s:2;c"), StringComparison.Ordinal);
        AssertStandsStill(machine);

        // A breakpoint that all of them reach: each time someone is told of.
        gdb.Point("Z0", Trampoline + loop);
        HashSet<string> met = [];
        for (int i = 0; i < 200 && met.Count < 3; i++)
        {
            stop = gdb.Ask("vCont;c");
            Assert.Contains("swbreak", stop, StringComparison.Ordinal);
            met.Add(stop);
            // As debuggers do.
            gdb.Point("z0", Trampoline + loop);
            gdb.Step(stop["T05thread:".Length] - '0');
            gdb.Point("Z0", Trampoline + loop);
        }
        Assert.Equal(3, met.Count);

        // Let go, all go on.
        Assert.Equal("OK", gdb.Ask("D"));
        counts = Peek(machine);
        GdbClient.Await(() => Peek(machine).Zip(counts).All(pair => pair.First > pair.Second + 1000));
    }

    [Fact]
    public void AWatchpointSeesEveryProcessor()
    {
        using GuestCode code = Counting(out _);
        using DebuggedMachine machine = new(code.Image.Spec() with { Cpus = Vcpus });
        using GdbClient gdb = machine.Connect();
        for (uint i = 0; i < Vcpus; i++)
        {
            gdb.Point("Z2", Counters + (4 * i), 4);
            string stop = gdb.Ask("vCont;c");
            Assert.Equal($"T05thread:{i + 1};watch:{Counters + (4 * i):x};", stop);
            AssertStandsStill(machine);
            gdb.Point("z2", Counters + (4 * i), 4);
        }
    }

    private static uint[] AssertStandsStill(DebuggedMachine machine)
    {
        uint[] counts = Peek(machine);
        Thread.Sleep(50);
        Assert.Equal(counts, Peek(machine));
        return counts;
    }
}
