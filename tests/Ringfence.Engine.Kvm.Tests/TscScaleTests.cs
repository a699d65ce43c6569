namespace Ringfence.Engine.Kvm.Tests;

/// <summary>Guests' time-stamp counters where the processor scales them.</summary>
public sealed class TscScaleTests
{
    private const long GuestHertz = 1_000_000_000;
    private const ulong HostHertz = 2_994_374_000;

    /// <summary>Fixed point of 8.32 bits on AMD's processors (APM 2 15.30.5), 16.48 on Intel's (SDM 3 25.6.5).</summary>
    [Theory]
    [InlineData(TscScale.AmdBits, 0x557E_60A9UL)]
    [InlineData(TscScale.IntelBits, 0x557E_60A9_86C2UL)]
    public void TheRatioIsRoundedDownToTheProcessorsFraction(int bits, ulong ratio) =>
        Assert.Equal(ratio, TscScale.Of(GuestHertz, (long)HostHertz, bits).Ratio);

    /// <summary>The clock counts from where the guest's counter was 0, the processor scales its whole count and adds an offset.</summary>
    [Theory]
    [InlineData(TscScale.AmdBits)]
    [InlineData(TscScale.IntelBits)]
    public void TheClockIsWithTheGuestsCounterHoweverLongTheHostHasBeenUp(int bits)
    {
        TscScale scale = TscScale.Of(GuestHertz, (long)HostHertz, bits);
        const ulong Day = 86_400 * HostHertz;
        foreach (ulong origin in (ulong[])[1, 400 * Day, 4000 * Day])
        {
            ulong offset = 0 - scale.Apply(origin);
            foreach (ulong passed in (ulong[])[0, 12_345, Day, 100 * Day])
            {
                ulong guest = scale.Apply(origin + passed) + offset;
                Assert.InRange((long)(guest - scale.Apply(passed)), 0, 1);
            }
        }
    }

    [Fact]
    public void TheHostsRateIsTheHostsCount() => Assert.Equal(0xFFFF_0000_1234_5678, TscScale.Of((long)HostHertz, (long)HostHertz, TscScale.AmdBits).Apply(0xFFFF_0000_1234_5678));
}
