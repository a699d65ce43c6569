using Ringfence.Host;
using ITimer = Ringfence.Host.ITimer;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// A clock that counts what guests' time-stamp counters count under KVM: the host's, scaled and moved as the kernel scales and moves it. The processors'
/// local APICs live by it, so that a deadline that a guest computes from RDTSC comes when RDTSC says so.
/// </summary>
/// <param name="host">The machine's clock, whose timers stand behind this one's.</param>
/// <param name="hertz">What one second counts here.</param>
/// <param name="scale">What becomes of the host's own count.</param>
/// <param name="origin">The host's counter when this clock was 0.</param>
internal sealed unsafe class TscClock(IClock host, long hertz, TscScale scale, ulong origin) : IClock
{
    private static readonly delegate* unmanaged<ulong> s_read = (delegate* unmanaged<ulong>)CodePages.Map([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]);

    /// <summary>The host's time-stamp counter.</summary>
    public static ulong HostTsc => s_read();

    public long Now => (long)scale.Apply(HostTsc - origin);

    public DateTime UtcNow => host.UtcNow;

    public ITimer CreateTimer(Action expired) => new Timer(this, host.CreateTimer(expired));

    private sealed class Timer(TscClock clock, ITimer timer) : ITimer
    {
        public void Arm(long deadline)
        {
            // Rounded up: early would be before the guest's own counter says so.
            Int128 wait = (((Int128)deadline - clock.Now) * 1_000_000_000 / clock.Hertz) + 1;
            timer.Arm((long)Int128.Clamp(clock.HostNow + wait, 0, long.MaxValue));
        }

        public void Disarm() => timer.Disarm();

        public void Dispose() => timer.Dispose();
    }

    private long Hertz => hertz;

    private long HostNow => host.Now;
}
