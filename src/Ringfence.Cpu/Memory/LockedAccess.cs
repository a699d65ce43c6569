using System.Runtime.Intrinsics.X86;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// Operands of locked operations that the fast path does not find: TLB misses, pages with decoded code, and those that the host cannot change
/// atomically where they are, since they lie over the end of a cache line or page (SDM 3A 9.1.2.2), or are wider than it can. For the latter
/// all other processors stand still; the operation works on a copy, which is written back when it is done.
/// </summary>
internal sealed unsafe class LockedAccess(Processor processor, GuestMemory memory, SharedCode shared)
{
    private const ulong OffsetMask = GuestMemory.PageSize - 1;
    private const ulong LineSize = 64;

    private readonly CpuState* _s = processor.State;
    private Part _first;
    private Part _second;
    private bool _alone;

    /// <summary>16 bytes are exchanged by the host. If not, the others stand still.</summary>
    public bool HostExchangesWide { get; set; } = WideExchange.IsSupported;

    /// <summary>The host's atomic operations may lie anywhere within a cache line. If not, at a multiple of their size.</summary>
    public bool HostLocksWithinLine { get; set; } = X86Base.IsSupported;

    /// <summary>
    /// Where an operand of 1 to 16 bytes can be changed atomically: in guest memory, or in <see cref="CpuState.Scratch"/> as a copy, with
    /// all other processors standing still. Null: a fault, which is recorded, or not wholly in RAM. If <see cref="CpuState.Unsettled"/> is
    /// not 0 then, <see cref="Settle"/> is to follow.
    /// </summary>
    public byte* Locate(ulong linear, int size)
    {
        TlbEntry* entry = _s->Tlb + ((linear >> 12) & (GuestAccess.TlbEntries - 1));
        if ((entry->Write ^ linear) <= GuestMemory.PageSize - (ulong)size && IsAtomic(linear, size))
        {
            return (byte*)(linear + entry->Addend);
        }
        if (!processor.Mmu.AdmitsInPlace(linear, size))
        {
            return null;
        }
        int first = (int)Math.Min((ulong)size, GuestMemory.PageSize - (linear & OffsetMask));
        _second = default;
        // The first page does not get dirty if the second faults.
        if ((first != size && (!processor.Mmu.ProbeData(linear, AccessKind.Write)
            || !TryFind((linear + (ulong)first) & _s->LinearMask, size - first, out _second))) || !TryFind(linear, first, out _first))
        {
            return null;
        }
        if (processor.Debugging.HasData)
        {
            processor.Debugging.Accessed(linear, size, AccessKind.Read, AccessKind.Write);
        }
        _alone = first != size || !IsAtomic(linear, size);
        if (!_alone)
        {
            _s->Unsettled = _first.HasCode ? 1UL : 0;
            return _first.Host;
        }
        shared.Exclusive.Enter(processor, shared.Processors);
        Copy(_first.Host, _s->Scratch, _first.Size);
        Copy(_second.Host, _s->Scratch + first, _second.Size);
        _s->Unsettled = 1;
        return _s->Scratch;
    }

    public void Settle()
    {
        _s->Unsettled = 0;
        if (_alone)
        {
            Copy(_s->Scratch, _first.Host, _first.Size);
            Copy(_s->Scratch + _first.Size, _second.Host, _second.Size);
        }
        Report(_first);
        Report(_second);
        if (_alone)
        {
            shared.Exclusive.Leave();
        }
    }

    private static void Copy(byte* from, byte* to, int size) => new ReadOnlySpan<byte>(from, size).CopyTo(new Span<byte>(to, size));

    /// <summary>Whether the host can change it atomically, given that it lies in one page.</summary>
    private bool IsAtomic(ulong linear, int size) => size > sizeof(ulong)
        ? HostExchangesWide && (linear & 15) == 0
        : HostLocksWithinLine ? (linear & (LineSize - 1)) + (ulong)size <= LineSize : (linear & ((ulong)size - 1)) == 0;

    private bool TryFind(ulong linear, int size, out Part part)
    {
        part = default;
        if (!processor.Mmu.TranslateData(linear, AccessKind.Write, out ulong physical) || processor.IsApicPage(physical) || memory.IsRom(physical))
        {
            return false;
        }
        byte* host = memory.Pointer(physical, (ulong)size);
        part = new Part(host, physical, size, host != null && processor.Blocks.HasCode(physical));
        return host != null;
    }

    private void Report(in Part part)
    {
        if (part.HasCode)
        {
            processor.Blocks.CodeWritten(part.Physical, part.Size);
        }
    }

    /// <summary>The bytes of an operand that lie in one page.</summary>
    private readonly struct Part(byte* host, ulong physical, int size, bool hasCode)
    {
        public byte* Host { get; } = host;

        public ulong Physical { get; } = physical;

        public int Size { get; } = size;

        public bool HasCode { get; } = hasCode;
    }
}
