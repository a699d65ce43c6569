using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>Single flags, the accumulator's table look-up, and decimal adjustment (16- and 32-bit code only).</summary>
internal static unsafe class FlagInstructions
{
    public static Op* Lahf(CpuState* s, Op* o)
    {
        *((byte*)s + Slots.Rax + 1) = (byte)(Flags.GetArithmetic(s) | Flags.Fixed);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Sahf(CpuState* s, Op* o)
    {
        Flags.SetArithmetic(s, (*((byte*)s + Slots.Rax + 1) & 0xD5u) | (Flags.IsOverflow(s) ? Flags.Overflow : 0));
        o++;
        return o->Handler(s, o);
    }

    public static Op* Clc(CpuState* s, Op* o)
    {
        Flags.SetCarry(s, false);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Stc(CpuState* s, Op* o)
    {
        Flags.SetCarry(s, true);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Cmc(CpuState* s, Op* o)
    {
        Flags.SetCarry(s, !Flags.IsCarry(s));
        o++;
        return o->Handler(s, o);
    }

    public static Op* Cld(CpuState* s, Op* o)
    {
        s->SystemFlags &= ~(ulong)Flags.Direction;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Std(CpuState* s, Op* o)
    {
        s->SystemFlags |= Flags.Direction;
        o++;
        return o->Handler(s, o);
    }

    /// <summary>XLAT: AL is the index; base and segment are the memory operand's.</summary>
    public static Op* Xlat(CpuState* s, Op* o)
    {
        ulong address = (Width.Get<ulong>(s, o->Base) + (byte)s->Gpr[0]) & o->AddressMask;
        if (!GuestAccess.Read(s, (address + Width.Get<ulong>(s, o->Segment)) & s->LinearMask, out byte value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<byte>(s, Slots.Rax, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Salc(CpuState* s, Op* o)
    {
        Width.Set<byte>(s, Slots.Rax, Flags.IsCarry(s) ? 0xFFu : 0);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>DAA and DAS (SDM 2).</summary>
    public static Op* DecimalAdjust<TOp>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        byte old = (byte)s->Gpr[0];
        bool carry = Flags.IsCarry(s);
        bool adjust = Flags.IsAdjust(s);
        uint correction = 0;
        bool newAdjust = (old & 0xF) > 9 || adjust;
        bool newCarry = old > 0x99 || carry;
        correction += newAdjust ? 6u : 0;
        correction += newCarry ? 0x60u : 0;
        byte r = (byte)(typeof(TOp) == typeof(Add) ? old + correction : old - correction);
        if (typeof(TOp) == typeof(Sub) && !newCarry && newAdjust && old < 6)
        {
            newCarry = true;
        }
        Width.Set<byte>(s, Slots.Rax, r);
        Flags.SetLogic<byte>(s, r);
        Flags.SetArithmetic(s, Flags.GetArithmetic(s) | (newCarry ? Flags.Carry : 0) | (newAdjust ? Flags.Adjust : 0));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>AAA and AAS.</summary>
    public static Op* AsciiAdjust<TOp>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        ushort ax = (ushort)s->Gpr[0];
        bool adjust = (ax & 0xF) > 9 || Flags.IsAdjust(s);
        if (adjust)
        {
            ax = (ushort)(typeof(TOp) == typeof(Add) ? ax + 0x106 : ax - 0x106);
        }
        ax &= 0xFF0F;
        Width.Set<ushort>(s, Slots.Rax, ax);
        Flags.SetLogic<byte>(s, ax);
        Flags.SetArithmetic(s, Flags.GetArithmetic(s) | (adjust ? Flags.Carry | Flags.Adjust : 0));
        o++;
        return o->Handler(s, o);
    }

    public static Op* Aam(CpuState* s, Op* o)
    {
        byte divisor = (byte)o->Immediate;
        if (divisor == 0)
        {
            return Exits.Fault(s, o, Vectors.DivideError);
        }
        byte al = (byte)s->Gpr[0];
        Width.Set<ushort>(s, Slots.Rax, ((ulong)(uint)(al / divisor) << 8) | (byte)(al % divisor));
        Flags.SetLogic<byte>(s, s->Gpr[0]);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Aad(CpuState* s, Op* o)
    {
        byte al = (byte)(((byte)(s->Gpr[0] >> 8) * (byte)o->Immediate) + (byte)s->Gpr[0]);
        Width.Set<ushort>(s, Slots.Rax, al);
        Flags.SetLogic<byte>(s, al);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Bound<T>(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.Read(s, linear, out T low) || !GuestAccess.Read(s, (linear + (ulong)sizeof(T)) & s->LinearMask, out T high))
        {
            return Exits.Abort(s, o);
        }
        long index = (long)Width.SignExtend<T>(Width.Get<T>(s, o->Destination));
        if (index < (long)Width.SignExtend<T>(Width.From(low)) || index > (long)Width.SignExtend<T>(Width.From(high)))
        {
            return Exits.Fault(s, o, Vectors.BoundRange);
        }
        o++;
        return o->Handler(s, o);
    }
}
