using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>MUL, IMUL, DIV, IDIV, exchange-and-compare, and the sign extensions that go with division.</summary>
internal static unsafe class MultiplyDivide
{
    public static Op* Mul<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong b))
        {
            return Exits.Abort(s, o);
        }
        ulong low;
        ulong high;
        ulong a = Width.Get<T>(s, Slots.Rax);
        if (sizeof(T) == 8)
        {
            high = Math.BigMul(a, b, out low);
        }
        else
        {
            low = a * b;
            high = Width.Truncate<T>(low >> (8 * sizeof(T)));
        }
        SetProduct<T>(s, low, high);
        Flags.SetResult<T>(s, low, high != 0, high != 0);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Imul<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong b))
        {
            return Exits.Abort(s, o);
        }
        ulong low = SignedProduct<T>(Width.Get<T>(s, Slots.Rax), b, out ulong high, out bool overflow);
        SetProduct<T>(s, low, high);
        Flags.SetResult<T>(s, low, overflow, overflow);
        o++;
        return o->Handler(s, o);
    }

    public static Op* ImulTwo<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong b))
        {
            return Exits.Abort(s, o);
        }
        ulong low = SignedProduct<T>(Width.Get<T>(s, o->Destination), b, out _, out bool overflow);
        Width.Set<T>(s, o->Destination, low);
        Flags.SetResult<T>(s, low, overflow, overflow);
        o++;
        return o->Handler(s, o);
    }

    public static Op* ImulThree<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong b))
        {
            return Exits.Abort(s, o);
        }
        ulong low = SignedProduct<T>(b, o->Immediate, out _, out bool overflow);
        Width.Set<T>(s, o->Destination, low);
        Flags.SetResult<T>(s, low, overflow, overflow);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Div<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong divisor))
        {
            return Exits.Abort(s, o);
        }
        if (divisor == 0)
        {
            return Exits.Fault(s, o, Vectors.DivideError);
        }
        ulong quotient;
        ulong remainder;
        if (sizeof(T) == 8)
        {
            ulong high = s->Gpr[2];
            if (high >= divisor)
            {
                return Exits.Fault(s, o, Vectors.DivideError);
            }
            quotient = high == 0 ? Math.DivRem(s->Gpr[0], divisor).Quotient : (ulong)(new UInt128(high, s->Gpr[0]) / divisor);
            remainder = s->Gpr[0] - (quotient * divisor);
        }
        else
        {
            ulong dividend = Dividend<T>(s);
            quotient = dividend / divisor;
            remainder = dividend - (quotient * divisor);
            if (quotient != Width.Truncate<T>(quotient))
            {
                return Exits.Fault(s, o, Vectors.DivideError);
            }
        }
        SetQuotient<T>(s, quotient, remainder);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Idiv<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong raw))
        {
            return Exits.Abort(s, o);
        }
        long divisor = (long)Width.SignExtend<T>(raw);
        if (divisor == 0)
        {
            return Exits.Fault(s, o, Vectors.DivideError);
        }
        long quotient;
        long remainder;
        if (sizeof(T) == 8)
        {
            if ((long)s->Gpr[0] >> 63 == (long)s->Gpr[2] && !(divisor == -1 && (long)s->Gpr[0] == long.MinValue))
            {
                quotient = (long)s->Gpr[0] / divisor;
                remainder = (long)s->Gpr[0] - (quotient * divisor);
            }
            else
            {
                Int128 dividend = new(s->Gpr[2], s->Gpr[0]);
                if (dividend == Int128.MinValue)
                {
                    return Exits.Fault(s, o, Vectors.DivideError);
                }
                Int128 wide = dividend / divisor;
                if (wide != (long)wide)
                {
                    return Exits.Fault(s, o, Vectors.DivideError);
                }
                quotient = (long)wide;
                remainder = (long)(dividend - (wide * divisor));
            }
        }
        else
        {
            long dividend = sizeof(T) switch
            {
                1 => (short)Dividend<T>(s),
                2 => (int)Dividend<T>(s),
                _ => (long)Dividend<T>(s),
            };
            if (divisor == -1 && dividend == long.MinValue)
            {
                return Exits.Fault(s, o, Vectors.DivideError);
            }
            quotient = dividend / divisor;
            remainder = dividend - (quotient * divisor);
            if (quotient != (long)Width.SignExtend<T>((ulong)quotient))
            {
                return Exits.Fault(s, o, Vectors.DivideError);
            }
        }
        SetQuotient<T>(s, (ulong)quotient, (ulong)remainder);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>CBW, CWDE, CDQE: the accumulator's lower half of T, sign-extended to T.</summary>
    public static Op* ExtendAccumulator<THalf, T>(CpuState* s, Op* o)
        where THalf : unmanaged
    {
        Width.Set<T>(s, Slots.Rax, Width.SignExtend<THalf>(s->Gpr[0]));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>CWD, CDQ, CQO: fills rDX with the sign of rAX.</summary>
    public static Op* SignToData<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, Slots.Rdx, Width.IsNegative<T>(s->Gpr[0]) ? ulong.MaxValue : 0);
        o++;
        return o->Handler(s, o);
    }

    public static Op* XaddR<T>(CpuState* s, Op* o)
    {
        ulong a = Width.Get<T>(s, o->Destination);
        ulong r = Add.Apply<T>(s, a, Width.Get<T>(s, o->Source));
        Width.Set<T>(s, o->Source, a);
        Width.Set<T>(s, o->Destination, r);
        o++;
        return o->Handler(s, o);
    }

    public static Op* XaddM<T>(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong b = Width.Get<T>(s, o->Source);
        T* p = GuestAccess.ModifyAtomic<T>(s, linear);
        ulong old;
        if (p != null)
        {
            do
            {
                old = Width.From(*p);
            }
            while (Width.From(Atomic.CompareExchange(p, Width.To<T>(old + b), Width.To<T>(old))) != old);
            GuestAccess.Settle(s);
        }
        else
        {
            if (s->Event != ExitEvent.None || !GuestAccess.ReadForWrite(s, linear, out T slow))
            {
                return Exits.Abort(s, o);
            }
            old = Width.From(slow);
            GuestAccess.Write(s, linear, Width.To<T>(old + b));
        }
        Add.Apply<T>(s, old, b);
        Width.Set<T>(s, o->Source, old);
        o++;
        return o->Handler(s, o);
    }

    public static Op* CmpxchgR<T>(CpuState* s, Op* o)
    {
        ulong accumulator = Width.Get<T>(s, Slots.Rax);
        ulong old = Width.Get<T>(s, o->Destination);
        Sub.Apply<T>(s, accumulator, old);
        if (accumulator == old)
        {
            Width.Set<T>(s, o->Destination, Width.Get<T>(s, o->Source));
        }
        else
        {
            Width.Set<T>(s, Slots.Rax, old);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* CmpxchgM<T>(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong accumulator = Width.Get<T>(s, Slots.Rax);
        ulong replacement = Width.Get<T>(s, o->Source);
        T* p = GuestAccess.ModifyAtomic<T>(s, linear);
        ulong old;
        if (p != null)
        {
            old = Width.From(Atomic.CompareExchange(p, Width.To<T>(replacement), Width.To<T>(accumulator)));
            GuestAccess.Settle(s);
        }
        else
        {
            if (s->Event != ExitEvent.None || !GuestAccess.ReadForWrite(s, linear, out T slow))
            {
                return Exits.Abort(s, o);
            }
            old = Width.From(slow);
            GuestAccess.Write(s, linear, Width.To<T>(old == accumulator ? replacement : old));
        }
        Sub.Apply<T>(s, accumulator, old);
        if (accumulator != old)
        {
            Width.Set<T>(s, Slots.Rax, old);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>CMPXCHG8B.</summary>
    public static Op* Cmpxchg8B(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong expected = (uint)s->Gpr[0] | (s->Gpr[2] << 32);
        ulong replacement = (uint)s->Gpr[3] | (s->Gpr[1] << 32);
        ulong* p = GuestAccess.ModifyAtomic<ulong>(s, linear);
        ulong old;
        if (p != null)
        {
            old = Atomic.CompareExchange(p, replacement, expected);
            GuestAccess.Settle(s);
        }
        else
        {
            if (s->Event != ExitEvent.None || !GuestAccess.ReadForWrite(s, linear, out old))
            {
                return Exits.Abort(s, o);
            }
            GuestAccess.Write(s, linear, old == expected ? replacement : old);
        }
        Flags.SetArithmetic(s, (Flags.GetArithmetic(s) & ~Flags.Zero) | (old == expected ? Flags.Zero : 0));
        if (old != expected)
        {
            s->Gpr[0] = (uint)old;
            s->Gpr[2] = old >> 32;
        }
        o++;
        return o->Handler(s, o);
    }

    private static ulong Dividend<T>(CpuState* s) => sizeof(T) == 1
            ? (ushort)s->Gpr[0]
            : Width.Truncate<T>(s->Gpr[0]) | (Width.Truncate<T>(s->Gpr[2]) << (8 * sizeof(T)));

    private static void SetProduct<T>(CpuState* s, ulong low, ulong high)
    {
        if (sizeof(T) == 1)
        {
            Width.Set<ushort>(s, Slots.Rax, (byte)low | (high << 8));
        }
        else
        {
            Width.Set<T>(s, Slots.Rax, low);
            Width.Set<T>(s, Slots.Rdx, high);
        }
    }

    private static void SetQuotient<T>(CpuState* s, ulong quotient, ulong remainder)
    {
        if (sizeof(T) == 1)
        {
            Width.Set<ushort>(s, Slots.Rax, (byte)quotient | (remainder << 8));
        }
        else
        {
            Width.Set<T>(s, Slots.Rax, quotient);
            Width.Set<T>(s, Slots.Rdx, remainder);
        }
    }

    private static ulong SignedProduct<T>(ulong a, ulong b, out ulong high, out bool overflow)
    {
        if (sizeof(T) == 8)
        {
            long signedHigh = Math.BigMul((long)a, (long)b, out long signedLow);
            high = (ulong)signedHigh;
            overflow = signedHigh != signedLow >> 63;
            return (ulong)signedLow;
        }
        long product = (long)Width.SignExtend<T>(a) * (long)Width.SignExtend<T>(b);
        high = (ulong)(product >> (8 * sizeof(T)));
        overflow = product != (long)Width.SignExtend<T>((ulong)product);
        return (ulong)product;
    }
}
