using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>A guest under way moves between KVM and our processor, and does not notice.</summary>
public sealed class MoveTests
{
    private const byte TickVector = 0x50;
    private const ulong Handler = TinyGuest.Code + 0x200;
    private const ulong Multiplier = 6364136223846793005;
    private const int Moves = 100;

    [Fact]
    public void AChecksumItsTicksAndItsStreamSurviveAHundredMoves()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            var next = a.CreateLabel();
            var inner = a.CreateLabel();
            a.mov(r8, 0xFEE0_0000UL);
            a.mov(__dword_ptr[r8 + 0xF0], 0x1FF);
            a.mov(__dword_ptr[r8 + 0x3E0], 0xB);
            a.mov(__dword_ptr[r8 + 0x320], 0x2_0000 | TickVector);
            a.mov(__dword_ptr[r8 + 0x380], 20_000_000);
            a.mov(r9, Multiplier);
            a.mov(rbx, 1);
            a.mov(rdi, TinyGuest.Data);
            a.sti();
            a.Label(ref next);
            a.mov(ecx, 200);
            a.Label(ref inner);
            a.imul(rbx, r9);
            a.inc(rbx);
            a.dec(ecx);
            a.jnz(inner);
            a.mov(rax, rbx);
            a.shr(rax, 56);
            a.@out((byte)TinyGuest.DataPort, al);
            a.jmp(next);
        });
        guest.Assemble(Handler, a =>
        {
            a.inc(__dword_ptr[rdi]);
            a.mov(__dword_ptr[r8 + 0xB0], 0);
            a.iretq();
        });
        guest.SetHandler(TickVector, Handler);
        IMovableVm vm = Assert.IsAssignableFrom<IMovableVm>(guest.Vm);
        int[] output = new int[2];
        for (int i = 0; i < Moves; i++)
        {
            int before = guest.Bus.Out.Count;
            using (new Timer(_ => guest.Vcpu.RequestExit(), null, 3 + (i % 5), Timeout.Infinite))
            {
                Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
            }
            output[i % 2] += guest.Bus.Out.Count - before;
            vm.Engine = i % 2 == 0 ? "software" : "kvm";
        }
        ulong expected = 1;
        foreach (uint value in guest.Bus.Out)
        {
            for (int i = 0; i < 200; i++)
            {
                expected = (expected * Multiplier) + 1;
            }
            Assert.Equal((uint)(expected >> 56), value);
        }
        Span<byte> ticks = stackalloc byte[4];
        guest.Memory.TryRead(TinyGuest.Data, ticks);
        Assert.Equal(guest.Vcpu.Statistics.Exits["interrupt"], BitConverter.ToInt32(ticks));
        Assert.NotEqual(0, output[0]);
        Assert.NotEqual(0, output[1]);
        TestContext.Current.TestOutputHelper?.WriteLine($"{output[0]} bytes on kvm, {output[1]} on software, {BitConverter.ToInt32(ticks)} ticks");
    }

    [Fact]
    public void AnUnknownEngineIsRefused()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a => a.hlt());
        Assert.Throws<ArgumentException>(() => ((IMovableVm)guest.Vm).Engine = "steam");
    }
}
