using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// The forms of integer instructions: which operand comes from where. R is a register, M memory, I an immediate; the first letter is the
/// destination. Each is instantiated per operation, width and addressing.
/// </summary>
internal static unsafe class Integer
{
    public static Op* RR<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        ulong r = TOp.Apply<T>(s, Width.Get<T>(s, o->Destination), Width.Get<T>(s, o->Source));
        if (TOp.Writes)
        {
            Width.Set<T>(s, o->Destination, r);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* RI<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        ulong r = TOp.Apply<T>(s, Width.Get<T>(s, o->Destination), Width.Truncate<T>(o->Immediate));
        if (TOp.Writes)
        {
            Width.Set<T>(s, o->Destination, r);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* RM<TOp, T, TEa>(CpuState* s, Op* o)
        where TOp : struct, IBinary
        where TEa : struct, IAddressing
    {
        if (!GuestAccess.Read(s, TEa.Linear(s, o), out T value))
        {
            return Exits.Abort(s, o);
        }
        ulong r = TOp.Apply<T>(s, Width.Get<T>(s, o->Destination), Width.From(value));
        if (TOp.Writes)
        {
            Width.Set<T>(s, o->Destination, r);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* MR<TOp, T, TEa>(CpuState* s, Op* o)
        where TOp : struct, IBinary
        where TEa : struct, IAddressing
    {
        ulong linear = TEa.Linear(s, o);
        if (TOp.Writes)
        {
            T* p = GuestAccess.Modify<T>(s, linear);
            if (p == null)
            {
                return ModifySlow<TOp, T>(s, o, linear, Width.Get<T>(s, o->Source));
            }
            *p = Width.To<T>(TOp.Apply<T>(s, Width.From(*p), Width.Get<T>(s, o->Source)));
        }
        else
        {
            if (!GuestAccess.Read(s, linear, out T value))
            {
                return Exits.Abort(s, o);
            }
            TOp.Apply<T>(s, Width.From(value), Width.Get<T>(s, o->Source));
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* MI<TOp, T, TEa>(CpuState* s, Op* o)
        where TOp : struct, IBinary
        where TEa : struct, IAddressing
    {
        ulong linear = TEa.Linear(s, o);
        if (TOp.Writes)
        {
            T* p = GuestAccess.Modify<T>(s, linear);
            if (p == null)
            {
                return ModifySlow<TOp, T>(s, o, linear, Width.Truncate<T>(o->Immediate));
            }
            *p = Width.To<T>(TOp.Apply<T>(s, Width.From(*p), Width.Truncate<T>(o->Immediate)));
        }
        else
        {
            if (!GuestAccess.Read(s, linear, out T value))
            {
                return Exits.Abort(s, o);
            }
            TOp.Apply<T>(s, Width.From(value), Width.Truncate<T>(o->Immediate));
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>LOCK with a register as the second operand: atomic against other vCPUs.</summary>
    public static Op* LockMR<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary => Locked<TOp, T>(s, o, Width.Get<T>(s, o->Source));

    public static Op* LockMI<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary => Locked<TOp, T>(s, o, Width.Truncate<T>(o->Immediate));

    public static Op* R<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IUnary
    {
        Width.Set<T>(s, o->Destination, TOp.Apply<T>(s, Width.Get<T>(s, o->Destination)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* M<TOp, T, TEa>(CpuState* s, Op* o)
        where TOp : struct, IUnary
        where TEa : struct, IAddressing
    {
        ulong linear = TEa.Linear(s, o);
        T* p = GuestAccess.Modify<T>(s, linear);
        if (p == null)
        {
            return ModifySlow<AsBinary<TOp>, T>(s, o, linear, 0);
        }
        *p = Width.To<T>(TOp.Apply<T>(s, Width.From(*p)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* LockM<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IUnary => Locked<AsBinary<TOp>, T>(s, o, 0);

    public static Op* Lea<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, o->Destination, Plain.Linear(s, o) & o->AddressMask);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovRR<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, o->Destination, Width.Get<T>(s, o->Source));
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovRI<T>(CpuState* s, Op* o)
    {
        Width.Set<T>(s, o->Destination, o->Immediate);
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovRM<T, TEa>(CpuState* s, Op* o)
        where TEa : struct, IAddressing
    {
        if (!GuestAccess.Read(s, TEa.Linear(s, o), out T value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, Width.From(value));
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovMR<T, TEa>(CpuState* s, Op* o)
        where TEa : struct, IAddressing
    {
        if (!GuestAccess.Write(s, TEa.Linear(s, o), Width.To<T>(Width.Get<T>(s, o->Source))))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* MovMI<T, TEa>(CpuState* s, Op* o)
        where TEa : struct, IAddressing
    {
        if (!GuestAccess.Write(s, TEa.Linear(s, o), Width.To<T>(o->Immediate)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MOV accumulator from or to a 64-bit absolute address, which only the immediate can hold.</summary>
    public static Op* LoadAbsolute<T>(CpuState* s, Op* o)
    {
        if (!GuestAccess.Read(s, (o->Immediate + Width.Get<ulong>(s, o->Segment)) & s->LinearMask, out T value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, Width.From(value));
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreAbsolute<T>(CpuState* s, Op* o)
    {
        ulong linear = (o->Immediate + Width.Get<ulong>(s, o->Segment)) & s->LinearMask;
        if (!GuestAccess.Write(s, linear, Width.To<T>(Width.Get<T>(s, o->Source))))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>MOVZX and MOVSX: from <typeparamref name="TFrom"/> to <typeparamref name="T"/>.</summary>
    public static Op* ExtendR<TSign, TFrom, T>(CpuState* s, Op* o)
        where TSign : struct, IExtend
    {
        Width.Set<T>(s, o->Destination, TSign.Extend<TFrom>(Width.Get<TFrom>(s, o->Source)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* ExtendM<TSign, TFrom, T, TEa>(CpuState* s, Op* o)
        where TSign : struct, IExtend
        where TEa : struct, IAddressing
    {
        if (!GuestAccess.Read(s, TEa.Linear(s, o), out TFrom value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, TSign.Extend<TFrom>(Width.From(value)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* XchgRR<T>(CpuState* s, Op* o)
    {
        ulong a = Width.Get<T>(s, o->Destination);
        Width.Set<T>(s, o->Destination, Width.Get<T>(s, o->Source));
        Width.Set<T>(s, o->Source, a);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>XCHG with memory: always locked (SDM 2 XCHG). The register is <see cref="Op.Source"/>.</summary>
    public static Op* XchgMR<T>(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        ulong value = Width.Get<T>(s, o->Source);
        T* p = GuestAccess.ModifyAtomic<T>(s, linear);
        ulong old;
        if (p != null)
        {
            old = Width.From(Atomic.Exchange(p, Width.To<T>(value)));
            GuestAccess.Settle(s);
        }
        else if (s->Event == ExitEvent.None && GuestAccess.ReadForWrite(s, linear, out T slow))
        {
            old = Width.From(slow);
            GuestAccess.Write(s, linear, Width.To<T>(value));
        }
        else
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Source, old);
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Op* ModifySlow<TOp, T>(CpuState* s, Op* o, ulong linear, ulong operand)
        where TOp : struct, IBinary
    {
        if (!GuestAccess.ReadForWrite(s, linear, out T value))
        {
            return Exits.Abort(s, o);
        }
        ulong r = TOp.Apply<T>(s, Width.From(value), operand);
        GuestAccess.Write(s, linear, Width.To<T>(r));
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Op* Locked<TOp, T>(CpuState* s, Op* o, ulong operand)
        where TOp : struct, IBinary
    {
        ulong linear = Wide.Linear(s, o);
        T* p = GuestAccess.ModifyAtomic<T>(s, linear);
        if (p == null)
        {
            return s->Event == ExitEvent.None ? ModifySlow<TOp, T>(s, o, linear, operand) : Exits.Abort(s, o);
        }
        // ADC and SBB take CF in, so every try starts from the flags as they were.
        ulong flagResult = s->FlagResult;
        ulong flagCarry = s->FlagCarry;
        while (true)
        {
            ulong old = Width.From(*p);
            ulong r = TOp.Apply<T>(s, old, operand);
            if (Width.From(Atomic.CompareExchange(p, Width.To<T>(r), Width.To<T>(old))) == old)
            {
                break;
            }
            s->FlagResult = flagResult;
            s->FlagCarry = flagCarry;
        }
        GuestAccess.Settle(s);
        o++;
        return o->Handler(s, o);
    }
}

/// <summary>Lets unary operations use the forms of binary ones.</summary>
internal readonly struct AsBinary<TOp> : IBinary
    where TOp : struct, IUnary
{
    public static bool Writes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ulong Apply<T>(CpuState* s, ulong a, ulong b) => TOp.Apply<T>(s, a);
}

internal interface IExtend
{
    static abstract ulong Extend<TFrom>(ulong value);
}

internal readonly struct ZeroExtend : IExtend
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend<TFrom>(ulong value) => value;
}

internal readonly struct SignExtend : IExtend
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Extend<TFrom>(ulong value) => Width.SignExtend<TFrom>(value);
}
