using System.Text;
using System.Xml.Linq;
using Ringfence.Engine;

namespace Ringfence.Debugging.Tests;

/// <summary>What a session answers and asks of its target (GDB manual E.2 to E.10).</summary>
public sealed class SessionTests
{
    private readonly FakeTarget _target = new();
    private readonly List<byte> _sent = [];
    private readonly GdbSession _session;

    public SessionTests()
    {
        _session = new GdbSession(_target, _sent.AddRange);
        Assert.Equal("OK", Ask("QStartNoAckMode"));
    }

    [Fact]
    public void PacketsAreAcknowledgedUntilToldOtherwise()
    {
        List<byte> sent = [];
        GdbSession session = new(_target, sent.AddRange);
        session.Receive("$?#00"u8);
        Assert.Equal("-", Text(sent));
        sent.Clear();
        session.Receive("$?#3f"u8);
        Assert.Equal("+$T05thread:1;#d7", Text(sent));
        sent.Clear();
        session.Receive("-"u8);
        Assert.Equal("$T05thread:1;#d7", Text(sent));
        session.Receive(Packets.Frame("QStartNoAckMode"u8));
        sent.Clear();
        session.Receive("+$?#3f$?#00"u8);
        Assert.Equal("$T05thread:1;#d7", Text(sent));
    }

    [Fact]
    public void WhatIsNotUnderstoodIsAnsweredWithNothing()
    {
        foreach (string packet in new[] { "vMustReplyEmpty", "qUnheard", "QUnheard:1", "!", "b", "Z5,0,1", "vUnheard;1", "R00" })
        {
            Assert.Equal("", Ask(packet));
        }
    }

    [Fact]
    public void TheDescriptionNamesAllRegistersInTheOrderInWhichTheyTravel()
    {
        foreach (int width in new[] { 16, 32, 64 })
        {
            GdbRegisters registers = new(width);
            XElement xml = XDocument.Parse(registers.Description.Replace("<!DOCTYPE target SYSTEM \"gdb-target.dtd\">", "", StringComparison.Ordinal)).Root!;
            Assert.Equal("i386:x86-64", xml.Element("architecture")!.Value);
            Assert.Equal(registers.All.Select(r => r.Name), xml.Descendants("reg").Select(r => r.Attribute("name")!.Value));
            string[] features = [.. xml.Elements("feature").Select(f => f.Attribute("name")!.Value)];
            Assert.Equal((width >= 32, width == 64), (features.Contains("org.gnu.gdb.i386.avx"), features.Contains("org.gnu.gdb.i386.avx512")));
            Assert.Equal(registers.All.Sum(r => r.Bytes), registers.Save(_target.States[0]).Length);
        }
    }

    [Fact]
    public void TheDescriptionIsReadInPieces()
    {
        StringBuilder read = new();
        for (string piece = "m"; piece[0] == 'm'; read.Append(piece[1..]))
        {
            piece = Ask($"qXfer:features:read:target.xml:{read.Length:x},ffb");
        }
        Assert.Equal(new GdbRegisters(16).Description, read.ToString());
        Assert.Equal("E16", Ask("qXfer:features:read:target.xml:fffff,10"));
    }

    [Fact]
    public void EveryRegisterKeepsWhatIsWrittenToIt()
    {
        Random random = new(2);
        GdbRegisters registers = new(32);
        // Real mode, where selectors may be set.
        VcpuState state = new();
        byte[] values = registers.Save(state);
        int at = 0;
        foreach (GdbRegister register in registers.All)
        {
            Span<byte> value = values.AsSpan(at, register.Bytes);
            if (register.Name is not ("eflags" or "ftag" or "fop" or "mxcsr" or "cr8" or "cr0") && register.Type != "int32")
            {
                random.NextBytes(value);
                if (register.Name is "fctrl" or "fstat" or "fiseg" or "foseg")
                {
                    value[2..].Clear();
                }
            }
            at += register.Bytes;
        }
        state = registers.Load(state, values)!;
        byte[] again = registers.Save(state);
        at = 0;
        foreach (GdbRegister register in registers.All)
        {
            // Tags follow the contents of the registers.
            if (register.Name != "ftag")
            {
                Assert.True(values.AsSpan(at, register.Bytes).SequenceEqual(again.AsSpan(at, register.Bytes)), register.Name);
            }
            at += register.Bytes;
        }
    }

    [Fact]
    public void OneRegisterIsReadAndWritten()
    {
        Assert.Equal("OK", Ask("P1=efcdab8967452301"));
        Assert.Equal(0x0123_4567_89AB_CDEFUL, _target.States[0].Registers[3]);
        Assert.Equal("efcdab8967452301", Ask("p1"));
        Assert.Equal("E16", Ask("P1=ef"));
        Assert.Equal("E16", Ask("pffff"));
        _target.RefusesState = true;
        Assert.Equal("E16", Ask("P1=0000000000000000"));
    }

    [Fact]
    public void AllRegistersAreReadAndWritten()
    {
        string all = Ask("g");
        Assert.Equal(new GdbRegisters(16).Save(_target.States[0]).Length * 2, all.Length);
        Assert.Equal("OK", Ask("G" + "11" + all[2..]));
        Assert.Equal(0x11UL, _target.States[0].Registers[0]);
        Assert.Equal("E16", Ask("G112"));
        Assert.Equal("E16", Ask("G11"));
    }

    [Fact]
    public void TagsAreWrittenOut()
    {
        // ST(0) is physical register 7: zero. Physical register 0 is 1.0; the others are empty.
        FpuState fpu = new() { StatusWord = 7 << 11, Tags = 0x81 };
        fpu.Stack[1] = new X87Register(1UL << 63, 0x3FFF);
        Assert.Equal(0x7FFCu, X87Registers.FullTags(fpu));
    }

    [Fact]
    public void MemoryIsReadAndWrittenAsFarAsItGoes()
    {
        Assert.Equal("OK", Ask("M1000,3:010203"));
        Assert.Equal("010203", Ask("m1000,3"));
        Assert.Equal("OK", Ask([.. "X1001,2:"u8, 0xFF, (byte)'#']));
        Assert.Equal("01ff23", Ask("m1000,3"));
        Assert.Equal("b\u0001\u00ff#", Ask("x1000,3"));
        Assert.Equal("00", Ask("m10fff,2"));
        Assert.Equal("E0e", Ask("m11000,1"));
        Assert.Equal("E0e", Ask("mffffffffffffffff,2"));
        Assert.Equal("E0e", Ask("M10fff,2:0000"));
        Assert.Equal("E16", Ask("M1000,2:00"));
        Assert.Equal("OK", Ask("X1000,0:"));
    }

    [Fact]
    public void BreakpointsAndWatchpointsComeAndGo()
    {
        foreach (string point in new[] { "0,1234,1", "1,1234,1", "2,2000,8", "3,2000,4", "4,2000,2" })
        {
            Assert.Equal("OK", Ask("Z" + point));
        }
        Assert.Contains(new DebugPoint(DebugPointKind.Execute, 0x1234), _target.Points);
        Assert.Contains(new DebugPoint(DebugPointKind.Write, 0x2000, 8), _target.Points);
        Assert.Contains(new DebugPoint(DebugPointKind.Read, 0x2000, 4), _target.Points);
        Assert.Contains(new DebugPoint(DebugPointKind.Access, 0x2000, 2), _target.Points);
        _target.Points.RemoveAll(p => p.Kind != DebugPointKind.Execute);
        _target.Points.RemoveAt(0);
        // The place stays as long as one of its two breakpoints does.
        Assert.Equal("OK", Ask("z0,1234,1"));
        Assert.Single(_target.Points);
        Assert.Equal("OK", Ask("z1,1234,1"));
        Assert.Empty(_target.Points);
        Assert.Equal("OK", Ask("z1,1234,1"));
        Assert.Equal("E16", Ask("Z2,1000,ffffffff"));
    }

    [Fact]
    public void VcpusAreThreads()
    {
        Assert.Equal("m1,2", Ask("qfThreadInfo"));
        Assert.Equal("l", Ask("qsThreadInfo"));
        Assert.Equal("QC1", Ask("qC"));
        Assert.Equal("OK", Ask("T2"));
        Assert.Equal("E16", Ask("T3"));
        Assert.Equal("OK", Ask("Hgp1.2"));
        Assert.Equal("0010000000000000", Ask("p10"));
        Assert.Equal("E16", Ask("Hg3"));
        Assert.Equal("OK", Ask("Hc-1"));
        Assert.Equal("CPU 1 [running]", Encoding.ASCII.GetString(Convert.FromHexString(Ask("qThreadExtraInfo,2"))));
    }

    [Theory]
    [InlineData("vCont;c", ResumeAction.Continue, ResumeAction.Continue)]
    [InlineData("vCont;s:2;c", ResumeAction.Continue, ResumeAction.Step)]
    [InlineData("vCont;s:p1.1", ResumeAction.Step, ResumeAction.Stay)]
    [InlineData("vCont;t:1;C05:-1", ResumeAction.Stay, ResumeAction.Continue)]
    [InlineData("c", ResumeAction.Continue, ResumeAction.Continue)]
    [InlineData("s", ResumeAction.Step, ResumeAction.Stay)]
    [InlineData("C05", ResumeAction.Continue, ResumeAction.Continue)]
    [InlineData("S05;2000", ResumeAction.Step, ResumeAction.Stay)]
    public void EachVcpuDoesWhatTheFirstActionForItSays(string packet, object first, object second)
    {
        Assert.Equal("", Ask(packet));
        Assert.Equal([(ResumeAction)first, (ResumeAction)second], _target.Resumed!);
        Assert.Equal(packet.EndsWith(";2000", StringComparison.Ordinal) ? 0x2000UL : 0, _target.States[0].Rip);
    }

    [Theory]
    [InlineData("vCont")]
    [InlineData("vCont;x")]
    [InlineData("vCont;s:9")]
    [InlineData("vCont;C")]
    [InlineData("cxyz")]
    [InlineData("C")]
    public void ActionsThatMakeNoSenseMoveNothing(string packet)
    {
        Assert.Equal("E16", Ask(packet));
        Assert.Null(_target.Resumed);
    }

    [Fact]
    public void StopsSayWhoAndWhy()
    {
        Ask("qSupported:swbreak+;hwbreak+");
        Ask("Z1,1234,1");
        Assert.Equal("T05thread:2;hwbreak:;", Stop(1, new DebugStop(DebugStopKind.Breakpoint, new DebugPoint(DebugPointKind.Execute, 0x1234))));
        Assert.Equal("T05thread:2;hwbreak:;", Ask("?"));
        Ask("Z0,1234,1");
        Assert.Equal("T05thread:1;swbreak:;", Stop(0, new DebugStop(DebugStopKind.Breakpoint, new DebugPoint(DebugPointKind.Execute, 0x1234))));
        Assert.Equal("T05thread:2;watch:ffffffff81000000;", Stop(1, new DebugStop(DebugStopKind.Watchpoint, new DebugPoint(DebugPointKind.Write, 0xFFFF_FFFF_8100_0000))));
        Assert.Equal("T05thread:2;awatch:8;", Stop(1, new DebugStop(DebugStopKind.Watchpoint, new DebugPoint(DebugPointKind.Access, 8))));
        Assert.Equal("T05thread:1;", Stop(0, new DebugStop(DebugStopKind.Step)));
        Ask("vCont;c");
        _target.Stops.Enqueue(new TargetStop(0, new VcpuExit(VcpuExitReason.Shutdown)));
        Assert.Equal("T0bthread:1;", Said(_session.TargetStopped));
    }

    [Fact]
    public void CtrlCStopsAllAndNothingElseIsHeardMeanwhile()
    {
        Assert.Equal("", Said(() => _session.Receive([3])));
        Assert.Equal(0, _target.Pauses);
        Ask("vCont;c");
        Assert.Equal("E16", Ask("g"));
        Assert.Equal("T02thread:1;", Said(() => _session.Receive([3])));
        Assert.Equal(1, _target.Pauses);
        // Too late: it has been told already.
        Assert.Equal("", Said(_session.TargetStopped));
    }

    [Fact]
    public void AStopThatWasToldAlreadyLetsTheMachineGoOn()
    {
        Ask("vCont;s:1;c");
        Assert.Equal("", Said(_session.TargetStopped));
        Assert.Equal([ResumeAction.Step, ResumeAction.Continue], _target.Resumed!);
    }

    [Fact]
    public void LeavingAndEnding()
    {
        Assert.Equal("1", Ask("qAttached"));
        Assert.Equal("OK", Ask("D"));
        Assert.True(_target.Detached && _session.Over);
        FakeTarget other = new();
        GdbSession killed = new(other, static _ => { });
        killed.Receive(Packets.Frame("k"u8));
        Assert.True(other.Killed && killed.Over);
        List<byte> sent = [];
        GdbSession ended = new(other, sent.AddRange);
        ended.TargetEnded();
        Assert.Equal("$W00#b7", Text(sent));
    }

    [Theory]
    [InlineData("help", "translate")]
    [InlineData("cr", "CR0=")]
    [InlineData("cpus", "CPU 1: Active, RIP=1000")]
    [InlineData("translate 0x1010", "0000000000001010 is physical 10")]
    [InlineData("translate 99999999", "not mapped")]
    [InlineData("translate hello", "no address")]
    [InlineData("nonsense", "unknown command")]
    public void MonitorCommandsAnswer(string command, string answer) =>
        Assert.Contains(
            answer, Encoding.UTF8.GetString(Convert.FromHexString(Ask("qRcmd," + Convert.ToHexStringLower(Encoding.UTF8.GetBytes(command))))), StringComparison.Ordinal);

    private static string Text(IEnumerable<byte> bytes) => Encoding.Latin1.GetString([.. bytes]);

    private string Stop(int vcpu, DebugStop stop)
    {
        Ask("vCont;c");
        _target.Stops.Enqueue(new TargetStop(vcpu, new VcpuExit(VcpuExitReason.Debug, null, stop)));
        return Said(_session.TargetStopped);
    }

    private string Ask(string packet) => Ask(Encoding.Latin1.GetBytes(packet));

    private string Ask(byte[] packet) => Said(() => _session.Receive(Packets.Frame(packet)));

    /// <summary>The body of the one packet sent, without the acknowledgement before it.</summary>
    private string Said(Action action)
    {
        _sent.Clear();
        action();
        Packets.Reader reader = new();
        return _sent.Select(reader.Read).FirstOrDefault(i => i is { Kind: IncomingKind.Packet }) is { } answer ? Encoding.Latin1.GetString(answer.Body) : "";
    }
}
