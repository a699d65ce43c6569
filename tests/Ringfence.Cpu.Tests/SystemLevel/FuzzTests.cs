using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Random bytes as code, with random registers: a guest can do what it likes to itself, and nothing to the host.</summary>
public sealed unsafe class FuzzTests
{
    /// <summary>For each mode; RINGFENCE_FUZZ_RUNS asks for more.</summary>
    private const int Runs = 3_000;
    private const int CodeBytes = 48;
    /// <summary>What runs spoil in memory is left to the next ones, so often.</summary>
    private const int RunsPerImage = 16;
    private const byte Halt = 0xF4;

    /// <summary>Registers are mostly near mapped memory, so that code gets further than its first access.</summary>
    private static readonly ulong[] Interesting =
        [0, 1, 0x7F, 0x80, 0xFFFF, Guest.Data, Guest.Data + 0xFFC, Guest.Code, Guest.StackTop, ulong.MaxValue, 1UL << 63, 0x8000_0000, 0xFEE0_0000, 0xA_0000];

    [Theory]
    [InlineData(GuestMode.Real, false)]
    [InlineData(GuestMode.Protected16, false)]
    [InlineData(GuestMode.Protected32, false)]
    [InlineData(GuestMode.Protected32, true)]
    [InlineData(GuestMode.Long, false)]
    [InlineData(GuestMode.Long, true)]
    [InlineData(GuestMode.Compatibility, true)]
    public void RandomCodeEndsSomehow(GuestMode mode, bool user)
    {
        int runs = int.TryParse(Environment.GetEnvironmentVariable("RINGFENCE_FUZZ_RUNS"), out int more) ? more : Runs;
        var random = new Random((int)mode * 2 + (user ? 1 : 0));
        byte[] code = new byte[CodeBytes];
        using var guest = new Guest(mode);
        byte[] image = new byte[0x2_2000];
        new ReadOnlySpan<byte>(guest.Memory.Pointer(0), image.Length).CopyTo(image);
        // Code that runs or jumps out of its bytes soon halts.
        image.AsSpan(0x400, 0xC00).Fill(Halt);
        image.AsSpan((int)Guest.Code, 0x4000).Fill(Halt);
        image.AsSpan((int)Guest.Data).Fill(Halt);
        new Span<byte>(guest.Memory.Pointer((ulong)image.Length), (int)GuestMemory.VgaWindow - image.Length).Fill(Halt);
        new Span<byte>(guest.Memory.Pointer(GuestMemory.VgaWindowEnd), (int)(Guest.MemorySize - GuestMemory.VgaWindowEnd)).Fill(Halt);
        CpuState pristine = *guest.State;
        using var watchdog = new Watchdog(guest.Processor);
        for (int run = 0; run < runs; run++)
        {
            if (run % RunsPerImage == 0)
            {
                guest.Memory.Write(0, image);
            }
            Restore(guest, pristine);
            if (user)
            {
                guest.BecomeUser();
            }
            for (int i = 0; i < 16; i++)
            {
                if (i != 4 || random.Next(8) == 0)
                {
                    guest.State->Gpr[i] = random.Next(3) == 0 ? (ulong)random.NextInt64() : Interesting[random.Next(Interesting.Length)] + (ulong)random.Next(64);
                }
            }
            Flags.Set(guest.State, ((ulong)random.Next(0x1000) & ~(random.Next(4) == 0 ? 0UL : Flags.Trap)) | 2);
            random.NextBytes(code);
            Flavour(random, code, guest.Bits);
            // Sometimes against the end of a page.
            ulong at = random.Next(4) == 0 ? Guest.Code + 0x1000 - (ulong)random.Next(1, CodeBytes) : Guest.Code;
            guest.Memory.Write(at, code);
            guest.State->Rip = at;
            int resumed = 0;
            watchdog.Watch();
            try
            {
                while (guest.Processor.Run() == RunResult.Halted && resumed++ < 2)
                {
                    guest.Processor.RequestNmi();
                }
            }
            catch (Exception e)
            {
                Assert.Fail($"run {run}, {Convert.ToHexString(code)}: {e}");
            }
            watchdog.Rest();
        }
        AssertUntouched(guest.Memory);
    }

    /// <summary>Prefixes and two-byte opcodes are where most of the instruction set is.</summary>
    private static void Flavour(Random random, byte[] code, int bits)
    {
        ReadOnlySpan<byte> likely = [0x0F, 0x66, 0xF2, 0xF3, 0x67, 0x2E, 0x64, 0x0F, 0x8E, 0xA5, 0xC8, 0xCF, 0xFF];
        for (int i = 0; i < code.Length; i += random.Next(1, 6))
        {
            if (random.Next(2) == 0)
            {
                code[i] = bits == 64 && random.Next(3) == 0 ? (byte)(0x40 + random.Next(16)) : likely[random.Next(likely.Length)];
            }
        }
    }

    private static void Restore(Guest guest, in CpuState pristine)
    {
        CpuState* s = guest.State;
        (TlbEntryPointers keep, nint owner) = (new TlbEntryPointers(s), s->Owner);
        *s = pristine;
        keep.Restore(s);
        s->Owner = owner;
        guest.Processor.Delivery.NmiBlocked = false;
        guest.Processor.StateLoaded();
    }

    /// <summary>The VGA window lies between two regions of RAM in the host's mapping, and belongs to neither.</summary>
    private static void AssertUntouched(GuestMemory memory)
    {
        var window = new ReadOnlySpan<byte>(memory.Regions[0].Pointer + GuestMemory.VgaWindow, (int)(GuestMemory.VgaWindowEnd - GuestMemory.VgaWindow));
        Assert.Equal(-1, window.IndexOfAnyExcept((byte)0));
    }

    /// <summary>What the processor's parts own in the state.</summary>
    private readonly struct TlbEntryPointers(CpuState* s)
    {
        private readonly Cpu.Memory.TlbEntry* _supervisor = s->TlbSupervisor;
        private readonly Cpu.Memory.TlbEntry* _user = s->TlbUser;
        private readonly Cpu.Memory.TlbEntry* _supervisorAc = s->TlbSupervisorAc;
        private readonly Cpu.Interpreter.JumpCacheEntry* _jumps = s->JumpCache;

        public void Restore(CpuState* to)
        {
            to->TlbSupervisor = _supervisor;
            to->TlbUser = _user;
            to->TlbSupervisorAc = _supervisorAc;
            to->JumpCache = _jumps;
        }
    }

    /// <summary>Ends runs that do not end by themselves: code that jumps to itself.</summary>
    private sealed class Watchdog : IDisposable
    {
        private readonly Processor _processor;
        private readonly Thread _thread;
        private int _watched;
        private volatile bool _over;
        private volatile bool _resting = true;

        public Watchdog(Processor processor)
        {
            _processor = processor;
            _thread = new Thread(Look) { IsBackground = true };
            _thread.Start();
        }

        public void Watch()
        {
            Interlocked.Increment(ref _watched);
            _resting = false;
        }

        public void Rest() => _resting = true;

        public void Dispose()
        {
            _over = true;
            _thread.Join();
        }

        private void Look()
        {
            while (!_over)
            {
                int before = Volatile.Read(ref _watched);
                Thread.Sleep(1);
                if (!_resting && before == Volatile.Read(ref _watched))
                {
                    _processor.RequestExit();
                }
            }
        }
    }
}
