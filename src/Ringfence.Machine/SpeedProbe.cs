using Iced.Intel;
using Ringfence.Engine;
using Ringfence.Host;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine;

/// <summary>How fast an engine runs guest code, in million instructions a second.</summary>
/// <param name="Supervisor">At level 0.</param>
/// <param name="User">At level 3.</param>
public sealed record EngineSpeed(double Supervisor, double User)
{
    /// <summary>Over work that is half of each kind.</summary>
    public double Both => Supervisor > 0 && User > 0 ? 2 / ((1 / Supervisor) + (1 / User)) : 0;
}

/// <summary>Measures an engine for a few milliseconds: a loop of arithmetic, memory accesses, a call and branches, at both levels.</summary>
public static class SpeedProbe
{
    private const ulong Code = 0x1_0000;
    private const ulong Stack = 0x8_0000;
    private const ulong Data = 0x2_0000;
    private const ulong Tables = 0x5000;
    private const int Instructions = 12;
    private const uint UserLevel = 3;
    private const int FewestWindows = 3;
    private const int MostWindows = 12;
    private const double StillFaster = 1.1;

    /// <param name="window">How long guest code runs at a time: until it does not become faster any more, and the first times it does, while it is compiled.</param>
    /// <exception cref="ArgumentException">The engine cannot make a machine.</exception>
    public static EngineSpeed Measure(IEngine engine, TimeSpan window)
    {
        using GuestMemory memory = new(2 << 20);
        using HostClock clock = new();
        using IVm vm = engine.CreateVm(new VmOptions(memory, clock, new NoBus(), CpuModelNames.X8664V1, 1));
        const ulong PresentWritableUser = 7;
        memory.Write(Tables, (Tables + 0x1000) | PresentWritableUser);
        memory.Write(Tables + 0x1000, (Tables + 0x2000) | PresentWritableUser);
        memory.Write(Tables + 0x2000, PresentWritableUser | 0x80);
        memory.Write(Code, Assemble());
        IVcpu vcpu = vm.Vcpus[0];
        VcpuState initial = vcpu.Save();
        return new EngineSpeed(Rate(vcpu, clock, Start(initial, 0), window), Rate(vcpu, clock, Start(initial, UserLevel), window));
    }

    private static double Rate(IVcpu vcpu, HostClock clock, VcpuState start, TimeSpan window)
    {
        vcpu.Load(start);
        double best = 0;
        for (int i = 0; i < MostWindows; i++)
        {
            ulong before = Iterations(vcpu);
            long began = clock.Now;
            RunFor(vcpu, window);
            double rate = (Iterations(vcpu) - before) * Instructions * 1000.0 / (clock.Now - began);
            if (i >= FewestWindows && rate < best * StillFaster)
            {
                return Math.Max(best, rate);
            }
            best = Math.Max(best, rate);
        }
        return best;
    }

    private static void RunFor(IVcpu vcpu, TimeSpan window)
    {
        using Timer timer = new(_ => vcpu.RequestExit(), null, window, Timeout.InfiniteTimeSpan);
        while (vcpu.Run() is { Reason: not VcpuExitReason.Interrupted } exit)
        {
            throw new InvalidOperationException($"the guest that measures ended: {exit.Reason} {exit.Detail}");
        }
    }

    private static ulong Iterations(IVcpu vcpu) => vcpu.Save().Registers[3];

    private static byte[] Assemble()
    {
        Assembler a = new(64);
        Label again = a.CreateLabel();
        Label function = a.CreateLabel();
        Label skip = a.CreateLabel();
        a.Label(ref again);
        a.mov(rax, __qword_ptr[rdi + 8]);
        a.lea(rcx, __[rax + (rbx * 4)]);
        a.xor(rcx, rax);
        a.mov(__qword_ptr[rdi + 16], rcx);
        a.call(function);
        a.test(ecx, 1);
        a.jz(skip);
        a.Label(ref skip);
        a.mov(__qword_ptr[rdi + 8], rax);
        a.inc(rbx);
        a.jmp(again);
        a.Label(ref function);
        a.add(rax, rcx);
        a.ret();
        using MemoryStream stream = new();
        a.Assemble(new StreamCodeWriter(stream), Code);
        return stream.ToArray();
    }

    private static VcpuState Start(VcpuState state, uint level)
    {
        ulong[] registers = new ulong[16];
        registers[4] = Stack;
        registers[7] = Data;
        SegmentState data = new((ushort)(0x10 | level), 0, uint.MaxValue, 0xC093 | (level << 5));
        return state with
        {
            Registers = registers,
            Rip = Code,
            Rflags = 2,
            Cs = new SegmentState((ushort)(8 | level), 0, uint.MaxValue, 0xA09B | (level << 5)),
            Ss = data,
            Ds = data,
            Es = data,
            Cr0 = 0x8005_0033,
            Cr3 = Tables,
            Cr4 = 0x620,
            Efer = 0x500,
        };
    }

    private sealed class NoBus : IVcpuBus
    {
        public uint ReadPort(ushort port, int size) => uint.MaxValue;

        public void WritePort(ushort port, int size, uint value)
        {
        }

        public ulong ReadMemory(ulong address, int size) => ulong.MaxValue;

        public void WriteMemory(ulong address, int size, ulong value)
        {
        }

        public int AcknowledgeExternalInterrupt() => -1;

        public void EndOfInterrupt(byte vector)
        {
        }
    }
}
