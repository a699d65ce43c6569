using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Exceptions that follow each other without end (SDM 3A 6.15, table 6-5: benign ones are handled in turn) do not keep the
/// processor from those that want it to stop.</summary>
public sealed unsafe class EndlessFaultTests
{
    /// <summary>#AC is delivered to level 3 on a stack that is not aligned, which is #AC.</summary>
    [Fact]
    public void AlignmentChecksWithoutEndCanBeStopped()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Gate(6, Guest.UserCode32, (uint)Guest.Handlers);
        guest.Gate(17, Guest.UserCode32, (uint)Guest.Handlers);
        guest.BecomeUser();
        guest.State->Cr0 |= 1 << 18;
        guest.State->Gpr[4] = Guest.UserStackTop - 2;
        Flags.Set(guest.State, (1 << 18) | 2);
        guest.Place(Guest.Code, 0x0F, 0x0B);
        guest.State->Rip = Guest.Code;
        for (int i = 0; i < 3; i++)
        {
            using var stop = new Timer(_ => guest.Processor.RequestExit(), null, 50, Timeout.Infinite);
            Assert.Equal(RunResult.ExitRequested, guest.Processor.Run());
            Assert.Equal(Guest.Code, guest.State->Rip);
        }
        // It goes on where it was once the stack is in order.
        guest.State->Gpr[4] = Guest.UserStackTop;
        using var watchdog = new Timer(_ => guest.Processor.RequestExit(), null, 10_000, Timeout.Infinite);
        guest.Write(Guest.Handlers, (ushort)0xFEEB);
        guest.Processor.LimitTurns(4);
        Assert.Equal(RunResult.ExitRequested, guest.Processor.Run());
        Assert.Equal(Guest.Handlers, guest.State->Rip);
    }
}
