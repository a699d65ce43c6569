using Iced.Intel;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Offsets of registers in <see cref="CpuState"/>.</summary>
internal static unsafe class Slots
{
    public const ushort Rax = 0;
    public const ushort Rcx = 8;
    public const ushort Rdx = 16;
    public const ushort Rbx = 24;
    public const ushort Rsp = 32;
    public const ushort Rbp = 40;
    public const ushort Rsi = 48;
    public const ushort Rdi = 56;
    public const ushort Zero = 128;
    public const ushort Rip = 136;
    public const int VectorBytes = 64;

    private const int SelectorInSegment = 16;

    public static ushort Segments { get; } = Offset(static s => &s->Es);

    public static ushort X87 { get; } = Offset(static s => &s->X87);

    public static ushort Vectors { get; } = Offset(static s => s->Vectors);

    public static ushort Gpr(int number) => (ushort)(number * 8);

    public static ushort Segment(int number) => (ushort)(Segments + (number * sizeof(SegmentRegister)));

    /// <summary>Where the selector of a segment register is.</summary>
    public static ushort SelectorOf(Register segment) => (ushort)(Segment(segment - Register.ES) + SelectorInSegment);

    /// <summary>The offset of a register operand's lowest byte. Segment registers give their hidden base; others that live nowhere give
    /// <see cref="Zero"/>.</summary>
    public static ushort Of(Register register) => register switch
    {
        >= Register.RAX and <= Register.R15 => Gpr(register - Register.RAX),
        >= Register.EAX and <= Register.R15D => Gpr(register - Register.EAX),
        >= Register.AX and <= Register.R15W => Gpr(register - Register.AX),
        >= Register.AL and <= Register.BL => Gpr(register - Register.AL),
        >= Register.AH and <= Register.BH => (ushort)(Gpr(register - Register.AH) + 1),
        >= Register.SPL and <= Register.R15L => Gpr(register - Register.SPL + 4),
        >= Register.XMM0 and <= Register.XMM31 => (ushort)(Vectors + ((register - Register.XMM0) * VectorBytes)),
        >= Register.YMM0 and <= Register.YMM31 => (ushort)(Vectors + ((register - Register.YMM0) * VectorBytes)),
        >= Register.ZMM0 and <= Register.ZMM31 => (ushort)(Vectors + ((register - Register.ZMM0) * VectorBytes)),
        >= Register.MM0 and <= Register.MM7 => (ushort)(X87 + ((register - Register.MM0) * 16)),
        >= Register.ES and <= Register.GS => Segment(register - Register.ES),
        _ => Zero,
    };

    private delegate void* Locator(CpuState* s);

    private static ushort Offset(Locator locate)
    {
        CpuState state = default;
        return (ushort)((byte*)locate(&state) - (byte*)&state);
    }
}
