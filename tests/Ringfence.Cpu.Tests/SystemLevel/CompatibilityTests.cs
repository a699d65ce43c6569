namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>32-bit code under a 64-bit system (SDM 3A 2.1.5, 6.14): its tables and stacks may be anywhere.</summary>
public sealed unsafe class CompatibilityTests
{
    private const ulong High = 0xFFFF_8000_0000_0000;

    /// <summary>SDM 3A 6.14.1, 6.14.2: gates, TSS and the new stack are reached with 64-bit addresses.</summary>
    [Theory]
    [InlineData(new byte[] { 0x0F, 0x0B }, 6)]
    [InlineData(new byte[] { 0xA1, 0x00, 0x00, 0x50, 0x00 }, 14)]
    [InlineData(new byte[] { 0x0F, 0x20, 0xC0 }, 13)]
    public void ExceptionsReachTablesAboveFourGigabytes(byte[] code, int vector)
    {
        using Guest guest = WithHighTables();
        guest.BecomeUser();
        guest.Write(Guest.Tss + 4, High + Guest.InnerStackTop);
        guest.State->Rip = Guest.Code;
        Assert.Equal(vector, guest.Run(code).Vector);
        Assert.Equal(0u, guest.State->Cpl);
        Assert.InRange(guest.State->Gpr[4], High + Guest.InnerStackTop - 0x40, High + Guest.InnerStackTop);
    }

    /// <summary>SDM 3A 3.5.2: so are descriptors when a selector is loaded.</summary>
    [Fact]
    public void SelectorsAreLoadedFromTablesAboveFourGigabytes()
    {
        using Guest guest = WithHighTables();
        guest.State->Gpr[0] = Guest.FlatData;
        Assert.Equal(-1, guest.Run(0x8E, 0xC0).Vector);
    }

    /// <summary>Compatibility mode, the lower half of memory mapped once more in the upper half, and the tables named there.</summary>
    private static Guest WithHighTables()
    {
        var guest = new Guest(GuestMode.Compatibility);
        guest.Write(Guest.Tables + 256 * 8, (Guest.Tables + 0x1000) | 7);
        guest.State->GdtBase += High;
        guest.State->IdtBase += High;
        guest.State->Tr.Base += High;
        guest.Processor.StateLoaded();
        return guest;
    }
}
