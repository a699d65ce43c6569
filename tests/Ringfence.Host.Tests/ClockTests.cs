using System.Diagnostics;

namespace Ringfence.Host.Tests;

public class ClockTests
{
    private const long Millisecond = 1_000_000;

    [Fact]
    public void TimersExpireInOrderAndNotEarly()
    {
        using var clock = new HostClock();
        var seen = new List<(int Timer, long Now)>();
        using var done = new CountdownEvent(3);
        long start = clock.Now;
        ITimer Make(int id) => clock.CreateTimer(() =>
        {
            seen.Add((id, clock.Now));
            done.Signal();
        });
        using ITimer late = Make(3), early = Make(1), middle = Make(2);
        late.Arm(start + (30 * Millisecond));
        early.Arm(start + (10 * Millisecond));
        middle.Arm(start + (20 * Millisecond));
        Assert.True(done.Wait(5000));
        Assert.Equal([1, 2, 3], seen.Select(s => s.Timer));
        Assert.All(seen, s => Assert.True(s.Now >= start + (s.Timer * 10 * Millisecond)));
    }

    [Fact]
    public void ADeadlineInThePastExpiresAtOnceAndATimerMayRearmItself()
    {
        using var clock = new HostClock(start: 1_000_000_000);
        Assert.True(clock.Now >= 1_000_000_000);
        using var done = new CountdownEvent(100);
        ITimer? timer = null;
        timer = clock.CreateTimer(() =>
        {
            if (!done.IsSet && !done.Signal())
            {
                timer!.Arm(long.MinValue);
            }
        });
        timer.Arm(0);
        Assert.True(done.Wait(5000));
    }

    [Fact]
    public void AClockThatIsStoppedStandsStillAndSoDoItsTimers()
    {
        using var clock = new HostClock();
        using var expired = new ManualResetEventSlim();
        long seen = 0;
        using ITimer timer = clock.CreateTimer(() =>
        {
            seen = clock.Now;
            expired.Set();
        });
        timer.Arm(clock.Now + (50 * Millisecond));
        clock.Pause();
        clock.Pause();
        long stopped = clock.Now;
        // Neither one armed before nor one armed meanwhile, be it for the past.
        using ITimer other = clock.CreateTimer(expired.Set);
        other.Arm(stopped - 1);
        Assert.False(expired.Wait(150));
        other.Disarm();
        Assert.Equal(stopped, clock.Now);
        clock.Resume();
        Assert.InRange(clock.Now - stopped, 0, 5000 * Millisecond);
        Assert.True(expired.Wait(5000));
        Assert.True(seen >= stopped);
        clock.Resume();
        Assert.True(clock.Now >= seen);
    }

    [Fact]
    public void ADisarmedTimerStaysQuietAndARearmedOneExpiresOnce()
    {
        using var clock = new HostClock();
        int quiet = 0, once = 0;
        using ITimer disarmed = clock.CreateTimer(() => quiet++);
        using ITimer rearmed = clock.CreateTimer(() => once++);
        using ITimer never = clock.CreateTimer(() => quiet++);
        never.Arm(long.MaxValue);
        disarmed.Arm(clock.Now + (20 * Millisecond));
        rearmed.Arm(clock.Now + (5000 * Millisecond));
        rearmed.Arm(clock.Now + (10 * Millisecond));
        disarmed.Disarm();
        Thread.Sleep(100);
        Assert.Equal(0, quiet);
        Assert.Equal(1, once);
    }

    [Fact]
    public void TheUsualExpiryIsLessThanAMillisecondLate()
    {
        using var clock = new HostClock();
        using var expired = new AutoResetEvent(false);
        long seen = 0;
        using ITimer timer = clock.CreateTimer(() =>
        {
            seen = clock.Now;
            expired.Set();
        });
        var late = new List<long>();
        for (int i = 0; i < 100; i++)
        {
            long deadline = clock.Now + Millisecond;
            timer.Arm(deadline);
            Assert.True(expired.WaitOne(5000));
            late.Add(seen - deadline);
        }
        late.Sort();
        Assert.True(late[0] >= 0);
        // On an idle host this is tens of microseconds; the bound leaves room for a busy one.
        Assert.True(late[50] < Millisecond, $"median lateness {late[50]} ns");
    }

    [Fact]
    public void AThousandClocksLeaveNoThreadAndNoDescriptor()
    {
        Assert.SkipUnless(Directory.Exists("/proc/self/fd"), "needs /proc");
        new HostClock().Dispose();
        int descriptors = Directory.GetFiles("/proc/self/fd").Length;
        int threads = Directory.GetDirectories("/proc/self/task").Length;
        for (int i = 0; i < 1000; i++)
        {
            using var clock = new HostClock();
            using ITimer timer = clock.CreateTimer(() => { });
            timer.Arm(clock.Now + 1000);
        }
        // The test runner's own threads come and go: a leak would be a thousand, not a handful.
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, descriptors + 20);
        Assert.InRange(Directory.GetDirectories("/proc/self/task").Length, 0, threads + 20);
    }

    [Fact]
    public void AClockMayBeDisposedOfByItsOwnTimerAndTwice()
    {
        var clock = new HostClock();
        using var done = new ManualResetEventSlim();
        ITimer timer = clock.CreateTimer(() =>
        {
            clock.Dispose();
            done.Set();
        });
        timer.Arm(0);
        Assert.True(done.Wait(5000));
        clock.Dispose();
        timer.Arm(0);
        timer.Dispose();
    }

    [Fact]
    public void ArmingFromManyThreadsLosesNothing()
    {
        using var clock = new HostClock();
        int expired = 0;
        Parallel.For(0, 8, _ =>
        {
            var random = new Random(7);
            for (int i = 0; i < 500; i++)
            {
                clock.CreateTimer(() => Interlocked.Increment(ref expired)).Arm(clock.Now + random.Next(200_000));
            }
        });
        var watch = Stopwatch.StartNew();
        while (Volatile.Read(ref expired) < 4000 && watch.ElapsedMilliseconds < 5000)
        {
            Thread.Sleep(1);
        }
        Assert.Equal(4000, expired);
    }

    [Fact]
    public void AManualClockRunsWhatIsDueInOrder()
    {
        var clock = new ManualClock(new DateTime(2000, 1, 1));
        var seen = new List<(string, long)>();
        ITimer b = clock.CreateTimer(() => seen.Add(("b", clock.Now)));
        ITimer a = null!;
        a = clock.CreateTimer(() =>
        {
            seen.Add(("a", clock.Now));
            a.Arm(clock.Now + 10);
        });
        a.Arm(10);
        b.Arm(20);
        clock.Advance(25);
        Assert.Equal([("a", 10L), ("b", 20L), ("a", 20L)], seen);
        Assert.Equal(25, clock.Now);
        Assert.Equal(30, clock.NextDeadline);
        clock.AdvanceLate(100);
        Assert.Equal(("a", 125L), seen[3]);
        Assert.Equal(4, seen.Count);
        b.Arm(0);
        b.Dispose();
        a.Disarm();
        b.Arm(0);
        clock.Advance(1_000_000_000);
        Assert.Equal(4, seen.Count);
        Assert.Equal(new DateTime(2000, 1, 1, 0, 0, 1), clock.UtcNow, TimeSpan.FromMilliseconds(1));
    }

    [Fact]
    public void TheQueueSortsAnything()
    {
        var clock = new ManualClock();
        var random = new Random(1);
        var seen = new List<long>();
        var timers = new List<ITimer>();
        for (int i = 0; i < 300; i++)
        {
            timers.Add(clock.CreateTimer(() => seen.Add(clock.Now)));
        }
        for (int i = 0; i < 3000; i++)
        {
            ITimer timer = timers[random.Next(timers.Count)];
            if (random.Next(4) == 0)
            {
                timer.Disarm();
            }
            else
            {
                timer.Arm(random.Next(1, 1000));
            }
        }
        clock.Advance(1000);
        Assert.Equal(seen.Order(), seen);
        Assert.InRange(seen.Count, 150, 300);
        Assert.Null(clock.NextDeadline);
    }
}
