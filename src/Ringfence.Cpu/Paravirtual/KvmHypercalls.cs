using System.Runtime.InteropServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>VMCALL and VMMCALL with KVM's signature in CPUID (Linux's Documentation/virt/kvm/x86/hypercalls.rst): the number is in RAX, arguments in RBX, RCX, RDX
/// and RSI, the answer in RAX.</summary>
internal static unsafe class KvmHypercalls
{
    private const ulong PollInterrupt = 1;
    private const ulong ClockPairing = 9;
    private const ulong WallClock = 0;
    private const long Unknown = -1000;
    private const long NotPermitted = -1;
    private const long BadAddress = -14;
    private const long NotSupported = -95;

    public static void Call(Processor processor)
    {
        CpuState* s = processor.State;
        bool wide = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64;
        ulong mask = wide ? ulong.MaxValue : uint.MaxValue;
        long answer = s->Cpl != 0 ? NotPermitted : (s->Gpr[0] & mask) switch
        {
            PollInterrupt => 0,
            ClockPairing => PairClocks(processor, s->Gpr[3] & mask, s->Gpr[1] & mask),
            _ => Unknown,
        };
        s->Gpr[0] = (ulong)answer & mask;
    }

    /// <summary>KVM_HC_CLOCK_PAIRING: the host's time and the guest's time-stamp counter at one moment.</summary>
    private static long PairClocks(Processor processor, ulong address, ulong type)
    {
        if (type != WallClock)
        {
            return NotSupported;
        }
        ParavirtualPlatform platform = processor.Platform;
        if (platform.Locate(address, sizeof(Pairing)) is var page && page == null)
        {
            return BadAddress;
        }
        long ticks = (platform.Clock.UtcNow - DateTime.UnixEpoch).Ticks;
        *(Pairing*)page = new Pairing
        {
            Seconds = ticks / TimeSpan.TicksPerSecond,
            Nanoseconds = ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick,
            TimeStamp = processor.TimeStamp,
        };
        platform.NoteWritten(address, sizeof(Pairing));
        return 0;
    }

    /// <summary>struct kvm_clock_pairing.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    private struct Pairing
    {
        public long Seconds;
        public long Nanoseconds;
        public ulong TimeStamp;
    }
}
