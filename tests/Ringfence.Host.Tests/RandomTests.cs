namespace Ringfence.Host.Tests;

public sealed class RandomTests
{
    [Fact]
    public void NumbersDoNotComeAgain()
    {
        HashSet<ulong> seen = [];
        ulong ones = 0;
        ulong zeros = 0;
        for (int i = 0; i < 1000; i++)
        {
            ulong number = HostRandom.Next();
            Assert.True(seen.Add(number));
            ones |= number;
            zeros |= ~number;
        }
        Assert.Equal(ulong.MaxValue, ones & zeros);
    }
}
