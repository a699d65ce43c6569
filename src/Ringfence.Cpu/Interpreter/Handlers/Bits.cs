using System.Numerics;
using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>What a bit test does to the bit it tested.</summary>
internal interface IBitChange
{
    static abstract bool Writes { get; }

    static abstract ulong Change(ulong value, ulong bit);
}

internal readonly struct BitKeep : IBitChange
{
    public static bool Writes => false;

    public static ulong Change(ulong value, ulong bit) => value;
}

internal readonly struct BitSet : IBitChange
{
    public static bool Writes => true;

    public static ulong Change(ulong value, ulong bit) => value | bit;
}

internal readonly struct BitReset : IBitChange
{
    public static bool Writes => true;

    public static ulong Change(ulong value, ulong bit) => value & ~bit;
}

internal readonly struct BitComplement : IBitChange
{
    public static bool Writes => true;

    public static ulong Change(ulong value, ulong bit) => value ^ bit;
}

/// <summary>Bit tests and scans, double shifts, byte swaps.</summary>
internal static unsafe class Bits
{
    /// <summary>BT and family on a register. TIndex is the second operand: a register or the immediate.</summary>
    public static Op* TestR<TChange, TIndex, T>(CpuState* s, Op* o)
        where TChange : struct, IBitChange
        where TIndex : struct, IOperand
    {
        TIndex.Get<T>(s, o, out ulong index);
        ulong value = Width.Get<T>(s, o->Destination);
        ulong bit = 1UL << ((int)index & ((8 * sizeof(T)) - 1));
        if (TChange.Writes)
        {
            Width.Set<T>(s, o->Destination, TChange.Change(value, bit));
        }
        Flags.SetCarry(s, (value & bit) != 0);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>BT and family on memory. A register index reaches beyond the operand: it is a signed bit offset (SDM 2 BT).</summary>
    public static Op* TestM<TChange, TIndex, T>(CpuState* s, Op* o)
        where TChange : struct, IBitChange
        where TIndex : struct, IOperand
    {
        TIndex.Get<T>(s, o, out ulong index);
        ulong offset = typeof(TIndex) == typeof(SecondRegister)
            ? (ulong)(((long)Width.SignExtend<T>(index) >> (3 + BitOperations.Log2((uint)sizeof(T)))) * sizeof(T))
            : 0;
        ulong address = (Plain.Linear(s, o) + offset) & o->AddressMask;
        ulong linear = (address + Width.Get<ulong>(s, o->Segment)) & s->LinearMask;
        ulong bit = 1UL << ((int)index & ((8 * sizeof(T)) - 1));
        ulong value;
        if (!TChange.Writes)
        {
            if (!GuestAccess.Read(s, linear, out T read))
            {
                return Exits.Abort(s, o);
            }
            value = Width.From(read);
        }
        else
        {
            T* p = GuestAccess.ModifyAtomic<T>(s, linear);
            if (p != null)
            {
                // Always atomic: nearly every use with memory has LOCK.
                do
                {
                    value = Width.From(*p);
                }
                while (Width.From(Atomic.CompareExchange(p, Width.To<T>(TChange.Change(value, bit)), Width.To<T>(value))) != value);
                GuestAccess.Settle(s);
            }
            else
            {
                if (s->Event != ExitEvent.None || !GuestAccess.ReadForWrite(s, linear, out T slow))
                {
                    return Exits.Abort(s, o);
                }
                value = Width.From(slow);
                GuestAccess.Write(s, linear, Width.To<T>(TChange.Change(value, bit)));
            }
        }
        Flags.SetCarry(s, (value & bit) != 0);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>BSF: a zero operand leaves the destination alone, as every processor does.</summary>
    public static Op* ScanForward<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        Flags.SetLogic<T>(s, value);
        if (value != 0)
        {
            Width.Set<T>(s, o->Destination, (ulong)BitOperations.TrailingZeroCount(value));
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* ScanReverse<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        Flags.SetLogic<T>(s, value);
        if (value != 0)
        {
            Width.Set<T>(s, o->Destination, (ulong)BitOperations.Log2(value));
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* CountOnes<TOperand, T>(CpuState* s, Op* o)
        where TOperand : struct, IOperand
    {
        if (!TOperand.Get<T>(s, o, out ulong value))
        {
            return Exits.Abort(s, o);
        }
        Width.Set<T>(s, o->Destination, (ulong)BitOperations.PopCount(value));
        Flags.SetArithmetic(s, value == 0 ? Flags.Zero : 0);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>BSWAP; of a 16-bit register it is undefined and gives 0, as processors do.</summary>
    public static Op* Swap<T>(CpuState* s, Op* o)
    {
        ulong value = Width.Get<T>(s, o->Destination);
        Width.Set<T>(s, o->Destination, sizeof(T) switch
        {
            8 => System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(value),
            4 => System.Buffers.Binary.BinaryPrimitives.ReverseEndianness((uint)value),
            _ => 0,
        });
        o++;
        return o->Handler(s, o);
    }

    /// <summary>SHLD and SHRD on a register. TCount is the count: <see cref="CountImmediate"/> or <see cref="CountCl"/>.</summary>
    public static Op* DoubleShiftR<TLeft, TCount, T>(CpuState* s, Op* o)
        where TLeft : struct, IDirection
        where TCount : struct, ICount
    {
        ulong value = Width.Get<T>(s, o->Destination);
        Width.Set<T>(s, o->Destination, DoubleShift<TLeft, T>(s, value, Width.Get<T>(s, o->Source), TCount.Get(s, o)));
        o++;
        return o->Handler(s, o);
    }

    public static Op* DoubleShiftM<TLeft, TCount, T>(CpuState* s, Op* o)
        where TLeft : struct, IDirection
        where TCount : struct, ICount
    {
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.ReadForWrite(s, linear, out T value))
        {
            return Exits.Abort(s, o);
        }
        ulong r = DoubleShift<TLeft, T>(s, Width.From(value), Width.Get<T>(s, o->Source), TCount.Get(s, o));
        GuestAccess.Write(s, linear, Width.To<T>(r));
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Shifts with the count in CL.</summary>
    public static Op* ShiftRCl<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        Width.Set<T>(s, o->Destination, TOp.Apply<T>(s, Width.Get<T>(s, o->Destination), (byte)s->Gpr[1]));
        o++;
        return o->Handler(s, o);
    }

    public static Op* ShiftMCl<TOp, T>(CpuState* s, Op* o)
        where TOp : struct, IBinary
    {
        ulong linear = Wide.Linear(s, o);
        if (!GuestAccess.ReadForWrite(s, linear, out T value))
        {
            return Exits.Abort(s, o);
        }
        ulong r = TOp.Apply<T>(s, Width.From(value), (byte)s->Gpr[1]);
        GuestAccess.Write(s, linear, Width.To<T>(r));
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong DoubleShift<TLeft, T>(CpuState* s, ulong a, ulong b, uint rawCount)
        where TLeft : struct, IDirection
    {
        int bits = 8 * sizeof(T);
        int count = (int)rawCount & (sizeof(T) == 8 ? 63 : 31);
        if (count == 0)
        {
            return a;
        }
        ulong r;
        bool carry;
        if (count > bits)
        {
            // 16-bit operands with a count above 16: undefined. Processors shift the operands as if repeated.
            count -= bits;
            (a, b) = (b, a);
        }
        if (TLeft.Left)
        {
            r = (a << count) | (count == bits ? b : b >> (bits - count));
            carry = ((a >> (bits - count)) & 1) != 0;
        }
        else
        {
            r = (a >> count) | (count == bits ? b : b << (bits - count));
            carry = ((a >> (count - 1)) & 1) != 0;
        }
        r = Width.Truncate<T>(r);
        Flags.SetResult<T>(s, r, carry, Width.IsNegative<T>(r ^ a));
        return r;
    }
}

internal interface IDirection
{
    static abstract bool Left { get; }
}

internal readonly struct ToLeft : IDirection
{
    public static bool Left => true;
}

internal readonly struct ToRight : IDirection
{
    public static bool Left => false;
}

internal interface ICount
{
    static abstract unsafe uint Get(CpuState* s, Op* o);
}

internal readonly struct CountImmediate : ICount
{
    public static unsafe uint Get(CpuState* s, Op* o) => (byte)o->Immediate;
}

internal readonly struct CountCl : ICount
{
    public static unsafe uint Get(CpuState* s, Op* o) => (byte)s->Gpr[1];
}
