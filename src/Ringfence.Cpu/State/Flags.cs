using System.Numerics;
using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.State;

/// <summary>
/// The six arithmetic flags, kept lazily. <see cref="CpuState.FlagResult"/> is the last result, sign-extended; from it come ZF, SF and PF.
/// <see cref="CpuState.FlagCarry"/> holds in bit 63 CF, in bit 62 the carry into the sign bit (so OF is their exclusive-or), in bit 3 AF.
/// Where flags are set to what no result has, bit 0 inverts SF and bits 8 to 15 are exclusive-ored into the byte that PF is taken from.
/// </summary>
public static unsafe class Flags
{
    public const uint Carry = 1;
    public const uint Parity = 4;
    public const uint Adjust = 0x10;
    public const uint Zero = 0x40;
    public const uint Sign = 0x80;
    public const uint Trap = 0x100;
    public const uint Interrupt = 0x200;
    public const uint Direction = 0x400;
    public const uint Overflow = 0x800;
    public const uint Iopl = 0x3000;
    public const uint NestedTask = 0x4000;
    public const uint Resume = 0x10000;
    public const uint Virtual8086 = 0x20000;
    public const uint AlignmentCheck = 0x40000;
    public const uint VirtualInterrupt = 0x80000;
    public const uint VirtualInterruptPending = 0x100000;
    public const uint Id = 0x200000;
    public const uint Arithmetic = Carry | Parity | Adjust | Zero | Sign | Overflow;
    /// <summary>Bit 1 reads as one.</summary>
    public const uint Fixed = 2;
    /// <summary>All bits that exist and are not arithmetic.</summary>
    public const uint System = Trap | Interrupt | Direction | Iopl | NestedTask | Resume | Virtual8086 | AlignmentCheck
        | VirtualInterrupt | VirtualInterruptPending | Id;

    private const ulong CarryBits = 0xC000_0000_0000_0000;

    /// <summary>After an addition: <paramref name="r"/> = a + b (+ carry), low bits valid.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetAdd<T>(CpuState* s, ulong a, ulong b, ulong r) => SetCarries<T>(s, r, (a & b) | ((a | b) & ~r));

    /// <summary>After a subtraction: <paramref name="r"/> = a - b (- borrow).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetSub<T>(CpuState* s, ulong a, ulong b, ulong r) => SetCarries<T>(s, r, (~a & b) | (~(a ^ b) & r));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetLogic<T>(CpuState* s, ulong r)
    {
        s->FlagResult = Width.SignExtend<T>(r);
        s->FlagCarry = 0;
    }

    /// <summary>INC and DEC: as <see cref="SetAdd"/> or <see cref="SetSub"/> with the carries given, but CF stays.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetKeepingCarry<T>(CpuState* s, ulong r, ulong carries)
    {
        ulong old = s->FlagCarry;
        SetCarries<T>(s, r, carries);
        // Turn CF back, and the carry into the sign with it, so that OF stays as the operation made it.
        ulong turn = (s->FlagCarry ^ old) & (1UL << 63);
        s->FlagCarry ^= turn | (turn >> 1);
    }

    /// <summary>Result flags from <paramref name="r"/>, CF and OF as given, AF clear: shifts, multiplications.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetResult<T>(CpuState* s, ulong r, bool carry, bool overflow)
    {
        s->FlagResult = Width.SignExtend<T>(r);
        s->FlagCarry = (carry ? 1UL << 63 : 0) | (carry != overflow ? 1UL << 62 : 0);
    }

    /// <summary>CF and OF as given, the others kept: rotates.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetCarryOverflow(CpuState* s, bool carry, bool overflow) =>
        s->FlagCarry = (s->FlagCarry & ~CarryBits) | (carry ? 1UL << 63 : 0) | (carry != overflow ? 1UL << 62 : 0);

    /// <summary>CF as given, the others kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetCarry(CpuState* s, bool carry) => SetCarryOverflow(s, carry, IsOverflow(s));

    /// <summary>Sets all six from their RFLAGS positions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SetArithmetic(CpuState* s, uint flags)
    {
        // A result of 0 has ZF, PF and no SF; 0x100 has PF only. Bits 0 and 8 of the carries turn SF and PF.
        s->FlagResult = (flags & Zero) != 0 ? 0UL : 0x100;
        ulong carry = flags & Carry;
        s->FlagCarry = (carry << 63) | ((carry ^ ((flags >> 11) & 1)) << 62) | ((flags & Adjust) >> 1)
            | ((flags & Sign) >> 7) | ((~flags & Parity) << 6);
    }

    /// <summary>The six in their RFLAGS positions.</summary>
    public static uint GetArithmetic(CpuState* s) =>
        (IsCarry(s) ? Carry : 0) | (IsParity(s) ? Parity : 0) | (IsAdjust(s) ? Adjust : 0)
        | (IsZero(s) ? Zero : 0) | (IsSign(s) ? Sign : 0) | (IsOverflow(s) ? Overflow : 0);

    /// <summary>The whole of RFLAGS.</summary>
    public static ulong Get(CpuState* s) => s->SystemFlags | GetArithmetic(s) | Fixed;

    /// <summary>Sets the whole of RFLAGS. The caller looks after what TF, IF and AC imply.</summary>
    public static void Set(CpuState* s, ulong flags)
    {
        SetArithmetic(s, (uint)flags);
        s->SystemFlags = flags & System;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsCarry(CpuState* s) => (long)s->FlagCarry < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsZero(CpuState* s) => s->FlagResult == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsSign(CpuState* s) => (long)(s->FlagResult ^ (s->FlagCarry << 63)) < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsOverflow(CpuState* s) => (long)(s->FlagCarry ^ (s->FlagCarry << 1)) < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsParity(CpuState* s) => (BitOperations.PopCount((uint)(s->FlagResult ^ (s->FlagCarry >> 8)) & 0xFF) & 1) == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsAdjust(CpuState* s) => (s->FlagCarry & 8) != 0;

    /// <summary>SF differs from OF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLess(CpuState* s) =>
        (long)(s->FlagResult ^ (s->FlagCarry << 63) ^ s->FlagCarry ^ (s->FlagCarry << 1)) < 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetCarries<T>(CpuState* s, ulong r, ulong carries)
    {
        s->FlagResult = Width.SignExtend<T>(r);
        s->FlagCarry = sizeof(T) == 8
            ? carries & (CarryBits | 8)
            : ((carries << (64 - (8 * sizeof(T)))) & CarryBits) | (carries & 8);
    }
}
