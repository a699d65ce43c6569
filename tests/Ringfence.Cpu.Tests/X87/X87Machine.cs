using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>
/// A whole processor, to run a few instructions as a guest would. It has no IDT, so that an exception ends in a shutdown whose report
/// names it and where it was raised.
/// </summary>
internal sealed unsafe class X87Machine : IDisposable
{
    public const ulong Code = 0x8000;

    /// <summary>Where RSI points to: two pages. The page that follows is not present.</summary>
    public const ulong Data = 0x20000;
    public const ulong Absent = 0x22000;
    public const ulong ReadOnly = 0x24000;

    private const ulong Tables = 0x10000;
    private const byte Halt = 0xF4;

    private readonly GuestMemory _memory = new(GuestMemory.MinimumSize);
    private readonly ManualClock _clock = new();
    private readonly Processor _processor;

    /// <param name="bits">16: real mode; 32: protected mode, flat, unpaged; 64: long mode with 4 KiB pages.</param>
    public X87Machine(int bits)
    {
        _processor = new Processor(_memory, new NoBus(), _clock, CpuModel.Max, 0, static () => { }, null, EngineUnderTest.Translators);
        CpuState* s = State;
        s->IdtLimit = 0;
        s->Gpr[4] = 0x7000;
        if (bits == 16)
        {
            s->Cs = s->Cs with { Selector = 0, Base = 0 };
            s->Ds = s->Ds with { Selector = (uint)(Data >> 4), Base = Data };
            s->Gpr[6] = 0;
            s->Cr0 = 0x30;
        }
        else
        {
            var data = new SegmentRegister { Selector = 16, Limit = uint.MaxValue, Attributes = 0xC093 };
            s->Es = s->Ss = s->Ds = s->Fs = s->Gs = data;
            s->Cs = new SegmentRegister { Selector = 8, Limit = uint.MaxValue, Attributes = bits == 64 ? 0xA09Bu : 0xC09B };
            s->Gpr[6] = Data;
            s->Cr0 = 0x31;
        }
        if (bits == 64)
        {
            BuildTables();
            s->Cr3 = Tables;
            s->Cr4 = 0x220;
            s->Efer = 0x500;
            s->Cr0 = 0x8001_0031;
        }
        _processor.StateLoaded();
    }

    public CpuState* State => _processor.State;

    /// <summary>What the last run ended with if not with the end of the code: "#PF(2) at 8:8000 cr2=..." and what followed.</summary>
    public string? Fault { get; private set; }

    public byte* At(ulong address) => _memory.Pointer(address);

    /// <summary>Changes CR0 as code would see it.</summary>
    public void SetControl(ulong bits)
    {
        State->Cr0 |= bits;
        _processor.StateLoaded();
    }

    /// <summary>Puts code in place, to be run with <see cref="Run()"/>.</summary>
    public void Place(params ReadOnlySpan<byte> code)
    {
        _memory.Write(Code, code);
        _memory.Write(Code + (ulong)code.Length, Halt);
        _processor.StateLoaded();
    }

    /// <summary>Runs the code in place from its start to its end. False: it faulted.</summary>
    public bool Run()
    {
        State->Rip = Code;
        RunResult result = _processor.Run();
        Fault = result == RunResult.Shutdown ? _processor.ShutdownReport : null;
        return result == RunResult.Halted;
    }

    public bool Run(params ReadOnlySpan<byte> code)
    {
        Place(code);
        return Run();
    }

    public void Dispose()
    {
        _processor.Dispose();
        _memory.Dispose();
    }

    private void BuildTables()
    {
        const ulong PresentWritable = 3;
        for (ulong level = 0; level < 3; level++)
        {
            _memory.Write(Tables + (level << 12), (Tables + ((level + 1) << 12)) | PresentWritable);
        }
        for (ulong page = 0; page < GuestMemory.MinimumSize; page += GuestMemory.PageSize)
        {
            ulong rights = page switch { Absent => 0, ReadOnly => 1, _ => PresentWritable };
            _memory.Write(Tables + 0x3000 + (page >> 9), page | rights);
        }
    }

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
