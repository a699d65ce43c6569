using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>
/// Random tables, settings and accesses, compared with <see cref="ReferenceWalker"/>: what is allowed, where it leads, the error code, and
/// the flags in the tables afterwards. Several accesses follow each other, so that most meet a TLB that is warm.
/// </summary>
public sealed unsafe class RandomPagingTests
{
    private const ulong Top = 0x30_0000;
    private const int AccessesPerTable = 40;

    [Theory]
    [InlineData((int)Paging.Bits32, 600)]
    [InlineData((int)Paging.Pae, 600)]
    [InlineData((int)Paging.FourLevel, 1000)]
    [InlineData((int)Paging.FiveLevel, 1000)]
    public void AccessesAreAsTheManualSays(int paging, int rounds)
    {
        using var guest = new Guest((Paging)paging is Paging.FourLevel or Paging.FiveLevel ? GuestMode.Long : GuestMode.Protected32);
        CpuModel small = CpuModel.Max with { Features = CpuModel.Max.Features.Without(CpuFeature.Pages1G) };
        using var smaller = new Guest(guest.Mode, small);
        int allowed = 0;
        for (int seed = 0; seed < rounds; seed++)
        {
            bool pages1G = seed % 8 != 0;
            allowed += Round(pages1G ? guest : smaller, (Paging)paging, pages1G, seed);
        }
        // Both outcomes are tried in earnest.
        Assert.InRange(allowed, rounds * AccessesPerTable / 8, rounds * AccessesPerTable * 7 / 8);
    }

    private static int Round(Guest guest, Paging paging, bool pages1G, int seed)
    {
        var random = new Random(seed);
        var x = new PagingSettings(
            paging, Coin(random), Coin(random), random.Next(4) != 0, random.Next(3) == 0, Coin(random), Coin(random), Coin(random), pages1G,
            Keys(random), Keys(random));
        int unused = paging switch
        {
            Paging.FiveLevel => 7,
            Paging.FourLevel => 16,
            _ => 32,
        };
        long signed = random.NextInt64() << unused >> unused;
        ulong linear = unused == 32 ? (uint)signed : (ulong)signed;
        ulong[] pointers = [0, 0, 0, 0];
        Build(guest, x, random, linear, pointers);
        Set(guest, x);
        int allowed = 0;
        for (int i = 0; i < AccessesPerTable; i++)
        {
            bool supervisor = Coin(random);
            bool ac = Coin(random);
            char kind = "rwx"[random.Next(3)];
            ulong address = (linear & ~0x1FFFUL) | (uint)random.Next(0x2000);
            allowed += Try(guest, x, pointers, address, kind, supervisor, ac, $"seed {seed}, access {i}: {kind} {address:x}") ? 1 : 0;
            if (random.Next(16) == 0)
            {
                guest.Processor.Registers.WritePkru(Keys(random));
                x = x with { Pkru = guest.State->Pkru };
            }
        }
        return allowed;
    }

    private static bool Try(Guest guest, PagingSettings x, ulong[] pointers, ulong address, char kind, bool supervisor, bool ac, string what)
    {
        CpuState* s = guest.State;
        Verdict expected = ReferenceWalker.Walk(x, at => ReadEntry(guest, x, at), Top, pointers, address, kind, supervisor, ac);
        Dictionary<ulong, ulong> entries = expected.Marks.ToDictionary(m => m.Entry, m => ReadEntry(guest, x, m.Entry) | m.Flags);
        s->Cpl = supervisor ? 0 : 3u;
        s->SystemFlags = ac ? s->SystemFlags | Flags.AlignmentCheck : s->SystemFlags & ~(ulong)Flags.AlignmentCheck;
        guest.Processor.Mmu.SelectTlb();
        s->Event = ExitEvent.None;
        byte value = 0;
        ulong physical = expected.Physical;
        bool done = kind switch
        {
            'r' => GuestAccess.Read(s, address, out value),
            // What is there already: the tables may lie in the page.
            'w' => GuestAccess.Write(s, address, ByteAt(guest, expected.Physical)),
            _ => guest.Processor.Mmu.TranslateFetch(address, out physical),
        };
        Assert.True(done == expected.Error is null, $"{what}: done {done}, expected error {expected.Error:x}, got {s->FaultError:x}; {x}");
        if (expected.Error is { } error)
        {
            Assert.True((14u, error, address) == (s->FaultVector, s->FaultError, s->FaultAddress), $"{what}: error {s->FaultError:x}, not {error:x}; {x}");
        }
        else
        {
            Assert.True(kind != 'r' || value == ByteAt(guest, expected.Physical), $"{what}: value; {x}");
            Assert.True(physical == expected.Physical, $"{what}: {physical:x}, not {expected.Physical:x}; {x}");
        }
        foreach ((ulong at, ulong entry) in entries)
        {
            Assert.True(ReadEntry(guest, x, at) == entry, $"{what}: entry at {at:x} is {ReadEntry(guest, x, at):x}, not {entry:x}; {x}");
        }
        s->Event = ExitEvent.None;
        return done;
    }

    /// <summary>Tables for the two pages around an address, most of them good.</summary>
    private static void Build(Guest guest, PagingSettings x, Random random, ulong linear, ulong[] pointers)
    {
        guest.Memory.Write(Top, new byte[0x6000]);
        bool narrow = x.Paging == Paging.Bits32;
        int levels = x.Paging switch
        {
            Paging.FiveLevel => 5,
            Paging.FourLevel => 4,
            _ => 2,
        };
        ulong table = Top;
        if (x.Paging == Paging.Pae)
        {
            for (int i = 0; i < 4; i++)
            {
                pointers[i] = (Top + 0x1000) | (random.Next(12) == 0 ? 0 : 1u);
                guest.Write(Top + ((ulong)i * 8), pointers[i]);
            }
            table = Top + 0x1000;
        }
        for (int level = levels - 1; level >= 0; level--)
        {
            int shift = narrow ? 12 + (10 * level) : 12 + (9 * level);
            for (ulong page = 0; page < 2; page++)
            {
                ulong index = (((linear & ~0x1FFFUL) | (page << 12)) >> shift) & (narrow ? 1023u : 511u);
                ulong entry = Entry(x, random, level, table + 0x1000);
                if (narrow)
                {
                    guest.Write(table + (index * 4), (uint)entry);
                }
                else
                {
                    guest.Write(table + (index * 8), entry);
                }
            }
            table += 0x1000;
        }
    }

    private static ulong Entry(PagingSettings x, Random random, int level, ulong next)
    {
        ulong rights = (random.Next(16) == 0 ? 0 : 1u) | (random.Next(5) == 0 ? 0 : 2u) | (random.Next(4) == 0 ? 0 : 4u);
        ulong flags = rights | ((uint)random.Next(4) << 5) | ((uint)random.Next(2) << 8) | ((uint)random.Next(8) << 9);
        bool large = level > 0 && random.Next(level > 2 ? 20 : 4) == 0;
        bool leaf = level == 0 || large;
        flags |= large ? 0x80u : 0;
        ulong frame = next;
        if (leaf)
        {
            // Within RAM most of the time.
            frame = random.Next(4) == 0 ? (ulong)random.NextInt64() & 0xFF_FFFF_F000 : (ulong)(uint)random.Next(1024) << 12;
            if (large && random.Next(4) != 0)
            {
                int shift = x.Paging == Paging.Bits32 ? 22 : 12 + (9 * level);
                frame = frame >> shift << shift;
            }
        }
        if (x.Paging == Paging.Bits32)
        {
            return (uint)(flags | frame);
        }
        flags |= x.Paging == Paging.Pae ? 0 : (ulong)(uint)random.Next(0x800) << 52;
        flags |= random.Next(x.Nxe ? 5 : 20) == 0 ? 1UL << 63 : 0;
        flags |= random.Next(30) == 0 ? 1UL << random.Next(40, x.Paging == Paging.Pae ? 63 : 52) : 0;
        return flags | frame;
    }

    private static void Set(Guest guest, PagingSettings x)
    {
        CpuState* s = guest.State;
        s->Cr3 = Top;
        s->Cr0 = 0x8000_0031 | (x.WriteProtect ? 0x1_0000u : 0);
        s->Cr4 = 0x600 | (x.Pse ? 0x10u : 0) | (x.Paging == Paging.Bits32 ? 0 : 0x20u) | (x.Paging == Paging.FiveLevel ? 0x1000u : 0)
            | (x.Smep ? 1u << 20 : 0) | (x.Smap ? 1u << 21 : 0) | (x.Pke ? 1u << 22 : 0) | (x.Pks ? 1u << 24 : 0);
        s->Efer = (s->Efer & ~0x800UL) | (x.Nxe ? 0x800u : 0);
        s->Pkru = x.Pkru;
        s->Pkrs = x.Pkrs;
        guest.Processor.StateLoaded();
    }

    /// <summary>Outside RAM there are no tables: entries are 0.</summary>
    private static ulong ReadEntry(Guest guest, PagingSettings x, ulong at) =>
        guest.Memory.Pointer(at, 8) == null ? 0 : x.Paging == Paging.Bits32 ? guest.Read<uint>(at) : guest.Read<ulong>(at);

    /// <summary>What the bus gives where there is no RAM is all ones.</summary>
    private static byte ByteAt(Guest guest, ulong physical) => guest.Memory.Pointer(physical, 1) == null ? byte.MaxValue : guest.Read<byte>(physical);

    private static bool Coin(Random random) => random.Next(2) == 0;

    /// <summary>Rights of keys, a third of them denied something.</summary>
    private static uint Keys(Random random) => (uint)random.NextInt64() & (uint)random.NextInt64() & (random.Next(2) == 0 ? uint.MaxValue : 0);
}
