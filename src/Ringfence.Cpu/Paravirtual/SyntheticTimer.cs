using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Paravirtual;

/// <summary>One of the synthetic timers of a processor (TLFS, Timers), which count reference time and tell of their expiry by a message or by an interrupt. With the
/// platform's gate held.</summary>
internal sealed unsafe class SyntheticTimer : IDisposable
{
    public const int Count = 4;
    private const ulong Enable = 1;
    private const ulong Periodic = 2;
    private const ulong EnabledByCount = 8;
    private const ulong Direct = 1 << 12;
    private const uint ExpiredMessage = 0x8000_0010;
    /// <summary>In units of 100 ns: a guest may not keep the host's clock thread busy all the time.</summary>
    private const ulong ShortestPeriod = 200;
    private const int FirstLegalVector = 16;

    private readonly Processor _processor;
    private readonly ParavirtualPlatform _platform;
    private readonly SyntheticInterrupts _interrupts;
    private readonly uint _index;
    private readonly ITimer _timer;
    private ulong _config;
    private ulong _count;
    /// <summary>It has expired, and the message waits for its slot.</summary>
    private bool _waits;

    public SyntheticTimer(Processor processor, ParavirtualPlatform platform, SyntheticInterrupts interrupts, int index)
    {
        _processor = processor;
        _platform = platform;
        _interrupts = interrupts;
        _index = (uint)index;
        _timer = platform.Clock.CreateTimer(() =>
        {
            lock (platform.Gate)
            {
                FireIfDue();
            }
        });
    }

    /// <summary>When it is to expire, in reference time; 0 if it does not run.</summary>
    public ulong Expiry { get; private set; }

    public ulong Config => _config;

    public ulong CountRegister => _count;

    private int Source => (int)(_config >> 16) & 15;

    private ulong Period => Math.Max(_count, ShortestPeriod);

    public void WriteConfig(ulong value)
    {
        Stop();
        // Messages of source 0 are the hypervisor's own.
        _config = (value & Direct) == 0 && ((value >> 16) & 15) == 0 ? value & ~Enable : value;
        Start();
    }

    public void WriteCount(ulong value)
    {
        Stop();
        _count = value;
        if (value == 0)
        {
            _config &= ~Enable;
        }
        else if ((_config & EnabledByCount) != 0)
        {
            _config |= Enable;
        }
        Start();
    }

    public void Restore(ulong config, ulong count, ulong expiry)
    {
        Stop();
        (_config, _count, Expiry) = (config, count, expiry);
        FireIfDue();
    }

    /// <summary>A slot may be empty again, or a source open.</summary>
    public void TryAgain()
    {
        if (_waits)
        {
            FireIfDue();
        }
    }

    public void Dispose() => _timer.Dispose();

    private void Stop()
    {
        _timer.Disarm();
        _waits = false;
        Expiry = 0;
    }

    private void Start()
    {
        if ((_config & Enable) != 0 && _count != 0)
        {
            Expiry = (_config & Periodic) != 0 ? _platform.Partition.ClockTime + Period : _count;
            FireIfDue();
        }
    }

    private void FireIfDue()
    {
        if ((_config & Enable) == 0 || Expiry == 0)
        {
            return;
        }
        ulong now = _platform.Partition.ClockTime;
        if (now < Expiry)
        {
            _timer.Arm(_platform.Partition.ClockAt(Expiry));
            return;
        }
        bool periodic = (_config & Periodic) != 0;
        bool told = Tell(now, periodic);
        if (periodic)
        {
            // Late expiries are not made up for; the phase is kept.
            Expiry += ((now - Expiry) / Period * Period) + Period;
            _timer.Arm(_platform.Partition.ClockAt(Expiry));
            return;
        }
        _waits = !told;
        if (told)
        {
            Expiry = 0;
            _config &= ~Enable;
        }
    }

    /// <summary>False if that is to be tried again.</summary>
    private bool Tell(ulong now, bool periodic)
    {
        if ((_config & Direct) != 0)
        {
            if ((byte)(_config >> 4) >= FirstLegalVector)
            {
                _processor.Apic.Accept((byte)(_config >> 4), false);
            }
            return true;
        }
        Payload payload = new() { Timer = _index, Expiry = Expiry, Delivered = now };
        return _interrupts.Post(Source, ExpiredMessage, MemoryMarshal.AsBytes(new ReadOnlySpan<Payload>(in payload)), !periodic) == MessageOutcome.Posted;
    }

    /// <summary>HV_TIMER_MESSAGE_PAYLOAD.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Payload
    {
        public uint Timer;
        private readonly uint _reserved;
        public ulong Expiry;
        public ulong Delivered;
    }
}
