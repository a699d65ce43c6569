using System.Net;
using System.Net.Sockets;
using Iced.Intel;
using Ringfence.Machine;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Debuggers that come and go, and machines that end under them.</summary>
public sealed class ServerTests
{
    private const uint Counter = GuestCode.Data;

    private static GuestCode Counting() => new(a =>
    {
        Label again = a.CreateLabel();
        a.mov(ebx, Counter);
        a.Place("loop", ref again);
        a.inc(__dword_ptr[rbx]);
        a.jmp(again);
    });

    [Fact]
    public void TheGuestDoesNotStartBeforeADebuggerSaysSo()
    {
        using GuestCode code = Counting();
        using DebuggedMachine machine = new(code.Image.Spec());
        Thread.Sleep(50);
        Assert.Equal(0U, machine.Peek(Counter));
        using GdbClient gdb = machine.Connect();
        Assert.Equal("T05thread:1;", gdb.Ask("?"));
        Thread.Sleep(50);
        Assert.Equal((0U, GuestCode.Start), (machine.Peek(Counter), gdb.Rip));
        gdb.Tell("vCont;c");
        GdbClient.Await(() => machine.Peek(Counter) > 1000);
        Assert.Equal("T02thread:1;", gdb.Interrupt());
        uint count = machine.Peek(Counter);
        Thread.Sleep(50);
        Assert.Equal(count, machine.Peek(Counter));
    }

    [Fact]
    public void OneThatLeavesLetsTheGuestGoOnAndTheNextMayCome()
    {
        using GuestCode code = Counting();
        using DebuggedMachine machine = new(code.Image.Spec());
        using (GdbClient first = machine.Connect())
        {
            first.Point("Z0", code["loop"]);
            Assert.Contains("swbreak", first.Ask("vCont;c"), StringComparison.Ordinal);
        }
        // Its breakpoint has gone with it.
        GdbClient.Await(() => machine.Peek(Counter) > 1000);
        using (GdbClient second = Reconnect(machine))
        {
            uint count = machine.Peek(Counter);
            Thread.Sleep(50);
            Assert.Equal(count, machine.Peek(Counter));
            Assert.Equal("OK", second.Ask("D"));
            Assert.Null(second.TryRead());
        }
        uint left = machine.Peek(Counter);
        GdbClient.Await(() => machine.Peek(Counter) > left + 1000);
    }

    [Fact]
    public void ThereIsOneAtATime()
    {
        using GuestCode code = Counting();
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient first = machine.Connect();
        using TcpClient second = new();
        second.Connect(machine.Server.EndPoint);
        Assert.Equal(0, second.GetStream().Read(new byte[1]));
        Assert.Equal("T05thread:1;", first.Ask("?"));
    }

    [Fact]
    public void KillEndsTheMachine()
    {
        using GuestCode code = Counting();
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.Tell("k");
        Assert.Equal(MachineEndKind.Stopped, machine.WaitForEnd().Kind);
    }

    [Fact]
    public void AMachineThatIsStoppedFromOutsideEndsWhileADebuggerHoldsIt()
    {
        using GuestCode code = Counting();
        DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["loop"]);
        machine.Dispose();
        Assert.Equal("W00", gdb.Read());
    }

    [Fact]
    public void ATripleFaultCanBeLookedAt()
    {
        using GuestCode code = new(a =>
        {
            a.mov(edi, GuestCode.Data);
            a.lidt(__[rdi]);
            a.Place("fault");
            a.ud2();
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        Assert.Equal("T0bthread:1;", gdb.Ask("vCont;c"));
        Assert.Equal(code["fault"], gdb.Rip);
        Assert.Equal("W00", gdb.Ask("vCont;c"));
        Assert.Equal(MachineEndKind.TripleFault, machine.WaitForEnd().Kind);
    }

    [Fact]
    public void ADebuggerAndItsBreakpointsStayThroughResets()
    {
        using GuestCode code = new(a =>
        {
            a.nop();
            a.Place("place");
            a.mov(edx, 0xCF9);
            a.mov(eax, 6);
            a.@out(dx, al);
            a.hlt();
        });
        using DebuggedMachine machine = new(code.Image.Spec() with { NoReboot = false });
        using GdbClient gdb = machine.Connect();
        for (int i = 0; i < 5; i++)
        {
            gdb.Point("Z1", code["place"]);
            Assert.Equal("T05thread:1;hwbreak:;", gdb.Ask("vCont;c"));
            Assert.Equal(code["place"], gdb.Rip);
            gdb.Point("z1", code["place"]);
            gdb.Step();
        }
        Assert.False(machine.HasEnded);
    }

    /// <summary>A stop between two instructions changes nothing for a processor that sleeps in HLT.</summary>
    [Fact]
    public void AHaltedProcessorStaysHaltedWhenItIsStopped()
    {
        using GuestCode code = new(a =>
        {
            a.sti();
            a.Place("hlt");
            a.hlt();
            a.Place("after");
            a.Exit(1);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["hlt"]);
        ulong GoOn()
        {
            gdb.Tell("vCont;c");
            Thread.Sleep(20);
            Assert.Equal("T02thread:1;", gdb.Interrupt());
            return gdb.Rip;
        }
        // On a busy host it may take more than a moment to get there.
        GdbClient.Await(() => GoOn() != code["hlt"]);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal(code["after"], GoOn());
            Assert.Equal("CPU 0 [halted]", System.Text.Encoding.ASCII.GetString(Convert.FromHexString(gdb.Ask("qThreadExtraInfo,1"))));
        }
        Assert.False(machine.HasEnded);
    }

    /// <summary>The time-stamp counter counts the machine's time, which stands still with it. Under KVM it may be the host's, without an adjustment (IA32_TSC_ADJUST, CPUID
    /// 7); then it goes on.</summary>
    [Fact]
    public void TimeStandsStillWithTheMachine()
    {
        const uint Adjustment = 1 << 1;
        TimeSpan pause = TimeSpan.FromSeconds(2);
        using GuestCode code = new(a =>
        {
            a.mov(eax, 7);
            a.xor(ecx, ecx);
            a.cpuid();
            a.mov(esi, ebx);
            a.mov(eax, 0x4000_0010);
            a.cpuid();
            a.mov(edi, eax);
            Count(a);
            a.mov(rbx, rax);
            a.Place("between");
            Count(a);
            a.sub(rax, rbx);
            a.Place("after");
            a.Exit(1);
        });
        using DebuggedMachine machine = new(code.Image.Spec());
        using GdbClient gdb = machine.Connect();
        gdb.RunTo(code["between"]);
        Thread.Sleep(pause);
        gdb.RunTo(code["after"]);
        const int Rdi = 5;
        const int Rsi = 4;
        double passed = gdb.Register(0) / (gdb.Register(Rdi) * 1000.0);
        bool goesOn = (gdb.Register(Rsi) & Adjustment) == 0;
        Assert.InRange(passed, goesOn ? pause.TotalSeconds : 0, goesOn ? double.MaxValue : pause.TotalSeconds / 2);

        static void Count(GuestCode.Writer a)
        {
            a.rdtsc();
            a.shl(rdx, 32);
            a.or(rax, rdx);
        }
    }

    [Fact]
    public void APortThatIsTakenIsRefused()
    {
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();
        Assert.Throws<SocketException>(() => new GdbServer((IPEndPoint)taken.LocalEndpoint));
    }

    /// <summary>Whatever comes over the wire, the machine lives.</summary>
    [Fact]
    public void NothingThatArrivesBringsTheMachineDown()
    {
        using GuestCode code = Counting();
        using DebuggedMachine machine = new(code.Image.Spec() with { Cpus = 2 });
        Random random = new(4);
        for (int connection = 0; connection < 5; connection++)
        {
            using TcpClient client = new();
            client.Connect(machine.Server.EndPoint);
            NetworkStream stream = client.GetStream();
            var reader = new Thread(() =>
            {
                try
                {
                    while (stream.Read(new byte[4096]) > 0)
                    {
                    }
                }
                catch (IOException)
                {
                    // Closed.
                }
            });
            reader.Start();
            try
            {
                for (int i = 0; i < 200; i++)
                {
                    byte[] packet = FuzzTests.Next(random);
                    // Ending the machine is the one thing that packets may do to it; a register may send the guest anywhere.
                    if (!packet.Contains((byte)'k') && packet[1] is not ((byte)'P' or (byte)'G' or (byte)'M' or (byte)'X' or (byte)'c' or (byte)'C' or (byte)'s' or (byte)'S'))
                    {
                        stream.Write(packet);
                        stream.Write([3]);
                    }
                }
                client.Client.Shutdown(SocketShutdown.Send);
            }
            catch (IOException)
            {
                // It said D.
            }
            Assert.True(reader.Join(TimeSpan.FromSeconds(60)), "the server does not answer");
        }
        uint count = machine.Peek(Counter);
        GdbClient.Await(() => machine.Peek(Counter) > count + 1000);
        Assert.False(machine.HasEnded);
    }

    /// <summary>The server may need a moment to see that the last one has gone.</summary>
    private static GdbClient Reconnect(DebuggedMachine machine)
    {
        GdbClient? client = null;
        GdbClient.Await(() =>
        {
            try
            {
                client = machine.Connect();
                return true;
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                return false;
            }
        });
        return client!;
    }
}
