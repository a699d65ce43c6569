using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Memory;

/// <summary>What the inlined fast paths call when the TLB entry does not fit. Data travels through <see cref="CpuState.Scratch"/>.
/// False: the fault is recorded in the state.</summary>
internal static unsafe class SlowAccess
{
    public static bool Read(CpuState* s, ulong linear, int size) =>
        Processor.Of(s).Mmu.Access(linear, size, AccessKind.Read, AccessKind.Read, s->Scratch);

    public static bool Write(CpuState* s, ulong linear, int size) =>
        Processor.Of(s).Mmu.Access(linear, size, AccessKind.Write, AccessKind.Write, s->Scratch);

    public static bool ReadForWrite(CpuState* s, ulong linear, int size) =>
        Processor.Of(s).Mmu.Access(linear, size, AccessKind.Write, AccessKind.Read, s->Scratch);

    /// <summary>Whether an operand may be written; nothing is.</summary>
    public static bool MayWrite(CpuState* s, ulong linear, int size) => Processor.Of(s).Mmu.Check(linear, size, AccessKind.Write);

    /// <summary>See <see cref="LockedAccess.Locate"/>.</summary>
    public static byte* Locate(CpuState* s, ulong linear, int size) => Processor.Of(s).Locked.Locate(linear, size);

    public static void Settle(CpuState* s) => Processor.Of(s).Locked.Settle();
}

internal enum AccessKind
{
    Read,
    Write,
    Execute,
}
