using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>A guest under way moves between KVM and our processor, and does not notice.</summary>
public sealed class MoveTests
{
    private const byte TickVector = 0x50;
    private const ulong Handler = TinyGuest.Code + 0x200;
    private const ulong Multiplier = 6364136223846793005;
    private const int Moves = 100;
    /// <summary>Where all processors count their turns.</summary>
    private const ulong Turns = TinyGuest.Data + 0x800;

    /// <summary>Each processor computes a checksum that it sends piece by piece, and counts its timer's interrupts and, with the others, its turns.</summary>
    [Theory]
    [InlineData(1, InterruptChip.User)]
    [InlineData(4, InterruptChip.User)]
    [InlineData(1, InterruptChip.Split)]
    [InlineData(4, InterruptChip.Split)]
    [InlineData(1, InterruptChip.Kernel)]
    [InlineData(4, InterruptChip.Kernel)]
    public void ChecksumsTicksAndStreamsSurviveAHundredMoves(int vcpus, InterruptChip chip)
    {
        using TinyGuest guest = new(KvmHost.Engine(chip), WriteLoop, vcpus);
        guest.Assemble(Handler, a =>
        {
            a.inc(__dword_ptr[rdi]);
            a.mov(__dword_ptr[r8 + 0xB0], 0);
            a.iretq();
        });
        guest.SetHandler(TickVector, Handler);
        for (int i = 0; i < vcpus; i++)
        {
            VcpuState start = TinyGuest.Start(guest.Vm.Vcpus[i].Save()) with { Events = new EventState() };
            start.Registers[4] -= 0x1000 * (ulong)i;
            start.Registers[7] = Cell(i);
            start.Registers[6] = (ulong)i << 8;
            guest.Vm.Vcpus[i].Load(start);
        }
        IMovableVm vm = Assert.IsAssignableFrom<IMovableVm>(guest.Vm);
        int[] output = new int[2];
        for (int i = 0; i < Moves; i++)
        {
            int before = guest.Bus.Out.Count;
            RunAll(guest, TimeSpan.FromMilliseconds(3 + (i % 5)));
            output[i % 2] += guest.Bus.Out.Count - before;
            if (chip == InterruptChip.User)
            {
                CheckTicks(guest);
            }
            vm.Engine = i % 2 == 0 ? "software" : "kvm";
        }
        uint turns = 0;
        for (int i = 0; i < vcpus; i++)
        {
            byte[] stream = [.. guest.Bus.Out.Where(value => value >> 8 == i).Select(value => (byte)value)];
            CheckStream(stream, i);
            Assert.NotEqual(0U, guest.Read(Cell(i)));
            turns += (uint)stream.Length;
        }
        // A processor may have been stopped between its turn's count and its output.
        Assert.InRange(guest.Read(Turns), turns, turns + (uint)vcpus);
        Assert.NotEqual(0, output[0]);
        Assert.NotEqual(0, output[1]);
        TestContext.Current.TestOutputHelper?.WriteLine($"{vcpus} processors: {output[0]} bytes on kvm, {output[1]} on software");
    }

    [Fact]
    public void AnUnknownEngineIsRefused()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a => a.hlt());
        Assert.Throws<ArgumentException>(() => ((IMovableVm)guest.Vm).Engine = "steam");
    }

    private static ulong Cell(int vcpu) => TinyGuest.Data + (0x100 * (ulong)vcpu);

    /// <summary>RDI points to where ticks are counted, ESI has the processor's number in bits 8 and up.</summary>
    private static void WriteLoop(Assembler a)
    {
        Label next = a.CreateLabel();
        Label inner = a.CreateLabel();
        a.mov(r8, 0xFEE0_0000UL);
        a.mov(__dword_ptr[r8 + 0xF0], 0x1FF);
        a.mov(__dword_ptr[r8 + 0x3E0], 0xB);
        a.mov(__dword_ptr[r8 + 0x320], 0x2_0000 | TickVector);
        a.mov(__dword_ptr[r8 + 0x380], 20_000_000);
        a.mov(r9, Multiplier);
        a.mov(rbx, 1);
        a.sti();
        a.Label(ref next);
        a.mov(ecx, 200);
        a.Label(ref inner);
        a.imul(rbx, r9);
        a.inc(rbx);
        a.dec(ecx);
        a.jnz(inner);
        a.@lock.inc(__dword_ptr[Turns]);
        a.mov(rax, rbx);
        a.shr(rax, 56);
        a.or(eax, esi);
        a.@out((byte)TinyGuest.DataPort, eax);
        a.jmp(next);
    }

    /// <summary>Runs every processor on a thread of its own, and has all come out after a while, which is longer where a host needs longer to get anywhere.</summary>
    private static void RunAll(TinyGuest guest, TimeSpan time)
    {
        VcpuExit[] exits = new VcpuExit[guest.Vm.Vcpus.Count];
        Thread[] threads = [.. guest.Vm.Vcpus.Select((vcpu, i) => new Thread(() => exits[i] = vcpu.Run()))];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }
        int before = guest.Bus.Out.Count;
        Thread.Sleep(time);
        SpinWait.SpinUntil(() => guest.Bus.Out.Count != before, TimeSpan.FromSeconds(30));
        foreach (IVcpu vcpu in guest.Vm.Vcpus)
        {
            vcpu.RequestExit();
        }
        foreach (Thread thread in threads)
        {
            Assert.True(thread.Join(TimeSpan.FromSeconds(30)), "a processor did not come out");
        }
        Assert.All(exits, exit => Assert.Equal(VcpuExitReason.Interrupted, exit.Reason));
    }

    /// <summary>Each interrupt that was taken is counted; one whose handler is about to begin is not yet.</summary>
    private static void CheckTicks(TinyGuest guest)
    {
        for (int i = 0; i < guest.Vm.Vcpus.Count; i++)
        {
            IVcpu vcpu = guest.Vm.Vcpus[i];
            Assert.Equal(vcpu.Statistics.Exits.GetValueOrDefault("interrupt"), guest.Read(Cell(i)) + (vcpu.Save().Rip == Handler ? 1U : 0));
        }
    }

    private static void CheckStream(byte[] stream, int vcpu)
    {
        ulong expected = 1;
        for (int at = 0; at < stream.Length; at++)
        {
            for (int i = 0; i < 200; i++)
            {
                expected = (expected * Multiplier) + 1;
            }
            Assert.True(stream[at] == (byte)(expected >> 56), $"processor {vcpu}: byte {at} of {stream.Length}");
        }
    }
}
