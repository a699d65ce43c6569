namespace Ringfence.Cpu.X87;

/// <summary>An arithmetic operation of two operands, as a type so that each combination with an operand form compiles to its own code.</summary>
public interface IX87Operation
{
    /// <summary>What the destination becomes.</summary>
    static abstract Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status);
}

/// <summary>FADD, FADDP, FIADD.</summary>
public readonly struct X87Add : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Add(destination, source, control, ref status);
}

/// <summary>FSUB, FSUBP, FISUB: destination - source.</summary>
public readonly struct X87Subtract : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Subtract(destination, source, control, ref status);
}

/// <summary>FSUBR, FSUBRP, FISUBR: source - destination.</summary>
public readonly struct X87SubtractReversed : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Subtract(source, destination, control, ref status);
}

/// <summary>FMUL, FMULP, FIMUL.</summary>
public readonly struct X87Multiply : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Multiply(destination, source, control, ref status);
}

/// <summary>FDIV, FDIVP, FIDIV: destination / source.</summary>
public readonly struct X87Divide : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Divide(destination, source, control, ref status);
}

/// <summary>FDIVR, FDIVRP, FIDIVR: source / destination.</summary>
public readonly struct X87DivideReversed : IX87Operation
{
    public static Float80 Apply(Float80 destination, Float80 source, uint control, ref uint status) =>
        Float80Math.Divide(source, destination, control, ref status);
}
