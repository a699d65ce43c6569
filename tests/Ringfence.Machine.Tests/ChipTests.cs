using System.Globalization;
using Ringfence.Engine;
using Ringfence.Tests;

namespace Ringfence.Machine.Tests;

/// <summary>The board is the same whoever has its interrupt chips, and a guest moves with them.</summary>
public sealed class ChipTests
{
    /// <summary>The embedded guest: its serial line's and its timer's interrupts, with the chips on one side, on the other, and back.</summary>
    [Theory]
    [InlineData(InterruptChip.User)]
    [InlineData(InterruptChip.Split)]
    [InlineData(InterruptChip.Kernel)]
    public void TicksAndSerialLineGoOnThroughMoves(InterruptChip chip)
    {
        var serial = new SerialTap();
        using VirtualMachine machine = VirtualMachine.Create(new MachineSpec { Memory = 16 << 20, Serial = serial }, EngineUnderTest.CreateKvm(chip));
        MachineEnd? end = null;
        Thread thread = new(() => end = machine.Run(TestContext.Current.CancellationToken));
        thread.Start();
        serial.WaitFor("ringfence> ");
        long last = -1;
        foreach (string engine in (string[])["kvm", "software", "kvm", "software", "kvm"])
        {
            machine.MoveTo(engine);
            Assert.Equal(engine, machine.Engine);
            long ticks = Ticks(serial);
            Assert.True(ticks >= last, $"{ticks} ticks on {engine}, {last} before");
            last = ticks;
            // The timer goes on by itself.
            Assert.True(SpinWait.SpinUntil(() => Ticks(serial) > last, TestLimits.Patience), $"no tick on {engine}");
        }
        serial.Type("halt\n");
        Assert.True(thread.Join(TestLimits.Patience), "the guest did not end");
        Assert.Equal(MachineEndKind.PoweredOff, end?.Kind);
    }

    private static long Ticks(SerialTap serial)
    {
        int from = serial.Bytes.Length;
        serial.Type("ticks\n");
        string answer = "";
        Assert.True(
            SpinWait.SpinUntil(() => (answer = serial.Text[from..]).EndsWith("ringfence> ", StringComparison.Ordinal), TestLimits.Patience), $"no answer: {answer}");
        return long.Parse(answer.Split('\n')[1], CultureInfo.InvariantCulture);
    }
}
