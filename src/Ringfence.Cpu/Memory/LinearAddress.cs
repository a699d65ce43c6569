using System.Runtime.CompilerServices;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Memory;

/// <summary>Canonical form (SDM 1 3.3.7.1) and linear-address masking (SDM 3A 4.4).</summary>
internal static unsafe class LinearAddress
{
    /// <summary>Whether an address is canonical for the paging in force: 57 bits with CR4.LA57, else 48. What is canonical at 48 bits is so
    /// at 57, so that only guests with five-level paging ever come to the second look.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsCanonical(CpuState* s, ulong address) =>
        (long)(address << 16) >> 16 == (long)address || IsCanonicalFor57(s, address);

    /// <summary>As the processor checks what goes into MSRs, descriptor-table registers and segment bases, and what INVPCID is given: by the
    /// width that it has at most, whether CR4.LA57 is set or not.</summary>
    public static bool IsCanonicalForRegisters(CpuModel model, ulong address)
    {
        int unused = 64 - Width(model);
        return (long)(address << unused) >> unused == (long)address;
    }

    /// <summary>How wide linear addresses are at most.</summary>
    public static int Width(CpuModel model) => model.Has(CpuFeature.La57) ? 57 : 48;

    /// <summary>The address that an access to data really goes to: with masking in force, the bits that software may use are replaced by the
    /// sign. What comes of an address whose sign bits differ is not canonical.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Unmask(CpuState* s, ulong linear) =>
        AnyMasked(s) ? UnmaskAsSet(s, linear) : linear;

    /// <summary>Masking is in force for some addresses.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyMasked(CpuState* s) => ((s->Cr3 & ControlBits.LamUser) | (s->Cr4 & ControlBits.LamSupervisor)) != 0;

    private static bool IsCanonicalFor57(CpuState* s, ulong address) =>
        (s->Cr4 & ControlBits.La57) != 0 && (long)(address << 7) >> 7 == (long)address;

    private static ulong UnmaskAsSet(CpuState* s, ulong linear)
    {
        if (s->LinearMask != ulong.MaxValue)
        {
            // Only 64-bit mode masks.
            return linear;
        }
        int width;
        if ((long)linear < 0)
        {
            width = (s->Cr4 & ControlBits.LamSupervisor) == 0 ? 64 : (s->Cr4 & ControlBits.La57) != 0 ? 57 : 48;
        }
        else
        {
            width = (s->Cr3 & ControlBits.LamUser57) != 0 ? 57 : (s->Cr3 & ControlBits.LamUser48) != 0 ? 48 : 64;
        }
        ulong extended = (ulong)((long)(linear << (64 - width)) >> (64 - width));
        return (long)(extended ^ linear) < 0 ? extended ^ (1UL << 63) : extended;
    }
}
