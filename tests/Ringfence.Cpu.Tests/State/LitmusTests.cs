using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.State;

/// <summary>What processors see of each other's plain loads and stores: the examples of SDM 3A 9.2.3, by their usual names. Each round has places of its own, and all
/// processors begin it together.</summary>
public sealed class LitmusTests
{
    private const ulong Barrier = Guest.Data;
    private const int X = 0x10_0000;
    private const int Y = 0x18_0000;
    private const int Results = 0x20_0000;
    private const int Room = 0x8_0000;
    private const int Line = 64;

    private static readonly AssemblerMemoryOperand s_x = __dword_ptr[r8 + X];
    private static readonly AssemblerMemoryOperand s_y = __dword_ptr[r8 + Y];

    /// <summary>9.2.3.2, message passing: stores are seen in their order, and loads made in theirs.</summary>
    [Fact]
    public void NeitherStoresNorLoadsAreReordered() => Forbids(
        1_500,
        r => r[1] == (1, 0),
        a =>
        {
            a.mov(s_x, 1);
            a.mov(s_y, 1);
        },
        a => Load(a, s_y, s_x));

    /// <summary>9.2.3.3: no store overtakes a load before it.</summary>
    [Fact]
    public void StoresDoNotOvertakeLoads() => Forbids(
        1_500,
        r => r[0].First == 1 && r[1].First == 1,
        a =>
        {
            a.mov(eax, s_x);
            a.mov(s_y, 1);
        },
        a =>
        {
            a.mov(eax, s_y);
            a.mov(s_x, 1);
        });

    /// <summary>9.2.3.5: a processor sees its own stores at once.</summary>
    [Fact]
    public void OwnStoresAreSeen() => Forbids(
        1_500,
        r => r[0].First != 1 || r[1].First != 1,
        a =>
        {
            a.mov(s_x, 1);
            Load(a, s_x, s_y);
        },
        a =>
        {
            a.mov(s_y, 1);
            Load(a, s_y, s_x);
        });

    /// <summary>9.2.3.4 allows that both loads overtake the stores before them; MFENCE and locked instructions (9.2.3.9, 9.2.5) do not.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void FencesKeepLoadsBehindStores(bool fence) => Forbids(
        1_500,
        r => r[0].First == 0 && r[1].First == 0,
        a => StoreThenLoad(a, s_x, s_y, fence),
        a => StoreThenLoad(a, s_y, s_x, fence));

    /// <summary>9.2.3.6: what a processor has seen, another that has heard of it by a store sees too.</summary>
    [Fact]
    public void StoresAreSeenTransitively() => Forbids(
        150,
        r => r[1].First == 1 && r[2] == (1, 0),
        a => a.mov(s_x, 1),
        a =>
        {
            a.mov(eax, s_x);
            a.mov(s_y, eax);
        },
        a => Load(a, s_y, s_x));

    /// <summary>9.2.3.7: all see two processors' stores in the same order.</summary>
    [Fact]
    public void AllSeeStoresInOneOrder() => Forbids(
        100,
        r => r[2] == (1, 0) && r[3] == (1, 0),
        a => a.mov(s_x, 1),
        a => a.mov(s_y, 1),
        a => Load(a, s_x, s_y),
        a => Load(a, s_y, s_x));

    /// <summary>One place's values are seen in the order in which they were stored.</summary>
    [Fact]
    public void OnePlaceIsCoherent() => Forbids(
        1_500,
        r => r[1].Second < r[1].First,
        a =>
        {
            a.mov(s_x, 1);
            a.mov(s_x, 2);
        },
        a => Load(a, s_x, s_x));

    /// <summary>9.1.1: aligned operands of 2, 4 and 8 bytes are read and written at once.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void AlignedAccessesDoNotTear(int bytes)
    {
        using var machine = new SharedGuest(2);
        // The one stores all zeros and all ones in turn, the other counts what is neither.
        byte[] writer = Assemble(a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            Move(a, bytes, store: true);
            a.not(rax);
            a.dec(ebp);
            a.jne(again);
            a.hlt();
        });
        byte[] reader = Assemble(a =>
        {
            Label again = a.CreateLabel(), whole = a.CreateLabel();
            a.Label(ref again);
            Move(a, bytes, store: false);
            a.lea(rcx, __[rax + 1]);
            a.cmp(rcx, 1);
            a.jbe(whole);
            a.inc(r15);
            a.Label(ref whole);
            a.dec(ebp);
            a.jne(again);
            a.mov(__qword_ptr[Results], r15);
            a.hlt();
        });
        machine.Run(300_000, (writer, Guest.Data + 0x40), (reader, Guest.Data + 0x40));
        Assert.Equal(0UL, machine.Guest.Read<ulong>(Results));
    }

    private static void Move(Assembler a, int bytes, bool store)
    {
        switch (bytes)
        {
            case 2 when store: a.mov(__word_ptr[rsi], ax); break;
            case 4 when store: a.mov(__dword_ptr[rsi], eax); break;
            case 8 when store: a.mov(__qword_ptr[rsi], rax); break;
            case 2: a.movsx(rax, __word_ptr[rsi]); break;
            case 4: a.movsxd(rax, __dword_ptr[rsi]); break;
            default: a.mov(rax, __qword_ptr[rsi]); break;
        }
    }

    private static void Load(Assembler a, AssemblerMemoryOperand first, AssemblerMemoryOperand second)
    {
        a.mov(eax, first);
        a.mov(ebx, second);
    }

    private static void StoreThenLoad(Assembler a, AssemblerMemoryOperand stored, AssemblerMemoryOperand loaded, bool fence)
    {
        if (fence)
        {
            a.mov(stored, 1);
            a.mfence();
        }
        else
        {
            a.mov(ecx, 1);
            a.xchg(stored, ecx);
        }
        a.mov(eax, loaded);
    }

    /// <summary>Runs the processors' bodies side by side. They leave what they saw in EAX and EBX.</summary>
    private static void Forbids(int rounds, Predicate<(uint First, uint Second)[]> forbidden, params Action<Assembler>[] bodies)
    {
        using var machine = new SharedGuest(bodies.Length);
        machine.Run(rounds, [.. bodies.Select((body, number) => (Round(body, number, bodies.Length), 0UL))]);
        for (int round = 0; round < rounds; round++)
        {
            (uint, uint)[] seen = [.. bodies.Select((_, number) => Seen(machine.Guest, number, round))];
            Assert.False(forbidden(seen), $"round {round}: {string.Join(", ", seen)}");
        }
    }

    private static (uint First, uint Second) Seen(Guest guest, int number, int round)
    {
        ulong at = Place(number) + (ulong)(round * Line);
        return (guest.Read<uint>(at), guest.Read<uint>(at + 4));
    }

    private static ulong Place(int number) => Results + ((ulong)number * Room);

    private static byte[] Round(Action<Assembler> body, int number, int processors) => Assemble(a =>
    {
        Label again = a.CreateLabel(), wait = a.CreateLabel();
        a.mov(r9d, processors);
        a.Label(ref again);
        a.@lock.inc(__qword_ptr[Barrier]);
        a.Label(ref wait);
        a.pause();
        a.cmp(__qword_ptr[Barrier], r9);
        a.jb(wait);
        body(a);
        a.mov(__dword_ptr[r8 + (int)Place(number)], eax);
        a.mov(__dword_ptr[r8 + (int)Place(number) + 4], ebx);
        a.add(r8, Line);
        a.add(r9, processors);
        a.dec(ebp);
        a.jne(again);
        a.hlt();
    });

    private static byte[] Assemble(Action<Assembler> write)
    {
        var assembler = new Assembler(64);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), Guest.Code);
        return stream.ToArray();
    }
}
