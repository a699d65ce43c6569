namespace Ringfence.Cpu.X87;

/// <summary>Bits of the x87 status word (SDM vol. 1, 8.1.3).</summary>
public static class X87Status
{
    public const uint Invalid = 0x0001;
    public const uint Denormal = 0x0002;
    public const uint ZeroDivide = 0x0004;
    public const uint Overflow = 0x0008;
    public const uint Underflow = 0x0010;
    public const uint Precision = 0x0020;
    public const uint StackFault = 0x0040;
    /// <summary>ES: an unmasked exception is pending.</summary>
    public const uint ErrorSummary = 0x0080;
    public const uint C0 = 0x0100;
    public const uint C1 = 0x0200;
    public const uint C2 = 0x0400;
    public const uint C3 = 0x4000;
    /// <summary>B: follows ES since the 80287.</summary>
    public const uint Busy = 0x8000;
    public const uint TopMask = 0x3800;
    public const int TopShift = 11;

    /// <summary>The six exception flags, which have the places of their masks in the control word.</summary>
    public const uint Exceptions = 0x003F;

    /// <summary>Exceptions found before anything is computed: unmasked, they leave the operands as they were (SDM vol. 1, 8.7).</summary>
    public const uint PreComputation = Invalid | Denormal | ZeroDivide;

    /// <summary>C3, C2 and C0 as a comparison answers.</summary>
    public const uint Conditions = C3 | C2 | C0;
}

/// <summary>Fields of the x87 control word (SDM vol. 1, 8.1.5).</summary>
public static class X87Control
{
    /// <summary>What FNINIT loads: all exceptions masked, 64-bit significands, round to nearest.</summary>
    public const ushort Initial = 0x037F;

    /// <summary>PC: 0 for 24-bit significands, 0x200 for 53, 0x300 for 64. It governs add, subtract, multiply, divide and square root.</summary>
    public const uint PrecisionMask = 0x0300;
    public const uint PrecisionSingle = 0x0000;
    public const uint PrecisionDouble = 0x0200;
    public const uint PrecisionExtended = 0x0300;

    public const uint RoundMask = 0x0C00;
    public const uint RoundNearest = 0x0000;
    public const uint RoundDown = 0x0400;
    public const uint RoundUp = 0x0800;
    public const uint RoundToZero = 0x0C00;

    /// <summary>Bits that software can change: the masks, PC, RC and the historical infinity control. Bit 6 reads as one.</summary>
    public const uint Writable = 0x1F3F;
}
