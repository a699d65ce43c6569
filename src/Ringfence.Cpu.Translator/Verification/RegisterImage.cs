using System.Runtime.InteropServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Translator;

/// <summary>What translated code may change of a processor's registers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RegisterImage
{
    public const int VectorRegisters = 32;
    public const int VectorBytes = 64;

    public fixed ulong Gpr[16];
    public ulong Rip;
    public ulong FlagResult;
    public ulong FlagCarry;
    public long Retired;
    /// <summary>RFLAGS as a whole; only to look at.</summary>
    public ulong Flags;
    /// <summary>What CLI, STAC, CLAC and SWAPGS change.</summary>
    public ulong SystemFlags;
    public ulong GsBase;
    public ulong KernelGsBase;
    public TlbEntry* Tlb;
    public uint Mxcsr;
    public X87State X87;
    public fixed byte Vectors[VectorRegisters * VectorBytes];
    public fixed ulong Opmasks[8];

    public void Take(CpuState* s)
    {
        new ReadOnlySpan<ulong>(s->Gpr, 16).CopyTo(MemoryMarshal.CreateSpan(ref Gpr[0], 16));
        Rip = s->Rip;
        FlagResult = s->FlagResult;
        FlagCarry = s->FlagCarry;
        Retired = s->Retired;
        Flags = State.Flags.Get(s);
        SystemFlags = s->SystemFlags;
        GsBase = s->Gs.Base;
        KernelGsBase = s->KernelGsBase;
        Tlb = s->Tlb;
        Mxcsr = s->Mxcsr;
        X87 = s->X87;
        new ReadOnlySpan<byte>(s->Vectors, VectorRegisters * VectorBytes).CopyTo(MemoryMarshal.CreateSpan(ref Vectors[0], VectorRegisters * VectorBytes));
        new ReadOnlySpan<ulong>(s->Opmasks, 8).CopyTo(MemoryMarshal.CreateSpan(ref Opmasks[0], 8));
    }

    public readonly void Put(CpuState* s)
    {
        MemoryMarshal.CreateReadOnlySpan(in Gpr[0], 16).CopyTo(new Span<ulong>(s->Gpr, 16));
        s->Rip = Rip;
        s->FlagResult = FlagResult;
        s->FlagCarry = FlagCarry;
        s->Retired = Retired;
        s->SystemFlags = SystemFlags;
        s->Gs.Base = GsBase;
        s->KernelGsBase = KernelGsBase;
        s->Tlb = Tlb;
        s->Mxcsr = Mxcsr;
        s->X87 = X87;
        MemoryMarshal.CreateReadOnlySpan(in Vectors[0], VectorRegisters * VectorBytes).CopyTo(new Span<byte>(s->Vectors, VectorRegisters * VectorBytes));
        MemoryMarshal.CreateReadOnlySpan(in Opmasks[0], 8).CopyTo(new Span<ulong>(s->Opmasks, 8));
    }

    public static ReadOnlySpan<byte> Vector(ref readonly RegisterImage image, int number) =>
        MemoryMarshal.CreateReadOnlySpan(in image.Vectors[number * VectorBytes], VectorBytes);

    public static ReadOnlySpan<byte> Fpu(ref readonly RegisterImage image) => MemoryMarshal.AsBytes(new ReadOnlySpan<X87State>(in image.X87));
}
