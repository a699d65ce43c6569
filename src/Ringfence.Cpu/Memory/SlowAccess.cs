using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Memory;

/// <summary>What the inlined fast paths call when the TLB entry does not fit. Data travels through <see cref="CpuState.Scratch"/>.
/// False: the fault is recorded in the state.</summary>
internal static unsafe class SlowAccess
{
    public static bool Read(CpuState* s, ulong linear, int size) =>
        Passes(s, linear, size, true, false) && Processor.Of(s).Mmu.Access(linear, size, AccessKind.Read, AccessKind.Read, s->Scratch);

    public static bool Write(CpuState* s, ulong linear, int size) =>
        Passes(s, linear, size, false, true) && Processor.Of(s).Mmu.Access(linear, size, AccessKind.Write, AccessKind.Write, s->Scratch);

    public static bool ReadForWrite(CpuState* s, ulong linear, int size) =>
        Passes(s, linear, size, true, true) && Processor.Of(s).Mmu.Access(linear, size, AccessKind.Write, AccessKind.Read, s->Scratch);

    /// <summary>The host address of RAM that may be written, or null: a fault, MMIO, or over a page's end.</summary>
    public static byte* Locate(CpuState* s, ulong linear, int size) =>
        Passes(s, linear, size, true, true) ? Processor.Of(s).Mmu.Locate(linear, size) : null;

    public static void Settle(CpuState* s)
    {
        ulong physical = s->CodeTouched;
        s->CodeTouched = 0;
        Processor.Of(s).Blocks.CodeWritten(physical, sizeof(ulong));
    }

    /// <summary>False if someone watches the place: the instruction is left, and run again by itself.</summary>
    private static bool Passes(CpuState* s, ulong linear, int size, bool reads, bool writes) =>
        Processor.Of(s).Stops is not { } stops || stops.Passes(linear, size, reads, writes);
}

internal enum AccessKind
{
    Read,
    Write,
    Execute,
}
