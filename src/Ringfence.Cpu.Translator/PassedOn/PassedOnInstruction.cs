using System.Numerics;
using System.Runtime.InteropServices;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>What else there is to know of an instruction that is passed on.</summary>
[Flags]
internal enum PassedOnTraits : ushort
{
    None = 0,
    /// <summary>Reads its memory operand.</summary>
    Loads = 1,
    /// <summary>Writes it.</summary>
    Stores = 2,
    /// <summary>Elements that are masked out cause no fault.</summary>
    Suppresses = 4,
    /// <summary>As many elements of memory as bits are set in the mask: compress and expand.</summary>
    Packs = 8,
    /// <summary>Elements of memory serve several of the mask's: a broadcast.</summary>
    Repeats = 16,
    ReadsRegister = 32,
    WritesRegister = 64,
    WritesFlags = 128,
}

/// <summary>
/// The op behind that of an instruction which is passed on (<see cref="PassedOnHandlers"/>): the instruction as the host is to run it, its memory operand
/// led to <see cref="StateOffsets.Operand"/> and its general register to RAX, and what of memory it touches.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal unsafe struct PassedOnInstruction
{
    public const int MaximumCode = 15;

    [FieldOffset(8)]
    public fixed byte Code[MaximumCode];
    [FieldOffset(23)]
    public byte CodeBytes;
    /// <summary>Where it was written, as long as <see cref="Generation"/> is that of <see cref="PassedOnCode"/>.</summary>
    [FieldOffset(24)]
    public int Place;
    [FieldOffset(28)]
    public uint Generation;
    /// <summary>Bytes of the memory operand, 0 without one. Of a gather or scatter: of the index.</summary>
    [FieldOffset(32)]
    public byte Bytes;
    /// <summary>Bytes of memory that an element of the mask stands for.</summary>
    [FieldOffset(33)]
    public byte ElementBytes;
    /// <summary>How many elements the mask has.</summary>
    [FieldOffset(34)]
    public byte Elements;
    /// <summary>The number of the opmask, 0 for none.</summary>
    [FieldOffset(35)]
    public byte Mask;
    [FieldOffset(36)]
    public PassedOnTraits Traits;
    // At 38, and from 41 to 42, is the place in the block: Op.IpOffset, Length, Ordinal.
    /// <summary>What the address must be a multiple of if anything is touched.</summary>
    [FieldOffset(40)]
    public byte Alignment;
    /// <summary>Offset in the state of the general register, or of a gather's or scatter's vector.</summary>
    [FieldOffset(44)]
    public ushort Register;

    public readonly bool Is(PassedOnTraits traits) => (Traits & traits) != 0;

    /// <summary>A bit for each byte of the operand.</summary>
    public readonly ulong All => Low(Bytes);

    /// <summary>A bit for each byte of the operand that an element which is not masked out has.</summary>
    public readonly ulong Chosen(CpuState* s)
    {
        if (Mask == 0)
        {
            return All;
        }
        ulong mask = s->Opmasks[Mask] & Low(Elements);
        if (Is(PassedOnTraits.Packs))
        {
            return Low(BitOperations.PopCount(mask) * ElementBytes);
        }
        int inMemory = Bytes / ElementBytes;
        ulong chosen = 0;
        for (int i = 0; i < Elements; i++)
        {
            if (((mask >> i) & 1) != 0)
            {
                chosen |= Low(ElementBytes) << ((i % inMemory) * ElementBytes);
            }
        }
        return chosen;
    }

    private static ulong Low(int count) => count >= 64 ? ulong.MaxValue : (1UL << count) - 1;
}
