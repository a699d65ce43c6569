using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>REPE and REPNE with CMPS and SCAS over more than one page (SDM 2 REP, CMPS, SCAS), against the definition element by element.</summary>
public sealed unsafe class RepeatedComparisonTests
{
    private const byte Repe = 0xF3;
    private const byte Repne = 0xF2;
    private const ulong Second = Guest.Data + 0x10000;
    private const ulong Room = 0x6000;

    [Theory]
    [InlineData(Repe, 1)]
    [InlineData(Repe, 2)]
    [InlineData(Repe, 4)]
    [InlineData(Repe, 8)]
    [InlineData(Repne, 1)]
    [InlineData(Repne, 4)]
    public void StringsAreComparedUpToTheFirstThatEndsIt(byte prefix, int size)
    {
        using var guest = new Guest(GuestMode.Long);
        var random = new Random(prefix + size);
        for (int n = 0; n < 200; n++)
        {
            Fill(guest, random, prefix == Repe);
            Set(guest, random, size, backward: n % 8 == 0);
            (ulong si, ulong di, ulong cx, bool zero, bool carry) = Expected(guest, prefix == Repe, size, scan: false);
            Run(guest, prefix, size, (byte)(size == 1 ? 0xA6 : 0xA7));
            Assert.Equal((si, di, cx), (guest.State->Gpr[6], guest.State->Gpr[7], guest.State->Gpr[1]));
            Assert.Equal((zero, carry), (Flags.IsZero(guest.State), Flags.IsCarry(guest.State)));
        }
    }

    [Theory]
    [InlineData(Repe, 1)]
    [InlineData(Repe, 8)]
    [InlineData(Repne, 1)]
    [InlineData(Repne, 2)]
    [InlineData(Repne, 4)]
    [InlineData(Repne, 8)]
    public void StringsAreScannedUpToTheFirstThatEndsIt(byte prefix, int size)
    {
        using var guest = new Guest(GuestMode.Long);
        var random = new Random(prefix + size);
        for (int n = 0; n < 200; n++)
        {
            Fill(guest, random, true);
            Set(guest, random, size, backward: n % 8 == 0);
            guest.State->Gpr[0] = prefix == Repe ? 0UL : 0x5A5A_5A5A_5A5A_5A5A;
            (_, ulong di, ulong cx, bool zero, bool carry) = Expected(guest, prefix == Repe, size, scan: true);
            Run(guest, prefix, size, (byte)(size == 1 ? 0xAE : 0xAF));
            Assert.Equal((di, cx), (guest.State->Gpr[7], guest.State->Gpr[1]));
            Assert.Equal((zero, carry), (Flags.IsZero(guest.State), Flags.IsCarry(guest.State)));
        }
    }

    /// <summary>Registers tell how far it came when a page is not there.</summary>
    [Fact]
    public void AFaultLeavesItBetweenTwoElements()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Page(Second + 0x1000) = 0;
        guest.State->Gpr[6] = Guest.Data;
        guest.State->Gpr[7] = Second;
        guest.State->Gpr[1] = 0x1800;
        Outcome outcome = guest.Run(Repe, 0xA6);
        Assert.Equal((14, Guest.Code), (outcome.Vector, outcome.Rip));
        Assert.Equal(Second + 0x1000, guest.State->Cr2);
        Assert.Equal((Guest.Data + 0x1000, Second + 0x1000, 0x800UL), (guest.State->Gpr[6], guest.State->Gpr[7], guest.State->Gpr[1]));
    }

    private static void Run(Guest guest, byte prefix, int size, byte opcode)
    {
        byte[] code = size switch { 2 => [prefix, 0x66, opcode], 8 => [prefix, 0x48, opcode], _ => [prefix, opcode] };
        guest.Place(Guest.Code, [.. code, 0xF4]);
        guest.Start(Guest.Code);
    }

    /// <summary>The same in both places but for few bytes; or, where the first that is equal ends it, nearly never so.</summary>
    private static void Fill(Guest guest, Random random, bool same)
    {
        for (ulong at = 0; at < Room; at++)
        {
            guest.Write(Guest.Data + at, (byte)(same ? 0 : 0x11));
            guest.Write(Second + at, (byte)0);
        }
        for (int i = random.Next(4); i > 0; i--)
        {
            ulong at = (ulong)random.Next((int)Room - 8);
            guest.Write(Guest.Data + at, same ? random.Next(2) == 0 ? 0x5A5A_5A5A_5A5A_5A5AUL : 0xFFUL : 0UL);
        }
    }

    private static void Set(Guest guest, Random random, int size, bool backward)
    {
        CpuState* s = guest.State;
        int length = random.Next(3) == 0 ? random.Next(8) : random.Next((int)Room / 2 / size);
        ulong start = (ulong)random.Next((int)Room / 2 - 8) + (backward ? Room / 2 : 0);
        s->SystemFlags = backward ? s->SystemFlags | Flags.Direction : s->SystemFlags & ~Flags.Direction;
        s->Gpr[6] = Guest.Data + start;
        s->Gpr[7] = Second + start;
        s->Gpr[1] = (ulong)length;
        Flags.Set(s, 0x202 | (s->SystemFlags & Flags.Direction));
        if (random.Next(2) == 0)
        {
            (s->Gpr[6], s->Gpr[7]) = (s->Gpr[7], s->Gpr[6]);
        }
    }

    private static (ulong Si, ulong Di, ulong Cx, bool Zero, bool Carry) Expected(Guest guest, bool whileEqual, int size, bool scan)
    {
        CpuState* s = guest.State;
        (ulong si, ulong di, ulong cx) = (s->Gpr[6], s->Gpr[7], s->Gpr[1]);
        (bool zero, bool carry) = (Flags.IsZero(s), Flags.IsCarry(s));
        ulong mask = size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
        ulong step = (s->SystemFlags & Flags.Direction) != 0 ? (ulong)-size : (ulong)size;
        while (cx != 0)
        {
            ulong a = (scan ? s->Gpr[0] : guest.Read<ulong>(si)) & mask;
            ulong b = guest.Read<ulong>(di) & mask;
            (zero, carry) = (a == b, a < b);
            si += scan ? 0 : step;
            di += step;
            cx--;
            if (zero != whileEqual)
            {
                break;
            }
        }
        return (si, di, cx, zero, carry);
    }
}
