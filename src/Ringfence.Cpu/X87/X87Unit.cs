using System.Runtime.CompilerServices;

namespace Ringfence.Cpu.X87;

/// <summary>
/// The x87 instructions over an <see cref="X87State"/>: stack, tags, status word and masked or unmasked responses. Operand 0 is ST(0).
/// Every waiting instruction first asks <see cref="HasPendingException"/> and raises #MF; nothing here does. CR0.EM, CR0.TS and
/// the instruction and data pointers are the caller's too.
/// </summary>
public static unsafe partial class X87Unit
{
    private const uint StackUnderflow = X87Status.Invalid | X87Status.StackFault;
    private const uint StackOverflow = X87Status.Invalid | X87Status.StackFault | X87Status.C1;

    /// <summary>Whether an unmasked exception waits: the next waiting x87 or MMX instruction raises #MF (or FERR# if CR0.NE is clear).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasPendingException(X87State* f) => (f->StatusWord & X87Status.ErrorSummary) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float80* Register(X87State* f, int physical) => (Float80*)f + (physical & 7);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool IsEmpty(X87State* f, int physical) => (f->Tags & (1 << (physical & 7))) == 0;

    /// <summary>Adds exception flags to the status word, replaces C1, and says whether the result may be written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Commit(X87State* f, uint status)
    {
        if ((status & ~(uint)f->ControlWord & X87Status.Exceptions) != 0)
        {
            return CommitUnmasked(f, status);
        }
        f->StatusWord = (ushort)((f->StatusWord & ~X87Status.C1) | status);
        return true;
    }

    private static bool CommitUnmasked(X87State* f, uint status)
    {
        bool stopped = (status & ~(uint)f->ControlWord & X87Status.PreComputation) != 0;
        if (stopped)
        {
            status &= X87Status.PreComputation | X87Status.StackFault | ((status & X87Status.StackFault) != 0 ? X87Status.C1 : 0);
        }
        f->StatusWord = (ushort)((f->StatusWord & ~X87Status.C1) | status | X87Status.ErrorSummary | X87Status.Busy);
        return !stopped;
    }

    /// <summary>For stores to memory: unmasked overflow and underflow stop them too, the operand being still on the stack.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool CommitStore(X87State* f, uint status)
    {
        bool stored = Commit(f, status);
        return stored && (status & ~(uint)f->ControlWord & (X87Status.Overflow | X87Status.Underflow)) == 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetTop(X87State* f, int top) =>
        f->StatusWord = (ushort)((f->StatusWord & ~X87Status.TopMask) | (uint)((top & 7) << X87Status.TopShift));

    /// <summary>Marks ST(0) empty and increments TOP. Stores to memory pop separately, once the write has succeeded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Pop(X87State* f)
    {
        int top = f->Top;
        f->Tags &= (byte)~(1 << top);
        SetTop(f, top + 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Push(X87State* f, Float80 value)
    {
        int top = (f->Top - 1) & 7;
        SetTop(f, top);
        f->Tags |= (byte)(1 << top);
        *Register(f, top) = value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(X87State* f, int physical, Float80 value)
    {
        f->Tags |= (byte)(1 << (physical & 7));
        *Register(f, physical) = value;
    }

    // ---- Arithmetic ------------------------------------------------------------------------------------------------------------

    /// <summary>FADD ST(destination), ST(source) and its like. Returns whether the operation completed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Arithmetic<TOperation>(X87State* f, int destination, int source)
        where TOperation : struct, IX87Operation
    {
        int top = f->Top;
        if (IsEmpty(f, top + destination) || IsEmpty(f, top + source))
        {
            return Underflow(f, top + destination);
        }
        Float80* target = Register(f, top + destination);
        uint status = 0;
        Float80 result = TOperation.Apply(*target, *Register(f, top + source), f->ControlWord, ref status);
        if (!Commit(f, status))
        {
            return false;
        }
        *target = result;
        return true;
    }

    /// <summary>FADDP ST(destination), ST(0) and its like.</summary>
    public static void ArithmeticPop<TOperation>(X87State* f, int destination)
        where TOperation : struct, IX87Operation
    {
        if (Arithmetic<TOperation>(f, destination, 0))
        {
            Pop(f);
        }
    }

    /// <summary>FADD m32 and its like; <paramref name="source"/> is the binary32 pattern.</summary>
    public static void Arithmetic32<TOperation>(X87State* f, uint source)
        where TOperation : struct, IX87Operation
    {
        uint status = 0;
        Float80 value = Float80Math.FromSingle(source, ref status);
        ArithmeticWith<TOperation>(f, value, status);
    }

    /// <summary>FADD m64 and its like; <paramref name="source"/> is the binary64 pattern.</summary>
    public static void Arithmetic64<TOperation>(X87State* f, ulong source)
        where TOperation : struct, IX87Operation
    {
        uint status = 0;
        Float80 value = Float80Math.FromDouble(source, ref status);
        ArithmeticWith<TOperation>(f, value, status);
    }

    /// <summary>FIADD m16/m32 and its like.</summary>
    public static void ArithmeticInteger<TOperation>(X87State* f, int source)
        where TOperation : struct, IX87Operation => ArithmeticWith<TOperation>(f, Float80Math.FromInteger(source), 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ArithmeticWith<TOperation>(X87State* f, Float80 source, uint status)
        where TOperation : struct, IX87Operation
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        Float80* target = Register(f, top);
        Float80 result = TOperation.Apply(*target, source, f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *target = result;
        }
    }

    /// <summary>The response to an empty operand: the indefinite in the destination if IE is masked.</summary>
    private static bool Underflow(X87State* f, int physical)
    {
        if (!Commit(f, StackUnderflow))
        {
            return false;
        }
        Write(f, physical, Float80.Indefinite);
        return true;
    }

    /// <summary>FSQRT.</summary>
    public static void SquareRoot(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        uint status = 0;
        Float80 result = Float80Math.SquareRoot(*Register(f, top), f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *Register(f, top) = result;
        }
    }

    /// <summary>FRNDINT.</summary>
    public static void RoundToIntegral(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        uint status = 0;
        Float80 result = Float80Math.RoundToIntegral(*Register(f, top), f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *Register(f, top) = result;
        }
    }

    /// <summary>FSCALE.</summary>
    public static void Scale(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top) || IsEmpty(f, top + 1))
        {
            Underflow(f, top);
            return;
        }
        uint status = 0;
        Float80 result = Float80Math.Scale(*Register(f, top), *Register(f, top + 1), f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *Register(f, top) = result;
        }
    }

    /// <summary>FPREM, or FPREM1 if <paramref name="nearest"/>.</summary>
    public static void Remainder(X87State* f, bool nearest)
    {
        int top = f->Top;
        // Loops go on while C2 is set: what stops the operation ends them.
        f->StatusWord &= unchecked((ushort)~X87Status.C2);
        if (IsEmpty(f, top) || IsEmpty(f, top + 1))
        {
            Underflow(f, top);
            return;
        }
        uint status = 0;
        Float80 result = Float80Math.Remainder(
            *Register(f, top), *Register(f, top + 1), nearest, f->ControlWord, ref status, out uint? conditions);
        if (Commit(f, status))
        {
            *Register(f, top) = result;
            if (conditions is uint bits)
            {
                f->StatusWord = (ushort)((f->StatusWord & ~(X87Status.Conditions | X87Status.C1)) | bits);
            }
        }
    }

    /// <summary>FXTRACT: ST(0) becomes the exponent, and the significand is pushed.</summary>
    public static void Extract(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top) || !IsEmpty(f, top - 1))
        {
            if (Commit(f, IsEmpty(f, top) ? StackUnderflow : StackOverflow))
            {
                Write(f, top, Float80.Indefinite);
                Push(f, Float80.Indefinite);
            }
            return;
        }
        uint status = 0;
        Float80 exponent = Float80Math.Extract(*Register(f, top), out Float80 significand, ref status);
        if (Commit(f, status))
        {
            *Register(f, top) = exponent;
            Push(f, significand);
        }
    }

    /// <summary>FABS.</summary>
    public static void Abs(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        Commit(f, 0);
        *Register(f, top) = Register(f, top)->Abs();
    }

    /// <summary>FCHS.</summary>
    public static void ChangeSign(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        Commit(f, 0);
        *Register(f, top) = Register(f, top)->Negate();
    }
}
