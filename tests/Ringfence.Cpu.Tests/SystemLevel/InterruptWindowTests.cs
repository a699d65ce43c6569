using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>The instruction after STI runs before any interrupt, whenever that comes (SDM 3A 6.8.1; 6.7.1 leaves NMIs to the processor, and ours waits).</summary>
public class InterruptWindowTests
{
    private const int Nmis = 50_000;
    private const int Milliseconds = 20_000;
    private const ulong Handler = Guest.Data + 0x1000;

    [Fact]
    public unsafe void NoNmiIsTakenRightAfterSti()
    {
        using var guest = new Guest(GuestMode.Long);
        // TEST meets a page that the TLB has forgotten, so that there is much to do in the window.
        ulong window = guest.Assemble(Guest.Code, a =>
        {
            a.add(esi, 4096);
            a.and(esi, 0xF_F000);
            a.sti();
        });
        guest.Assemble(window, a =>
        {
            a.test(__byte_ptr[rsi], 0);
            a.nop();
            a.cli();
            a.cmp(__qword_ptr[Guest.Data], Nmis);
            a.jb(Guest.Code);
            a.hlt();
        });
        guest.Assemble(Handler, a =>
        {
            Label elsewhere = a.CreateLabel();
            a.cmp(__qword_ptr[rsp], (int)window);
            a.jne(elsewhere);
            a.inc(r15);
            a.Label(ref elsewhere);
            a.inc(__qword_ptr[Guest.Data]);
            a.iretq();
        });
        guest.Gate(2, Guest.Code64, (uint)Handler);
        long* handled = (long*)guest.Memory.Pointer(Guest.Data, 8);
        bool halted = false;
        var sender = new Thread(() =>
        {
            long begun = Environment.TickCount64;
            for (long sent = 0; sent < Nmis && !Volatile.Read(ref halted); sent++)
            {
                // Where the two have no processors of the host's to themselves, fewer will do.
                sent = Environment.TickCount64 - begun > Milliseconds ? Nmis - 1 : sent;
                guest.Processor.RequestNmi();
                while (Volatile.Read(ref *handled) <= sent && !Volatile.Read(ref halted))
                {
                    if (sent == Nmis - 1)
                    {
                        Volatile.Write(ref *handled, Nmis);
                    }
                    Thread.SpinWait(1);
                }
            }
        });
        sender.Start();
        try
        {
            Assert.Equal(-1, guest.Start(Guest.Code).Vector);
        }
        finally
        {
            // It must not meet a guest that is gone.
            Volatile.Write(ref halted, true);
            sender.Join();
        }
        Assert.Equal(0UL, guest.State->Gpr[15]);
    }
}
