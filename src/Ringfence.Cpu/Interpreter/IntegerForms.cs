using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Interpreter;

// One line for each shape of instruction: how its handler is instantiated once operation, width and addressing are known.

internal readonly unsafe struct RR<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.RR<TOp, T>;
}

internal readonly unsafe struct RI<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.RI<TOp, T>;
}

internal readonly unsafe struct RM<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.RM<TOp, T, TEa>;
}

internal readonly unsafe struct MR<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.MR<TOp, T, TEa>;
}

internal readonly unsafe struct MI<TOp> : IMemoryForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.MI<TOp, T, TEa>;
}

internal readonly unsafe struct LockMR<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.LockMR<TOp, T>;
}

internal readonly unsafe struct LockMI<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.LockMI<TOp, T>;
}

internal readonly unsafe struct R<TOp> : IForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.R<TOp, T>;
}

internal readonly unsafe struct M<TOp> : IMemoryForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.M<TOp, T, TEa>;
}

internal readonly unsafe struct LockM<TOp> : IForm
    where TOp : struct, IUnary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.LockM<TOp, T>;
}

internal readonly unsafe struct ShiftRCl<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.ShiftRCl<TOp, T>;
}

internal readonly unsafe struct ShiftMCl<TOp> : IForm
    where TOp : struct, IBinary
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.ShiftMCl<TOp, T>;
}

internal readonly unsafe struct MovRR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.MovRR<T>;
}

internal readonly unsafe struct MovRI : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.MovRI<T>;
}

internal readonly unsafe struct MovRM : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.MovRM<T, TEa>;
}

internal readonly unsafe struct MovMR : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.MovMR<T, TEa>;
}

internal readonly unsafe struct MovMI : IMemoryForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing => &Integer.MovMI<T, TEa>;
}

internal readonly unsafe struct LoadAbsolute : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.LoadAbsolute<T>;
}

internal readonly unsafe struct StoreAbsolute : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.StoreAbsolute<T>;
}

internal readonly unsafe struct Lea : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.Lea<T>;
}

internal readonly unsafe struct XchgRR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.XchgRR<T>;
}

internal readonly unsafe struct XchgMR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.XchgMR<T>;
}

internal readonly unsafe struct ExtendR<TSign, TFrom> : IForm
    where TSign : struct, IExtend
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Integer.ExtendR<TSign, TFrom, T>;
}

internal readonly unsafe struct ExtendM<TSign, TFrom> : IMemoryForm
    where TSign : struct, IExtend
{
    public static delegate*<CpuState*, Op*, Op*> Of<T, TEa>() where TEa : struct, Memory.IAddressing =>
        &Integer.ExtendM<TSign, TFrom, T, TEa>;
}

internal readonly unsafe struct TestBitR<TChange, TIndex> : IForm
    where TChange : struct, IBitChange
    where TIndex : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.TestR<TChange, TIndex, T>;
}

internal readonly unsafe struct TestBitM<TChange, TIndex> : IForm
    where TChange : struct, IBitChange
    where TIndex : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.TestM<TChange, TIndex, T>;
}

internal readonly unsafe struct ScanForward<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.ScanForward<TOperand, T>;
}

internal readonly unsafe struct ScanReverse<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.ScanReverse<TOperand, T>;
}

internal readonly unsafe struct CountOnes<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.CountOnes<TOperand, T>;
}

internal readonly unsafe struct Swap : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.Swap<T>;
}

internal readonly unsafe struct DoubleShiftR<TLeft, TCount> : IForm
    where TLeft : struct, IDirection
    where TCount : struct, ICount
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.DoubleShiftR<TLeft, TCount, T>;
}

internal readonly unsafe struct DoubleShiftM<TLeft, TCount> : IForm
    where TLeft : struct, IDirection
    where TCount : struct, ICount
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Bits.DoubleShiftM<TLeft, TCount, T>;
}

internal readonly unsafe struct Mul<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.Mul<TOperand, T>;
}

internal readonly unsafe struct Imul<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.Imul<TOperand, T>;
}

internal readonly unsafe struct ImulTwo<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.ImulTwo<TOperand, T>;
}

internal readonly unsafe struct ImulThree<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.ImulThree<TOperand, T>;
}

internal readonly unsafe struct Div<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.Div<TOperand, T>;
}

internal readonly unsafe struct Idiv<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.Idiv<TOperand, T>;
}

internal readonly unsafe struct XaddR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.XaddR<T>;
}

internal readonly unsafe struct XaddM : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.XaddM<T>;
}

internal readonly unsafe struct CmpxchgR : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.CmpxchgR<T>;
}

internal readonly unsafe struct CmpxchgM : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &MultiplyDivide.CmpxchgM<T>;
}

internal readonly unsafe struct MovIf<TCondition, TOperand> : IForm
    where TCondition : struct, ICondition
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Conditional.Mov<TCondition, TOperand, T>;
}

internal readonly unsafe struct InPort : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.In<T>;
}

internal readonly unsafe struct OutPort : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.Out<T>;
}

internal readonly unsafe struct StoreSystem : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.StoreSystemR<T>;
}

internal readonly unsafe struct FromSegment : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.MovFromSegmentR<T>;
}

internal readonly unsafe struct LoadPointer : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.LoadPointer<T>;
}

internal readonly unsafe struct Probe<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &SystemInstructions.Probe<TOperand, T>;
}

internal readonly unsafe struct JumpTo<TOperand> : IForm
    where TOperand : struct, IOperand
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &ControlFlow.JumpIndirect<TOperand, T>;
}

internal readonly unsafe struct Movs<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Movs<T, TAddress>;
}

internal readonly unsafe struct Stos<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Stos<T, TAddress>;
}

internal readonly unsafe struct Lods<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Lods<T, TAddress>;
}

internal readonly unsafe struct Scas<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Scas<T, TAddress>;
}

internal readonly unsafe struct Cmps<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Cmps<T, TAddress>;
}

internal readonly unsafe struct Ins<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Ins<T, TAddress>;
}

internal readonly unsafe struct Outs<TAddress> : IForm
{
    public static delegate*<CpuState*, Op*, Op*> Of<T>() => &Strings.Outs<T, TAddress>;
}
