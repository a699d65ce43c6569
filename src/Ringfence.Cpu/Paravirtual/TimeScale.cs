namespace Ringfence.Cpu.Paravirtual;

/// <summary>
/// From counts of the time-stamp counter to nanoseconds, as pvclock_vcpu_time_info says it (Linux's Documentation/virt/kvm/x86/msr.rst): shifted, then times a
/// multiplier with 32 bits of fraction.
/// </summary>
internal sealed record TimeScale(uint Multiplier, sbyte Shift)
{
    private const ulong NanosecondsPerSecond = 1_000_000_000;
    private const int LargestShift = 32;

    public static TimeScale Of(long hertz)
    {
        int shift = -LargestShift;
        UInt128 multiplier;
        do
        {
            shift++;
            multiplier = ((UInt128)NanosecondsPerSecond << (LargestShift - shift)) / (ulong)hertz;
        }
        while (multiplier > uint.MaxValue);
        return new TimeScale((uint)multiplier, (sbyte)shift);
    }

    public ulong ToNanoseconds(ulong ticks)
    {
        UInt128 shifted = Shift >= 0 ? (UInt128)ticks << Shift : ticks >> -Shift;
        return (ulong)((shifted * Multiplier) >> LargestShift);
    }
}
