using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Task switches by the processor (SDM 3A chapter 8).</summary>
public sealed unsafe class TaskSwitchTests
{
    private const ushort NewTask = Guest.Free;
    private const ushort Gate = Guest.Free + 8;
    private const ushort Odd = Guest.Free + 16;
    private const uint NewTss = 0x3400;
    private const uint NewCode = 0xD000;
    private const uint NewStack = 0x7000;
    private const int Present = 0x80;

    private static readonly byte[] FarJump = [0xEA, 0, 0, 0, 0, (byte)NewTask, 0];
    private static readonly byte[] FarCall = [0x9A, 0, 0, 0, 0, (byte)NewTask, 0];

    private static Guest Create(bool wide = true, uint flags = 2)
    {
        var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Guest.TaskSelector, (uint)Guest.Tss, 0x1FF, 0x8B);
        guest.Describe(NewTask, NewTss, wide ? 0x67u : 0x2B, wide ? 0x89u : 0x81);
        guest.Write(Guest.Gdt + Gate, Guest.GateOf(NewTask, 0, 5, 0));
        guest.Place(NewCode, 0xF4);
        if (wide)
        {
            guest.Write(NewTss + 0x20, NewCode);
            guest.Write(NewTss + 0x24, flags);
            for (uint i = 0; i < 8; i++)
            {
                guest.Write(NewTss + 0x28 + (i * 4), i == 4 ? NewStack : 0x1000 + i);
            }
            SetSelectors(guest, Guest.FlatData, Guest.Code32, Guest.FlatData, Guest.FlatData, 0, 0);
        }
        else
        {
            guest.Write(NewTss + 0x0E, (ushort)NewCode);
            guest.Write(NewTss + 0x10, (ushort)flags);
            for (uint i = 0; i < 8; i++)
            {
                guest.Write(NewTss + 0x12 + (i * 2), (ushort)(i == 4 ? NewStack : 0x1000 + i));
            }
            guest.Write(NewTss + 0x22, Guest.FlatData | ((ulong)Guest.Code32 << 16) | ((ulong)Guest.FlatData << 32) | ((ulong)Guest.FlatData << 48));
        }
        return guest;
    }

    private static void SetSelectors(Guest guest, params ReadOnlySpan<ushort> selectors)
    {
        for (int i = 0; i < selectors.Length; i++)
        {
            guest.Write(NewTss + 0x48 + ((uint)i * 4), (uint)selectors[i]);
        }
    }

    private static byte TypeOf(Guest guest, ushort selector) => guest.Read<byte>(Guest.Gdt + selector + 5);

    /// <summary>8.3: a jump leaves the old task not busy and unlinked, with its registers in its TSS.</summary>
    [Fact]
    public void AJumpExchangesTheTasks()
    {
        using Guest guest = Create();
        guest.State->Gpr[6] = 0x7777;
        guest.State->Fs = guest.Load(Guest.FlatData);
        Assert.Equal(new Outcome(-1, 0, NewCode + 1), guest.Run(FarJump));
        CpuState* s = guest.State;
        Assert.Equal((NewTask, 0x1006UL, (ulong)NewStack), ((ushort)s->Tr.Selector, s->Gpr[6], s->Gpr[4]));
        Assert.Equal((0x89, 0x8B), ((int)TypeOf(guest, Guest.TaskSelector), (int)TypeOf(guest, NewTask)));
        Assert.Equal(
            (Guest.Code + 7, 0x7777u, Guest.StackTop, Guest.FlatData),
            ((ulong)guest.Read<uint>(Guest.Tss + 0x20), guest.Read<uint>(Guest.Tss + 0x40), (ulong)guest.Read<uint>(Guest.Tss + 0x38), guest.Read<ushort>(Guest.Tss + 0x58)));
        Assert.Equal((0u, 0UL), (guest.Read<uint>(NewTss), s->SystemFlags & Flags.NestedTask));
        Assert.Equal((8UL, false), (s->Cr0 & 8, s->Fs.Usable));
    }

    /// <summary>8.4: a call links the tasks and sets NT; IRET goes back and leaves the inner one available.</summary>
    [Theory]
    [InlineData(NewTask)]
    [InlineData(Gate)]
    public void ACallNestsAndIretReturns(int selector)
    {
        using Guest guest = Create();
        byte[] call = [.. FarCall];
        call[5] = (byte)selector;
        Assert.Equal(new Outcome(-1, 0, NewCode + 1), guest.Run(call));
        Assert.Equal((Guest.TaskSelector, 0x8B, 0x8B), (guest.Read<ushort>(NewTss), (int)TypeOf(guest, Guest.TaskSelector), (int)TypeOf(guest, NewTask)));
        Assert.NotEqual(0UL, guest.State->SystemFlags & Flags.NestedTask);
        guest.Place(NewCode + 1, 0xCF);
        Assert.Equal(new Outcome(-1, 0, Guest.Code + 8), guest.Continue());
        Assert.Equal((Guest.TaskSelector, 0x8B, 0x89), ((ushort)guest.State->Tr.Selector, (int)TypeOf(guest, Guest.TaskSelector), (int)TypeOf(guest, NewTask)));
        Assert.Equal(0UL, guest.State->SystemFlags & Flags.NestedTask);
        Assert.Equal((NewCode + 2, 0u), (guest.Read<uint>(NewTss + 0x20), guest.Read<uint>(NewTss + 0x24) & Flags.NestedTask));
    }

    /// <summary>8.2.6, figure 8-10: the 16-bit TSS.</summary>
    [Fact]
    public void TasksOfSixteenBits()
    {
        using Guest guest = Create(false);
        Assert.Equal(new Outcome(-1, 0, NewCode + 1), guest.Run(FarCall));
        Assert.Equal((0x1003, (ushort)NewStack, 0x83), ((ushort)guest.State->Gpr[3], (ushort)guest.State->Gpr[4], (int)TypeOf(guest, NewTask)));
        guest.Place(NewCode + 1, 0xCF);
        Assert.Equal(new Outcome(-1, 0, Guest.Code + 8), guest.Continue());
        Assert.Equal(((ushort)(NewCode + 2), 0x1003), (guest.Read<ushort>(NewTss + 0x0E), guest.Read<ushort>(NewTss + 0x18)));
    }

    /// <summary>3A 6.12.2: interrupts and exceptions through task gates; the error code is on the new task's stack.</summary>
    [Theory]
    [InlineData("CD80", 0x80, 2, false)]
    [InlineData("0F0B", 6, 0, false)]
    [InlineData("B8001000008ED8", 13, 5, true)] // mov ds, 1000h
    public void EventsThroughTaskGates(string hex, int vector, int at, bool hasError)
    {
        using Guest guest = Create();
        guest.Gate(vector, NewTask, 0, 5);
        Assert.Equal(new Outcome(-1, 0, NewCode + 1), guest.Run(Convert.FromHexString(hex)));
        Assert.Equal(Guest.Code + (ulong)at, guest.Read<uint>(Guest.Tss + 0x20));
        Assert.Equal((Guest.TaskSelector, NewStack - (hasError ? 4UL : 0)), (guest.Read<ushort>(NewTss), guest.State->Gpr[4]));
        if (hasError)
        {
            Assert.Equal(0x1000u, guest.Read<uint>(NewStack - 4));
        }
        Assert.Equal(vector != 0x80, (guest.Read<uint>(Guest.Tss + 0x24) & Flags.Resume) != 0);
    }

    /// <summary>INT n needs the gate's level (3A 6.12.1.2), and names it in the error code.</summary>
    [Fact]
    public void ATaskGateOfTheIdtHasALevel()
    {
        using Guest guest = Create();
        guest.Gate(0x80, NewTask, 0, 5);
        guest.BecomeUser();
        Assert.Equal(new Outcome(13, (0x80 * 8) + 2, Guest.Code), guest.Run(0xCD, 0x80));
    }

    /// <summary>8.3 and SDM 2 JMP: what is refused before anything changes, in the old task.</summary>
    [Theory]
    [InlineData(0x8B, 0x67u, 13)]        // busy
    [InlineData(0x09, 0x67u, 11)]        // not present
    [InlineData(0x89, 0x66u, 10)]        // too short
    [InlineData(0x81, 0x2Au, 10)]
    public void TheTssMustBeInOrder(int attributes, uint limit, int vector)
    {
        using Guest guest = Create();
        guest.Describe(NewTask, NewTss, limit, (uint)attributes);
        Assert.Equal(new Outcome(vector, NewTask, Guest.Code), guest.Run(FarJump));
        Assert.Equal((Guest.TaskSelector, 0x8B), ((ushort)guest.State->Tr.Selector, (int)TypeOf(guest, Guest.TaskSelector)));
    }

    [Theory]
    [InlineData(NewTask, 0xE9, 3, -1, 0)]                   // a TSS of DPL 3 from level 3
    [InlineData(NewTask + 3, 0x89, 0, 13, NewTask)]         // RPL above the DPL
    [InlineData(NewTask, 0x89, 3, 13, NewTask)]             // CPL above the DPL
    public void ATaskHasALevel(int selector, int attributes, int cpl, int vector, int error)
    {
        using Guest guest = Create();
        guest.Describe(NewTask, NewTss, 0x67, (uint)attributes);
        if (cpl == 3)
        {
            guest.BecomeUser();
        }
        byte[] jump = [.. FarJump];
        jump[5] = (byte)selector;
        Outcome outcome = guest.Run(jump);
        Assert.Equal((vector, (uint)error), (outcome.Vector, outcome.Error));
    }

    [Theory]
    [InlineData(NewTask, 0, 13, Gate)]          // a gate of DPL 0 from level 3
    [InlineData(NewTask | 4, 3, 13, NewTask | 4)] // a TSS in the LDT
    [InlineData(0x1000, 3, 13, 0x1000)]         // beyond the table
    [InlineData(0, 3, 13, 0)]
    [InlineData(Guest.FlatData, 3, 13, Guest.FlatData)]
    public void TaskGatesMustNameATask(int target, int dpl, int vector, int error)
    {
        using Guest guest = Create();
        guest.Write(Guest.Gdt + Gate, Guest.GateOf((ushort)target, 0, 5, (uint)dpl));
        guest.BecomeUser();
        byte[] jump = [.. FarJump];
        jump[5] = (byte)Gate | 3;
        Assert.Equal(new Outcome(vector, (uint)error, Guest.Code), guest.Run(jump));
    }

    /// <summary>Table 8-1: faults of data segments are the new task's, at its first instruction.</summary>
    [Theory]
    [InlineData(0x92 & ~Present, Odd, 11)]
    [InlineData(0x99, Odd, 10)]               // code that cannot be read
    [InlineData(0x93, Odd + 3, 10)]           // RPL 3, DPL 0
    [InlineData(0x93, 0x1000, 10)]            // beyond the table
    [InlineData(0x93, 4, 10)]                 // no LDT
    public void FaultsOfDataSegmentsAreTheNewTasks(int attributes, int selector, int vector)
    {
        using Guest guest = Create();
        guest.Describe(Odd, 0, 0xF_FFFF, 0xC000u | (uint)attributes);
        SetSelectors(guest, (ushort)selector, Guest.Code32, Guest.FlatData, Guest.FlatData, 0, 0);
        Assert.Equal(new Outcome(vector, (uint)selector & ~3u, NewCode), guest.Run(FarJump));
        Assert.Equal((NewTask, 0x89, 0x8B), ((ushort)guest.State->Tr.Selector, (int)TypeOf(guest, Guest.TaskSelector), (int)TypeOf(guest, NewTask)));
    }

    /// <summary>Table 8-1: without code or stack segment no handler runs; the report tells which fault came first.</summary>
    [Theory]
    [InlineData(1, 0x9B, 0, "#TS(0)")]
    [InlineData(1, 0x93, Odd, "#TS(78)")]                // no code
    [InlineData(1, 0x9B & ~Present, Odd, "#NP(78)")]
    [InlineData(1, 0xFB, Odd, "#TS(78)")]                // DPL 3, RPL 0
    [InlineData(2, 0x93, 0, "#TS(0)")]
    [InlineData(2, 0x91, Odd, "#TS(78)")]                // not writable
    [InlineData(2, 0x93, Odd + 1, "#TS(78)")]            // RPL 1
    [InlineData(2, 0x93 & ~Present, Odd, "#SS(78)")]
    public void FaultsOfCodeAndStack(int number, int attributes, int selector, string report)
    {
        using Guest guest = Create();
        guest.Describe(Odd, 0, 0xF_FFFF, 0xC000u | (uint)attributes);
        guest.Write(NewTss + 0x48 + ((uint)number * 4), (uint)selector);
        Assert.Equal(-2, guest.Run(FarJump).Vector);
        Assert.StartsWith(report, guest.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    /// <summary>EXT is set in the error code of a switch that an event made (3A 6.13).</summary>
    [Fact]
    public void ABadTaskOfAnExceptionSetsExt()
    {
        using Guest guest = Create();
        guest.Describe(NewTask, NewTss, 0x66, 0x89);
        guest.Gate(6, NewTask, 0, 5);
        Assert.Equal(new Outcome(10, NewTask | 1, Guest.Code), guest.Run(0x0F, 0x0B));
    }

    [Fact]
    public void TheLdtComesFromTheTss()
    {
        using Guest guest = Create();
        guest.Write(NewTss + 0x60, (uint)Guest.LdtSelector);
        guest.Write(Guest.Ldt + 8, Guest.Segment(0, 0xF_FFFF, 0xC093));
        SetSelectors(guest, 0xC, Guest.Code32, Guest.FlatData, Guest.FlatData, 0, 0);
        Assert.Equal(-1, guest.Run(FarJump).Vector);
        Assert.Equal((Guest.LdtSelector, true), ((ushort)guest.State->Ldtr.Selector, guest.State->Es.Usable));
        guest.Write(NewTss + 0x60, (uint)Guest.FlatData);
        guest.Describe(NewTask, NewTss, 0x67, 0x89);
        Assert.Equal(-2, guest.Run(FarJump).Vector);
        Assert.StartsWith("#TS(10)", guest.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    /// <summary>8.3: EIP beyond CS's limit is #GP(0) in the new task.</summary>
    [Fact]
    public void TheInstructionPointerIsChecked()
    {
        using Guest guest = Create();
        guest.Describe(Odd, 0, 0xCFFF, 0x409B);
        guest.Write(NewTss + 0x4C, (uint)Odd);
        Assert.Equal(new Outcome(13, 0, NewCode), guest.Run(FarJump));
    }

    /// <summary>8.3: CR3 is loaded while paging is on, and the local breakpoints end (3B 18.2.4).</summary>
    [Fact]
    public void TheAddressSpaceAndTheBreakpointsAreTheTasks()
    {
        using Guest guest = Create();
        guest.Write(Guest.Tables, 0x83u);
        guest.Write(Guest.Tables + 0x1000, 0x83u);
        guest.Write(NewTss + 0x1C, (uint)Guest.Tables + 0x1000);
        guest.State->Cr3 = Guest.Tables;
        guest.State->Cr4 |= 0x10;
        guest.State->Cr0 |= 0x8000_0000;
        guest.State->Dr[0] = NewCode;
        guest.State->Dr[7] = 0x401;
        Assert.Equal(new Outcome(-1, 0, NewCode + 1), guest.Run(FarJump));
        Assert.Equal((Guest.Tables + 0x1000, 0x400UL), (guest.State->Cr3, guest.State->Dr[7]));
    }

    /// <summary>3B 18.3.1.5: the TSS's T flag is a #DB before the task's first instruction.</summary>
    [Fact]
    public void TheTrapFlagOfATaskIsADebugException()
    {
        using Guest guest = Create();
        guest.Write(NewTss + 0x64, (ushort)1);
        Assert.Equal(new Outcome(1, 0, NewCode), guest.Run(FarJump));
        Assert.Equal(0x8000UL, guest.State->Dr[6] & 0xE00F);
    }

    /// <summary>8.3: a task may be one of virtual-8086 mode.</summary>
    [Fact]
    public void AVirtual8086Task()
    {
        using Guest guest = Create(flags: Flags.Virtual8086 | 2);
        guest.Write(NewTss + 4, (uint)Guest.InnerStackTop | ((ulong)Guest.FlatData << 32));
        guest.Write(NewTss + 0x20, 0x10u);
        SetSelectors(guest, 1, 0x3000, 0x2800, 2, 3, 4);
        guest.Place(0x3_0010, 0x8C, 0xE0, 0xF4); // mov ax, fs; hlt: #GP
        Assert.Equal((13, 0x12UL), Of(guest.Run(FarJump)));
        Assert.Equal((3, 0x2800UL), ((ushort)guest.State->Gpr[0], guest.Stack(5)));
    }

    /// <summary>SDM 2 IRET: the link must be a busy task's.</summary>
    [Theory]
    [InlineData(NewTask, 0x89, 10)]
    [InlineData(NewTask, 0x0B, 11)]
    [InlineData(NewTask | 4, 0x8B, 10)]
    [InlineData(0x1000, 0x8B, 10)]
    [InlineData(0, 0x8B, 10)]
    public void TheLinkMustBeABusyTask(int link, int attributes, int vector)
    {
        using Guest guest = Create();
        guest.Describe(NewTask, NewTss, 0x67, (uint)attributes);
        guest.Write(Guest.Tss, (ushort)link);
        guest.State->SystemFlags |= Flags.NestedTask;
        Assert.Equal(new Outcome(vector, (uint)link, Guest.Code), guest.Run(0xCF));
    }

    /// <summary>8.7: there are no task switches in long mode.</summary>
    [Fact]
    public void LongModeHasNone()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Flags.NestedTask;
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(0x48, 0xCF));
        using var narrow = new Guest(GuestMode.Compatibility);
        narrow.Describe(NewTask, NewTss, 0x67, 0x89);
        Outcome outcome = narrow.Run(FarJump);
        Assert.Equal((13, NewTask), (outcome.Vector, (ushort)outcome.Error));
    }

    private static (int Vector, ulong Rip) Of(Outcome outcome) => (outcome.Vector, outcome.Rip);
}
