using System.Runtime.InteropServices;
using Ringfence.Engine.Kvm.Native;
using Ringfence.Host;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>Eventfds in the place of ports and lines, by the bindings alone: a guest in real mode of a few instructions.</summary>
public sealed unsafe class EventDescriptorTests : IDisposable
{
    private const int NonBlocking = 0x800;
    private const ulong Code = 0x1000;
    private const ushort Port = 0x510;
    private const uint Line = 20;
    private const byte Vector = 0x35;

    private readonly GuestMemory _memory = new(2 << 20);
    private readonly int _event = eventfd(0, NonBlocking);

    /// <summary>OUT to a connected port adds to the eventfd and does not come out; the next one, to another port, does.</summary>
    [Fact]
    public void AWriteToAConnectedPortDoesNotComeOut()
    {
        using KvmSystem system = KvmHost.Open();
        using KvmVmDescriptor vm = Create(system, InterruptChip.User);
        // mov dx, 510h; mov al, 7; out dx, al; out dx, al; out 22h, al; hlt
        using KvmVcpuDescriptor vcpu = Start(system, vm, [0xBA, 0x10, 0x05, 0xB0, 0x07, 0xEE, 0xEE, 0xE6, 0x22, 0xF4]);
        vm.ConnectPort(_event, Port, 1, connected: true);
        RunToPort(vcpu, 0x22);
        Assert.Equal(2UL, Count());
        vm.ConnectPort(_event, Port, 1, connected: false);
        Restart(vcpu);
        RunToPort(vcpu, Port);
        Assert.Equal(0UL, Count());
        Assert.Contains("disconnect an eventfd and port 0x510", Assert.Throws<KvmException>(() => vm.ConnectPort(_event, Port, 1, connected: false)).Message, StringComparison.Ordinal);
    }

    /// <summary>An eventfd raises a line that leads to a message, and that wakes a processor whose APIC is the kernel's.</summary>
    [Theory]
    [InlineData(InterruptChip.Split)]
    [InlineData(InterruptChip.Kernel)]
    public void AnEventRaisesALine(InterruptChip chip)
    {
        using KvmSystem system = KvmHost.Open();
        using KvmVmDescriptor vm = Create(system, chip);
        // sti; hlt; jmp -3
        using KvmVcpuDescriptor vcpu = Start(system, vm, [0xFB, 0xF4, 0xEB, 0xFD]);
        // The handler: out 22h, al; iret
        _memory.Write(Code + 0x100, [0xE6, 0x22, 0xCF]);
        _memory.Write(Vector * 4UL, (ushort)(Code + 0x100));
        KvmLocalApic apic = vcpu.LocalApic;
        apic[0xF0] = 0x1FF;
        vcpu.LocalApic = apic;
        vm.SetRoutes([new KvmRoute { Line = Line, Kind = KvmRouteKind.Message, AddressLow = 0xFEE0_0000, Data = Vector }]);
        vm.ConnectLine(_event, Line, connected: true);
        ulong one = 1;
        Assert.Equal(8, write(_event, &one, 8));
        RunToPort(vcpu, 0x22);
        vm.ConnectLine(_event, Line, connected: false);
        Assert.Contains($"connect an eventfd and interrupt line {Line}", Assert.Throws<KvmException>(() => vm.ConnectLine(-1, Line, connected: true)).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _ = close(_event);
        _memory.Dispose();
    }

    private KvmVmDescriptor Create(KvmSystem system, InterruptChip chip)
    {
        KvmVmDescriptor vm = system.CreateVm();
        vm.SetHelperPages(0xFEFF_C000);
        if (chip == InterruptChip.Kernel)
        {
            vm.CreateIrqChip();
        }
        else if (chip == InterruptChip.Split)
        {
            vm.Enable(KvmCapability.SplitIrqChip, 24);
        }
        vm.SetMemory(0, 0, GuestMemory.VgaWindow, _memory.Regions[0].HostAddress);
        return vm;
    }

    private KvmVcpuDescriptor Start(KvmSystem system, KvmVmDescriptor vm, byte[] code)
    {
        _memory.Write(Code, code);
        KvmVcpuDescriptor vcpu = vm.CreateVcpu(0, system.RunSize);
        KvmSystemRegisters2 registers = vcpu.SystemRegisters2;
        foreach (ref KvmSegment segment in MemoryMarshal.CreateSpan(ref registers.Head.Cs, 6))
        {
            (segment.Selector, segment.Base) = (0, 0);
        }
        vcpu.SystemRegisters2 = registers;
        Restart(vcpu);
        return vcpu;
    }

    private static void Restart(KvmVcpuDescriptor vcpu) => vcpu.WriteRegisters(new KvmRegisters { Rip = Code, Rsp = 0x8000, Rflags = 2 });

    private static void RunToPort(KvmVcpuDescriptor vcpu, ushort port)
    {
        for (int i = 0; i < 100; i++)
        {
            if (vcpu.Run() == 0 && vcpu.Page->ExitReason == KvmExitReason.Port)
            {
                Assert.Equal(port, vcpu.Page->Port.Number);
                return;
            }
        }
        Assert.Fail($"the guest came out for reason {vcpu.Page->ExitReason}");
    }

    private ulong Count()
    {
        ulong count = 0;
        return read(_event, &count, 8) == 8 ? count : 0;
    }

    [DllImport("libc")]
    private static extern int eventfd(uint initial, int flags);

    [DllImport("libc")]
    private static extern nint read(int descriptor, void* buffer, nint count);

    [DllImport("libc")]
    private static extern nint write(int descriptor, void* buffer, nint count);

    [DllImport("libc")]
    private static extern int close(int descriptor);
}
