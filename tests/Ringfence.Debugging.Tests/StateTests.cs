using System.Text.Json;
using Ringfence.Engine;
using Ringfence.Host;
using Ringfence.Tests;

namespace Ringfence.Debugging.Tests;

/// <summary>The whole state of a vCPU goes out of one and into another, which goes on as the first would have.</summary>
public sealed class StateTests : IDisposable
{
    private const byte Vector = 0x41;

    private readonly GuestMemory _memory = new(1 << 20);
    private readonly ManualClock _clock = new();
    private readonly Bus _bus = new();

    [Fact]
    public void WhatIsLoadedIsSaved()
    {
        Random random = new(5);
        using IVm vm = Make();
        using IVm other = Make();
        for (int i = 0; i < 50; i++)
        {
            VcpuState state = Next(random);
            vm.Vcpus[0].Load(state);
            VcpuState saved = vm.Vcpus[0].Save();
            Assert.Equal(Text(state with { Msrs = saved.Msrs }), Text(saved));
            foreach ((uint msr, ulong value) in state.Msrs.Values)
            {
                Assert.Equal((msr, value), (msr, saved.Msrs[msr]));
            }
            other.Vcpus[0].Load(saved);
            Assert.Equal(Text(saved), Text(other.Vcpus[0].Save()));
        }
    }

    [Fact]
    public void APowerOnStateIsAStateToo()
    {
        using IVm vm = Make();
        VcpuState state = vm.Vcpus[0].Save();
        vm.Vcpus[0].Load(state);
        Assert.Equal(Text(state), Text(vm.Vcpus[0].Save()));
        Assert.Equal(VcpuActivity.WaitingForSipi, vm.Vcpus[1].Save().Events.Activity);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    public void ATimerExpiresInTheProcessorThatTookItOver(uint mode)
    {
        NeedsAClockByHand();
        using IVm vm = Make();
        using IVm other = Make();
        uint[] vectors = new ApicState().LocalVectors;
        vectors[0] = (mode << 17) | Vector;
        VcpuState state = vm.Vcpus[0].Save();
        vm.Vcpus[0].Load(state with
        {
            Apic = state.Apic with { Spurious = 0x1FF, LocalVectors = vectors, DivideConfiguration = 0xB, InitialCount = 30_000, TimerStart = _clock.Now, TimerArmed = true },
        });
        _clock.Advance(12_000);
        VcpuState taken = vm.Vcpus[0].Save();
        other.Vcpus[0].Load(taken);
        _clock.Advance(17_999);
        Assert.False(IsRequested(other));
        _clock.Advance(1);
        Assert.True(IsRequested(other));
        // A one-shot timer has expired for good, wherever it is loaded.
        VcpuState expired = other.Vcpus[0].Save();
        Assert.Equal(mode == 1, expired.Apic.TimerArmed);
        other.Vcpus[0].Load(expired with { Apic = expired.Apic with { Request = new uint[8] } });
        _clock.Advance(29_999);
        Assert.False(IsRequested(other));
    }

    [Fact]
    public void ADeadlineIsKeptToo()
    {
        NeedsAClockByHand();
        using IVm vm = Make();
        uint[] vectors = new ApicState().LocalVectors;
        vectors[0] = (2u << 17) | Vector;
        VcpuState state = vm.Vcpus[0].Save();
        vm.Vcpus[0].Load(state with
        {
            TscOffset = 5000,
            Apic = state.Apic with { Spurious = 0x1FF, LocalVectors = vectors, TscDeadline = 5000 + (ulong)_clock.Now + 300 },
        });
        _clock.Advance(299);
        Assert.False(IsRequested(vm));
        _clock.Advance(1);
        Assert.True(IsRequested(vm));
    }

    [Fact]
    public void WhatNoProcessorCanBeInIsRefused()
    {
        using IVm vm = Make();
        VcpuState state = vm.Vcpus[0].Save();
        Assert.Throws<ArgumentException>(() => vm.Vcpus[0].Load(state with { Registers = new ulong[3] }));
        Assert.Throws<ArgumentException>(() => vm.Vcpus[0].Load(state with { Msrs = new MsrState { Values = new Dictionary<uint, ulong> { [0x1234_5678] = 1 } } }));
        Assert.Throws<ArgumentException>(() => vm.Vcpus[0].Load(state with { Events = state.Events with { Activity = (VcpuActivity)9 } }));
        vm.Vcpus[0].Load(state);
    }

    public void Dispose() => _memory.Dispose();

    private static string Text(VcpuState state) => JsonSerializer.Serialize(state with { Msrs = new MsrState() })
        + string.Join(' ', state.Msrs.Values.OrderBy(v => v.Key).Select(v => $"{v.Key:x}={v.Value:x}"));

    private static void NeedsAClockByHand() => Assert.SkipWhen(EngineUnderTest.IsKvm, "under KVM processors live by the host's time-stamp counter");

    private static bool IsRequested(IVm vm) => (vm.Vcpus[0].Save().Apic.Request[Vector >> 5] & (1u << (Vector & 31))) != 0;

    private IVm Make() => EngineUnderTest.Create().CreateVm(new VmOptions(_memory, _clock, _bus, CpuModelNames.Max, 2));

    private static VcpuState Next(Random random)
    {
        ulong Any() => (ulong)random.NextInt64(long.MinValue, long.MaxValue);
        SegmentState Segment() => new((ushort)random.Next(), (uint)random.Next(), (uint)random.Next(), 0xC093);
        byte[] vectors = new byte[FpuState.VectorRegisters * FpuState.VectorBytes];
        random.NextBytes(vectors);
        uint[] Words() => [.. Enumerable.Range(0, 8).Select(_ => (uint)random.Next())];
        return new VcpuState
        {
            Registers = [.. Enumerable.Range(0, 16).Select(_ => Any())],
            Rip = Any(),
            Rflags = (Any() & 0x8D5) | 2,
            Es = Segment(),
            Cs = Segment(),
            Ss = Segment(),
            Ds = Segment(),
            Fs = Segment(),
            Gs = Segment(),
            Ldtr = Segment(),
            Tr = Segment(),
            GdtBase = Any(),
            GdtLimit = (ushort)random.Next(),
            IdtBase = Any(),
            IdtLimit = (ushort)random.Next(),
            Cr0 = 0x8005_0033,
            Cr2 = Any(),
            Cr3 = Any() & 0xFF_FFFF_F000,
            Cr4 = 0x6A0,
            Efer = 0xD01,
            TscOffset = Any(),
            Fpu = new FpuState
            {
                Stack = [.. Enumerable.Range(0, 8).Select(_ => new X87Register(Any(), (ushort)random.Next()))],
                ControlWord = 0x37F,
                StatusWord = (ushort)(random.Next(8) << 11),
                Tags = (byte)random.Next(),
                Opcode = (ushort)random.Next(0x800),
                InstructionPointer = Any(),
                InstructionSelector = (ushort)random.Next(),
                DataPointer = Any(),
                DataSelector = (ushort)random.Next(),
                Mxcsr = (uint)random.Next(0x1_0000),
                Vectors = vectors,
                Opmasks = [.. Enumerable.Range(0, 8).Select(_ => Any())],
                Xcr0 = 1,
                Pkru = (uint)random.Next(),
            },
            Debug = new DebugRegisterState { Addresses = [Any(), Any(), Any(), Any()], Status = 0xFFFF_0FF1, Control = 0x400 },
            Msrs = new MsrState { Values = new Dictionary<uint, ulong> { [MsrState.KernelGsBase] = (uint)random.Next(), [0xC000_0081] = Any(), [0xC000_0082] = 0xFFFF_FFFF_8100_0000, [0x200] = 0x1234_5006 } },
            Apic = new ApicState
            {
                Base = 0xFEE0_0900,
                Id = 0,
                TaskPriority = (uint)random.Next(256),
                LogicalDestination = 0x0100_0000,
                Spurious = 0x1FF,
                ErrorStatus = 0x20,
                Errors = 0x40,
                Command = (uint)random.Next() & ~(1u << 12),
                Request = Words(),
                Service = Words(),
                Trigger = Words(),
                DivideConfiguration = 3,
                InitialCount = (uint)random.Next(1, 1000),
                TimerStart = 7,
                TimerArmed = false,
                ExternalMessage = random.Next(2) == 0,
                ExternalInterrupt = random.Next(2) == 0,
            },
            Events = new EventState
            {
                Activity = (VcpuActivity)random.Next(3),
                Shadow = (InterruptShadowKind)random.Next(3),
                PendingNmis = random.Next(3),
                NmiBlocked = random.Next(2) == 0,
                DebugTraps = (uint)random.Next(16),
                InitPending = random.Next(2) == 0,
                SipiPending = random.Next(2) == 0 ? (byte)random.Next() : null,
            },
        };
    }

    private sealed class Bus : IVcpuBus
    {
        public uint ReadPort(ushort port, int size) => 0;

        public void WritePort(ushort port, int size, uint value)
        {
        }

        public ulong ReadMemory(ulong address, int size) => 0;

        public void WriteMemory(ulong address, int size, ulong value)
        {
        }

        public int AcknowledgeExternalInterrupt() => -1;

        public void EndOfInterrupt(byte vector)
        {
        }
    }
}
