using System.Text.Json;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>The state, group by group: loaded into one engine, run there for an instruction or two, saved, loaded into the other, and the same there.</summary>
public sealed class StateTests
{
    private static readonly Dictionary<string, (Func<VcpuState, VcpuState> Change, Func<VcpuState, object> Group)> s_groups = new()
    {
        ["general registers"] = (
            s => s with { Registers = [.. Enumerable.Range(0, 16).Select(i => i == 4 ? TinyGuest.Stack : 0x1111_1111_1111_1111 * (ulong)i)], Rflags = 0x8D7 },
            s => new { s.Registers, s.Rip, s.Rflags }),
        ["segments"] = (
            s => s with
            {
                Fs = new SegmentState(0x33, 0x7FFF_1234_5000, uint.MaxValue, 0xC0F3),
                Gs = new SegmentState(0, 0xFFFF_8888_0000_1000, uint.MaxValue, 0xC093),
                Ldtr = new SegmentState(0x18, 0x6000, 0xFFF, 0x82),
                Tr = new SegmentState(0x28, 0x7000, 0x67, 0x8B),
            },
            s => new { s.Cs, s.Ds, s.Es, s.Fs, s.Gs, s.Ss, s.Ldtr, s.Tr }),
        ["tables"] = (s => s with { GdtBase = 0x3000, GdtLimit = 0x4F, IdtBase = 0x4000, IdtLimit = 0x7FF }, s => new { s.GdtBase, s.GdtLimit, s.IdtBase, s.IdtLimit }),
        ["control registers"] = (s => s with { Cr2 = 0xFFFF_8000_1234_5678, Cr4 = 0x6A8, Efer = 0xD01 }, s => new { s.Cr0, s.Cr2, s.Cr3, s.Cr4, s.Efer }),
        // With an exception pending: without one, AMD's XSAVE writes zeros for the pointers (APM volume 5, FXSAVE), whenever the host's kernel switches.
        ["x87"] = (
            s => s with
            {
                Fpu = s.Fpu with
                {
                    Stack = [.. Enumerable.Range(0, 8).Select(i => new X87Register(0x8000_0000_0000_0000 | ((ulong)i * 0x0123_4567), (ushort)(0x3FFF + i)))],
                    ControlWord = 0x27E,
                    StatusWord = 0xB881,
                    Tags = 0xA5,
                    Opcode = 0x123,
                    InstructionPointer = KvmHost.KeepsX87Pointers ? 0x40_1000u : 0,
                    DataPointer = KvmHost.KeepsX87Pointers ? 0x60_2000u : 0,
                },
            },
            s => new { s.Fpu.Stack, s.Fpu.ControlWord, s.Fpu.StatusWord, s.Fpu.Tags, s.Fpu.Opcode, s.Fpu.InstructionPointer, s.Fpu.DataPointer }),
        ["vector registers"] = (
            s => s with { Fpu = s.Fpu with { Vectors = Vectors(), Mxcsr = 0x3FA0 } },
            s => new { Low = Enumerable.Range(0, 16).Select(i => Convert.ToHexString(s.Fpu.Vectors, i * FpuState.VectorBytes, 16)), s.Fpu.Mxcsr }),
        ["debug registers"] = (
            s => s with { Debug = new DebugRegisterState { Addresses = [0x1000, 0x2000, 0x3000, 0xFFFF_8000_0000_0000], Status = 0xFFFF_0FF1, Control = 0x400 } },
            s => s.Debug),
        ["MSRs"] = (
            s => s with
            {
                Msrs = new MsrState
                {
                    Values = new Dictionary<uint, ulong>
                    {
                        [0x174] = 0x10, [0x175] = SysenterHigh | 0x8000_1000, [0x176] = SysenterHigh | 0x8000_2000, [0x277] = 0x0007_0106_0007_0106,
                        [0xC000_0081] = 0x0023_0010_0000_0000, [0xC000_0082] = 0xFFFF_FFFF_8100_0000, [0xC000_0083] = 0xFFFF_FFFF_8100_1000, [0xC000_0084] = 0x4_7700,
                        [0xC000_0102] = 0xFFFF_8880_0000_0000, [0x200] = 0x1234_5006, [0x2FF] = 0xC06,
                    },
                },
            },
            s => s.Msrs.Values.OrderBy(v => v.Key).Select(v => $"{v.Key:x}={v.Value:x}")),
        ["local APIC"] = (
            s => s with
            {
                Apic = s.Apic with
                {
                    TaskPriority = 0x30, LogicalDestination = 0x0200_0000, Spurious = 0x1F0, Service = [0, 0, 0x10, 0, 0, 0, 0, 0], Request = [0, 0, 4, 0, 0, 0, 0, 0],
                    Trigger = [0, 0, 4, 0, 0, 0, 0, 0], LocalVectors = [0x1_0041, 0x1_0000, 0x1_0000, 0x1_0700, 0x1_0400, 0xFE], DivideConfiguration = 0xB,
                },
            },
            s => s.Apic with { TimerStart = 0 }),
        ["pending and blocked"] = (
            s => s with { Events = s.Events with { NmiBlocked = true, PendingNmis = 1 } },
            s => s.Events),
        ["kvm-clock"] = (
            s => s with { Paravirtual = s.Paravirtual with { Values = With(s, new() { [0x4B56_4D00] = 0x3_0000, [0x4B56_4D01] = 0x3_1001 }) } },
            s => Registers(s, msr => msr >= 0x4B56_4D00)),
        ["Hyper-V of the machine"] = (
            s => s with
            {
                Paravirtual = s.Paravirtual with
                {
                    Values = With(s, new() { [0x4000_0000] = 0x8100_0000_0601_0000, [0x4000_0001] = 0x3_2003, [0x4000_0021] = 0x3_3001, [0x4000_0100] = 0xBAD, [0x4000_0104] = 0xDEAD }),
                },
            },
            s => Registers(s, msr => msr is 0x4000_0000 or 0x4000_0001 or 0x4000_0021 or (>= 0x4000_0100 and <= 0x4000_0105))),
        ["Hyper-V of the processor"] = (
            s => s with
            {
                Paravirtual = s.Paravirtual with
                {
                    Values = With(s, new()
                    {
                        [0x4000_0073] = 0x3_4001, [0x4000_0080] = 1, [0x4000_0082] = 0x3_5001, [0x4000_0083] = 0x3_6001, [0x4000_0092] = 0x2_0061, [0x4000_009F] = 0x4_0062,
                        [0x4000_00B0] = 0x2_0001, [0x4000_00B1] = FarAway, [0x4000_00B6] = 0x1713, [0x4000_00B7] = FarAway,
                    }),
                    TimerExpiries = [FarAway, 0, 0, FarAway + 5],
                },
            },
            s => new { Of = Registers(s, msr => msr is >= 0x4000_0070 and <= 0x4000_00FF), s.Paravirtual.TimerExpiries }),
        ["waiting"] = (s => s with { Events = s.Events with { Activity = VcpuActivity.WaitingForSipi } }, s => s.Events),
    };

    /// <summary>Of reference time: ten years.</summary>
    private const ulong FarAway = 3_000_000_000_000_000;

    /// <summary>AMD-V's guest state has 32 bits for where SYSENTER goes, which AMD's processors do not have in long mode (APM 3 SYSENTER): kvm_amd keeps no more of a
    /// model of AMD's.</summary>
    private static ulong SysenterHigh => KvmHost.Traits().Module == "kvm_amd" ? 0 : 0xFFFF_8000_0000_0000;

    public static TheoryData<string, bool, InterruptChip> Groups
    {
        get
        {
            TheoryData<string, bool, InterruptChip> data = [];
            foreach (string group in s_groups.Keys)
            {
                // Hyper-V's interface is there with our own chips only.
                foreach (InterruptChip chip in Enum.GetValues<InterruptChip>().Where(c => c == InterruptChip.User || !group.StartsWith("Hyper-V", StringComparison.Ordinal)))
                {
                    data.Add(group, true, chip);
                    data.Add(group, false, chip);
                }
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Groups))]
    public void AGroupGoesFromOneEngineToTheOther(string group, bool fromKvm, InterruptChip chip)
    {
        KvmEngine kvm = KvmHost.Engine(chip);
        (Func<VcpuState, VcpuState> change, Func<VcpuState, object> of) = s_groups[group];
        // It runs in between, so that the state has been where it belongs; what waits for SIPI does not.
        using TinyGuest first = new(fromKvm ? kvm : TinyGuest.Software(), Code, kvmClock: true, hyperV: chip == InterruptChip.User);
        using TinyGuest second = new(fromKvm ? TinyGuest.Software() : kvm, Code, kvmClock: true, hyperV: chip == InterruptChip.User);
        VcpuState wanted = change(first.Vcpu.Save());
        VcpuState before = RunAndSave(first, wanted);
        Assert.Equal(Text(of(wanted with { Rip = before.Rip, Msrs = Merge(wanted.Msrs, before.Msrs) })), Text(of(before)));
        VcpuState after = RunAndSave(second, before with { Rip = TinyGuest.Code, Msrs = Known(wanted.Msrs, second) });
        Assert.Equal(Text(of(before with { Msrs = Merge(wanted.Msrs, after.Msrs) })), Text(of(after)));
    }

    [Fact]
    public void TheWideHalvesOfVectorRegistersAreKept()
    {
        using TinyGuest guest = new(KvmHost.Engine(), Code);
        Assert.SkipUnless(guest.Vcpu.VectorBytes >= 32, "this host's KVM offers no AVX");
        VcpuState wanted = guest.Vcpu.Save();
        wanted = wanted with { Cr4 = wanted.Cr4 | 0x4_0000, Fpu = wanted.Fpu with { Vectors = Vectors(), Xcr0 = 7 } };
        VcpuState saved = RunAndSave(guest, wanted);
        Assert.Equal(7UL, saved.Fpu.Xcr0);
        for (int i = 0; i < 16; i++)
        {
            Assert.Equal(wanted.Fpu.Vectors.AsSpan(i * FpuState.VectorBytes, 32), saved.Fpu.Vectors.AsSpan(i * FpuState.VectorBytes, 32));
        }
    }

    /// <summary>SDM 3 4.4.1; with nested paging AMD's processors read them when they need them (APM 2 15.25.10).</summary>
    [Fact]
    public void PaePointersThatMemoryNoLongerHasAreKept()
    {
        KvmHostTraits traits = KvmHost.Traits();
        Assert.SkipUnless(traits.RunsSupervisorNatively && traits is not { Module: "kvm_amd", NestedPaging: true }, "this host reads the pointers of PAE paging from memory");
        // The tables of 32-bit paging with PAE: pointers at 9000, a directory at A000 with one large page.
        using TinyGuest guest = new(KvmHost.Engine(), Code);
        guest.Memory.Write(0xA000, 0x83UL);
        VcpuState state = guest.Vcpu.Save();
        VcpuState saved = RunAndSave(guest, state with
        {
            Cs = new SegmentState(8, 0, uint.MaxValue, 0xC09B), Cr3 = 0x9000, Efer = 0, Cr4 = 0x620, PaePointers = [0xA001, 0, 0, 0],
        });
        Assert.Equal([0xA001, 0, 0, 0], saved.PaePointers);
    }

    [Fact]
    public void TimeStampsGoOnFromWhereTheyWere()
    {
        using TinyGuest guest = new(KvmHost.Engine(), a =>
        {
            a.rdtsc();
            a.shl(rdx, 32);
            a.or(rax, rdx);
            a.@out((byte)TinyGuest.ExitPort, al);
            a.hlt();
        });
        guest.Run();
        VcpuState first = guest.Vcpu.Save();
        guest.Vcpu.Load(first with { Rip = TinyGuest.Code });
        guest.Run();
        ulong passed = guest.Vcpu.Save().Registers[0] - first.Registers[0];
        Assert.InRange(passed, 1UL, 40_000_000_000UL);
    }

    private static Dictionary<uint, ulong> With(VcpuState state, Dictionary<uint, ulong> changes) =>
        state.Paravirtual.Values.Concat(changes).GroupBy(v => v.Key).ToDictionary(g => g.Key, g => g.Last().Value);

    private static IEnumerable<string> Registers(VcpuState state, Func<uint, bool> chosen) =>
        state.Paravirtual.Values.Where(v => chosen(v.Key)).OrderBy(v => v.Key).Select(v => $"{v.Key:x}={v.Value:x}");

    private static void Code(Iced.Intel.Assembler a)
    {
        a.nop();
        a.@out((byte)TinyGuest.ExitPort, al);
        a.hlt();
    }

    private static VcpuState RunAndSave(TinyGuest guest, VcpuState state)
    {
        guest.Vcpu.Load(state);
        if (state.Events.Activity == VcpuActivity.Active)
        {
            Assert.Equal(VcpuExitReason.Interrupted, guest.Run().Reason);
        }
        return guest.Vcpu.Save();
    }

    /// <summary>Models may differ in what other MSRs they have.</summary>
    private static MsrState Merge(MsrState wanted, MsrState there) => new()
    {
        Values = there.Values.ToDictionary(v => v.Key, v => wanted.Values.GetValueOrDefault(v.Key, v.Value)),
    };

    private static MsrState Known(MsrState msrs, TinyGuest to)
    {
        MsrState there = to.Vcpu.Save().Msrs;
        return new() { Values = msrs.Values.Where(v => there.Values.ContainsKey(v.Key) || v.Key == 0x200).ToDictionary() };
    }

    private static byte[] Vectors()
    {
        byte[] vectors = new byte[FpuState.VectorRegisters * FpuState.VectorBytes];
        for (int i = 0; i < 16; i++)
        {
            for (int j = 0; j < 32; j++)
            {
                vectors[(i * FpuState.VectorBytes) + j] = (byte)((i * 16) + j);
            }
        }
        return vectors;
    }

    private static string Text(object group) => JsonSerializer.Serialize(group);
}
