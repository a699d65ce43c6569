namespace Ringfence.Engine.Kvm;

/// <summary>
/// How a processor makes a guest's time-stamp counter of its own: times a number with a binary fraction, the rest dropped (SDM 3 25.6.5; APM 2 15.30.5). A rate that is only
/// nearly this one is milliseconds beside the guest's counter on a host that has been up for weeks.
/// </summary>
/// <param name="Bits">Of the fraction.</param>
internal readonly record struct TscScale(ulong Ratio, int Bits)
{
    public const int IntelBits = 48;
    public const int AmdBits = 32;

    /// <summary>As the host counts.</summary>
    public static TscScale None => new(1, 0);

    /// <summary>The ratio that KVM takes for a rate. Rates are whole kHz.</summary>
    public static TscScale Of(long hertz, long hostHertz, int bits) =>
        hertz == hostHertz ? None : new TscScale((ulong)(((UInt128)hertz << bits) / (ulong)hostHertz), bits);

    public ulong Apply(ulong ticks) => (ulong)(((UInt128)ticks * Ratio) >> Bits);
}
