using System.Numerics;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>One VEX instruction being bound, as <see cref="Site"/> for legacy ones. All methods return true.</summary>
internal readonly unsafe ref struct VexSite
{
    private readonly ref readonly Instruction _instruction;

    /// <summary>Puts the register operands in their places: two sources are first and second, one is both.</summary>
    public VexSite(in Instruction instruction, Op* op)
    {
        _instruction = ref instruction;
        Op = op;
        Legacy = new Site(in instruction, op);
        op->First = Slots.Zero;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Memory)
            {
                IsMemory = true;
                IsWide |= instruction.MemorySize.GetSize() == 32;
                continue;
            }
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }
            Register register = instruction.GetOpRegister(i);
            IsWide |= register.IsYMM();
            ushort slot = Slots.Of(register);
            switch (i)
            {
                case 1:
                    op->First = op->Source = slot;
                    break;
                case 2:
                    op->Source = slot;
                    break;
                case 3:
                    op->Immediate = slot;
                    break;
            }
        }
    }

    public Op* Op { get; }

    public ref readonly Instruction Instruction => ref _instruction;

    /// <summary>For instructions that write no vector register, and so are the same in both encodings.</summary>
    public Site Legacy { get; }

    /// <summary>An operand is 256 bits wide.</summary>
    public bool IsWide { get; }

    public bool IsMemory { get; }

    public bool IsStore => _instruction.Op0Kind == OpKind.Memory;

    public bool Is<TInstruction>()
        where TInstruction : struct, IVexInstruction
    {
        Op->Handler = !IsMemory ? &VexHandlers.Register<TInstruction>
            : Pick.IsPlain(Op) ? &VexHandlers.Memory<TInstruction, Plain>
            : &VexHandlers.Memory<TInstruction, Wide>;
        return true;
    }

    /// <summary>Memory must be aligned.</summary>
    public bool Aligned<TInstruction>()
        where TInstruction : struct, IVexInstruction
    {
        Op->Handler = !IsMemory ? &VexHandlers.Register<TInstruction>
            : Pick.IsPlain(Op) ? &VexHandlers.AlignedMemory<TInstruction, Plain>
            : &VexHandlers.AlignedMemory<TInstruction, Wide>;
        return true;
    }

    public bool Is(delegate*<CpuState*, Op*, Op*> handler)
    {
        Op->Handler = handler;
        return true;
    }

    public bool Integer<TOp>()
        where TOp : struct, IVectorOp => IsWide ? Is<Lanewise<TOp, Bits256>>() : Is<Lanewise<TOp, Bits128>>();

    public bool Immediate<TOp>()
        where TOp : struct, IVectorImmediateOp => IsWide ? Is<LanewiseImmediate<TOp, Bits256>>() : Is<LanewiseImmediate<TOp, Bits128>>();

    /// <summary>A shift by register or by immediate.</summary>
    public bool Shift<TShift>()
        where TShift : struct, IShift => _instruction.Op2Kind == OpKind.Immediate8 ? Immediate<ByImmediate<TShift>>()
            : IsWide ? Is<ShiftAll<TShift, Bits256>>() : Is<ShiftAll<TShift, Bits128>>();

    public bool Scalar<TOp, T>()
        where TOp : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => Is<ScalarFloat<TOp, T>>();

    public bool Packed<TOp, T>()
        where TOp : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => IsWide ? Is<PackedFloat<TOp, T, Bits256>>() : Is<PackedFloat<TOp, T, Bits128>>();

    public bool Alternating<T>()
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => IsWide ? Is<AlternatingFloat<T, Bits256>>() : Is<AlternatingFloat<T, Bits128>>();

    public bool Horizontal<TOp, T>()
        where TOp : struct, IFloatOp
        where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        IsWide ? Is<HorizontalFloat<TOp, T, Bits256>>() : Is<HorizontalFloat<TOp, T, Bits128>>();

    public bool Choice<TOp, T>(bool packed)
        where TOp : struct, IFloatSelect
        where T : unmanaged => !packed ? Is<ScalarChoice<TOp, T>>()
            : IsWide ? Is<PackedChoice<TOp, T, Bits256>>() : Is<PackedChoice<TOp, T, Bits128>>();

    public bool Round<T>()
        where T : unmanaged, IBinaryFloatingPointIeee754<T> => IsWide ? Is<PackedRound<T, Bits256>>() : Is<PackedRound<T, Bits128>>();

    /// <summary>A conversion of whole vectors.</summary>
    public bool Convert<TOp, TFrom, TTo>()
        where TOp : struct, IConversion<TFrom, TTo>
        where TFrom : unmanaged
        where TTo : unmanaged => IsWide ? Is<ConvertAll<TOp, TFrom, TTo, Bits256>>() : Is<ConvertAll<TOp, TFrom, TTo, Bits128>>();

    public bool Extend<TFrom, TTo>()
        where TFrom : unmanaged, INumber<TFrom>
        where TTo : unmanaged, INumber<TTo> => IsWide ? Is<ExtendVector<TFrom, TTo, Bits256>>() : Is<ExtendVector<TFrom, TTo, Bits128>>();

    public bool Broadcast<T>()
        where T : unmanaged => IsWide ? Is<Broadcast<T, Bits256>>() : Is<Broadcast<T, Bits128>>();

    public bool Blend<T>()
        where T : unmanaged => IsWide ? Is<BlendByRegister<T, Bits256>>() : Is<BlendByRegister<T, Bits128>>();

    /// <summary>VPTEST and its kin: the first operand is only read.</summary>
    public bool Test<T>()
        where T : unmanaged => IsWide ? Is<TestVector<T, Bits256>>() : Is<TestVector<T, Bits128>>();

    public bool SignMask<T>()
        where T : unmanaged =>
        IsWide ? Legacy.Any<WideSignMask<T>, Vector256<byte>>() : Legacy.Any<SignMask<T>, Vector128<byte>>();

    /// <summary>Loads or moves; or stores if that is what it does.</summary>
    public bool Move(bool aligned)
    {
        if (IsStore)
        {
            return aligned
                ? IsWide ? Legacy.AlignedStore<Vector256<byte>>() : Legacy.AlignedStore<Vector128<byte>>()
                : IsWide ? Legacy.Store<Vector256<byte>>() : Legacy.Store<Vector128<byte>>();
        }
        return aligned
            ? IsWide ? Aligned<Move<Bits256>>() : Aligned<Move<Bits128>>()
            : IsWide ? Is<Move<Bits256>>() : Is<Move<Bits128>>();
    }

    /// <summary>Replaces one element of the first source.</summary>
    public bool Insert<T>(uint element)
        where T : unmanaged, INumber<T>
    {
        Op->Extra = (byte)element;
        return Is<InsertElement<T>>();
    }

    /// <summary>Replaces the element that the immediate says.</summary>
    public bool Insert<T>()
        where T : unmanaged, INumber<T> => Insert<T>((uint)Op->Immediate & ((16 / (uint)sizeof(T)) - 1));

    public bool Masked<T>()
        where T : unmanaged => IsStore
            ? IsWide ? Is(&MaskedMove.Store<T, Bits256>) : Is(&MaskedMove.Store<T, Bits128>)
            : IsWide ? Is(&MaskedMove.Load<T, Bits256>) : Is(&MaskedMove.Load<T, Bits128>);

    /// <summary>False, for #UD, if destination, index and mask are not three registers.</summary>
    public bool Gather<T, TIndex>()
        where T : unmanaged
        where TIndex : unmanaged
    {
        int destination = _instruction.Op0Register.GetNumber();
        int index = _instruction.MemoryIndex.GetNumber();
        int mask = _instruction.Op2Register.GetNumber();
        if (destination == index || destination == mask || index == mask)
        {
            return false;
        }
        int bytes = IsWide || _instruction.MemoryIndex.IsYMM() ? 32 : 16;
        Op->Extra = (byte)(bytes / Math.Max(sizeof(T), sizeof(TIndex)));
        return Is(&MaskedMove.Gather<T, TIndex>);
    }
}
