using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

/// <summary>The constants that have load instructions.</summary>
public enum X87Constant
{
    /// <summary>FLD1</summary>
    One,
    /// <summary>FLDL2T: log2(10)</summary>
    Log2Of10,
    /// <summary>FLDL2E: log2(e)</summary>
    Log2OfE,
    /// <summary>FLDPI</summary>
    Pi,
    /// <summary>FLDLG2: log10(2)</summary>
    Log10Of2,
    /// <summary>FLDLN2: ln(2)</summary>
    LnOf2,
    /// <summary>FLDZ</summary>
    Zero,
}

public static unsafe partial class X87Unit
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool CanPush(X87State* f)
    {
        if (IsEmpty(f, f->Top - 1))
        {
            return true;
        }
        if (Commit(f, StackOverflow))
        {
            Push(f, Float80.Indefinite);
        }
        return false;
    }

    /// <summary>FLD m32.</summary>
    public static void Load32(X87State* f, uint bits)
    {
        uint status = 0;
        LoadWidened(f, Float80Math.FromSingle(bits, ref status), status);
    }

    /// <summary>FLD m64.</summary>
    public static void Load64(X87State* f, ulong bits)
    {
        uint status = 0;
        LoadWidened(f, Float80Math.FromDouble(bits, ref status), status);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadWidened(X87State* f, Float80 value, uint status)
    {
        if (!CanPush(f))
        {
            return;
        }
        if (value.Exponent == Float80.MaximumExponent && value.IsSignalingNaN)
        {
            status |= X87Status.Invalid;
            value = value.Quieted;
        }
        // An unmasked denormal is pushed none the less and reported by the next instruction: the value is exact.
        if (Commit(f, status) || (status & X87Status.Invalid) == 0)
        {
            Push(f, value);
        }
    }

    /// <summary>FLD m80: any encoding goes in as it is.</summary>
    public static void Load80(X87State* f, ulong significand, ushort signExponent) => LoadExact(f, new Float80(significand, signExponent));

    /// <summary>FILD m16, m32 and m64.</summary>
    public static void LoadInteger(X87State* f, long value) => LoadExact(f, Float80Math.FromInteger(value));

    /// <summary>FBLD.</summary>
    public static void LoadBcd(X87State* f, ulong low, ushort high) => LoadExact(f, Float80Math.FromBcd(low, high));

    private static void LoadExact(X87State* f, Float80 value)
    {
        if (CanPush(f))
        {
            Commit(f, 0);
            Push(f, value);
        }
    }

    /// <summary>FLD ST(i).</summary>
    public static void LoadRegister(X87State* f, int i)
    {
        int source = f->Top + i;
        if (IsEmpty(f, source))
        {
            if (Commit(f, StackUnderflow))
            {
                Push(f, Float80.Indefinite);
            }
            return;
        }
        LoadExact(f, *Register(f, source));
    }

    /// <summary>FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 and FLDZ, rounded as RC asks (SDM vol. 2, FLD1).</summary>
    public static void LoadConstant(X87State* f, X87Constant constant)
    {
        // Significands cut to 64 bits, and whether the nearest is the next one.
        (ulong significand, int exponent, bool nearestUp) = constant switch
        {
            X87Constant.One => (Float80.IntegerBit, 0, false),
            X87Constant.Log2Of10 => (0xD49A784BCD1B8AFE, 1, false),
            X87Constant.Log2OfE => (0xB8AA3B295C17F0BB, 0, true),
            X87Constant.Pi => (0xC90FDAA22168C234, 1, true),
            X87Constant.Log10Of2 => (0x9A209A84FBCFF798, -2, true),
            X87Constant.LnOf2 => (0xB17217F7D1CF79AB, -1, true),
            _ => (0UL, -Float80.Bias, false),
        };
        if (constant is not (X87Constant.One or X87Constant.Zero))
        {
            significand += (f->ControlWord & X87Control.RoundMask) switch
            {
                X87Control.RoundNearest => nearestUp ? 1UL : 0,
                X87Control.RoundUp => 1UL,
                _ => 0UL,
            };
        }
        LoadExact(f, new Float80(0, exponent + Float80.Bias, significand));
    }

    // Stores to memory give the value and leave the stack alone, so that a page fault in the write leaves the instruction to be run
    // again; FSTP, FISTP, FISTTP and FBSTP call Pop after the write. False: an unmasked exception is pending, write nothing, pop nothing.

    /// <summary>FST and FSTP m32.</summary>
    public static bool Store32(X87State* f, out uint bits)
    {
        uint status = 0;
        if (IsEmpty(f, f->Top))
        {
            bits = 0xFFC0_0000;
            return Commit(f, StackUnderflow);
        }
        bits = Float80Math.ToSingle(*Register(f, f->Top), f->ControlWord, ref status);
        return CommitStore(f, status);
    }

    /// <summary>FST and FSTP m64.</summary>
    public static bool Store64(X87State* f, out ulong bits)
    {
        uint status = 0;
        if (IsEmpty(f, f->Top))
        {
            bits = 0xFFF8_0000_0000_0000;
            return Commit(f, StackUnderflow);
        }
        bits = Float80Math.ToDouble(*Register(f, f->Top), f->ControlWord, ref status);
        return CommitStore(f, status);
    }

    /// <summary>FSTP m80: any encoding goes out as it is.</summary>
    public static bool Store80(X87State* f, out Float80 value)
    {
        if (IsEmpty(f, f->Top))
        {
            value = Float80.Indefinite;
            return Commit(f, StackUnderflow);
        }
        value = *Register(f, f->Top);
        return Commit(f, 0);
    }

    /// <summary>FIST and FISTP, or FISTTP if <paramref name="truncate"/>.</summary>
    /// <param name="bits">16, 32 or 64.</param>
    public static bool StoreInteger(X87State* f, int bits, bool truncate, out long value)
    {
        uint status = 0;
        if (IsEmpty(f, f->Top))
        {
            value = long.MinValue >> (64 - bits);
            return Commit(f, StackUnderflow);
        }
        uint control = truncate ? f->ControlWord | X87Control.RoundToZero : f->ControlWord;
        value = Float80Math.ToInteger(*Register(f, f->Top), bits, control, ref status);
        return CommitStore(f, status);
    }

    /// <summary>FBSTP: ten bytes, <paramref name="low"/> first.</summary>
    public static bool StoreBcd(X87State* f, out ulong low, out ushort high)
    {
        uint status = 0;
        if (IsEmpty(f, f->Top))
        {
            low = Float80Math.BcdIndefiniteLow;
            high = Float80Math.BcdIndefiniteHigh;
            return Commit(f, StackUnderflow);
        }
        (low, high) = Float80Math.ToBcd(*Register(f, f->Top), f->ControlWord, ref status);
        return CommitStore(f, status);
    }

    /// <summary>FST ST(i), and FSTP ST(i) if <paramref name="pop"/>.</summary>
    public static void StoreRegister(X87State* f, int i, bool pop)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            if (!Underflow(f, top + i))
            {
                return;
            }
        }
        else
        {
            Commit(f, 0);
            Write(f, top + i, *Register(f, top));
        }
        if (pop)
        {
            Pop(f);
        }
    }

    /// <summary>FSTPNCE ST(i), an alias of FSTP ST(i) (D9 D8) that raises no stack underflow: an empty ST(0) is popped, no more.</summary>
    public static void StoreRegisterUnchecked(X87State* f, int i)
    {
        int top = f->Top;
        Commit(f, 0);
        if (!IsEmpty(f, top))
        {
            Write(f, top + i, *Register(f, top));
        }
        Pop(f);
    }

    /// <summary>FXCH ST(i). An empty register is filled with the indefinite first if IE is masked.</summary>
    public static void Exchange(X87State* f, int i)
    {
        int top = f->Top;
        if (IsEmpty(f, top) || IsEmpty(f, top + i))
        {
            if (!Commit(f, StackUnderflow))
            {
                return;
            }
            if (IsEmpty(f, top))
            {
                Write(f, top, Float80.Indefinite);
            }
            if (IsEmpty(f, top + i))
            {
                Write(f, top + i, Float80.Indefinite);
            }
        }
        else
        {
            Commit(f, 0);
        }
        (*Register(f, top), *Register(f, top + i)) = (*Register(f, top + i), *Register(f, top));
    }

    /// <summary>FCMOVcc ST(0), ST(i). Empty registers raise the stack fault even if the condition is false.</summary>
    public static void ConditionalMove(X87State* f, int i, bool condition)
    {
        int top = f->Top;
        if (IsEmpty(f, top) || IsEmpty(f, top + i))
        {
            Underflow(f, top);
            return;
        }
        if (condition)
        {
            *Register(f, top) = *Register(f, top + i);
        }
    }
}
