using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>What became of a message.</summary>
internal enum MessageOutcome
{
    Posted,
    /// <summary>The guest has not taken the last one out yet; it is asked to say when it has.</summary>
    SlotTaken,
    /// <summary>The guest takes no messages from there at present.</summary>
    Closed,
}

/// <summary>The synthetic interrupt controller of one processor (TLFS, Inter-Partition Communication): sixteen sources, each with a vector and a slot for a message. With the platform's gate held.</summary>
internal sealed unsafe class SyntheticInterrupts(Processor processor, ParavirtualPlatform platform)
{
    public const int Sources = 16;
    private const ulong Enable = 1;
    private const ulong PageAddress = ~0xFFFUL;
    private const int PageSize = 4096;
    private const int SlotSize = 256;
    private const ulong Masked = 1 << 16;
    private const ulong EndsItself = 1 << 17;
    private const ulong Polled = 1 << 18;
    private const int FirstLegalVector = 16;
    private const ulong Version = 1;

    private readonly ulong[] _sources = [.. Enumerable.Repeat(Masked, Sources)];
    private ulong _control;
    private ulong _eventPage;
    private ulong _messagePage;

    public static bool Has(uint msr) => msr is (>= HyperVMsrs.SynicControl and <= HyperVMsrs.EndOfMessage) or (>= HyperVMsrs.FirstSource and <= HyperVMsrs.LastSource);

    public ulong Read(uint msr) => msr switch
    {
        HyperVMsrs.SynicControl => _control,
        HyperVMsrs.SynicVersion => Version,
        HyperVMsrs.EventPage => _eventPage,
        HyperVMsrs.MessagePage => _messagePage,
        HyperVMsrs.EndOfMessage => 0,
        _ => _sources[msr - HyperVMsrs.FirstSource],
    };

    /// <summary>False for what cannot be.</summary>
    public bool Write(uint msr, ulong value)
    {
        switch (msr)
        {
            case HyperVMsrs.SynicControl: _control = value; return true;
            case HyperVMsrs.SynicVersion: return false;
            case HyperVMsrs.EventPage: return WritePage(ref _eventPage, value);
            case HyperVMsrs.MessagePage: return WritePage(ref _messagePage, value);
            case HyperVMsrs.EndOfMessage: return true;
            default:
                // The value after power-on may be written back.
                if ((byte)value < FirstLegalVector && (value & Masked) == 0)
                {
                    return false;
                }
                _sources[msr - HyperVMsrs.FirstSource] = value;
                TellVectors();
                return true;
        }
    }

    public void Restore(uint msr, ulong value)
    {
        switch (msr)
        {
            case HyperVMsrs.SynicControl: _control = value; break;
            case HyperVMsrs.EventPage: _eventPage = value; break;
            case HyperVMsrs.MessagePage: _messagePage = value; break;
            case >= HyperVMsrs.FirstSource and <= HyperVMsrs.LastSource:
                _sources[msr - HyperVMsrs.FirstSource] = value;
                TellVectors();
                break;
        }
    }

    /// <summary>A source has the vector: its EOI may mean that a slot is empty again (TLFS, Inter-Partition Communication).</summary>
    public bool Uses(byte vector)
    {
        foreach (ulong source in _sources)
        {
            if ((source & Masked) == 0 && (byte)source == vector)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>Puts a message in a source's slot, and raises its interrupt (TLFS, Inter-Partition Communication).</summary>
    /// <param name="waits">The message will be tried again: the guest is to say when the slot is empty.</param>
    public MessageOutcome Post(int source, uint type, ReadOnlySpan<byte> payload, bool waits)
    {
        ulong wanted = _sources[source];
        ulong address = (_messagePage & PageAddress) + (ulong)(source * SlotSize);
        if ((_control & Enable) == 0 || (_messagePage & Enable) == 0 || (wanted & (Masked | Polled)) == Masked
            || platform.Locate(address, SlotSize) is var at && at == null)
        {
            return MessageOutcome.Closed;
        }
        Slot* slot = (Slot*)at;
        if (Volatile.Read(ref slot->Type) != 0)
        {
            if (waits)
            {
                slot->Flags |= 1;
                // The guest looks at the flag after it has emptied the slot: one of the two sees the other.
                Interlocked.MemoryBarrier();
            }
            if (!waits || Volatile.Read(ref slot->Type) != 0)
            {
                return MessageOutcome.SlotTaken;
            }
        }
        slot->Size = (byte)payload.Length;
        slot->Flags = 0;
        slot->Sender = 0;
        payload.CopyTo(new Span<byte>(slot->Payload, SlotSize - 16));
        Volatile.Write(ref slot->Type, type);
        platform.NoteWritten(address, SlotSize);
        if ((wanted & (Masked | Polled)) == 0)
        {
            processor.Apic.Accept((byte)wanted, false);
        }
        return MessageOutcome.Posted;
    }

    private bool WritePage(ref ulong page, ulong value)
    {
        if ((value & Enable) != 0)
        {
            byte* at = platform.Locate(value & PageAddress, PageSize);
            if (at == null)
            {
                return false;
            }
            // The page that the hypervisor lays over the guest's begins empty.
            new Span<byte>(at, PageSize).Clear();
            platform.NoteWritten(value & PageAddress, PageSize);
        }
        page = value;
        return true;
    }

    /// <summary>Vectors that need no EOI (TLFS, Inter-Partition Communication: AutoEOI).</summary>
    private void TellVectors()
    {
        Span<uint> vectors = stackalloc uint[8];
        vectors.Clear();
        foreach (ulong source in _sources)
        {
            if ((source & (Masked | EndsItself)) == EndsItself)
            {
                vectors[(byte)source >> 5] |= 1u << (int)(source & 31);
            }
        }
        processor.Apic.SetSelfEnding(vectors);
    }

    /// <summary>HV_MESSAGE.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Slot
    {
        public uint Type;
        public byte Size;
        /// <summary>Bit 0: another message waits.</summary>
        public byte Flags;
        private readonly ushort _reserved;
        public ulong Sender;
        public fixed byte Payload[SlotSize - 16];
    }
}
