using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Machine.Tests;

/// <summary>What of Hyper-V's interface concerns the machine.</summary>
public sealed class HyperVTests
{
    private const uint Reset = 0x4000_0003;
    private const uint FirstCrashParameter = 0x4000_0100;

    /// <summary>TLFS, HV_X64_MSR_RESET.</summary>
    [Fact]
    public void AResetIsOne() => Assert.Equal(MachineEndKind.Reset, Run(a => Write(a, Reset, 1)).Kind);

    /// <summary>TLFS, HV_X64_MSR_CRASH_P0 and on: a crash report has what the guest said of it.</summary>
    [Fact]
    public void WhatAGuestSaysOfItsCrashIsReported()
    {
        MachineEnd end = Run(a =>
        {
            Write(a, FirstCrashParameter, 0xBAD0_0001);
            Write(a, FirstCrashParameter + 4, 0xBAD0_0005);
            a.lidt(__[0x9000]);
            a.ud2();
        });
        Assert.Equal(MachineEndKind.TripleFault, end.Kind);
        Assert.Contains("the guest reported: 00000000bad00001 0000000000000000 0000000000000000 0000000000000000 00000000bad00005", end.Report!, StringComparison.Ordinal);
    }

    private static void Write(Assembler a, uint msr, uint value)
    {
        a.mov(ecx, msr);
        a.mov(eax, value);
        a.xor(edx, edx);
        a.wrmsr();
    }

    private static MachineEnd Run(Action<Assembler> code)
    {
        using GuestImage image = GuestImage.Multiboot(code);
        return Machines.RunToEnd(new MachineSpec { Kernel = image.Path, Memory = 16 << 20, HyperV = true, NoReboot = true });
    }
}
