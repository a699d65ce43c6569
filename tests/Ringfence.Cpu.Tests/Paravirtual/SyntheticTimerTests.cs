using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Paravirtual;

/// <summary>Hyper-V's synthetic interrupt controller (TLFS, Inter-Partition Communication) and timers (TLFS, Timers).</summary>
public sealed class SyntheticTimerTests : IDisposable
{
    private const ulong Page = Guest.Data;
    private const byte Vector = 0x61;
    private const uint Source = 3;
    private const ulong Slot = Page + (Source * 256);
    private const ulong Enabled = 1;
    private const ulong Periodic = 2;
    private const ulong ByCount = 8;
    private const ulong Masked = 1 << 16;
    private const ulong EndsItself = 1 << 17;
    private const ulong Polled = 1 << 18;

    private readonly ParavirtualGuest _machine = new(hyperV: true);

    public SyntheticTimerTests()
    {
        Guest.Write(Slot, uint.MaxValue);
        _machine.Write(0x4000_0080, 1);
        _machine.Write(0x4000_0083, Page | 1);
        _machine.Write(0x4000_0090 + Source, Vector);
    }

    private Guest Guest => _machine.Guest;

    public void Dispose() => _machine.Dispose();

    /// <summary>Sources are masked at first. Vectors below 16 are refused, but for a masked source.</summary>
    [Fact]
    public void Sources()
    {
        Assert.Equal(Masked, _machine.Read(0x4000_0090));
        _machine.Write(0x4000_0090, Masked);
        _machine.Refuses(0x4000_0090, 15);
        _machine.Write(0x4000_009F, 16);
        Assert.Equal(16UL, _machine.Read(0x4000_009F));
    }

    /// <summary>Pages begin empty, and must be memory.</summary>
    [Fact]
    public void Pages()
    {
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        Guest.Write(Page + 0x1000, 5);
        _machine.Write(0x4000_0082, (Page + 0x1000) | 1);
        Assert.Equal(0, Guest.Read<int>(Page + 0x1000));
        _machine.Refuses(0x4000_0082, 0xFEE0_0001);
        _machine.Refuses(0x4000_0083, 0xFEE0_0001);
    }

    /// <summary>A timer for once expires at its count, by a message: type 80000010h, 24 bytes, its number, when it was to expire and when that was told.</summary>
    [Fact]
    public void AMessageTellsOfExpiry()
    {
        _machine.Write(0x4000_00B3, 1000);
        _machine.Write(0x4000_00B2, Enabled | (Source << 16));
        Guest.Clock.Advance(99_999);
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        Guest.Clock.Advance(1);
        Assert.Equal((0x8000_0010u, (ushort)24), (Guest.Read<uint>(Slot), Guest.Read<ushort>(Slot + 4)));
        Assert.Equal((1u, 1000UL, 1000UL), (Guest.Read<uint>(Slot + 16), Guest.Read<ulong>(Slot + 24), Guest.Read<ulong>(Slot + 32)));
        Assert.True(ParavirtualGuest.IsRequested(_machine.First, Vector));
        Assert.Equal((ulong)Source << 16, _machine.Read(0x4000_00B2));
    }

    /// <summary>A count that has passed is due at once; 0 stops a timer.</summary>
    [Fact]
    public void CountsThatHavePassed()
    {
        Guest.Clock.Advance(1_000_000);
        _machine.Write(0x4000_00B0, Enabled | (Source << 16));
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        _machine.Write(0x4000_00B1, 1);
        Assert.Equal(0x8000_0010u, Guest.Read<uint>(Slot));
        Guest.Write(Slot, 0);
        _machine.Write(0x4000_00B1, 20_000);
        _machine.Write(0x4000_00B0, Enabled | (Source << 16));
        _machine.Write(0x4000_00B1, 0);
        Assert.Equal((ulong)Source << 16, _machine.Read(0x4000_00B0));
        Guest.Clock.Advance(10_000_000);
        Assert.Equal(0u, Guest.Read<uint>(Slot));
    }

    /// <summary>Auto-enable: writing the count starts it. Source 0 is the hypervisor's: a timer for it does not start.</summary>
    [Fact]
    public void StartingByTheCount()
    {
        _machine.Write(0x4000_00B0, ByCount | (Source << 16));
        _machine.Write(0x4000_00B1, 500);
        Assert.Equal(Enabled | ByCount | (Source << 16), _machine.Read(0x4000_00B0));
        Guest.Clock.Advance(50_000);
        Assert.Equal(0x8000_0010u, Guest.Read<uint>(Slot));
        _machine.Write(0x4000_00B0, Enabled);
        Assert.Equal(0UL, _machine.Read(0x4000_00B0));
    }

    /// <summary>A slot that is taken is marked, and tried again at EOM, or at the EOI of the source's vector.</summary>
    [Theory]
    [InlineData(0x4000_0084)]
    [InlineData(0x4000_0070)]
    public void MessagesWaitForTheirSlot(uint end)
    {
        Guest.Write(Slot, 1u);
        _machine.First.Apic.Accept(Vector, false);
        _machine.First.Apic.Acknowledge(Guest.Bus);
        _machine.Write(0x4000_00B1, 500);
        _machine.Write(0x4000_00B0, Enabled | (Source << 16));
        Guest.Clock.Advance(50_000);
        Assert.Equal((1u, (byte)1), (Guest.Read<uint>(Slot), Guest.Read<byte>(Slot + 5)));
        Assert.Equal(Enabled | (Source << 16), _machine.Read(0x4000_00B0));
        Guest.Clock.Advance(50_000);
        Guest.Write(Slot, 0u);
        _machine.Write(end, 0);
        Assert.Equal((0x8000_0010u, (byte)0), (Guest.Read<uint>(Slot), Guest.Read<byte>(Slot + 5)));
        Assert.Equal((500UL, 1000UL), (Guest.Read<ulong>(Slot + 24), Guest.Read<ulong>(Slot + 32)));
        Assert.True(ParavirtualGuest.IsRequested(_machine.First, Vector));
    }

    /// <summary>A periodic one keeps its phase; expiries for which there is no slot are lost.</summary>
    [Fact]
    public void PeriodsAreKept()
    {
        Guest.Clock.Advance(33_300);
        _machine.Write(0x4000_00B1, 1000);
        _machine.Write(0x4000_00B0, Enabled | Periodic | (Source << 16));
        for (ulong i = 1; i <= 5; i++)
        {
            Guest.Clock.Advance(100_000);
            Assert.Equal((0x8000_0010u, 333 + (i * 1000)), (Guest.Read<uint>(Slot), Guest.Read<ulong>(Slot + 24)));
            Guest.Write(Slot, 0u);
        }
        Guest.Write(Slot, 1u);
        Guest.Clock.AdvanceLate(250_000);
        Assert.Equal((1u, (byte)0), (Guest.Read<uint>(Slot), Guest.Read<byte>(Slot + 5)));
        Guest.Write(Slot, 0u);
        Guest.Clock.Advance(49_999);
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        Guest.Clock.Advance(1);
        Assert.Equal(8333UL, Guest.Read<ulong>(Slot + 24));
    }

    /// <summary>Direct mode: an interrupt of the timer's own vector, and no message.</summary>
    [Fact]
    public void ATimerMayHaveItsOwnVector()
    {
        _machine.Write(0x4000_00B7, 500);
        _machine.Write(0x4000_00B6, Enabled | (1 << 12) | (0x71 << 4));
        Guest.Clock.Advance(50_000);
        Assert.True(ParavirtualGuest.IsRequested(_machine.First, 0x71));
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        Assert.Equal(0UL, _machine.Read(0x4000_00B6) & Enabled);
    }

    /// <summary>A masked source takes no message until it is opened; a polled one takes it without an interrupt.</summary>
    [Fact]
    public void MaskedAndPolledSources()
    {
        _machine.Write(0x4000_0090 + Source, Vector | Masked);
        _machine.Write(0x4000_00B1, 500);
        _machine.Write(0x4000_00B0, Enabled | (Source << 16));
        Guest.Clock.Advance(50_000);
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        _machine.Write(0x4000_0090 + Source, Vector | Polled);
        Assert.Equal(0x8000_0010u, Guest.Read<uint>(Slot));
        Assert.False(ParavirtualGuest.IsRequested(_machine.First, Vector));
    }

    [Theory]
    [InlineData(0x4000_0080, 0, 1)]
    [InlineData(0x4000_0083, Page, Page | 1)]
    public void AControllerThatIsOffTakesNoMessage(uint msr, ulong off, ulong on)
    {
        _machine.Write(msr, off);
        _machine.Write(0x4000_00B1, 500);
        _machine.Write(0x4000_00B0, Enabled | (Source << 16));
        Guest.Clock.Advance(50_000);
        Assert.Equal(0u, Guest.Read<uint>(Slot));
        _machine.Write(msr, on);
        Assert.Equal(0x8000_0010u, Guest.Read<uint>(Slot));
    }

    /// <summary>AutoEOI: the interrupt is over as it is delivered.</summary>
    [Fact]
    public void InterruptsMayEndThemselves()
    {
        _machine.Write(0x4000_0090 + Source, Vector | EndsItself);
        _machine.First.Apic.Accept(Vector, false);
        Assert.Equal(Vector, _machine.First.Apic.Acknowledge(Guest.Bus));
        Assert.False(ParavirtualGuest.IsInService(_machine.First, Vector));
        _machine.Write(0x4000_0090 + Source, Vector);
        _machine.First.Apic.Accept(Vector, false);
        Assert.Equal(Vector, _machine.First.Apic.Acknowledge(Guest.Bus));
        Assert.True(ParavirtualGuest.IsInService(_machine.First, Vector));
    }

    /// <summary>Each processor has timers and sources of its own.</summary>
    [Fact]
    public void ProcessorsHaveTheirOwn()
    {
        _machine.Write(0x4000_00B1, 500, _machine.Second);
        _machine.Write(0x4000_00B0, Enabled | (1 << 12) | (0x71 << 4), _machine.Second);
        Guest.Clock.Advance(50_000);
        Assert.False(ParavirtualGuest.IsRequested(_machine.First, 0x71));
        Assert.True(ParavirtualGuest.IsRequested(_machine.Second, 0x71));
        Assert.Equal(0UL, _machine.Read(0x4000_00B1));
    }
}
