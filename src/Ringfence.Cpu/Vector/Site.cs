using System.Runtime.Intrinsics;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Vector;

/// <summary>One instruction being bound: chooses among a handler's forms by what its operands are. All methods return true.</summary>
internal readonly unsafe ref struct Site
{
    private readonly ref readonly Instruction _instruction;
    private readonly bool _plain;

    public Site(in Instruction instruction, Op* op)
    {
        _instruction = ref instruction;
        Op = op;
        _plain = op->AddressMask == ulong.MaxValue && op->Segment == Layout.Zero;
    }

    public Op* Op { get; }

    public ref readonly Instruction Instruction => ref _instruction;

    /// <summary>The first operand is an MMX register.</summary>
    public bool IsMmx => IsMmxOperand(0);

    public bool IsStore => _instruction.Op0Kind == OpKind.Memory;

    public bool IsLoad => _instruction.Op1Kind == OpKind.Memory;

    public bool IsMmxOperand(int operand) => _instruction.GetOpKind(operand) == OpKind.Register && _instruction.GetOpRegister(operand).IsMM();

    public bool IsXmmOperand(int operand) => _instruction.GetOpKind(operand) == OpKind.Register && _instruction.GetOpRegister(operand).IsXMM();

    /// <summary>The source is <typeparamref name="T"/> wide: a register, or memory at any address.</summary>
    public bool Any<TInstruction, T>()
        where TInstruction : struct, IVectorInstruction<T>
        where T : unmanaged
    {
        Op->Handler = !IsLoad ? &VectorHandlers.Register<TInstruction, T>
            : _plain ? &VectorHandlers.Memory<TInstruction, T, Plain>
            : &VectorHandlers.Memory<TInstruction, T, Wide>;
        return true;
    }

    /// <summary>The source is 16 bytes wide: a register, or memory at a multiple of 16.</summary>
    public bool Aligned<TInstruction>()
        where TInstruction : struct, IVectorInstruction<Vector128<byte>>
    {
        Op->Handler = !IsLoad ? &VectorHandlers.Register<TInstruction, Vector128<byte>>
            : _plain ? &VectorHandlers.AlignedMemory<TInstruction, Plain>
            : &VectorHandlers.AlignedMemory<TInstruction, Wide>;
        return true;
    }

    /// <summary>The function on MMX or XMM registers, whichever the instruction has.</summary>
    public bool Integer<TOp>()
        where TOp : struct, IVectorOp => IsMmx ? Any<Mm<TOp>, ulong>() : Aligned<Xmm<TOp>>();

    /// <summary>Likewise, with one of the special MMX forms.</summary>
    public bool Integer<TOp, TMmx>()
        where TOp : struct, IVectorOp
        where TMmx : struct, IVectorInstruction<ulong> => IsMmx ? Any<TMmx, ulong>() : Aligned<Xmm<TOp>>();

    public bool Immediate<TOp>()
        where TOp : struct, IVectorImmediateOp => IsMmx ? Any<MmImmediate<TOp>, ulong>() : Aligned<XmmImmediate<TOp>>();

    /// <summary>A shift by register or by immediate.</summary>
    public bool Shift<TShift>()
        where TShift : struct, IShift => _instruction.Op1Kind == OpKind.Immediate8 ? OneOperand<ByImmediate<TShift>>() : Integer<ByRegister<TShift>>();

    /// <summary>An operation on one register and an immediate.</summary>
    public bool OneOperand<TOp>()
        where TOp : struct, IVectorImmediateOp
    {
        Op->Source = Op->Destination;
        return Immediate<TOp>();
    }

    /// <summary>Stores what <see cref="Interpreter.Op.Source"/> points to.</summary>
    public bool Store<T>()
        where T : unmanaged
    {
        Op->Handler = _plain ? &VectorHandlers.Store<T, Plain> : &VectorHandlers.Store<T, Wide>;
        return true;
    }

    public bool AlignedStore<T>()
        where T : unmanaged
    {
        Op->Handler = _plain ? &VectorHandlers.AlignedStore<T, Plain> : &VectorHandlers.AlignedStore<T, Wide>;
        return true;
    }

    public bool MmxStore<T>()
        where T : unmanaged
    {
        Op->Handler = _plain ? &VectorHandlers.MmxStore<T, Plain> : &VectorHandlers.MmxStore<T, Wide>;
        return true;
    }

    public bool StoreMxcsr()
    {
        Op->Handler = _plain ? &Control.StoreMxcsr<Plain> : &Control.StoreMxcsr<Wide>;
        return true;
    }

    /// <summary>A memory operand that is operand 0 but only read.</summary>
    public bool Load<TInstruction, T>()
        where TInstruction : struct, IVectorInstruction<T>
        where T : unmanaged
    {
        Op->Handler = _plain ? &VectorHandlers.Memory<TInstruction, T, Plain> : &VectorHandlers.Memory<TInstruction, T, Wide>;
        return true;
    }

    public bool Is(delegate*<CpuState*, Op*, Op*> handler)
    {
        Op->Handler = handler;
        return true;
    }

    /// <summary>The implied memory operand of MASKMOVQ and MASKMOVDQU: DS:rDI, or another segment.</summary>
    public bool MaskedStore(delegate*<CpuState*, Op*, Op*> handler)
    {
        Op->Base = (ushort)(8 * 7);
        Op->Index = Layout.Zero;
        Op->Scale = 0;
        Op->Displacement = 0;
        Op->AddressMask = _instruction.Op0Kind switch
        {
            OpKind.MemorySegDI => 0xFFFF,
            OpKind.MemorySegEDI => 0xFFFF_FFFF,
            _ => ulong.MaxValue,
        };
        bool wide = _instruction.CodeSize == CodeSize.Code64;
        Op->Segment = _instruction.MemorySegment switch
        {
            Register.FS => Layout.FsBase,
            Register.GS => Layout.GsBase,
            _ when wide => Layout.Zero,
            Register.ES => Layout.EsBase,
            Register.CS => Layout.CsBase,
            Register.SS => Layout.SsBase,
            _ => Layout.DsBase,
        };
        Op->Extra = (byte)_instruction.Op2Register.GetNumber();
        Op->Handler = handler;
        return true;
    }
}

/// <summary>Where fields lie in <see cref="CpuState"/>.</summary>
internal static unsafe class Layout
{
    public static readonly ushort Zero = Offset(nameof(CpuState.Zero));
    public static readonly ushort EsBase = Offset(nameof(CpuState.Es));
    public static readonly ushort CsBase = Offset(nameof(CpuState.Cs));
    public static readonly ushort SsBase = Offset(nameof(CpuState.Ss));
    public static readonly ushort DsBase = Offset(nameof(CpuState.Ds));
    public static readonly ushort FsBase = Offset(nameof(CpuState.Fs));
    public static readonly ushort GsBase = Offset(nameof(CpuState.Gs));

    /// <summary>Of a field; a segment register begins with its base.</summary>
    private static ushort Offset(string field)
    {
        var state = default(CpuState);
        byte* address = field switch
        {
            nameof(CpuState.Zero) => (byte*)&state.Zero,
            nameof(CpuState.Es) => (byte*)&state.Es.Base,
            nameof(CpuState.Cs) => (byte*)&state.Cs.Base,
            nameof(CpuState.Ss) => (byte*)&state.Ss.Base,
            nameof(CpuState.Ds) => (byte*)&state.Ds.Base,
            nameof(CpuState.Fs) => (byte*)&state.Fs.Base,
            _ => (byte*)&state.Gs.Base,
        };
        return (ushort)(address - (byte*)&state);
    }
}
