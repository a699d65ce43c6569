using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>
/// kvm-clock of one processor (Linux's Documentation/virt/kvm/x86/msr.rst): a page tells how time follows from the time-stamp counter, another when time began.
/// Both are told for the moment at which the clock was 0, so that they change only with the counter, and are the same on all processors.
/// </summary>
internal sealed unsafe class KvmClock(Processor processor, ParavirtualPlatform platform)
{
    public const uint WallClock = 0x4B56_4D00;
    public const uint SystemTime = 0x4B56_4D01;
    public const uint OldWallClock = 0x11;
    public const uint OldSystemTime = 0x12;
    private const ulong Enable = 1;
    private const byte TimeStampsAreStable = 1;

    private ulong _wallClock;
    private ulong _systemTime;

    public static bool Has(uint msr) => msr is WallClock or SystemTime or OldWallClock or OldSystemTime;

    public ulong Read(uint msr) => msr is WallClock or OldWallClock ? _wallClock : _systemTime;

    public void Write(uint msr, ulong value)
    {
        if (msr is WallClock or OldWallClock)
        {
            _wallClock = value;
            TellStart();
            return;
        }
        _systemTime = value;
        TellTime();
    }

    /// <summary>To be told again by <see cref="TellTime"/>.</summary>
    public void Restore(ulong wallClock, ulong systemTime) => (_wallClock, _systemTime) = (wallClock, systemTime);

    /// <summary>Writes the page that the guest has given for it, if it has.</summary>
    public void TellTime()
    {
        ulong address = _systemTime & ~Enable;
        if ((_systemTime & Enable) == 0 || platform.Locate(address, sizeof(TimeInformation)) is var page && page == null)
        {
            return;
        }
        TimeInformation* information = (TimeInformation*)page;
        uint version = Begin(&information->Version);
        information->TimeStamp = processor.State->TscOffset;
        information->SystemTime = (ulong)platform.TimeOffset;
        information->Multiplier = platform.TimeScale.Multiplier;
        information->Shift = platform.TimeScale.Shift;
        information->Flags = platform.TimeStampsAgree ? TimeStampsAreStable : (byte)0;
        Volatile.Write(ref information->Version, version + 1);
        platform.NoteWritten(address, sizeof(TimeInformation));
    }

    private void TellStart()
    {
        if (platform.Locate(_wallClock, sizeof(WallClockInformation)) is var page && page == null)
        {
            return;
        }
        WallClockInformation* information = (WallClockInformation*)page;
        long ticks = (platform.StartOfTime - DateTime.UnixEpoch).Ticks;
        uint version = Begin(&information->Version);
        information->Seconds = (uint)(ticks / TimeSpan.TicksPerSecond);
        information->Nanoseconds = (uint)(ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        Volatile.Write(ref information->Version, version + 1);
        platform.NoteWritten(_wallClock, sizeof(WallClockInformation));
    }

    /// <summary>An odd version: what follows is under way.</summary>
    private static uint Begin(uint* version)
    {
        uint odd = (*version + 1) | 1;
        Interlocked.Exchange(ref *version, odd);
        return odd;
    }

    /// <summary>struct pvclock_vcpu_time_info.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TimeInformation
    {
        public uint Version;
        private readonly uint _reserved;
        public ulong TimeStamp;
        public ulong SystemTime;
        public uint Multiplier;
        public sbyte Shift;
        public byte Flags;
        private readonly ushort _padding;
    }

    /// <summary>struct pvclock_wall_clock.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct WallClockInformation
    {
        public uint Version;
        public uint Seconds;
        public uint Nanoseconds;
    }
}
