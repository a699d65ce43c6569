using System.Numerics;

namespace Ringfence.Cpu.Models;

/// <summary>How CPUID tells of the machine's processors (SDM 3A 9.9; APM 3 E.4): they are the cores of one package, a thread each, and their
/// APIC IDs count them.</summary>
internal static class CpuidTopology
{
    private const uint ApicBit = 1 << 9;
    private const uint ThreadsBit = 1 << 28;
    private const uint LegacyThreadsBit = 1 << 1;
    private const uint ThreadLevel = 1 << 8;
    private const uint CoreLevel = 2 << 8;

    /// <summary>Bits of leaf 1's EDX that are not there at the moment: a disabled APIC, and several threads in a package of one.</summary>
    public static uint Absent(in CpuidContext context) => (context.ApicEnabled ? 0 : ApicBit) | (context.Processors > 1 ? 0 : ThreadsBit);

    /// <summary>EBX of leaf 1: initial APIC ID, and how many IDs the package has.</summary>
    public static uint Leaf1(CpuModel model, in CpuidContext context) =>
        (context.ApicId << 24) | ((model.Has(CpuFeature.Threads) ? (uint)context.Processors : 1) << 16);

    /// <summary>ECX of leaf 0x80000001, where AMD says that what leaf 1 counts are cores.</summary>
    public static uint Legacy(uint bits, in CpuidContext context) => context.Processors > 1 ? bits : bits & ~LegacyThreadsBit;

    /// <summary>ECX of AMD's leaf 0x80000008: cores less one, and how many bits of the APIC ID name one.</summary>
    public static uint CoreCount(CpuModel model, in CpuidContext context) =>
        model.Has(CpuFeature.LegacyThreads) ? ((uint)context.Processors - 1) | ((uint)IdBits(context) << 12) : 0;

    /// <summary>Leaf 0xB: threads of a core, then cores of the package, then nothing. It came with x2APIC.</summary>
    public static (uint Eax, uint Ebx, uint Ecx, uint Edx) Extended(CpuModel model, uint subleaf, in CpuidContext context) =>
        !model.Has(CpuFeature.X2Apic) ? default : subleaf switch
        {
            0 => (0, 1, ThreadLevel, context.ApicId),
            1 => ((uint)IdBits(context), (uint)context.Processors, 1 | CoreLevel, context.ApicId),
            _ => (0, 0, subleaf & 0xFF, context.ApicId),
        };

    private static int IdBits(in CpuidContext context) => BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)context.Processors));
}
