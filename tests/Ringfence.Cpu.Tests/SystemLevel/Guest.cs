using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.SystemLevel;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>What kind of code a <see cref="Guest"/> starts with.</summary>
public enum GuestMode
{
    /// <summary>16-bit real mode, all segments 0.</summary>
    Real,
    /// <summary>Protected mode, 16-bit code and stack segments of 64 KiB, no paging.</summary>
    Protected16,
    /// <summary>Flat 32-bit protected mode, no paging.</summary>
    Protected32,
    /// <summary>64-bit mode, identity-mapped, every page for users too.</summary>
    Long,
    /// <summary>32-bit code under long mode.</summary>
    Compatibility,
}

/// <summary>How a run of a <see cref="Guest"/> ended.</summary>
/// <param name="Vector">The vector whose handler was reached, or -1 for HLT in the guest's own code, or -2 for a shutdown.</param>
/// <param name="Error">The error code pushed, 0 if none.</param>
/// <param name="Rip">What the handler would return to, or for HLT the address after it.</param>
public readonly record struct Outcome(int Vector, uint Error, ulong Rip);

/// <summary>
/// A whole processor in one of the modes, with descriptor tables, a task-state segment, page tables, and for every vector a handler
/// that halts. So a run ends with the first exception, or with HLT.
/// </summary>
internal sealed unsafe class Guest : IDisposable
{
    public const ulong Gdt = 0x1000;
    public const ulong Ldt = 0x1800;
    public const ulong Idt = 0x2000;
    public const ulong Tss = 0x3000;
    public const ulong Handlers = 0x4000;
    public const ulong StackTop = 0x8000;
    public const ulong InnerStackTop = 0x9000;
    public const ulong IstTop = 0xA000;
    public const ulong UserStackTop = 0xB000;
    public const ulong Code = 0xC000;
    public const ulong Tables = 0x10000;
    public const ulong PageTable = 0x13000;
    public const ulong Data = 0x20000;
    public const ulong MemorySize = 4 << 20;

    public const ushort Code64 = 0x08;
    public const ushort FlatData = 0x10;
    public const ushort Code32 = 0x18;
    public const ushort Code16 = 0x20;
    public const ushort Data16 = 0x28;
    public const ushort UserCode64 = 0x33;
    public const ushort UserData = 0x3B;
    public const ushort UserCode32 = 0x43;
    public const ushort TaskSelector = 0x48;
    public const ushort LdtSelector = 0x58;
    /// <summary>The first of the GDT's entries that tests fill.</summary>
    public const ushort Free = 0x68;

    public Guest(GuestMode mode, CpuModel? model = null, ulong memorySize = MemorySize)
        : this(mode, EngineUnderTest.Translators, model, memorySize)
    {
    }

    /// <param name="translators">Null for a processor that interprets, whatever engine is under test.</param>
    public Guest(GuestMode mode, ITranslatorFactory? translators, CpuModel? model = null, ulong memorySize = MemorySize)
    {
        Mode = mode;
        Memory = new GuestMemory(memorySize);
        Processor = new Processor(Memory, Bus, Clock, model ?? CpuModel.Max, 0, static () => { }, null, translators);
        WriteTables();
        Enter(mode);
        Bus.Processor = Processor;
    }

    public GuestMode Mode { get; }

    public GuestMemory Memory { get; }

    public ManualClock Clock { get; } = new();

    public TestBus Bus { get; } = new();

    public Processor Processor { get; }

    public CpuState* State => Processor.State;

    public int Bits => Mode switch
    {
        GuestMode.Real or GuestMode.Protected16 => 16,
        GuestMode.Long => 64,
        _ => 32,
    };

    /// <summary>The size of an interrupt frame's entries now.</summary>
    private int FrameEntry => (State->Efer & 0x400) != 0 ? 8 : (State->Cr0 & 1) != 0 ? 4 : 2;

    public T Read<T>(ulong address)
        where T : unmanaged => *(T*)Memory.Pointer(address, (ulong)sizeof(T));

    public void Write<T>(ulong address, T value)
        where T : unmanaged => Memory.Write(address, value);

    /// <summary>Entry <paramref name="index"/> of the stack at SS:rSP, counted in entries of <paramref name="size"/> bytes.</summary>
    public ulong Stack(int index, int size = 0)
    {
        size = size == 0 ? FrameEntry : size;
        ulong pointer = State->Ss.Is(SegmentAttributes.Big) || FrameEntry == 8 ? State->Gpr[4] : (ushort)State->Gpr[4];
        ulong at = (FrameEntry == 8 ? 0 : State->Ss.Base) + pointer + (ulong)(index * size);
        // Memory is mapped to itself, and by some tests to the upper half as well.
        at = (uint)at;
        return size switch
        {
            2 => Read<ushort>(at),
            4 => Read<uint>(at),
            _ => Read<ulong>(at),
        };
    }

    /// <summary>Writes a descriptor into the GDT.</summary>
    /// <param name="attributes">As <see cref="SegmentRegister.Attributes"/>.</param>
    /// <param name="limit">In units of the granularity.</param>
    public void Describe(ushort selector, uint segmentBase, uint limit, uint attributes) =>
        Write(Gdt + (selector & ~7u), Segment(segmentBase, limit, attributes));

    public static ulong Segment(uint segmentBase, uint limit, uint attributes) =>
        (limit & 0xFFFF) | ((ulong)(segmentBase & 0xFF_FFFF) << 16) | ((ulong)(attributes & 0xF0FF) << 40) | ((ulong)(limit & 0xF_0000) << 32)
        | ((ulong)(segmentBase & 0xFF00_0000) << 32);

    /// <summary>A gate's low eight bytes.</summary>
    public static ulong GateOf(ushort selector, uint offset, uint type, uint dpl, uint count = 0, bool present = true) =>
        (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)count << 32) | ((ulong)type << 40) | ((ulong)dpl << 45) | (present ? 1UL << 47 : 0)
        | ((ulong)(offset & 0xFFFF_0000) << 32);

    /// <summary>Replaces the IDT's entry for a vector.</summary>
    public void Gate(int vector, ushort selector, uint offset, uint type = 14, uint dpl = 0, uint ist = 0, bool present = true)
    {
        int size = (State->Efer & 0x400) != 0 ? 16 : 8;
        Write(Idt + (ulong)(vector * size), GateOf(selector, offset, type, dpl, ist, present));
    }

    /// <summary>The page-table entry of a page below 2 MiB.</summary>
    public ref ulong Page(ulong linear) => ref *(ulong*)Memory.Pointer(PageTable + (linear >> 12 << 3), 8);

    /// <summary>Loads a segment register's hidden part from the GDT, as if the guest had.</summary>
    public SegmentRegister Load(ushort selector)
    {
        SegmentRegister segment = new Descriptor(Read<ulong>(Gdt + (selector & ~7u))).ToSegment(selector);
        segment.Attributes |= SegmentAttributes.Accessed;
        return segment;
    }

    /// <summary>Goes on at privilege level 3, with a stack of its own and IOPL 0.</summary>
    public void BecomeUser()
    {
        State->Cs = Load(Mode == GuestMode.Long ? UserCode64 : UserCode32);
        State->Ds = State->Es = State->Fs = State->Gs = State->Ss = Load(UserData);
        State->Cpl = 3;
        State->Gpr[4] = UserStackTop;
        Processor.StateLoaded();
    }

    public void Assemble(Action<Assembler> write) => Assemble(Code, write);

    public ulong Assemble(ulong address, Action<Assembler> write) => Assemble(address, Bits, address, write);

    /// <summary>Puts code at a physical address, to run at <paramref name="rip"/>. The address after it is returned.</summary>
    public ulong Assemble(ulong address, int bits, ulong rip, Action<Assembler> write)
    {
        var assembler = new Assembler(bits);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), rip);
        return Place(address, stream.ToArray());
    }

    public ulong Place(ulong address, params ReadOnlySpan<byte> code)
    {
        Memory.Write(address, code);
        Processor.StateLoaded();
        return address + (ulong)code.Length;
    }

    /// <summary>Assembles at <see cref="Code"/>, adds HLT, and runs.</summary>
    public Outcome Run(Action<Assembler> write)
    {
        Assemble(a =>
        {
            write(a);
            a.hlt();
        });
        return Start(Code);
    }

    public Outcome Run(Action<Assembler> write, ulong rdx)
    {
        State->Gpr[2] = rdx;
        return Run(write);
    }

    /// <summary>Runs bytes, HLT added.</summary>
    public Outcome Run(params ReadOnlySpan<byte> code)
    {
        Place(Place(Code, code), 0xF4);
        return Start(Code);
    }

    public Outcome Start(ulong rip)
    {
        State->Rip = rip;
        return Continue();
    }

    public Outcome Continue()
    {
        // A guest that never halts is a failure, not a hang.
        using var watchdog = new Timer(_ => Processor.RequestExit(), null, 60_000, Timeout.Infinite);
        RunResult result = Processor.Run();
        Assert.NotEqual(RunResult.ExitRequested, result);
        if (result == RunResult.Shutdown)
        {
            return new Outcome(-2, 0, State->Rip);
        }
        ulong at = State->Rip - 1;
        if (at < Handlers || at >= Handlers + 0x1000 || (at & 15) != 0)
        {
            return new Outcome(-1, 0, State->Rip);
        }
        int vector = (int)((at - Handlers) >> 4);
        bool hasError = (State->Cr0 & 1) != 0 && vector is 8 or (>= 10 and <= 14) or 17;
        hasError &= (State->Cr0 & 1) != 0;
        return new Outcome(vector, hasError ? (uint)Stack(0) : 0, Stack(hasError ? 1 : 0));
    }

    /// <summary>The flags in the frame of the exception that ended the run.</summary>
    public ulong FrameFlags(Outcome outcome) => Stack(outcome.Vector is 8 or (>= 10 and <= 14) or 17 && (State->Cr0 & 1) != 0 ? 3 : 2);

    public void Dispose()
    {
        Processor.Dispose();
        Memory.Dispose();
    }

    private void WriteTables()
    {
        Describe(Code64, 0, 0xF_FFFF, 0xA09B);
        Describe(FlatData, 0, 0xF_FFFF, 0xC093);
        Describe(Code32, 0, 0xF_FFFF, 0xC09B);
        Describe(Code16, 0, 0xFFFF, 0x009B);
        Describe(Data16, 0, 0xFFFF, 0x0093);
        Describe(UserCode64, 0, 0xF_FFFF, 0xA0FB);
        Describe(UserData, 0, 0xF_FFFF, 0xC0F3);
        Describe(UserCode32, 0, 0xF_FFFF, 0xC0FB);
        Describe(TaskSelector, (uint)Tss, 0x1FF, 0x0089);
        Describe(LdtSelector, (uint)Ldt, 0x7FF, 0x0082);
        for (ulong vector = 0; vector < 256; vector++)
        {
            Write(Handlers + (vector << 4), (byte)0xF4);
        }
        // 4-level tables: 2 MiB of 4 KiB pages, then one large page.
        Write(Tables, (Tables + 0x1000) | 7);
        Write(Tables + 0x1000, (Tables + 0x2000) | 7);
        Write(Tables + 0x2000, PageTable | 7);
        Write(Tables + 0x2008, 0x20_0000UL | 0x87);
        for (ulong page = 0; page < 512; page++)
        {
            Write(PageTable + (page * 8), (page << 12) | 7);
        }
    }

    private void Enter(GuestMode mode)
    {
        CpuState* s = State;
        s->Gpr[4] = StackTop;
        if (mode == GuestMode.Real)
        {
            s->Cs = s->Cs with { Selector = 0, Base = 0 };
            s->IdtLimit = 0x3FF;
            for (ulong vector = 0; vector < 256; vector++)
            {
                Write(vector * 4, (uint)(Handlers + (vector << 4)));
            }
            Processor.StateLoaded();
            return;
        }
        bool longMode = mode is GuestMode.Long or GuestMode.Compatibility;
        s->Cr0 = 0x31;
        s->GdtBase = Gdt;
        s->GdtLimit = 0x7FF;
        s->IdtBase = Idt;
        s->IdtLimit = 0xFFF;
        s->Cs = Load(mode switch { GuestMode.Protected16 => Code16, GuestMode.Long => Code64, _ => Code32 });
        s->Ds = s->Es = s->Fs = s->Gs = s->Ss = Load(mode == GuestMode.Protected16 ? Data16 : FlatData);
        s->Tr = Load(TaskSelector);
        s->Tr.Attributes |= 2;
        s->Cr4 = 0x600;
        if (longMode)
        {
            s->Cr3 = Tables;
            s->Cr4 = 0x620;
            s->Efer = 0xD01;
            s->Cr0 = 0x8001_0031;
            Write(Tss + 4, InnerStackTop);
            Write(Tss + 0x24, IstTop);
        }
        else
        {
            Write(Tss + 4, (uint)InnerStackTop);
            Write(Tss + 8, (uint)FlatData);
        }
        Write(Tss + 102, (ushort)0x200);
        for (int vector = 0; vector < 256; vector++)
        {
            Gate(vector, longMode ? Code64 : Code32, (uint)(Handlers + ((ulong)vector << 4)));
        }
        Processor.StateLoaded();
    }
}

/// <summary>Ports and device memory that remember what was written.</summary>
internal sealed class TestBus : IProcessorBus
{
    public Processor? Processor { get; set; }

    public List<(ushort Port, int Size, uint Value)> Written { get; } = [];

    public int ExternalVector { get; set; } = -1;

    /// <summary>Called when a port is written.</summary>
    public Action<ushort>? PortWritten { get; set; }

    public uint ReadPort(ushort port, int size) => 0x1234_5678;

    public void WritePort(ushort port, int size, uint value)
    {
        Written.Add((port, size, value));
        PortWritten?.Invoke(port);
    }

    /// <summary>What devices in memory answer; all ones without one.</summary>
    public Func<ulong, int, ulong>? Device { get; set; }

    public ulong ReadMemory(ulong address, int size) => Device?.Invoke(address, size) ?? ulong.MaxValue;

    public void WriteMemory(ulong address, int size, ulong value)
    {
    }

    public int AcknowledgeExternalInterrupt()
    {
        Processor?.SetExternalInterrupt(false);
        return ExternalVector;
    }

    /// <summary>EOIs of level-triggered vectors.</summary>
    public List<byte> Ended { get; } = [];

    public List<(uint Command, uint Destination)> Interrupts { get; } = [];

    public void EndOfInterrupt(byte vector) => Ended.Add(vector);

    public void SendInterprocessorInterrupt(uint command, uint destination) => Interrupts.Add((command, destination));
}
