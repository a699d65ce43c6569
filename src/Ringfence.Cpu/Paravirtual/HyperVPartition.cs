using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>Hyper-V's registers that belong to the whole machine, which the TLFS calls partition: who the guest is, the page for hypercalls (TLFS, Hypercall Interface), the page of
/// reference time (TLFS, Timers), and what it says when it crashes. With the platform's gate held.</summary>
internal sealed unsafe class HyperVPartition(ParavirtualPlatform platform)
{
    private const ulong Enable = 1;
    private const ulong Locked = 2;
    private const ulong PageAddress = ~0xFFFUL;
    private const int PageSize = 4096;
    private const ulong CrashNotify = 1UL << 63;
    private const uint Invalid = 0;
    private const int NanosecondsPerUnit = 100;

    private readonly ulong[] _crash = new ulong[HyperVMsrs.LastCrashParameter - HyperVMsrs.FirstCrashParameter + 1];
    private ulong _guestOsId;
    private ulong _hypercall;
    private ulong _referenceTsc;
    private uint _sequence;
    /// <summary>The page is valid for processors whose counter has this offset.</summary>
    private ulong? _toldOffset;
    private ulong _toldTime;

    /// <summary>The guest may call: it has said who it is, and where it wants the page.</summary>
    public bool TakesHypercalls => (_hypercall & Enable) != 0;

    public static bool Has(uint msr) => msr is HyperVMsrs.GuestOsId or HyperVMsrs.Hypercall or HyperVMsrs.ReferenceTsc
        or (>= HyperVMsrs.FirstCrashParameter and <= HyperVMsrs.CrashControl);

    public ulong Read(uint msr) => msr switch
    {
        HyperVMsrs.GuestOsId => _guestOsId,
        HyperVMsrs.Hypercall => _hypercall,
        HyperVMsrs.ReferenceTsc => _referenceTsc,
        // What can be asked for.
        HyperVMsrs.CrashControl => CrashNotify,
        _ => _crash[msr - HyperVMsrs.FirstCrashParameter],
    };

    /// <summary>False for an address where there is no RAM.</summary>
    public bool Write(uint msr, ulong value)
    {
        switch (msr)
        {
            case HyperVMsrs.GuestOsId:
                _guestOsId = value;
                _hypercall &= value == 0 ? ~Enable : ulong.MaxValue;
                return true;
            case HyperVMsrs.Hypercall:
                return WriteHypercall(value);
            case HyperVMsrs.ReferenceTsc:
                if ((value & Enable) != 0 && platform.Locate(value & PageAddress, PageSize) == null)
                {
                    return false;
                }
                _referenceTsc = value;
                TellReferenceTime();
                return true;
            case HyperVMsrs.CrashControl:
                return true;
            default:
                _crash[msr - HyperVMsrs.FirstCrashParameter] = value;
                return true;
        }
    }

    /// <summary>As saved, memory with it: nothing is written there but what may differ, the page of reference time.</summary>
    public void Restore(uint msr, ulong value)
    {
        switch (msr)
        {
            case HyperVMsrs.GuestOsId: _guestOsId = value; break;
            case HyperVMsrs.Hypercall: _hypercall = value; break;
            case HyperVMsrs.ReferenceTsc: _referenceTsc = value; break;
            case HyperVMsrs.CrashControl: break;
            default: _crash[msr - HyperVMsrs.FirstCrashParameter] = value; break;
        }
    }

    /// <summary>The reference time of a processor now, in units of 100 ns (TLFS, Timers). It is what the page says wherever the guest may use that.</summary>
    public ulong ReferenceTime(Processor processor) =>
        _toldOffset == processor.State->TscOffset ? platform.ReferenceScale.ToUnits(processor.TimeStamp) + _toldTime : ClockTime;

    /// <summary>The same by the clock alone, by which timers go.</summary>
    public ulong ClockTime => platform.ReferenceScale.ToUnits((ulong)platform.Clock.Now) + ClockOffset;

    /// <summary>When the clock comes to a reference time.</summary>
    public long ClockAt(ulong time) => platform.ReferenceScale.ToTicks((long)(time - ClockOffset) > 0 ? time - ClockOffset : 0);

    private ulong ClockOffset => (ulong)Math.DivRem(platform.TimeOffset, NanosecondsPerUnit).Quotient;

    /// <summary>Writes the page of reference time, if the guest has given one: as invalid where processors' counters are not the same.</summary>
    public void TellReferenceTime()
    {
        _toldOffset = null;
        ulong address = _referenceTsc & PageAddress;
        if ((_referenceTsc & Enable) == 0 || platform.Locate(address, PageSize) is var at && at == null)
        {
            return;
        }
        ReferencePage* page = (ReferencePage*)at;
        Interlocked.Exchange(ref page->Sequence, Invalid);
        if (platform.TimeStampsAgree)
        {
            Processor first = platform.Processors[0];
            ulong clock = (ulong)platform.Clock.Now;
            _toldTime = platform.ReferenceScale.ToUnits(clock) + ClockOffset - platform.ReferenceScale.ToUnits(clock + first.State->TscOffset);
            _toldOffset = first.State->TscOffset;
            page->Scale = platform.ReferenceScale.Value;
            page->Offset = _toldTime;
            _sequence = _sequence >= int.MaxValue ? 1 : _sequence + 1;
            Volatile.Write(ref page->Sequence, _sequence);
        }
        platform.NoteWritten(address, sizeof(ReferencePage));
    }

    private bool WriteHypercall(ulong value)
    {
        if ((_hypercall & Locked) != 0)
        {
            return true;
        }
        if (_guestOsId == 0)
        {
            value &= ~Enable;
        }
        if ((value & Enable) != 0)
        {
            ulong address = value & PageAddress;
            byte* page = platform.Locate(address, PageSize);
            if (page == null)
            {
                return false;
            }
            HyperVHypercalls.Code.CopyTo(new Span<byte>(page, PageSize));
            platform.NoteWritten(address, HyperVHypercalls.Code.Length);
        }
        _hypercall = value;
        return true;
    }

    /// <summary>HV_REFERENCE_TSC_PAGE.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ReferencePage
    {
        public uint Sequence;
        private readonly uint _reserved;
        public ulong Scale;
        public ulong Offset;
    }
}
