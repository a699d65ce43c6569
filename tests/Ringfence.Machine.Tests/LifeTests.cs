using Ringfence.Engine;
using Ringfence.Firmware;
using Ringfence.Tests;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>Machines beside each other, stopped at any time, and never made at all.</summary>
public sealed class LifeTests
{
    private const string Prompt = "ringfence> ";

    [Fact]
    public void MachinesKnowNothingOfEachOther()
    {
        var busySerial = new SerialTap();
        var smallSerial = new SerialTap();
        var largeSerial = new SerialTap();
        using GuestImage image = GuestImage.BootSector(a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.Label(ref again);
            a.mov(dx, 0x3F8);
            a.mov(al, (sbyte)'.');
            a.@out(dx, al);
            a.mov(dx, 0x3FD);
            a.@in(al, dx);
            a.test(al, 1);
            a.jz(again);
            a.mov(al, 21);
            a.mov(dx, 0x501);
            a.@out(dx, al);
        });
        using RunningMachine busy = Machines.Start(image.Spec(busySerial) with { DebugExitPort = 0x501, MeasureTime = true });
        using RunningMachine small = Machines.Start(new MachineSpec { Memory = 2 << 20, Serial = smallSerial });
        using RunningMachine large = Machines.Start(new MachineSpec { Memory = 8UL << 30, Serial = largeSerial });
        smallSerial.WaitFor(Prompt);
        largeSerial.WaitFor(Prompt);
        smallSerial.Type("mem\r");
        largeSerial.Type("mem\r");
        smallSerial.WaitFor("KiB of RAM");
        largeSerial.WaitFor("KiB of RAM");
        Assert.Contains("0000000000100000-00000000001fffff RAM", smallSerial.Text, StringComparison.Ordinal);
        Assert.Contains("0000000100000000-000000023fffffff RAM", largeSerial.Text, StringComparison.Ordinal);

        smallSerial.Type("halt\r");
        Assert.Equal(MachineEndKind.PoweredOff, small.WaitForEnd().Kind);
        largeSerial.Type("halt\r");
        Assert.Equal(MachineEndKind.PoweredOff, large.WaitForEnd().Kind);
        busySerial.Type("x");
        Assert.Equal(new MachineEnd(MachineEndKind.DebugExit, 43), busy.WaitForEnd());
    }

    [Fact]
    public void ABusyMachineStops()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            Iced.Intel.Label forever = a.CreateLabel();
            a.cli();
            a.mov(dx, 0x3F8);
            a.@out(dx, al);
            a.Label(ref forever);
            a.jmp(forever);
        });
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(image.Spec(serial));
        WaitForOutput(serial);
        Assert.Equal(MachineEndKind.Stopped, machine.Stop().Kind);
        Assert.NotEqual(TimeSpan.Zero, machine.Statistics.Vcpus[0].GuestTime);
        Assert.Equal(EngineUnderTest.Create().Capabilities.CountsInstructions, machine.Statistics.Vcpus[0].Instructions != 0);
    }

    [Fact]
    public void AMachineInALongStringInstructionStops()
    {
        using GuestImage image = GuestImage.Multiboot(a =>
        {
            Iced.Intel.Label forever = a.CreateLabel();
            a.mov(dx, 0x3F8);
            a.@out(dx, al);
            a.Label(ref forever);
            // Four million reads of an empty bus, one instruction.
            a.mov(esi, 0xE000_0000);
            a.mov(ecx, 4 << 20);
            a.rep.lodsb();
            a.jmp(forever);
        });
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(image.Spec(serial));
        WaitForOutput(serial);
        Assert.Equal(MachineEndKind.Stopped, machine.Stop().Kind);
    }

    [Fact]
    public void AHaltedMachineStops()
    {
        using GuestImage image = GuestImage.BootSector(a =>
        {
            Iced.Intel.Label forever = a.CreateLabel();
            a.mov(dx, 0x3F8);
            a.@out(dx, al);
            a.Label(ref forever);
            a.sti();
            a.hlt();
            a.jmp(forever);
        });
        var serial = new SerialTap();
        using RunningMachine machine = Machines.Start(image.Spec(serial));
        WaitForOutput(serial);
        Thread.Sleep(50);
        Assert.Equal(MachineEndKind.Stopped, machine.Stop().Kind);
    }

    [Fact]
    public void AMachineStoppedBeforeItsStartRunsNothing()
    {
        using VirtualMachine machine = Machines.Create(new MachineSpec { Memory = 2 << 20 });
        Assert.Equal(MachineEndKind.Stopped, machine.Run(new CancellationToken(canceled: true)).Kind);
        Assert.Equal(0, machine.Statistics.Vcpus[0].Instructions);
    }

    [Fact]
    public void AMachineStopsAtAnyMoment()
    {
        for (int i = 0; i < 200; i++)
        {
            using RunningMachine machine = Machines.Start(new MachineSpec { Memory = 2 << 20 });
            // Anywhere between its threads' start and its first halts.
            Thread.SpinWait(i * 1000);
            Assert.Equal(MachineEndKind.Stopped, machine.Stop().Kind);
        }
    }

    [Fact]
    public void AnEndpointThatThrowsEndsItsMachineAndNothingElse()
    {
        MachineEnd end = Machines.RunToEnd(new MachineSpec { Memory = 2 << 20, Serial = new BrokenEndpoint(whenConnected: false) });
        Assert.Equal(MachineEndKind.Failed, end.Kind);
        Assert.Contains("the other end is gone", end.Report!, StringComparison.Ordinal);
    }

    [Fact]
    public void DisposeMayBeRepeatedAndNeedsNoRun()
    {
        VirtualMachine machine = Machines.Create(new MachineSpec { Memory = 2 << 20 });
        machine.Dispose();
        machine.Dispose();
    }

    [Fact]
    public void StoppingAMachineThatIsGoneDoesNothing()
    {
        using var stop = new CancellationTokenSource();
        var serial = new SerialTap();
        using (VirtualMachine machine = Machines.Create(new MachineSpec { Memory = 2 << 20, Serial = serial }))
        {
            serial.Type("halt\r");
            Assert.Equal(MachineEndKind.PoweredOff, machine.Run(stop.Token).Kind);
        }
        stop.Cancel();
    }

    [Fact]
    public void MachinesThatCannotBeMadeLeaveNothingBehind()
    {
        using GuestImage sector = GuestImage.BootSector(a => a.hlt());
        using var rubbish = new GuestImage(new byte[100]);
        using var large = new GuestImage(new byte[3 << 20]);
        (MachineSpec Spec, Type Error)[] impossible =
        [
            (new MachineSpec { Memory = 2 << 20, Kernel = "/no/such/file" }, typeof(GuestLoadException)),
            (new MachineSpec { Memory = 1 << 20 }, typeof(GuestLoadException)),
            (rubbish.Spec(), typeof(GuestLoadException)),
            (sector.Spec() with { Append = "a boot sector takes none" }, typeof(GuestLoadException)),
            (new MachineSpec { Memory = 2 << 20, Initrds = [new InitrdSpec(large.Path)] }, typeof(GuestLoadException)),
            (sector.Spec() with { Initrds = [new InitrdSpec("/no/such/initrd")] }, typeof(GuestLoadException)),
            (sector.Spec() with { Cpu = "no-such-model" }, typeof(CpuModelException)),
            (sector.Spec() with { Cpus = 200 }, typeof(ArgumentException)),
            (sector.Spec() with { Memory = 12345 }, typeof(ArgumentOutOfRangeException)),
            // The PIT is there; the serial port is after it; there is no port after it.
            (sector.Spec() with { DebugExitPort = 0x40 }, typeof(MachineSpecException)),
            (sector.Spec() with { DebugExitPort = 0x3F5 }, typeof(MachineSpecException)),
            (sector.Spec() with { DebugExitPort = 0xFFFD }, typeof(MachineSpecException)),
            (sector.Spec(new BrokenEndpoint()), typeof(IOException)),
        ];
        void MakeAll()
        {
            foreach ((MachineSpec spec, Type error) in impossible)
            {
                Exception? thrown = Record.Exception(() => Machines.Create(spec).Dispose());
                Assert.True(error == thrown?.GetType(), $"{spec}: {thrown}");
            }
        }
        for (int i = 0; i < 3; i++)
        {
            MakeAll();
        }
        ProcessFootprint before = ProcessFootprint.Take();
        for (int i = 0; i < 20; i++)
        {
            MakeAll();
        }
        ProcessFootprint after = ProcessFootprint.Take();
        Assert.Equal(before.Descriptors, after.Descriptors);
        Assert.InRange(after.Threads, 0, before.Threads + 1);
        // 20 of anything that a machine is made of would be 40 MiB of RAM or 960 MiB of code arena.
        Assert.InRange(after.Mapped - before.Mapped, long.MinValue, 32 << 10);
    }

    [Fact]
    public void AnEngineSaysWhatItCannotMake()
    {
        var engine = EngineUnderTest.Create();
        ArgumentException e = Assert.Throws<ArgumentException>(
            () => VirtualMachine.Create(new MachineSpec { Memory = 2 << 20, Cpus = engine.Capabilities.MaximumVcpus + 1 }, engine));
        Assert.Contains(engine.Capabilities.Name, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AMachineMovesOnlyToEnginesThatItHas()
    {
        using VirtualMachine machine = Machines.Create(new MachineSpec { Memory = 2 << 20 });
        Assert.Equal(EngineUnderTest.IsKvm ? ["kvm", "software"] : [EngineUnderTest.Create().Capabilities.Name], machine.Engines);
        foreach (string engine in machine.Engines)
        {
            machine.MoveTo(engine);
        }
        Assert.Throws<ArgumentException>(() => machine.MoveTo("steam"));
    }

    private static void WaitForOutput(SerialTap serial) =>
        Assert.True(SpinWait.SpinUntil(() => serial.Bytes.Length != 0, TestLimits.Patience), "the guest did not start");

    private sealed class BrokenEndpoint(bool whenConnected = true) : ISerialEndpoint
    {
        public void Connect(SerialReceiver receive)
        {
            if (whenConnected)
            {
                throw new IOException("the other end is gone");
            }
        }

        public void Transmit(byte value) => throw new IOException("the other end is gone");

        public void RoomAvailable()
        {
        }
    }
}
