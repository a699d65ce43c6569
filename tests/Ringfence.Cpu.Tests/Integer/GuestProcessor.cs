using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>
/// A processor in long mode whose page tables put the pages of <see cref="Layout"/> in mixed order, so that an operand across two pages
/// is in two places. It has no IDT: an exception ends in a shutdown whose report names it.
/// </summary>
internal sealed unsafe class GuestProcessor : IDisposable
{
    private const ulong Tables = 0x1_0000;
    private const ulong Frames = 0x10_0000;
    private const ulong MemoryBytes = 0x40_0000;
    private const ulong PagesOfSpan = Layout.Span / GuestMemory.PageSize;
    private readonly GuestMemory _memory = new(MemoryBytes);
    private readonly ManualClock _clock = new();
    private readonly Processor _processor;

    public GuestProcessor()
    {
        _processor = new Processor(_memory, new NoBus(), _clock, CpuModel.Max, 0, static () => { }, null, EngineUnderTest.Translators);
        CpuState* s = State;
        s->IdtLimit = 0;
        var data = new SegmentRegister { Selector = 16, Limit = uint.MaxValue, Attributes = 0xC093 };
        s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
        s->Cs = new SegmentRegister { Selector = 8, Limit = uint.MaxValue, Attributes = 0xA09B };
        const ulong PresentWritable = 3;
        _memory.Write(Tables, (Tables + 0x1000) | PresentWritable);
        _memory.Write(Tables + 0x1000, (Tables + 0x2000) | PresentWritable);
        _memory.Write(Tables + 0x2000 + (Layout.Base >> 18), (Tables + 0x3000) | PresentWritable);
        MapPages(Layout.Code, Layout.CodeBytes);
        MapPages(Layout.Data, Layout.DataBytes);
        MapPages(Layout.Stack, Layout.StackBytes);
        s->Cr3 = Tables;
        s->Cr4 = 0x220;
        s->Efer = 0x500;
        s->Cr0 = 0x8001_0031;
        _processor.StateLoaded();

        void MapPages(ulong address, ulong length)
        {
            for (ulong page = address; page < address + length; page += GuestMemory.PageSize)
            {
                _memory.Write(Tables + 0x3000 + ((page - Layout.Base) >> 9), Frame(page) | PresentWritable);
            }
        }
    }

    public CpuState* State => _processor.State;

    public string? Report => _processor.ShutdownReport;

    /// <summary>Copies between linear memory and a buffer, page by page.</summary>
    public void Write(ulong address, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length != 0)
        {
            int run = (int)Math.Min((ulong)bytes.Length, GuestMemory.PageSize - (address & 0xFFF));
            bytes[..run].CopyTo(new Span<byte>(Pointer(address), run));
            bytes = bytes[run..];
            address += (ulong)run;
        }
    }

    public byte* Pointer(ulong address) => _memory.Pointer(Frame(address) + (address & 0xFFF));

    /// <summary>Forgets blocks decoded from code that is gone.</summary>
    public void CodeChanged() => _processor.StateLoaded();

    /// <summary>Makes the processor leave its code and come back, at whatever instruction it is. Any thread.</summary>
    public void Disturb()
    {
        _processor.SetExternalInterrupt(true);
        _processor.SetExternalInterrupt(false);
        _processor.RequestExit();
    }

    public Ending Run(ulong code, Registers* registers)
    {
        CpuState* s = State;
        for (int i = 0; i < 16; i++)
        {
            s->Gpr[i] = registers->Gpr[i];
        }
        Flags.Set(s, registers->Flags);
        s->Rip = code;
        RunResult result;
        do
        {
            result = _processor.Run();
        }
        while (result == RunResult.ExitRequested);
        for (int i = 0; i < 16; i++)
        {
            registers->Gpr[i] = s->Gpr[i];
        }
        registers->Flags = Flags.Get(s);
        if (result == RunResult.Halted)
        {
            return default;
        }
        string report = result == RunResult.Shutdown ? Report! : result.ToString();
        Trap trap = report.StartsWith("#DE", StringComparison.Ordinal) ? Trap.Divide
            : report.StartsWith("#PF", StringComparison.Ordinal) || report.StartsWith("#GP", StringComparison.Ordinal)
            || report.StartsWith("#SS", StringComparison.Ordinal) ? Trap.Memory : Trap.Other;
        return new Ending(s->Rip, trap);
    }

    public void Dispose()
    {
        _processor.Dispose();
        _memory.Dispose();
    }

    private static ulong Frame(ulong address) =>
        Frames + ((((address - Layout.Base) / GuestMemory.PageSize * 77) + 5) % PagesOfSpan * GuestMemory.PageSize);

    private sealed class NoBus : IProcessorBus
    {
        public uint ReadPort(ushort port, int size) => uint.MaxValue;

        public void WritePort(ushort port, int size, uint value)
        {
        }

        public ulong ReadMemory(ulong address, int size) => ulong.MaxValue;

        public void WriteMemory(ulong address, int size, ulong value)
        {
        }

        public int AcknowledgeExternalInterrupt() => -1;

        public void EndOfInterrupt(byte vector)
        {
        }

        public void SendInterprocessorInterrupt(uint command, uint destination)
        {
        }
    }
}
