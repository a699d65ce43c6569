using System.Collections.Concurrent;
using Iced.Intel;
using Ringfence.Engine.Software;
using Ringfence.Host;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>64-bit guest code at level 0 over 2 MiB of memory, mapped where it is, with the local APIC's page; and a bus that remembers.</summary>
internal sealed class TinyGuest : IDisposable
{
    public const ulong Code = 0x1_0000;
    public const ulong Stack = 0x8_0000;
    public const ulong Data = 0x2_0000;
    public const ulong Gdt = 0x3000;
    public const ulong Idt = 0x4000;
    /// <summary>A write here makes the vCPU's Run return.</summary>
    public const ushort ExitPort = 0x11;
    public const ushort DataPort = 0x10;
    private const ulong Tables = 0x5000;
    private const ulong PresentAndWritable = 3;
    private const ulong Large = 0x80;

    /// <summary>The machine's.</summary>
    public HostClock Clock { get; } = new();

    public long Now => Clock.Now;

    public TinyGuest(IEngine engine, Action<Assembler>? code = null, int vcpus = 1, bool kvmClock = false, bool hyperV = false, byte[]? rom = null)
    {
        if (rom is not null)
        {
            Memory.MapRom(rom);
        }
        Bus = new RecordingBus();
        Memory.Write(Tables, Tables + 0x1000 | PresentAndWritable);
        Memory.Write(Tables + 0x1000, Tables + 0x2000 | PresentAndWritable);
        Memory.Write(Tables + 0x1000 + (3 * 8), Tables + 0x3000 | PresentAndWritable);
        Memory.Write(Tables + 0x2000, PresentAndWritable | Large);
        // The APIC's page, and one where nothing is: FEE00000 and FEA00000.
        Memory.Write(Tables + 0x3000 + (0x1F7 * 8), 0xFEE0_0000 | PresentAndWritable | Large);
        Memory.Write(Tables + 0x3000 + (0x1F5 * 8), 0xFEA0_0000 | PresentAndWritable | Large);
        // The last two MiB below 4 GiB, where ROM would be.
        Memory.Write(Tables + 0x3000 + (0x1FF * 8), 0xFFE0_0000 | PresentAndWritable | Large);
        Memory.Write(Gdt + 8, 0x00AF_9B00_0000_FFFFUL);
        Memory.Write(Gdt + 16, 0x00CF_9300_0000_FFFFUL);
        if (code is not null)
        {
            Assemble(Code, code);
        }
        Vm = engine.CreateVm(new VmOptions(Memory, Clock, Bus, CpuModelNames.Max, vcpus, KvmClock: kvmClock, HyperV: hyperV));
        Bus.Exit = () => Vm.Vcpus[0].RequestExit();
        Vcpu.Load(Start(Vcpu.Save()));
    }

    public GuestMemory Memory { get; } = new(2 << 20);

    public RecordingBus Bus { get; }

    public IVm Vm { get; }

    public IVcpu Vcpu => Vm.Vcpus[0];

    public void Assemble(ulong address, Action<Assembler> code)
    {
        Assembler assembler = new(64);
        code(assembler);
        using MemoryStream stream = new();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        Memory.Write(address, stream.ToArray());
    }

    /// <summary>Four bytes of memory.</summary>
    public uint Read(ulong address)
    {
        Span<byte> bytes = stackalloc byte[4];
        Assert.True(Memory.TryRead(address, bytes));
        return BitConverter.ToUInt32(bytes);
    }

    /// <summary>An interrupt gate.</summary>
    public void SetHandler(byte vector, ulong address)
    {
        Memory.Write(Idt + (16UL * vector), (address & 0xFFFF) | (8UL << 16) | (0x8E00UL << 32) | ((address & 0xFFFF_0000) << 32));
        Memory.Write(Idt + (16UL * vector) + 8, address >> 32);
    }

    public static VcpuState Start(VcpuState state)
    {
        SegmentState data = new(16, 0, uint.MaxValue, 0xC093);
        ulong[] registers = new ulong[16];
        registers[4] = Stack;
        return state with
        {
            Registers = registers,
            Rip = Code,
            Rflags = 2,
            Cs = new SegmentState(8, 0, uint.MaxValue, 0xA09B),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            GdtBase = Gdt,
            GdtLimit = 0x17,
            IdtBase = Idt,
            IdtLimit = 0xFFF,
            Cr0 = 0x8005_0033,
            Cr3 = Tables,
            Cr4 = 0x620,
            Efer = 0x500,
        };
    }

    /// <summary>Runs on a thread of its own until the vCPU's Run returns.</summary>
    public VcpuExit Run()
    {
        VcpuExit exit = default;
        Thread thread = new(() => exit = Vcpu.Run());
        thread.Start();
        Assert.True(thread.Join(TimeSpan.FromSeconds(30)), "the guest did not come out");
        return exit;
    }

    public static IEngine Software() => new SoftwareEngine(SoftwareOptions.Interpreter);

    public void Dispose()
    {
        Clock.Dispose();
        Vm.Dispose();
        Memory.Dispose();
    }
}

/// <summary>Remembers what is written to it, and answers with what it is told.</summary>
internal sealed class RecordingBus : IVcpuBus
{
    public Action? Exit { get; set; }

    public ulong Answer { get; set; }

    public ConcurrentQueue<string> Seen { get; } = new();

    public ConcurrentQueue<uint> Out { get; } = new();

    public uint ReadPort(ushort port, int size)
    {
        Seen.Enqueue($"in {port:x} {size}");
        return (uint)Answer;
    }

    public void WritePort(ushort port, int size, uint value)
    {
        if (port == TinyGuest.ExitPort)
        {
            Exit!();
        }
        else if (port == TinyGuest.DataPort)
        {
            Out.Enqueue(value);
        }
        else
        {
            Seen.Enqueue($"out {port:x} {size} {value:x}");
        }
    }

    public ulong ReadMemory(ulong address, int size)
    {
        Seen.Enqueue($"read {address:x} {size}");
        return Answer;
    }

    public void WriteMemory(ulong address, int size, ulong value) => Seen.Enqueue($"write {address:x} {size} {value:x}");

    public int AcknowledgeExternalInterrupt() => -1;

    public void EndOfInterrupt(byte vector) => Seen.Enqueue($"eoi {vector:x}");
}
