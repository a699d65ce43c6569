namespace Ringfence.Cpu.X87;

public static unsafe partial class X87Unit
{
    /// <summary>F2XM1.</summary>
    public static void Exp2MinusOne(X87State* f)
    {
        int top = f->Top;
        if (IsEmpty(f, top))
        {
            Underflow(f, top);
            return;
        }
        uint status = 0;
        Float80 result = Float80Math.Exp2MinusOne(*Register(f, top), f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *Register(f, top) = result;
        }
    }

    /// <summary>FYL2X: ST(1) · log2 ST(0) replaces both.</summary>
    public static void YLog2X(X87State* f) => BinaryPop(f, &Float80Math.YLog2X);

    /// <summary>FYL2XP1: ST(1) · log2(ST(0) + 1) replaces both.</summary>
    public static void YLog2XPlus1(X87State* f) => BinaryPop(f, &Float80Math.YLog2XPlus1);

    /// <summary>FPATAN: the arctangent of ST(1) / ST(0), in the quadrant that their signs tell, replaces both.</summary>
    public static void Arctangent(X87State* f) => BinaryPop(f, &Float80Math.Arctangent);

    private static void BinaryPop(X87State* f, delegate*<Float80, Float80, uint, ref uint, Float80> function)
    {
        int top = f->Top;
        if (IsEmpty(f, top) || IsEmpty(f, top + 1))
        {
            if (Underflow(f, top + 1))
            {
                Pop(f);
            }
            return;
        }
        uint status = 0;
        Float80 result = function(*Register(f, top + 1), *Register(f, top), f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *Register(f, top + 1) = result;
            Pop(f);
        }
    }

    /// <summary>FSIN. Sets C2 and leaves ST(0) alone if its magnitude is 2^63 or more.</summary>
    public static void Sine(X87State* f) => Trigonometric(f, &Float80Math.Sine);

    /// <summary>FCOS. Sets C2 and leaves ST(0) alone if its magnitude is 2^63 or more.</summary>
    public static void Cosine(X87State* f) => Trigonometric(f, &Float80Math.Cosine);

    private static void Trigonometric(X87State* f, delegate*<Float80, uint, ref uint, Float80> function)
    {
        if (!TrigonometricOperand(f, false))
        {
            return;
        }
        Float80* top = Register(f, f->Top);
        uint status = 0;
        Float80 result = function(*top, f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *top = result;
        }
    }

    /// <summary>FSINCOS: the sine replaces ST(0) and the cosine is pushed. C2 as for FSIN.</summary>
    public static void SineCosine(X87State* f)
    {
        if (!TrigonometricOperand(f, true))
        {
            return;
        }
        Float80* top = Register(f, f->Top);
        uint status = 0;
        Float80Math.SineCosine(*top, f->ControlWord, ref status, out Float80 sine, out Float80 cosine);
        if (Commit(f, status))
        {
            *top = sine;
            Push(f, cosine);
        }
    }

    /// <summary>FPTAN: the tangent replaces ST(0) and 1.0 is pushed. C2 as for FSIN.</summary>
    public static void Tangent(X87State* f)
    {
        if (!TrigonometricOperand(f, true))
        {
            return;
        }
        Float80* top = Register(f, f->Top);
        uint status = 0;
        Float80 result = Float80Math.Tangent(*top, f->ControlWord, ref status);
        if (Commit(f, status))
        {
            *top = result;
            Push(f, result.IsNaN ? result : Float80.One);
        }
    }

    /// <summary>Clears C2, checks the stack, and sets C2 if the operand is out of range. False if that was all.</summary>
    private static bool TrigonometricOperand(X87State* f, bool pushes)
    {
        int top = f->Top;
        f->StatusWord &= unchecked((ushort)~X87Status.C2);
        if (IsEmpty(f, top) || (pushes && !IsEmpty(f, top - 1)))
        {
            if (Commit(f, IsEmpty(f, top) ? StackUnderflow : StackOverflow))
            {
                Write(f, top, Float80.Indefinite);
                if (pushes)
                {
                    Push(f, Float80.Indefinite);
                }
            }
            return false;
        }
        if (Float80Math.IsTrigonometricArgument(*Register(f, top)))
        {
            return true;
        }
        Commit(f, X87Status.C2);
        return false;
    }
}
