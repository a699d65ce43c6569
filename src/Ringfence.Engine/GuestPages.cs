using System.Buffers.Binary;
using Ringfence.Host;

namespace Ringfence.Engine;

/// <summary>Reads the guest's page tables from outside, for reports and debuggers: 32-bit, PAE, four and five levels (SDM 3A 4.3 to 4.5). It
/// changes nothing and checks no rights.</summary>
public static class GuestPages
{
    private const ulong Paging = 1UL << 31;
    private const ulong PageSizeExtensions = 0x10;
    private const ulong Pae = 0x20;
    private const ulong FiveLevels = 0x1000;
    private const ulong LongModeActive = 0x400;
    private const ulong AddressMask = 0xF_FFFF_FFFF_F000;

    /// <summary>The physical address of a linear one. False if nothing is mapped there.</summary>
    public static bool TryTranslate(GuestMemory memory, VcpuState state, ulong linear, out ulong physical)
    {
        bool longMode = (state.Efer & LongModeActive) != 0;
        physical = linear = longMode ? linear : (uint)linear;
        if ((state.Cr0 & Paging) == 0)
        {
            return true;
        }
        bool wide = (state.Cr4 & Pae) != 0;
        int level = longMode ? (state.Cr4 & FiveLevels) != 0 ? 4 : 3 : wide ? 2 : 1;
        if (longMode && !IsCanonical(linear, level == 4 ? 57 : 48))
        {
            return false;
        }
        if (level == 2 && state.PaePointers is { } pointers)
        {
            ulong pointer = pointers[linear >> 30];
            return (pointer & 1) != 0 && TryWalk(memory, state, linear, 1, pointer & AddressMask, out physical);
        }
        ulong table = state.Cr3 & (wide && !longMode ? 0xFFFF_FFE0 : AddressMask);
        return TryWalk(memory, state, linear, level, table, out physical);
    }

    private static bool TryWalk(GuestMemory memory, VcpuState state, ulong linear, int level, ulong table, out ulong physical)
    {
        physical = linear;
        bool longMode = (state.Efer & LongModeActive) != 0;
        bool wide = (state.Cr4 & Pae) != 0;
        Span<byte> bytes = stackalloc byte[8];
        for (; ; level--)
        {
            int shift = 12 + ((wide ? 9 : 10) * level);
            ulong index = (linear >> shift) & (wide ? 511u : 1023u);
            bytes.Clear();
            if (!memory.TryRead(table + (index * (wide ? 8u : 4u)), wide ? bytes : bytes[..4]))
            {
                return false;
            }
            ulong entry = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            if ((entry & 1) == 0)
            {
                return false;
            }
            if (level == 0 || ((entry & 0x80) != 0 && MayBeLarge(level, wide, longMode, state.Cr4)))
            {
                ulong size = 1UL << shift;
                // A 4 MiB page of 32-bit paging keeps address bits 32 to 39 in bits 13 to 20 (PSE-36).
                ulong frame = wide || level == 0 ? entry & AddressMask : (entry & 0xFFC0_0000) | ((entry & 0x1F_E000) << 19);
                physical = (frame & ~(size - 1)) | (linear & (size - 1));
                return true;
            }
            table = entry & AddressMask;
        }
    }

    private static bool MayBeLarge(int level, bool wide, bool longMode, ulong cr4) =>
        wide ? level == 1 || (level == 2 && longMode) : level == 1 && (cr4 & PageSizeExtensions) != 0;

    private static bool IsCanonical(ulong linear, int bits) => (long)(linear << (64 - bits)) >> (64 - bits) == (long)linear;
}
